"""The parts of classic BPF programs that look behind an IPv6 header, see `dhcp.io.bpf`."""

from __future__ import annotations

from dhcp.io.bpf import (
    JUMP_IF_EQUAL,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    RETURN,
    VLAN_TAG_PRESENT,
    WHOLE_FRAME,
    assemble,
    jump,
)
from dhcp.v6.router_advertisement import ROUTER_SOLICITATION
from dhcp.wire.dhcp6 import FROM_CLIENT6
from dhcp.wire.ipv4 import ETHERTYPE_IPV6
from dhcp.wire.ipv6 import ICMPV6, SERVER_PORT6, UDP
from dhcp.wire.ndp import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dhcp.io.bpf import Line

# As `dhcp.io.bpf.MOST_ADDRESSES`.
MOST_ADDRESSES6 = 16


def ipv6_lines(nd_targets: Iterable[bytes], only_client: bytes) -> Iterator[Line]:
    """What is behind an IPv6 header without extensions. Of a target only the last word is compared."""
    yield "ipv6"
    if only_client:
        yield LOAD_WORD, 6, "", ""
        yield jump(JUMP_IF_EQUAL, int.from_bytes(only_client[:4], "big"), "", "reject")
        yield LOAD_HALF, 10, "", ""
        yield jump(JUMP_IF_EQUAL, int.from_bytes(only_client[4:], "big"), "", "reject")
    yield LOAD_BYTE, 20, "", ""
    yield jump(JUMP_IF_EQUAL, ICMPV6, "icmp6", "")
    yield jump(JUMP_IF_EQUAL, UDP, "", "reject")
    yield LOAD_HALF, 56, "", ""
    yield jump(JUMP_IF_EQUAL, SERVER_PORT6, "" if only_client else "accept", "reject")
    if only_client:
        yield LOAD_BYTE, 62, "", ""
        for kind in sorted(FROM_CLIENT6):
            yield jump(JUMP_IF_EQUAL, kind, "accept", "")
        yield jump(JUMP_IF_EQUAL, 0, "reject", "reject")
    yield "icmp6"
    yield LOAD_BYTE, 54, "", ""
    yield jump(JUMP_IF_EQUAL, ROUTER_SOLICITATION, "accept", "")
    targets = sorted({int.from_bytes(target[12:], "big") for target in nd_targets})
    if len(targets) > MOST_ADDRESSES6:
        yield jump(JUMP_IF_EQUAL, NEIGHBOUR_SOLICITATION, "accept", "reject")
        return
    yield jump(JUMP_IF_EQUAL, NEIGHBOUR_SOLICITATION, "", "reject")
    yield LOAD_WORD, 74, "", ""
    for target in targets:
        yield jump(JUMP_IF_EQUAL, target, "accept", "")
    yield jump(JUMP_IF_EQUAL, 0, "reject", "reject")


def advertisement_filter(target: bytes) -> bytes:
    """The program for untagged neighbour advertisements that speak of an IPv6 address, or nearly of it."""
    fixed = (
        (LOAD_WORD, VLAN_TAG_PRESENT, 0),
        (LOAD_HALF, 12, ETHERTYPE_IPV6),
        (LOAD_BYTE, 20, ICMPV6),
        (LOAD_BYTE, 54, NEIGHBOUR_ADVERTISEMENT),
        (LOAD_WORD, 74, int.from_bytes(target[12:], "big")),
    )
    lines: list[Line] = []
    for load, offset, value in fixed:
        lines += [(load, offset, "", ""), jump(JUMP_IF_EQUAL, value, "", "reject")]
    return assemble([*lines, (RETURN, WHOLE_FRAME, "", ""), "reject", (RETURN, 0, "", "")])
