"""BusyBox udhcpc with Debian's script: tiny images, initramfs, older Cirros."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from launcher.testing.clients.base import Client

_DEBIANS_SCRIPT = Path("/etc/udhcpc/default.script")
_SCRIPT = f"""#!/bin/sh
{_DEBIANS_SCRIPT} "$@"
case $1 in
    bound|renew) {{ echo "event=$1"; env; }} >"$VLTEST_LEASE.new" && mv "$VLTEST_LEASE.new" "$VLTEST_LEASE" ;;
    deconfig) rm -f "$VLTEST_LEASE" ;;
esac
"""

_ASKED = ("search", "mtu", "staticroutes")


class Udhcpc(Client):
    """Renews after half the lease, at least fifteen seconds. Its script does not apply option 121, and 119 since Debian
    13 only; the lease is observed as the script's environment."""

    name = "udhcpc"
    classless_routes = False
    search_list = _DEBIANS_SCRIPT.exists() and "$search" in _DEBIANS_SCRIPT.read_text()
    clock = False
    sulks = 3
    asked: Sequence[str] = ()
    """Options that it requests besides its usual ones, by name or number."""

    def prepare(self) -> str:
        script = self.directory / "script"
        script.write_text(_SCRIPT)
        script.chmod(0o755)
        return f"export VLTEST_LEASE={self._lease}"

    def command(self) -> Sequence[str | Path]:
        retries = ["-t", "5", "-T", "1"]
        asked = [word for name in (*_ASKED, *self.asked) for word in ("-O", name)]
        return ["udhcpc", "-f", "-i", self.nic, *retries, *asked, "-s", self.directory / "script"]

    def is_bound(self) -> bool:
        return self._lease.exists()

    def lease(self) -> str:
        return self._lease.read_text()

    def renew(self) -> None:
        self._lease.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)

    def release(self) -> None:
        """Release the lease (DHCPRELEASE)."""
        self.process.send_signal(signal.SIGUSR2)

    @property
    def _lease(self) -> Path:
        return self.directory / "lease"
