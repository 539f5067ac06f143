"""Starts the server's process, and has it take another one's place, for the launcher."""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from fcntl import F_DUPFD_CLOEXEC, fcntl

from dhcp.config import interfaces_of, parse_configs
from dhcp.daemon.connection import TIMEOUT, Channel, ServerConnection, ServerError
from dhcp.io.sockets import open_packet_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def server_command() -> list[str]:
    """What starts a server, without its options: this interpreter, with nothing but the standard library."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    return [sys.executable, "-I", "-S", "-X", "utf8", main]


class ServerProcess(Channel):
    """A server that this process has started."""

    _is_gone = False

    @classmethod
    def spawn(cls, log: int | None, *, log_format: str = "text", name: str = "") -> ServerProcess:
        """Start a server in the current network namespace and return at once, while it is still starting.

        It has a session of its own, no standard input and output, and writes its log to the descriptor `log`
        (None: nowhere), which it keeps below 1 MiB if that is a file, except when it is our own standard
        error. It ends by itself if we do before the first `configure`. Without CAP_NET_ADMIN it is found by `name`,
        a `dhcp.daemon.registration.random_name`, alone. Raises ServerError.
        """
        try:
            return cls(*cls._spawn(log, log_format, name), TIMEOUT)
        except OSError as error:
            raise ServerError(f"DHCP server: {sys.executable} cannot be started: {error.strerror}") from None

    @staticmethod
    def _spawn(log: int | None, log_format: str, name: str) -> tuple[socket, int]:
        """Our end of its control connection, and its pid."""
        ours, its = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
        # Numbers above 2, for the child's standard streams come first.
        control = fcntl(its.fileno(), F_DUPFD_CLOEXEC, 3)
        its.close()
        words = [*server_command(), "--control-fd", str(control), "--log-format", log_format]
        if name:
            words += ["--name", name]
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
            # Its encoding is UTF-8 by `-X utf8`; the tables of a UTF-8 locale would be 150 KB more.
            pid = os.posix_spawn(
                sys.executable, words, {"LC_ALL": "C"}, file_actions=actions, setsid=True, setsigmask=()
            )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(control)
            if spare >= 0:
                os.close(spare)
        _move_to_another_cpu(pid)
        return ours, pid

    def take_over(self, old: ServerConnection, configs: Sequence[dict[str, object]]) -> None:
        """Serve these configurations in the place of `old`, whatever state that one is in; returns when it answers.

        No frame is lost: the old server, if it still answers, answers what came before packet sockets of our own were
        open; what comes after waits in these while it is killed, and is answered by the new one as soon as that has
        the control name. The old one is not asked to end, because then it would withdraw its router advertisement
        and the guest lose its default route.

        Raises ConfigError, TransportError and ServerError as `configure` does, and with the first two nothing has
        changed.
        """
        from dhcp.io.guest_port import attach_guest_filter

        data = list(configs)
        parsed = parse_configs(data)
        sockets = open_packet_sockets(interfaces_of(parsed))
        try:
            for config in parsed:
                attach_guest_filter(sockets[config.interface], config)
            old.drain()
            old.kill()
        except (OSError, ServerError) as error:
            for sock in sockets.values():
                sock.close()
            if isinstance(error, ServerError):
                raise
            raise ServerError(f"{self.name}: no filter for its packet sockets: {error.strerror}") from None
        self.send_configuration(data, sockets)

    def stop(self) -> None:
        """End the server and wait until it is gone; no error if it is gone already. Raises ServerError."""
        if self._is_gone:
            return  # its number may be another process's by now
        self.end(ask=True)
        self._is_gone = True
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            return  # it was reaped by another thread of this process


def _move_to_another_cpu(pid: int) -> None:
    """Move a process that we have just started to another CPU than ours, where there is one.

    By vfork it starts where we run, and the scheduler may leave both there, in turns of 4 ms, with other CPUs idle.
    """
    try:
        allowed = os.sched_getaffinity(0)
        with open("/proc/thread-self/stat", "rb") as stat:
            ours = int(stat.read().rpartition(b")")[2].split()[36])  # "processor" of proc(5), its field 39
        if others := allowed - {ours}:
            os.sched_setaffinity(pid, others)
            os.sched_setaffinity(pid, allowed)  # it has moved, and may run on any again
    except OSError:
        return  # it has ended, or we lack the permission; it runs all the same
