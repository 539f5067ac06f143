"""The classic BPF program that lets only frames for the server out of the kernel.

A packet socket on a guest's port would otherwise be woken by all that the guest sends. Documented in the
kernel's Documentation/networking/filter.rst.
"""

from __future__ import annotations

from struct import Struct

from dhcp.packet import ETHERNET_OCTETS, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, SERVER_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Line = tuple[int, int, str, str] | str

_INSTRUCTION = Struct("=HBBI")
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_INDEXED, _LOAD_LENGTH = 0x20, 0x28, 0x30, 0x48, 0x80
_LOAD_IP_HEADER_LENGTH = 0xB1
_JUMP_IF_EQUAL, _JUMP_IF_SET, _RETURN = 0x15, 0x45, 0x06
_JUMP_IF_GREATER_X, _JUMP_IF_EQUAL_X, _SUBTRACT, _COPY_TO_X = 0x2D, 0x1D, 0x14, 0x07
# The kernel strips a VLAN tag into metadata, which this "offset" reads: 1 when there was a tag.
_VLAN_TAG_PRESENT = (-0x1000 + 48) & 0xFFFFFFFF
_WHOLE_FRAME = 0xFFFF
# Jumps are one octet, so the list of addresses must end somewhere; beyond it the server sorts out itself.
MOST_ADDRESSES = 100
MOST_ADDRESSES6 = 16

# Hardware and protocol types and their lengths.
_ETHERNET_ARP: tuple[Line, ...] = (
    (_LOAD_WORD, 14, "", ""),
    (_JUMP_IF_EQUAL, 0x00010800, "", "reject"),
    (_LOAD_HALF, 18, "", ""),
    (_JUMP_IF_EQUAL, 0x0604, "", "reject"),
)

REJECT_ALL = _INSTRUCTION.pack(_RETURN, 0, 0, 0)


def frame_filter(
    arp_targets: Iterable[bytes], only_client: bytes = b"", nd_targets: Iterable[bytes] | None = None
) -> bytes:
    """The program for untagged DHCPv4 to a server and ARP requests for the given IPv4 addresses.

    Where IPv6 is served, `nd_targets` being the addresses that are answered for, DHCPv6 to a server, router
    solicitations, and neighbour solicitations for these too.

    With a MAC as `only_client` it rejects as well whatever can get no answer by its fixed fields, and messages whose
    type is not the first of their options, where all known clients have it.
    """
    targets = sorted({int.from_bytes(target, "big") for target in arp_targets})
    if len(targets) > MOST_ADDRESSES:
        ask_for = [_jump(_JUMP_IF_EQUAL, 1, "accept", "reject")]
    else:
        ask_for = [
            _jump(_JUMP_IF_EQUAL, 1, "", "reject"),
            (_LOAD_WORD, 38, "", ""),
            *(_jump(_JUMP_IF_EQUAL, target, "accept", "") for target in targets),
            *([_jump(_JUMP_IF_EQUAL, 0, "reject", "reject")]),
        ]
    return _assemble(
        [
            (_LOAD_WORD, _VLAN_TAG_PRESENT, "", ""),
            _jump(_JUMP_IF_EQUAL, 0, "", "reject"),
            (_LOAD_HALF, 12, "", ""),
            _jump(_JUMP_IF_EQUAL, ETHERTYPE_IPV4, "ipv4", ""),
            *(() if nd_targets is None else (_jump(_JUMP_IF_EQUAL, ETHERTYPE_IPV6, "ipv6", ""),)),
            _jump(_JUMP_IF_EQUAL, ETHERTYPE_ARP, "arp", "reject"),
            "ipv4",
            (_LOAD_BYTE, 23, "", ""),
            _jump(_JUMP_IF_EQUAL, 17, "", "reject"),
            (_LOAD_HALF, 20, "", ""),
            _jump(_JUMP_IF_SET, 0x3FFF, "reject", ""),  # more fragments, or not the first one
            (_LOAD_IP_HEADER_LENGTH, 14, "", ""),
            (_LOAD_HALF_INDEXED, 16, "", ""),
            _jump(_JUMP_IF_EQUAL, SERVER_PORT, "" if only_client else "accept", "reject"),
            *(_of_client(only_client) if only_client else ()),
            *(() if nd_targets is None else _ipv6(nd_targets, only_client)),
            "arp",
            *(_ETHERNET_ARP if only_client else ()),
            (_LOAD_HALF, 20, "", ""),
            *ask_for,
            "accept",
            (_RETURN, _WHOLE_FRAME, "", ""),
            "reject",
            (_RETURN, 0, "", ""),
        ]
    )


