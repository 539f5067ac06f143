"""The single-client DHCP server as an object, for other programs and for tests in network namespaces."""

from __future__ import annotations

from dhcp.config import ClientConfig, ConfigError, interfaces_of, parse_configs
from dhcp.io.log import Log
from dhcp.io.loop import ServerLoop
from dhcp.io.sockets import open_packet_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Thread


class SingleClientDHCPServer:
    """Serves one client on each of the given interfaces, at layer 2.

        with SingleClientDHCPServer(parse_configs({"interface": "tap0", "client_mac": …, …})):
            …

    `configs` are ClientConfigs or what `parse_configs` takes; each must name its interface. Sockets are opened
    by `__enter__` (or `serve_forever`) in the network namespace that the calling thread is in at that moment;
    the thread that serves may be in another one. Log lines go to the descriptor `log`.

    Raises ConfigError for a configuration that cannot be served, TransportError when a socket cannot be opened.
    """

    def __init__(self, configs: Sequence[ClientConfig] | object, *, log: int = 2, log_format: str = "text") -> None:
        if isinstance(configs, (list, tuple)) and all(isinstance(item, ClientConfig) for item in configs):
            self.configs: tuple[ClientConfig, ...] = tuple(configs)
        else:
            self.configs = parse_configs(configs)
        for config in self.configs:
            if not config.interface:
                raise ConfigError("interface: is required")
        self._loop = ServerLoop(Log(log, log_format))
        self._stop = self._loop.stopper()
        self._thread: Thread | None = None
        self._opened = False

    def open(self) -> None:
        """Open a packet socket on every interface; what a guest sends from now on is answered by `serve_forever`."""
        if self._opened:
            return
        sockets = open_packet_sockets(interfaces_of(self.configs))
        try:
            self._loop.configure(self.configs, sockets)
        except OSError:
            for sock in sockets.values():
                sock.close()
            raise
        self._opened = True

    def serve_forever(self) -> None:
        """Serve in the calling thread until `stop` is called from another one."""
        self.open()
        self._loop.serve()

    def status(self) -> dict[str, object]:
        """Counters by interface and the last transactions."""
        return {
            "ports": [port.status() for port in self._loop.ports.values()],
            "transactions": self._loop.log.transactions,
        }

    def stop(self) -> None:
        """Stop serving and close the sockets; may be called more than once."""
        if self._stop.fileno() < 0:
            return
        self._stop.send(b"\0")
        if self._thread is not None:
            self._thread.join()
            self._loop.close()
            self._stop.close()

    def __enter__(self) -> SingleClientDHCPServer:
        from threading import Thread

        self.open()
        self._thread = Thread(target=self._loop.serve, name="dhcp", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
