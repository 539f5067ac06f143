"""Starting, configuring and stopping the server's process, from the side of whoever needs it."""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from fcntl import F_DUPFD_CLOEXEC, fcntl
from select import POLLIN, poll

from dhcp.config import interfaces_of, parse_configs
from dhcp.daemon.control_protocol import ControlError, peer, receive_message, send_message
from dhcp.io.sockets import CONTROL_ADDRESS, control_socket, open_port
from dhcp.lean.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from signal import SIGKILL, pidfd_send_signal
else:
    from _signal import SIGKILL, pidfd_send_signal  # without the enumerations around them

# What the server may take to answer; it answers in milliseconds.
TIMEOUT = 5.0


def server_command() -> list[str]:
    """What starts a server, without its options: this interpreter, with nothing but the standard library."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    return [sys.executable, "-I", "-S", "-X", "utf8", main]


class ServerError(Exception):
    """The server is not there, or refuses; the message is its own reason."""


class _Channel:
    """Requests and answers over one control connection."""

    def __init__(self, sock: socket, pid: int) -> None:
        sock.settimeout(TIMEOUT)
        self._socket = sock
        self.pid = pid

    def _request(self, message: dict[str, object], descriptors: Sequence[int] = ()) -> dict[str, object]:
        try:
            send_message(self._socket, message, descriptors)
            received = receive_message(self._socket)
        except ControlError as error:
            raise ServerError(f"DHCP server (pid {self.pid}): {error}") from None
        if received is None:
            raise ServerError(f"DHCP server (pid {self.pid}): ended without an answer; its log has the reason")
        answer = received[0]
        if "error" in answer:
            raise ServerError(f"DHCP server (pid {self.pid}): {answer['error']}")
        return answer

    def configure(self, configs: Sequence[dict[str, object]]) -> None:
        """Serve these configurations and nothing else; returns when the server answers on every interface.

        A packet socket is opened, in the current network namespace, on each interface that the server does
        not hold yet, and passed to it. Interfaces that stay lose no frame. Raises ConfigError for the
        configuration, TransportError for an interface, ServerError with the server's own reason.
        """
        data = list(configs)
        wanted = interfaces_of(parse_configs(data))
        held = self._request({"op": "interfaces"})["interfaces"]
        sockets = {name: open_port(name) for name in wanted if not isinstance(held, list) or name not in held}
        text = os.memfd_create("dhcp-configuration", os.MFD_CLOEXEC)
        try:
            os.write(text, dumps(data).encode())
            self._request(
                {"op": "configure", "interfaces": list(sockets)},
                [text, *(sock.fileno() for sock in sockets.values())],
            )
        finally:
            os.close(text)
            for sock in sockets.values():
                sock.close()  # the server holds it as well, so there is nothing to wait for

    def status(self) -> dict[str, object]:
        """Counters by interface and cause, and the last transactions; raises ServerError."""
        return self._request({"op": "status"})

    def try_frame(self, interface: str, frame: bytes) -> dict[str, object]:
        """What the server makes of a frame, as if the guest had sent it, and the guest notices nothing.

        The shape is that of `dhcp.daemon.dry_run.try_frame`. Raises ServerError, also for a port that is not served.
        """
        return self._request({"op": "try", "interface": interface, "frame": frame.hex()})

    def release(self) -> None:
        """Close this end; the server lives on once it has been configured."""
        self._socket.close()


class ServerProcess(_Channel):
    """A server that this process has started."""

    _is_gone = False

    @classmethod
    def spawn(cls, log: int | None, *, log_format: str = "text") -> ServerProcess:
        """Start a server in the current network namespace and return at once, while it is still starting.

        It has a session of its own, no standard input and output, and writes its log to the descriptor `log`
        (None: nowhere), which it keeps below 1 MiB if that is a file, except when it is our own standard
        error. It ends by itself if we do before the first `configure`. Raises OSError.
        """
        ours, its = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
        # Numbers above 2, for the child's standard streams come first.
        control = fcntl(its.fileno(), F_DUPFD_CLOEXEC, 3)
        its.close()
        words = [*server_command(), "--control-fd", str(control), "--log-format", log_format]
        streams = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        ]
        if log is None:
            streams.append((os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0))
        elif log != 2:
            words.append("--bounded-log")
        actions: list[tuple[object, ...]] = [*streams]
        spare = fcntl(log, F_DUPFD_CLOEXEC, 3) if log is not None else -1
        try:
            if log is not None:
                actions.append((os.POSIX_SPAWN_DUP2, spare, 2))
            actions.append((os.POSIX_SPAWN_DUP2, control, control))  # onto itself: clears close-on-exec
            pid = os.posix_spawn(sys.executable, words, {"LC_CTYPE": "C.UTF-8"}, file_actions=actions, setsid=True)
        except OSError:
            ours.close()
            raise
        finally:
            os.close(control)
            if spare >= 0:
                os.close(spare)
        _move_to_another_cpu(pid)
        return cls(ours, pid)

    def stop(self) -> None:
        """End the server and wait until it is gone; no error if it is gone already."""
        if self._is_gone:
            return  # its number may be another process's by now
        _end(self, self._socket)
        self._is_gone = True
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            return  # whoever reaps this process's children was faster


class ServerConnection(_Channel):
    """A connection to a server that somebody else has started."""

    def stop(self) -> None:
        """End the server and wait until it is gone."""
        _end(self, self._socket)


def connect() -> ServerConnection | None:
    """The server of the current network namespace, or None when there is none.

    Raises ServerError when its name is held by a process of a user that has no business with it.
    """
    sock = control_socket()
    try:
        sock.connect(CONTROL_ADDRESS)
    except (ConnectionRefusedError, FileNotFoundError):
        sock.close()
        return None
    pid, uid = peer(sock)
    if uid not in (0, os.geteuid()):
        sock.close()
        raise ServerError(f"process {pid} of user {uid} holds the DHCP server's control socket")
    return ServerConnection(sock, pid)


def _move_to_another_cpu(pid: int) -> None:
    """Let a process that we have just started run beside us, where there is more than one CPU.

    By vfork it starts where we run, and the scheduler may leave both there, in turns of 4 ms, with other CPUs idle.
    """
    try:
        allowed = os.sched_getaffinity(0)
        with open("/proc/thread-self/stat", "rb") as stat:
            ours = int(stat.read().rpartition(b")")[2].split()[36])  # "processor" of proc(5), its field 39
        if others := allowed - {ours}:
            os.sched_setaffinity(pid, others)
            os.sched_setaffinity(pid, allowed)  # it has moved, and may go wherever it likes
    except OSError:
        return  # it has ended, or nobody may look; it will run all the same


def _end(channel: _Channel, sock: socket) -> None:
    """Ask the process to end and wait until it is gone; one that does not listen is killed."""
    try:
        gone = os.pidfd_open(channel.pid)
    except ProcessLookupError:
        sock.close()
        return
    waiting = poll()
    waiting.register(gone, POLLIN)
    try:
        patience = TIMEOUT if _asked_to_end(channel, sock) else 0
        if not waiting.poll(int(patience * 1000)):
            pidfd_send_signal(gone, SIGKILL)
            waiting.poll(int(TIMEOUT * 1000))
    except ProcessLookupError:
        return  # gone, and reaped, in between
    finally:
        os.close(gone)


def _asked_to_end(channel: _Channel, sock: socket) -> bool:
    try:
        channel._request({"op": "stop"})
    except ServerError:
        return False
    finally:
        sock.close()
    return True
