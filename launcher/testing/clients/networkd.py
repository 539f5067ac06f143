"""systemd-networkd: cloud images of Ubuntu, Fedora CoreOS, Flatcar. Runs here without systemd as PID 1 or D-Bus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launcher.testing.clients.base import Client

_NETWORK = """[Match]
Name={nic}
[Network]
DHCP=ipv4
IPv6AcceptRA=no
LinkLocalAddressing=no
[DHCPv4]
UseMTU=yes
UseDomains=yes
"""


class Networkd(Client):
    """Writes no resolv.conf itself: the link's resolvers are in its state file."""

    name = "systemd-networkd"
    patience = 10

    def prepare(self) -> str:
        configuration = self.directory / "run" / "systemd" / "network"
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "10-guest.network").write_text(_NETWORK.format(nic=self.nic))
        for part in ("links", "leases", "lldp"):
            (self.directory / "run" / "systemd" / "netif" / part).mkdir(parents=True, exist_ok=True)
        # with a read-only /sys it does not wait for udev to initialise the link
        return """
            chmod -R a+rX "$1/run"
            chown -R systemd-network: /run/systemd/netif
            mount -o remount,bind,ro /sys
            export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console
        """

    def command(self) -> Sequence[str | Path]:
        return ["/lib/systemd/systemd-networkd"]

    def is_bound(self) -> bool:
        return self._state().get("ADMIN_STATE") == "configured"

    def lease(self) -> str:
        path = self._state_path("leases")
        return path.read_text() if path.exists() else ""

    def resolver(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        state = self._state()
        domains = state.get("DOMAINS", "").split()
        # the domain of option 15 comes first and, where option 119 has it too, a second time in its place
        search = [domain for at, domain in enumerate(domains) if domain not in domains[at + 1 :]]
        return tuple(state.get("DNS", "").split()), tuple(search)

    def _state_path(self, part: str) -> Path:
        index = self.guest.link(self.nic)["ifindex"]
        return self.directory / "run" / "systemd" / "netif" / part / str(index)

    def _state(self) -> dict[str, str]:
        path = self._state_path("links")
        if not path.exists():
            return {}
        lines = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
        return {key: value for key, _, value in lines}
