"""dhcpcd: Alpine, newer Cirros, Raspberry Pi OS. Probes for duplicates before it uses an address."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from launcher.testing.clients.base import Client

_SCRIPT = """#!/bin/sh
/lib/dhcpcd/dhcpcd-run-hooks "$@"
case $reason in
    BOUND|RENEW|REBIND|REBOOT) env >"@LEASE@.new" && mv "@LEASE@.new" "@LEASE@" ;;
esac
"""


class Dhcpcd(Client):
    """Takes about six seconds for its probes; `probing=False` is how cloud-init starts it."""

    name = "dhcpcd"
    probes = True
    patience = 12
    probing = True

    def prepare(self) -> str:
        script = self.directory / "script"
        script.write_text(_SCRIPT.replace("@LEASE@", str(self._lease)))
        script.chmod(0o755)
        (self.directory / "lib").mkdir(exist_ok=True)
        return 'mkdir -p /run/dhcpcd; mount --bind "$1/lib" /var/lib/dhcpcd'

    def command(self) -> Sequence[str | Path]:
        probing = [] if self.probing else ["-A"]
        return ["dhcpcd", "-4", "-B", "-d", *probing, "-c", self.directory / "script", self.nic]

    def is_bound(self) -> bool:
        return self._lease.exists()

    def lease(self) -> str:
        return self._lease.read_text()

    def renew(self) -> None:
        self._lease.unlink()
        self.process.send_signal(signal.SIGHUP)  # rebind: by broadcast, to any server

    @property
    def _lease(self) -> Path:
        return self.directory / "lease"
