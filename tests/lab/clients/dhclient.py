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
        return 0 < self._starts() <= self.log().count("bound to ")

    def lease(self) -> str:
        return self._lease.read_text()

    def _starts(self) -> int:
        return self.log().count("Internet Systems Consortium DHCP Client")

    @property
    def _lease(self) -> Path:
        return self.directory / "dhclient.leases"
