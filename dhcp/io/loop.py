"""The server's event loop: guest ports, gateway resolvers and control connections in one thread, by epoll."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket, socketpair
from select import EPOLLIN, epoll
from time import monotonic, time

from dhcp.config import ClientConfig, interfaces_of
from dhcp.io.flood_guard import STRICT_SECONDS
from dhcp.io.guest_port import NEVER, GuestPort
from dhcp.io.log import Log
from dhcp.io.sockets import UnusableSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dhcp.io.gateway_resolver import GatewayResolver
    from dhcp.io.namespace_end import NamespaceEnd

# Logging waits for a pause of this many seconds after a message, so that it never delays an answer …
_PAUSE = 0.02
# … but not longer than this when there is no pause.
_LONGEST_WAIT = 0.25


class ServerLoop:
    """Serves guest ports, and calls a handler for each other socket that becomes readable."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.started = time()
        self.ports: dict[str, GuestPort] = {}
        self.resolvers: dict[str, GatewayResolver] = {}
        self._epoll = epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._stopping = False
        self._stopped: socket | None = None
        self.ends_with_namespace = False
        """Whether `serve` returns when the network namespace has been deleted."""
        self._namespace_end: NamespaceEnd | None = None

    def stopper(self) -> socket:
        """A socket that stops the loop when another thread, or a signal, writes to it."""
        self._stopped, stop = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        self.watch(self._stopped, self.stop)
        return stop

    def watch(self, sock: socket | NamespaceEnd, handler: Callable[[], None], events: int = EPOLLIN) -> None:
        """Call `handler` whenever the socket is readable, or one of these `events` has occurred. Raises OSError."""
        self._epoll.register(sock.fileno(), events)
        self._handlers[sock.fileno()] = handler

    def unwatch(self, sock: socket) -> None:
        """Watch a socket no longer, which must still be open, and is closed soon."""
        del self._handlers[sock.fileno()]
        try:
            self._epoll.unregister(sock.fileno())
        except OSError:
            return  # to close it does the same

    def configure(self, configs: Sequence[ClientConfig], sockets: Mapping[str, socket]) -> list[socket]:
        """Serve exactly these configurations, `sockets` being new ones by interface.

        A port that stays keeps its socket, so that no frame is missed. Returns the sockets that are no longer
        needed, for the caller to close when there is time. Raises LookupError for an interface without a
        socket, OSError when a socket is unusable; nothing is changed then.
        """
        for name in interfaces_of(configs):
            if name not in sockets and name not in self.ports and name not in self.resolvers:
                raise LookupError(f"{name}: no packet socket was passed for this interface")
        ports: dict[str, GuestPort] = {}
        for config in configs:
            if config.interface in sockets:
                ports[config.interface] = GuestPort(sockets[config.interface], config, self.log)
        for port in self.ports.values():
            port.flush()
        for config in configs:
            if config.interface not in ports:
                ports[config.interface] = self.ports[config.interface]
                ports[config.interface].configure(config)
        retired = [port.socket for name, port in self.ports.items() if ports.get(name) is not port]
        retired += self._attach_resolvers(configs, sockets, ports)
        for name, port in self.ports.items():
            if ports.get(name) is not port:
                port.withdraw()
                self.unwatch(port.socket)
        for port in ports.values():
            if port.socket.fileno() not in self._handlers:
                self.watch(port.socket, port.answer_waiting)
            # Waiting in the receive itself, for a millisecond or so, answers a busy client a tenth sooner than
            # coming here after each frame; with several ports it would keep the others waiting.
            port.blocks_in_receive = len(ports) == 1
        self.ports = ports
        return retired

    def _attach_resolvers(
        self, configs: Sequence[ClientConfig], sockets: Mapping[str, socket], ports: Mapping[str, GuestPort]
    ) -> list[socket]:
        """Give each port the gateway resolver that it needs; returns the sockets of those that are no longer needed."""
        resolvers: dict[str, GatewayResolver] = {}
        for config in configs:
            name = config.ipv6.uplink if config.ipv6 else ""
            if name:
                from dhcp.io.gateway_resolver import GatewayResolver

                resolvers[name] = GatewayResolver(sockets[name]) if name in sockets else self.resolvers[name]
            ports[config.interface].use_resolver(resolvers.get(name))
        retired = [resolver for name, resolver in self.resolvers.items() if resolvers.get(name) is not resolver]
        for resolver in retired:
            self.unwatch(resolver.socket)
        for resolver in resolvers.values():
            if resolver.socket.fileno() not in self._handlers:
                self.watch(resolver.socket, resolver.receive)
        self.resolvers = resolvers
        return [resolver.socket for resolver in retired]

    def held(self) -> list[str]:
        """The interfaces whose packet sockets are here and still bound to them: none follows one that is made anew."""
        sockets = {name: port.socket for name, port in self.ports.items()}
        sockets |= {name: resolver.socket for name, resolver in self.resolvers.items()}
        return [name for name, sock in sockets.items() if sock.getsockname()[0] == name]

    def serve(self) -> None:
        """Serve until `stop` is called from a handler, or a port cannot be served any more.

        In the latter case no router is withdrawn: another server is to take over at once.
        """
        poll, handlers = self._epoll.poll, self._handlers
        flushed = 0.0
        events: list[tuple[int, int]] = []
        is_replaced = False
        try:
            while not self._stopping:
                events = poll(_PAUSE if events else self._wait_limit())
                for fd, _ in events:
                    if handler := handlers.get(fd):
                        handler()
                now = monotonic()
                for port in self.ports.values():
                    if now >= port.due:
                        port.advertise(now)
                if not events or now - flushed > _LONGEST_WAIT:
                    flushed = now
                    self.flush()
                    self._look_for_end(now)
        except UnusableSocket as error:
            is_replaced = True
            self.log.write("error", "ended", {"reason": str(error)})
        finally:
            for port in () if is_replaced else self.ports.values():
                port.withdraw()
            self.flush()

    def _look_for_end(self, now: float) -> None:
        """In a pause: nothing of it delays the first answer."""
        if self._namespace_end:
            if now >= self._namespace_end.due and self._namespace_end.has_come(self.ports):
                self.log.write("info", "ended", {"reason": "the network namespace was deleted"})
                self.stop()
        elif self.ends_with_namespace and self.ports:
            from dhcp.io.namespace_end import EVENT, NamespaceEnd

            self.ends_with_namespace = False
            try:
                end = NamespaceEnd()
                if end.can_come:
                    self.watch(end, end.look_later, EVENT)
                    self._namespace_end = end
                else:
                    end.close()
            except OSError as error:
                self.log.write("warning", "namespace", {"error": error.strerror})

    def _wait_limit(self) -> float | None:
        """How many seconds `serve` may wait for a frame; None is for ever."""
        ports = self.ports.values()
        due = min((port.due for port in ports), default=NEVER)
        if self._namespace_end:
            due = min(due, self._namespace_end.due)
        due -= monotonic()
        if any(port.is_strict for port in ports):
            due = min(due, STRICT_SECONDS)
        return None if due == NEVER else max(due, 0.0)

    def flush(self) -> None:
        """Log what is not logged yet."""
        for port in self.ports.values():
            port.flush()

    def stop(self) -> None:
        """Return from `serve` after the current turn."""
        self._stopping = True

    def close(self) -> None:
        """Close the ports' sockets; each waits for the kernel's grace period."""
        for port in self.ports.values():
            port.socket.close()
        for resolver in self.resolvers.values():
            resolver.socket.close()
        if self._stopped:
            self._stopped.close()
        self._epoll.close()
