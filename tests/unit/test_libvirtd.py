"""What is said when libvirt cannot be had. Each in a process of its own: libvirt is loaded once per process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def failure(root: Path, prologue: str = "") -> str:
    script = f"""
import sys
from pathlib import Path
from launcher.machine.libvirt_driver import connect
from launcher.machine.libvirt_root import LibvirtError
{prologue}
try:
    connect(root=Path({str(root)!r}), cache=None)
except LibvirtError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_no_binding() -> None:
    with tempfile.TemporaryDirectory() as directory:
        message = failure(Path(directory), "sys.modules['libvirt'] = None")
    assert message.startswith("libvirt cannot be loaded: ")
    assert message.endswith("apt-get install libvirt0 libvirt-daemon")


def test_directory_that_is_too_long_for_sockets() -> None:
    message = failure(Path("/tmp/" + "x" * 60))
    assert message.startswith("/tmp/xxx")
    assert message.endswith("too long for libvirt's sockets below it; name a --state-dir 14 octets shorter")


def test_directory_that_cannot_be_made() -> None:
    assert failure(Path("/proc/virt-launcher")).startswith(
        "libvirt's directory /proc/virt-launcher cannot be created: "
    )


def test_driver_opened_ahead_and_not_wanted_leaves_nothing() -> None:
    """Neither its own folders nor an error, where there is no libvirt."""
    script = """
import sys
from pathlib import Path
from launcher.machine.libvirt_driver import DriverOpening
from launcher.machine.libvirt_root import LibvirtError
state, kept = Path(sys.argv[1], "state"), Path(sys.argv[1], "kept")
sys.modules.update({name: None for name in sys.argv[2:]})
kept.mkdir()
for folder in (state, kept):
    DriverOpening(folder / "libvirt", None).discard()
assert not state.exists() and list(kept.iterdir()) == []
opening = DriverOpening(state / "libvirt", None)
try:
    opening.connection().close()
except LibvirtError as error:
    print(error)
opening.discard()
assert (state / "libvirt/etc/qemu.conf").exists()
"""
    for missing, message in ((), ""), (("libvirt",), "libvirt cannot be loaded: "):
        with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
            words = [sys.executable, "-c", script, directory, *missing]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert done.stdout.startswith(message)
        assert bool(done.stdout) == bool(message)
