"""Tries a frame for `virt-launcher probe`: filter and decision, without sending the reply."""

from __future__ import annotations

from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, socket, socketpair
from _struct import pack, unpack_from
from fcntl import ioctl

from dhcp.decision import Decision
from dhcp.io.sockets import attach_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.io.guest_port import GuestPort

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1


def try_frame(port: GuestPort, frame: bytes) -> dict[str, object]:
    """Answer, reason, dropped options and frames, in hexadecimal digits, of a frame, as if the guest had sent it.

    The frame goes through the port's usual filter, run by the kernel, and through `handle`; it is neither counted nor
    logged. `problem` is the reason why the guest's own frames do not arrive, empty when they do.
    """
    decision = Decision("rejected by the kernel's filter", cause="filter")
    if filter_accepts(port.filter(), frame):
        port.count_down()
        decision = port.decide(frame)
    return {
        "problem": socket_problem(port.socket, port.config.interface),
        "answer": decision.answer,
        "reason": decision.reason,
        "dropped": list(decision.dropped),
        "frames": [reply.hex() for reply in decision.frames],
    }


def filter_accepts(program: bytes, frame: bytes) -> bool:
    """Whether this BPF program, run by the kernel, accepts the frame.

    The kernel runs a filter on every kind of socket, so a pair of unix sockets will do.
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


def socket_problem(sock: socket, interface: str) -> str:
    """Why no frame can arrive on the socket; empty when one can, as soon as there is a guest."""
    if sock.getsockname()[0] != interface:
        return f"the server's socket has lost {interface}, which was removed or renamed"
    request = pack("16s24x", interface.encode())
    flags: int = unpack_from("H", ioctl(sock.fileno(), _SIOCGIFFLAGS, request), 16)[0]
    return "" if flags & _IFF_UP else f"{interface} is down"
