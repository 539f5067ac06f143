"""ISC dhclient as Debian configures it: Debian and Ubuntu of old, RHEL up to 7."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.clients.base import Client


class Dhclient(Client):
    """It renews by its own clock only. Started again it asks for the address of its lease file (INIT-REBOOT)."""

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
        """Start with this lease file, as a VM does whose disk has been in another pod."""
        self._lease.write_text(lease)

    @property
    def _lease(self) -> Path:
        return self.directory / "dhclient.leases"
