"""Runs the hook repeatedly in one process: `python -m bench.hook.warm STATE-DIRECTORY CYCLES BINDING`, in a pod.

Prints the milliseconds of every set-up and every teardown as JSON; the first of each includes the imports.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

from launcher.prestart import setup_pod_network, teardown_pod_network
from launcher.request import SetupRequest
from launcher.vmi.model import DEFAULT_INTERFACE


def main(state_dir: str, cycles: int, binding: str) -> None:
    request = SetupRequest.of(replace(DEFAULT_INTERFACE, binding=binding))
    setups: list[float] = []
    teardowns: list[float] = []
    for _ in range(cycles):
        setups.append(setup_pod_network(request, state_dir=state_dir).elapsed_ms["total"])
        began = time.perf_counter()
        teardown_pod_network(state_dir)
        teardowns.append((time.perf_counter() - began) * 1e3)
    print(json.dumps({"setup_ms": setups, "teardown_ms": teardowns}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
