"""ISC dhclient as Debian configures it: older Debian and Ubuntu, RHEL up to 7."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launcher.testing.clients.base import Client


class Dhclient(Client):
    """Renews by its own timers only. Started again it requests the address of its lease file (INIT-REBOOT)."""

    name = "dhclient"
    patience = 8

    def command(self) -> Sequence[str | Path]:
        files: list[str | Path] = ["-lf", self._lease, "-pf", self.directory / "pid"]
        return ["dhclient", "-4", "-1", "-v", "-d", *files, self.nic]

    def is_bound(self) -> bool:
        # "bound to" is printed after its script has done its work
        return 0 < self.starts <= self.log().count("bound to ")

    def lease(self) -> str:
        return self._lease.read_text()

    def remember(self, lease: str) -> None:
        """Write this lease file, as on a VM's disk that was in another pod."""
        self._lease.write_text(lease)

    @property
    def _lease(self) -> Path:
        return self.directory / "dhclient.leases"
