"""What would come of a frame if the guest had sent it, and the guest notices nothing: for a probe."""

from __future__ import annotations

from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, socket, socketpair
from fcntl import ioctl
from struct import pack, unpack_from

from dhcp.decision import Decision
from dhcp.io.sockets import attach_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.io.guest_port import ServedPort

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1


def try_frame(port: ServedPort, frame: bytes) -> dict[str, object]:
    """Answer, reason, dropped options and frames, in hexadecimal digits, that a frame of the guest would lead to.

    The frame goes through the kernel, running the port's filter of quiet times, and through the decision that
    every frame meets; it is neither counted nor logged. `problem` says why the guest's own cannot come in, empty
    when they can.
    """
    decision = Decision("rejected by the kernel's filter", cause="filter")
    if passes(port.filter(), frame):
        decision = port.decide(frame)
    return {
        "problem": port_problem(port.socket, port.config.interface),
        "answer": decision.answer,
        "reason": decision.reason,
        "dropped": list(decision.dropped),
        "frames": [reply.hex() for reply in decision.frames],
    }


def passes(program: bytes, frame: bytes) -> bool:
    """Whether the kernel, running this BPF program, lets the frame through.

    It runs one on every kind of socket, so a pair of them does for the trial.
    """
    sender, receiver = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        attach_filter(receiver, program)
        sender.send(frame)
        return receiver.recv(len(frame) + 1, MSG_DONTWAIT) == frame
    except OSError:
        return False
    finally:
        sender.close()
        receiver.close()


def port_problem(sock: socket, interface: str) -> str:
    """Why no frame could come in through the socket; empty when one could, from a guest or as soon as there is one."""
    if sock.getsockname()[0] != interface:
        return f"the server's socket has lost {interface}, which was removed or renamed"
    request = pack("16s24x", interface.encode())
    flags: int = unpack_from("H", ioctl(sock.fileno(), _SIOCGIFFLAGS, request), 16)[0]
    return "" if flags & _IFF_UP else f"{interface} is down"
