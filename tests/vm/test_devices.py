"""What a guest finds of the devices that its manifest asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Boot
from .machine import ADDRESS, MAC, MTU, Segment

pytestmark = [pytest.mark.vm, pytest.mark.root]


def test_all_devices_at_once(boot: Boot, segment: Segment, tmp_path: Path) -> None:
    """Two processors, a disk, random numbers, and network interfaces where the manifest puts them."""
    segment.ip("tuntap add dev tap1 mode tap", f"link set tap1 mtu {MTU} master br0 up")
    image = tmp_path / "data.raw"
    image.write_bytes(b"\0" * (1 << 20))
    machine = boot(
        "--disk",
        f"data={image}",
        taps=(f"tap0={MAC}={MTU}", f"tap1=02:00:00:00:00:06={MTU}"),
        cpu={"sockets": 2, "model": "host-passthrough", "features": [{"name": "avx2", "policy": "disable"}]},
        features={"acpi": {}},
        clock={"utc": {}, "timer": {"hpet": {"present": False}, "rtc": {"tickPolicy": "catchup"}}},
        devices={
            "rng": {},
            "disks": [{"name": "data", "disk": {"bus": "virtio"}, "serial": "D-1", "bootOrder": 1}],
            "interfaces": [
                {"name": "default", "bridge": {}, "acpiIndex": 101, "pciAddress": "0000:01:00.0"},
                {"name": "second", "bridge": {}},
            ],
        },
        networks=[{"name": "default", "pod": {}}, {"name": "second", "multus": {"networkName": "blue"}}],
        volumes=[{"name": "data", "hostDisk": {"path": "/unused"}}],
    )
    assert machine.await_report("lease").fields["address"] == ADDRESS
    machine.await_report("nic", 2)
    assert machine.command("grep -c ^processor /proc/cpuinfo") == "2"
    assert machine.command("cat /sys/block/vda/size /sys/block/vda/serial") == "2048\nD-1"
    assert machine.command("cat /sys/bus/pci/devices/0000:01:00.0/acpi_index") == "101"
    assert machine.command("cat /sys/bus/pci/devices/0000:01:00.0/virtio*/net/*/address") == MAC
    assert machine.command("cat /sys/class/misc/hw_random/rng_current").startswith("virtio_rng")
    machine.terminate()
    assert machine.await_end() == 0


def test_pc_machine(boot: Boot) -> None:
    machine = boot(machine={"type": "pc"}, settings={"then": "poweroff"})
    assert machine.await_report("lease").fields["address"] == ADDRESS
    assert machine.await_end() == 0
