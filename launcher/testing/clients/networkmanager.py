"""NetworkManager with its internal client: RHEL, Fedora, desktops. Has a private D-Bus here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launcher.testing.clients.base import Client

_CONFIGURATION = """[main]
plugins=keyfile
dhcp=internal
dns=default
rc-manager=file
[logging]
level=INFO
"""
_CONNECTION = """[connection]
id=guest
type=ethernet
interface-name={nic}
[ipv4]
method=auto
may-fail=false
[ipv6]
method=disabled
"""


class NetworkManager(Client):
    """Keeps its lease file in /var/lib/NetworkManager, which is its own here."""

    name = "NetworkManager"
    patience = 15

    def prepare(self) -> str:
        configuration = self.directory / "etc" / "NetworkManager"
        connections = configuration / "system-connections"
        connections.mkdir(parents=True, exist_ok=True)
        (configuration / "NetworkManager.conf").write_text(_CONFIGURATION)
        connection = connections / "guest.nmconnection"
        connection.write_text(_CONNECTION.format(nic=self.nic))
        connection.chmod(0o600)
        (self.directory / "lib").mkdir(exist_ok=True)
        (self.directory / "run" / "dbus").mkdir(exist_ok=True)
        return """
            chmod -R a+rX "$1/run"
            mount --bind "$1/lib" /var/lib/NetworkManager
            mount -o remount,bind,ro /sys
            rm -f /run/dbus/pid
            dbus-daemon --system --nofork --nopidfile &
            for _ in $(seq 100); do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.02; done
        """

    def command(self) -> Sequence[str | Path]:
        return ["NetworkManager", "--debug"]  # in the foreground, log on standard error

    def is_bound(self) -> bool:
        return self.log().count(f"device ({self.nic}): Activation: successful") >= self.starts

    def lease(self) -> str:
        return "".join(path.read_text() for path in sorted((self.directory / "lib").glob("*.lease")))
