"""An assembler for classic BPF programs, as packet sockets filter by (Documentation/networking/filter.rst). Pure."""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Line = tuple[int, int, str, str] | str
    """An instruction (code, operand, label if true, label if false), or a label."""

_INSTRUCTION = Struct("=HBBI")
LOAD_WORD, LOAD_HALF, LOAD_BYTE, LOAD_HALF_INDEXED, LOAD_LENGTH = 0x20, 0x28, 0x30, 0x48, 0x80
LOAD_IP_HEADER_LENGTH = 0xB1
JUMP_IF_EQUAL, JUMP_IF_SET, JUMP_IF_EQUAL_X, JUMP_IF_GREATER_X = 0x15, 0x45, 0x1D, 0x2D
SUBTRACT, COPY_TO_X, RETURN = 0x14, 0x07, 0x06
# Metadata of a frame is at these "offsets": `sll_pkttype` of packet(7), and 1 when the kernel stripped a VLAN tag.
PACKET_TYPE = (-0x1000 + 4) & 0xFFFFFFFF
VLAN_TAG_PRESENT = (-0x1000 + 48) & 0xFFFFFFFF

REJECT_ALL = _INSTRUCTION.pack(RETURN, 0, 0, 0)
# The end of a program that jumps to one of these labels.
VERDICTS: tuple[Line, ...] = ("accept", (RETURN, 0xFFFF, "", ""), "reject", (RETURN, 0, "", ""))


def load(code: int, offset: int) -> Line:
    """An instruction without a jump."""
    return code, offset, "", ""


def jump(code: int, value: int, then: str, otherwise: str) -> Line:
    """A test of the accumulator; an empty label is the next instruction."""
    return code, value, then, otherwise


def require(*fields: tuple[int, int, int]) -> Iterator[Line]:
    """Reject a frame unless each field (load instruction, offset, value) is there and has its value."""
    for code, offset, value in fields:
        yield load(code, offset)
        yield jump(JUMP_IF_EQUAL, value, "", "reject")


def require_mac(offset: int, mac: bytes) -> Iterator[Line]:
    """Reject a frame unless this MAC is there."""
    high, low = int.from_bytes(mac[:4], "big"), int.from_bytes(mac[4:], "big")
    return require((LOAD_WORD, offset, high), (LOAD_HALF, offset + 4, low))


def accept_one_of(values: Iterable[int]) -> Iterator[Line]:
    """Accept a frame if the accumulator has one of these values, and reject it else."""
    for value in values:
        yield jump(JUMP_IF_EQUAL, value, "accept", "")
    yield jump(JUMP_IF_EQUAL, 0, "reject", "reject")


def assemble(lines: Iterable[Line]) -> bytes:
    """The program as `struct sock_filter`s."""
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