def _of_client(mac: bytes) -> Iterator[Line]:
    """What `dhcp.packet` and `dhcp.message` ask of a datagram to port 67; a load beyond the frame's end rejects it."""
    from dhcp.message import COOKIE, FROM_CLIENT
    from dhcp.optioncodes import MESSAGE_TYPE

    yield _LOAD_BYTE, 14, "", ""
    yield _jump(_JUMP_IF_EQUAL, 0x45, "", "reject")
    # the datagram is all in the frame …
    yield _LOAD_LENGTH, 0, "", ""
    yield _SUBTRACT, ETHERNET_OCTETS, "", ""
    yield _COPY_TO_X, 0, "", ""
    yield _LOAD_HALF, 16, "", ""
    yield _jump(_JUMP_IF_GREATER_X, 0, "reject", "")
    # … and the UDP one fills the IPv4 one
    yield _SUBTRACT, 20, "", ""
    yield _COPY_TO_X, 0, "", ""
    yield _LOAD_HALF, 38, "", ""
    yield _jump(_JUMP_IF_EQUAL_X, 0, "", "reject")
    fixed = (
        (_LOAD_WORD, 278, int.from_bytes(COOKIE, "big")),
        (_LOAD_HALF, 42, 0x0101),  # BOOTREQUEST, Ethernet
        (_LOAD_BYTE, 44, 6),
        (_LOAD_WORD, 66, 0),  # giaddr
        (_LOAD_WORD, 70, int.from_bytes(mac[:4], "big")),
        (_LOAD_HALF, 74, int.from_bytes(mac[4:], "big")),
        (_LOAD_HALF, 282, MESSAGE_TYPE << 8 | 1),
    )
    for load, offset, value in fixed:
        yield load, offset, "", ""
        yield _jump(_JUMP_IF_EQUAL, value, "", "reject")
    yield _LOAD_BYTE, 284, "", ""
    for kind in sorted(FROM_CLIENT):
        yield _jump(_JUMP_IF_EQUAL, kind, "accept", "")
    yield _jump(_JUMP_IF_EQUAL, 0, "reject", "reject")


def advertisement_filter(target: bytes) -> bytes:
    """The program for untagged neighbour advertisements that speak of an IPv6 address, or nearly of it."""
    from dhcp.ndp import NEIGHBOUR_ADVERTISEMENT
    from dhcp.packet6 import ICMPV6

    fixed = (
        (_LOAD_WORD, _VLAN_TAG_PRESENT, 0),
        (_LOAD_HALF, 12, ETHERTYPE_IPV6),
        (_LOAD_BYTE, 20, ICMPV6),
        (_LOAD_BYTE, 54, NEIGHBOUR_ADVERTISEMENT),
        (_LOAD_WORD, 74, int.from_bytes(target[12:], "big")),
    )
    lines: list[Line] = []
    for load, offset, value in fixed:
        lines += [(load, offset, "", ""), _jump(_JUMP_IF_EQUAL, value, "", "reject")]
    return _assemble([*lines, (_RETURN, _WHOLE_FRAME, "", ""), "reject", (_RETURN, 0, "", "")])


def _ipv6(nd_targets: Iterable[bytes], only_client: bytes) -> Iterator[Line]:
    """What is behind an IPv6 header without extensions. Of a target only the last word is compared."""
    from dhcp.message6 import FROM_CLIENT6
    from dhcp.ndp import NEIGHBOUR_SOLICITATION
    from dhcp.packet6 import ICMPV6, SERVER_PORT6, UDP
    from dhcp.ra import ROUTER_SOLICITATION

    yield "ipv6"
    if only_client:
        yield _LOAD_WORD, 6, "", ""
        yield _jump(_JUMP_IF_EQUAL, int.from_bytes(only_client[:4], "big"), "", "reject")
        yield _LOAD_HALF, 10, "", ""
        yield _jump(_JUMP_IF_EQUAL, int.from_bytes(only_client[4:], "big"), "", "reject")
    yield _LOAD_BYTE, 20, "", ""
    yield _jump(_JUMP_IF_EQUAL, ICMPV6, "icmp6", "")
    yield _jump(_JUMP_IF_EQUAL, UDP, "", "reject")
    yield _LOAD_HALF, 56, "", ""
    yield _jump(_JUMP_IF_EQUAL, SERVER_PORT6, "" if only_client else "accept", "reject")
    if only_client:
        yield _LOAD_BYTE, 62, "", ""
        for kind in sorted(FROM_CLIENT6):
            yield _jump(_JUMP_IF_EQUAL, kind, "accept", "")
        yield _jump(_JUMP_IF_EQUAL, 0, "reject", "reject")
    yield "icmp6"
    yield _LOAD_BYTE, 54, "", ""
    yield _jump(_JUMP_IF_EQUAL, ROUTER_SOLICITATION, "accept", "")
    targets = sorted({int.from_bytes(target[12:], "big") for target in nd_targets})
    if len(targets) > MOST_ADDRESSES6:
        yield _jump(_JUMP_IF_EQUAL, NEIGHBOUR_SOLICITATION, "accept", "reject")
        return
    yield _jump(_JUMP_IF_EQUAL, NEIGHBOUR_SOLICITATION, "", "reject")
    yield _LOAD_WORD, 74, "", ""
    for target in targets:
        yield _jump(_JUMP_IF_EQUAL, target, "accept", "")
    yield _jump(_JUMP_IF_EQUAL, 0, "reject", "reject")


def _jump(code: int, value: int, then: str, otherwise: str) -> tuple[int, int, str, str]:
    """A test of the accumulator; an empty label is the next instruction."""
    return code, value, then, otherwise


def _assemble(lines: list[Line]) -> bytes:
    """Instructions (code, operand, label if true, label if false) and labels, as `struct sock_filter`s."""
    labels: dict[str, int] = {}
    instructions: list[tuple[int, int, str, str]] = []
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(instructions)
        else:
            instructions.append(line)
    program = b""
    for index, (code, operand, then, otherwise) in enumerate(instructions):
        jumps = [labels[label] - index - 1 if label else 0 for label in (then, otherwise)]
        program += _INSTRUCTION.pack(code, *jumps, operand)
    return program
