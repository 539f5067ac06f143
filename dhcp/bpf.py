"""The classic BPF program that lets only frames for the server out of the kernel.

A packet socket on a guest's port would otherwise be woken by all that the guest sends. Documented in the
kernel's Documentation/networking/filter.rst.
"""

from __future__ import annotations

from struct import Struct

from dhcp.packet import ETHERTYPE_ARP, ETHERTYPE_IPV4, SERVER_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_INSTRUCTION = Struct("=HBBI")
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_INDEXED = 0x20, 0x28, 0x30, 0x48
_LOAD_IP_HEADER_LENGTH = 0xB1
_JUMP_IF_EQUAL, _JUMP_IF_SET, _RETURN = 0x15, 0x45, 0x06
# The kernel strips a VLAN tag into metadata, which this "offset" reads: 1 when there was a tag.
_VLAN_TAG_PRESENT = (-0x1000 + 48) & 0xFFFFFFFF
_WHOLE_FRAME = 0xFFFF
# Jumps are one octet, so the list of addresses must end somewhere; beyond it the server sorts out itself.
MOST_ADDRESSES = 100

REJECT_ALL = _INSTRUCTION.pack(_RETURN, 0, 0, 0)


def frame_filter(arp_targets: Iterable[bytes]) -> bytes:
    """The program for untagged DHCPv4 to a server and ARP requests for the given IPv4 addresses."""
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
            _jump(_JUMP_IF_EQUAL, ETHERTYPE_ARP, "arp", "reject"),
            "ipv4",
            (_LOAD_BYTE, 23, "", ""),
            _jump(_JUMP_IF_EQUAL, 17, "", "reject"),
            (_LOAD_HALF, 20, "", ""),
            _jump(_JUMP_IF_SET, 0x3FFF, "reject", ""),  # more fragments, or not the first one
            (_LOAD_IP_HEADER_LENGTH, 14, "", ""),
            (_LOAD_HALF_INDEXED, 16, "", ""),
            _jump(_JUMP_IF_EQUAL, SERVER_PORT, "accept", "reject"),
            "arp",
            (_LOAD_HALF, 20, "", ""),
            *ask_for,
            "accept",
            (_RETURN, _WHOLE_FRAME, "", ""),
            "reject",
            (_RETURN, 0, "", ""),
        ]
    )


def _jump(code: int, value: int, then: str, otherwise: str) -> tuple[int, int, str, str]:
    """A test of the accumulator; an empty label is the next instruction."""
    return code, value, then, otherwise


def _assemble(lines: list[tuple[int, int, str, str] | str]) -> bytes:
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
