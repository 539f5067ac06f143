"""The classic BPF program that lets only frames for the server out of the kernel.

A packet socket on a guest's port would otherwise be woken by all that the guest sends. Documented in the
kernel's Documentation/networking/filter.rst.
"""

from __future__ import annotations

from struct import Struct

from dhcp.wire.ipv4 import ETHERNET_OCTETS, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, SERVER_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Line = tuple[int, int, str, str] | str

_INSTRUCTION = Struct("=HBBI")
LOAD_WORD, LOAD_HALF, LOAD_BYTE, _LOAD_HALF_INDEXED, _LOAD_LENGTH = 0x20, 0x28, 0x30, 0x48, 0x80
_LOAD_IP_HEADER_LENGTH = 0xB1
JUMP_IF_EQUAL, _JUMP_IF_SET, RETURN = 0x15, 0x45, 0x06
_JUMP_IF_GREATER_X, _JUMP_IF_EQUAL_X, _SUBTRACT, _COPY_TO_X = 0x2D, 0x1D, 0x14, 0x07
# The kernel strips a VLAN tag into metadata, which this "offset" reads: 1 when there was a tag.
VLAN_TAG_PRESENT = (-0x1000 + 48) & 0xFFFFFFFF
WHOLE_FRAME = 0xFFFF
# Jumps are one octet, so the list of addresses must end somewhere; beyond it the server sorts out itself.
MOST_ADDRESSES = 100

# Hardware and protocol types and their lengths.
_ETHERNET_ARP: tuple[Line, ...] = (
    (LOAD_WORD, 14, "", ""),
    (JUMP_IF_EQUAL, 0x00010800, "", "reject"),
    (LOAD_HALF, 18, "", ""),
    (JUMP_IF_EQUAL, 0x0604, "", "reject"),
)

REJECT_ALL = _INSTRUCTION.pack(RETURN, 0, 0, 0)


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
        ask_for = [jump(JUMP_IF_EQUAL, 1, "accept", "reject")]
    else:
        ask_for = [
            jump(JUMP_IF_EQUAL, 1, "", "reject"),
            (LOAD_WORD, 38, "", ""),
            *(jump(JUMP_IF_EQUAL, target, "accept", "") for target in targets),
            *([jump(JUMP_IF_EQUAL, 0, "reject", "reject")]),
        ]
    behind_ipv6: Iterable[Line] = ()
    if nd_targets is not None:
        from dhcp.io.filters import ipv6_lines

        behind_ipv6 = ipv6_lines(nd_targets, only_client)
    return assemble(
        [
            (LOAD_WORD, VLAN_TAG_PRESENT, "", ""),
            jump(JUMP_IF_EQUAL, 0, "", "reject"),
            (LOAD_HALF, 12, "", ""),
            jump(JUMP_IF_EQUAL, ETHERTYPE_IPV4, "ipv4", ""),
            *(() if nd_targets is None else (jump(JUMP_IF_EQUAL, ETHERTYPE_IPV6, "ipv6", ""),)),
            jump(JUMP_IF_EQUAL, ETHERTYPE_ARP, "arp", "reject"),
            "ipv4",
            (LOAD_BYTE, 23, "", ""),
            jump(JUMP_IF_EQUAL, 17, "", "reject"),
            (LOAD_HALF, 20, "", ""),
            jump(_JUMP_IF_SET, 0x3FFF, "reject", ""),  # more fragments, or not the first one
            (_LOAD_IP_HEADER_LENGTH, 14, "", ""),
            (_LOAD_HALF_INDEXED, 16, "", ""),
            jump(JUMP_IF_EQUAL, SERVER_PORT, "" if only_client else "accept", "reject"),
            *(_of_client(only_client) if only_client else ()),
            *behind_ipv6,
            "arp",
            *(_ETHERNET_ARP if only_client else ()),
            (LOAD_HALF, 20, "", ""),
            *ask_for,
            "accept",
            (RETURN, WHOLE_FRAME, "", ""),
            "reject",
            (RETURN, 0, "", ""),
        ]
    )


def _of_client(mac: bytes) -> Iterator[Line]:
    """What the codecs ask of a datagram to port 67; a load beyond the frame's end rejects it."""
    from dhcp.wire.dhcp4 import COOKIE, FROM_CLIENT
    from dhcp.wire.option_codes import MESSAGE_TYPE

    yield LOAD_BYTE, 14, "", ""
    yield jump(JUMP_IF_EQUAL, 0x45, "", "reject")
    # the datagram is all in the frame …
    yield _LOAD_LENGTH, 0, "", ""
    yield _SUBTRACT, ETHERNET_OCTETS, "", ""
    yield _COPY_TO_X, 0, "", ""
    yield LOAD_HALF, 16, "", ""
    yield jump(_JUMP_IF_GREATER_X, 0, "reject", "")
    # … and the UDP one fills the IPv4 one
    yield _SUBTRACT, 20, "", ""
    yield _COPY_TO_X, 0, "", ""
    yield LOAD_HALF, 38, "", ""
    yield jump(_JUMP_IF_EQUAL_X, 0, "", "reject")
    fixed = (
        (LOAD_WORD, 278, int.from_bytes(COOKIE, "big")),
        (LOAD_HALF, 42, 0x0101),  # BOOTREQUEST, Ethernet
        (LOAD_BYTE, 44, 6),
        (LOAD_WORD, 66, 0),  # giaddr
        (LOAD_WORD, 70, int.from_bytes(mac[:4], "big")),
        (LOAD_HALF, 74, int.from_bytes(mac[4:], "big")),
        (LOAD_HALF, 282, MESSAGE_TYPE << 8 | 1),
    )
    for load, offset, value in fixed:
        yield load, offset, "", ""
        yield jump(JUMP_IF_EQUAL, value, "", "reject")
    yield LOAD_BYTE, 284, "", ""
    for kind in sorted(FROM_CLIENT):
        yield jump(JUMP_IF_EQUAL, kind, "accept", "")
    yield jump(JUMP_IF_EQUAL, 0, "reject", "reject")


def jump(code: int, value: int, then: str, otherwise: str) -> tuple[int, int, str, str]:
    """A test of the accumulator; an empty label is the next instruction."""
    return code, value, then, otherwise


def assemble(lines: list[Line]) -> bytes:
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
