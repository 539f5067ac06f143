"""Measures one set-up of a new pod in one round, until the first OFFER at the guest port."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

from bench.laboratory import HERE, BenchError, Laboratory, Tools, pss_mib

OURS = "virt-launcher prestart"
WARM = "hook, warm process"
WARM_MASQUERADE = "hook, warm process, masquerade"
SHELL = "shell, dnsmasq"
SHELL_FENCE = "shell, nft, dnsmasq"


def prestart(tools: Tools) -> dict[str, float]:
    """A cold `prestart`, a second one on the same pod, and `teardown`; raises BenchError."""
    with Laboratory(tools, pod_interface=True) as laboratory:
        state = laboratory.directory / "state"
        with laboratory.first_offer() as first:
            with laboratory.start([_launcher(), "prestart", "--state-dir", state, "--output", "json"]) as process:
                figures = {"exit_ms": process.wait(), "offer_ms": first.milliseconds_after(process)}
                server = int(json.loads(process.output())["dhcp"]["pid"])
        figures["pss_mib"], figures["alone_mib"] = pss_mib(server)
        figures["again_ms"] = _run(laboratory, "prestart", state)
        figures["teardown_ms"] = _run(laboratory, "teardown", state)
        return figures


def warm(binding: str, cycles: int, tools: Tools) -> dict[str, float]:
    """Set-up and teardown alternating in one process: the median of all cycles but the first; raises BenchError."""
    with Laboratory(tools, pod_interface=True) as laboratory:
        words: list[str | Path] = [
            sys.executable,
            "-m",
            "bench.hook.warm",
            laboratory.directory / "state",
            str(cycles + 1),
            binding,
        ]
        with laboratory.start(words) as process:
            process.wait()
            took = json.loads(process.output())
        return {"hook_ms": median(took["setup_ms"][1:]), "teardown_ms": median(took["teardown_ms"][1:])}


def shell(fence: bool, tools: Tools) -> dict[str, float]:
    """The shell script that the hook is compared with; raises BenchError."""
    with Laboratory(tools, pod_interface=True) as laboratory:
        words: list[str | Path] = [HERE / "hook/bridge.sh", laboratory.directory, *(["--fence"] if fence else [])]
        with laboratory.first_offer() as first, laboratory.start(words) as process:
            return {"offer_ms": first.milliseconds_after(process)}


def _launcher() -> Path:
    program = Path(sys.executable).with_name("virt-launcher")
    if not program.exists():
        raise BenchError(f"{program}: not found; run `make venv` and then the benches by .venv/bin/python")
    return program


def _run(laboratory: Laboratory, verb: str, state: Path) -> float:
    with laboratory.start([_launcher(), verb, "--state-dir", state]) as process:
        return process.wait()
