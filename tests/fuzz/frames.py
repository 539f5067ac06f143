"""Coverage-guided fuzzing of `dhcp.handler.handle`: DHCP and ARP frames (atheris, on libFuzzer).

    python tests/fuzz/frames.py [CORPUS] [-max_total_time=60 and other options of libFuzzer]

The seeds are frames of the tests. What holds for every decision is in `oracle`; besides that the same frame has the
same decision, none takes long, and memory stays flat. The first frame that breaks a rule ends the run with an error and
is written to a file `crash-…`, which `python tests/fuzz/frames.py FILE` shows again.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

import atheris

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "unit")]

with atheris.instrument_imports(include=["dhcp"]):
    from dhcp.config import parse_configs
    from dhcp.handler import handle
    from dhcp.port import Port, serve_port

from mutation import Mutator  # noqa: E402
from oracle import check  # noqa: E402

MAC = "02:00:00:00:00:0a"
CLIENT, SERVER, ROUTER = "10.0.0.2", "10.0.0.1", "169.254.1.1"
PLAIN = {"client_mac": "52:54:00:0a:00:02", "client_address": f"{CLIENT}/24", "server_address": SERVER}
CONFIGS = (
    {**PLAIN, "router": SERVER, "dns": ["10.0.0.53"], "mtu": 1400, "neighbours": {ROUTER: "ee:ee:ee:ee:ee:ee"}},
    {**PLAIN, "lease_seconds": 0xFFFFFFFF, "mtu": 68, "options": {"240": "x", "108": "1800"}, "rapid_commit": True},
    {
        **PLAIN,
        "client_address": f"{CLIENT}/32",
        "router": ROUTER,
        "routes": [{"destination": "10.9.0.0/16", "gateway": "10.0.0.5"}],
        "search": [f"domain-{i}.example.test" for i in range(30)],
        "hostname": "vm",
        "options": {"224": "x" * 300, "225": "y" * 200},
    },
    {**PLAIN, "mtu": 9000, "tftp_server": "10.0.0.8", "boot_file": "x" * 127, "options": {"224": "z" * 1000}},
)
# Thread time, for the machine may do other things: the slowest decision there is takes a hundredth of it.
SLOWEST_SECONDS = 0.05
REPEAT_EVERY = 16
MEMORY_EVERY = 100_000
# Python's own live blocks; a warmed-up run has some hundred thousand, and adds none.
MOST_NEW_BLOCKS = 2_000


class Target:
    """What the fuzzer calls with every frame."""

    def __init__(self, ports: list[Port]) -> None:
        self._ports = ports
        self._executions = 0
        self._blocks = 0

    def __call__(self, frame: bytes) -> None:
        # Nobody looks at the destination MAC, so its last octet chooses what is served.
        port = self._ports[frame[5] % len(self._ports) if len(frame) > 5 else 0]
        began = time.thread_time()
        decision = handle(frame, port)
        took = time.thread_time() - began
        assert took < SLOWEST_SECONDS, f"{took * 1e3:.1f} ms for one frame"
        check(frame, port, decision)
        self._executions += 1
        if self._executions % REPEAT_EVERY == 0:
            assert handle(frame, port) == decision, "another decision about the same frame"
        if self._executions % MEMORY_EVERY == 0:
            self._watch_memory()

    def _watch_memory(self) -> None:
        gc.collect()
        blocks = sys.getallocatedblocks()
        if self._blocks:
            assert blocks - self._blocks < MOST_NEW_BLOCKS, f"{blocks - self._blocks} more blocks of memory"
        self._blocks = self._blocks or blocks


def mutate(octets: bytes, size: int) -> bytes:
    """libFuzzer's own mutation; to be looked up at each call, for `Fuzz` puts another function in its place."""
    return bytes(atheris.Mutate(octets, size))


def seeds() -> list[bytes]:
    """The frames of the property tests."""
    from test_dhcp_handler import SEEDS

    return SEEDS


def main(words: list[str]) -> None:
    from lab.requests import mac_octets, packed

    ports = [serve_port(parse_configs(config)[0], mac_octets(MAC)) for config in CONFIGS]
    addresses = [packed(text) for text in (CLIENT, SERVER, ROUTER, "0.0.0.0", "255.255.255.255", "10.0.0.9")]
    mutator = Mutator(addresses, mutate)
    corpus = [Path(word) for word in words[1:] if not word.startswith("-")]
    if corpus and not corpus[0].is_file():
        corpus[0].mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(seeds()):
            for choice in range(len(ports)):
                (corpus[0] / f"seed-{number}-{choice}").write_bytes(frame[:5] + bytes((choice,)) + frame[6:])
    atheris.Setup([words[0], "-max_len=1514", *words[1:]], Target(ports), custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
