"""Coverage-guided fuzzing of `dhcp.handler.handle`: frames of every protocol it knows (atheris, on libFuzzer).

    python tests/fuzz/frames.py [CORPUS] [-max_total_time=60 and other options of libFuzzer]

The seeds are frames of the tests. What holds for every decision is in `oracle`; besides that the same frame has the
same decision, none takes long, and memory stays flat. The first frame that breaks a rule ends the run with an error and
is written to a file `crash-…`, which `python tests/fuzz/frames.py FILE` shows again.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import atheris

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "unit")]

with atheris.instrument_imports(include=["dhcp"]):
    from dhcp.config import parse_configs
    from dhcp.daemon.late_modules import import_all
    from dhcp.handler import handle
    from dhcp.v4.lease import ServedLease, prepare_lease

    import_all()  # what is imported only with IPv6, too, or it would not be instrumented

from bounds import SLOWEST_SECONDS, decide_in_time, timed  # noqa: E402
from lab.requests import mac_octets, packed  # noqa: E402
from lab.requests6 import (  # noqa: E402
    CLIENT6,
    CLIENT_LINK_LOCAL,
    DUID,
    IAID,
    ROUTER_LINK_LOCAL,
    datagram6,
    ia_na,
    message6,
    neighbour_solicitation,
    packed6,
    relayed6,
    router_solicitation,
)
from mutation import Mutator  # noqa: E402
from oracle import check  # noqa: E402

MAC = "02:00:00:00:00:0a"
CLIENT, SERVER, ROUTER = "10.0.0.2", "10.0.0.1", "169.254.1.1"
NEIGHBOUR6 = "fe80::99"
PLAIN = {"client_mac": "52:54:00:0a:00:02", "client_address": f"{CLIENT}/24", "server_address": SERVER}
CONFIGS = (
    {
        **PLAIN,
        "router": SERVER,
        "dns": ["10.0.0.53"],
        "mtu": 1400,
        "heard": [CLIENT],
        "neighbours": {ROUTER: "ee:ee:ee:ee:ee:ee"},
    },
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
    {
        **PLAIN,
        "client_address6": f"{CLIENT6}/128",
        "router6": ROUTER_LINK_LOCAL,
        "router6_lladdr": "ee:ee:ee:ee:ee:ee",
        "dns6": ["fd00:10:96::a"],
        "search": ["default.svc.cluster.local", "cluster.local"],
        "neighbours": {NEIGHBOUR6: "02:00:00:00:00:99", ROUTER_LINK_LOCAL: "ee:ee:ee:ee:ee:ee"},
        "rapid_commit": True,
    },
    {**PLAIN, "dns6": ["fd00:10:96::a"], "search": [f"domain-{i}.example.test" for i in range(90)], "mtu": 1280},
    {**PLAIN, "mtu": 9000, "tftp_server": "10.0.0.8", "boot_file": "x" * 127, "options": {"224": "z" * 1000}},
)
REPEAT_EVERY = 16
MEMORY_EVERY = 100_000
# Instrumented, a decision takes three times as long with Python 3.11, and ten times with 3.13. So the bound on a
# frame's time is this many times what the slowest seed takes.
SLOWEST_PER_SEED = 5
# Python's own live blocks; a warmed-up run has some hundred thousand, and adds none.
MOST_NEW_BLOCKS = 2_000


class Target:
    """What the fuzzer calls with every frame."""

    def __init__(self, ports: list[ServedLease]) -> None:
        self._ports = ports
        seconds = (min(timed(seed, port)[0] for _ in range(3)) for seed in seeds(ports) for port in ports)
        self._limit = max(SLOWEST_SECONDS, SLOWEST_PER_SEED * max(seconds))
        self._executions = 0
        self._blocks = 0

    def __call__(self, frame: bytes) -> None:
        # Nobody looks at the destination MAC, so its last octet chooses what is served.
        port = self._ports[frame[5] % len(self._ports) if len(frame) > 5 else 0]
        decision = decide_in_time(frame, port, self._limit)
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


def seeds(ports: list[ServedLease]) -> list[bytes]:
    """The frames of the property tests, and one of each kind over IPv6."""
    from test_dhcp_handler import SEEDS

    duid = next(port.ipv6.duid for port in ports if port.ipv6)
    to_one = [datagram6(message6(kind, [ia_na(CLIENT6)], server=duid)) for kind in (3, 5, 8, 9)]
    to_any = [datagram6(message6(kind, [ia_na(CLIENT6), (14, b"")])) for kind in (1, 4, 6)]
    relayed = datagram6(relayed6(message6(1, [ia_na(CLIENT6)])))
    solicitations = [router_solicitation(), router_solicitation(source="::"), neighbour_solicitation(NEIGHBOUR6)]
    probe = neighbour_solicitation(NEIGHBOUR6, source="::")
    return [*SEEDS, *to_one, *to_any, datagram6(message6(11)), relayed, *solicitations, probe]


def main(words: list[str]) -> None:
    ports = [prepare_lease(parse_configs(config)[0], mac_octets(MAC)) for config in CONFIGS]
    addresses = [packed(text) for text in (CLIENT, SERVER, ROUTER, "0.0.0.0", "255.255.255.255", "10.0.0.9")]
    values6 = [packed6(text) for text in (CLIENT6, NEIGHBOUR6, ROUTER_LINK_LOCAL, CLIENT_LINK_LOCAL, "::", "ff02::1:2")]
    values6 += [DUID, IAID, *(port.ipv6.duid for port in ports if port.ipv6)]
    mutator = Mutator(addresses, values6, mutate)
    corpus = [Path(word) for word in words[1:] if not word.startswith("-")]
    if corpus and not corpus[0].is_file():
        corpus[0].mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(seeds(ports)):
            for choice in range(len(ports)):
                (corpus[0] / f"seed-{number}-{choice}").write_bytes(frame[:5] + bytes((choice,)) + frame[6:])
    atheris.Setup([words[0], "-max_len=1514", *words[1:]], Target(ports), custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
