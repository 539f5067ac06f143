"""What a guest finds of the devices that its manifest asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Boot
from .machine import ADDRESS, MAC, MTU, Segment

pytestmark = [pytest.mark.vm, pytest.mark.root]


def test_all_devices_at_once(boot: Boot, segment: Segment, tmp_path: Path) -> None:
    """Two processors, disks of several kinds, random numbers, network interfaces where the manifest puts them."""
    segment.ip("tuntap add dev tap1 mode tap", f"link set tap1 mtu {MTU} master br0 up")
    image = tmp_path / "data.raw"
    image.write_bytes(b"\0" * (1 << 20))
    mounted = tmp_path / "volumes" / "mounted"
    mounted.mkdir(parents=True)
    (mounted / "disk.img").write_bytes(b"as it was".ljust(1 << 20))
    (mounted / "disk.img").chmod(0o400)
    machine = boot(
        "--disk",
        f"data={image}",
        "--volumes",
        str(tmp_path / "volumes"),
        taps=(f"tap0={MAC}={MTU}", f"tap1=02:00:00:00:00:06={MTU}"),
        cpu={"sockets": 2, "model": "host-passthrough", "features": [{"name": "avx2", "policy": "disable"}]},
        features={"acpi": {}},
        clock={"utc": {}, "timer": {"hpet": {"present": False}, "rtc": {"tickPolicy": "catchup"}}},
        devices={
            "rng": {},
            "disks": [
                {"name": "data", "disk": {"bus": "virtio"}, "serial": "D-1", "bootOrder": 1},
                *({"name": name, "disk": {"bus": "virtio"}} for name in ("seed", "scratch", "mounted")),
            ],
            "interfaces": [
                {"name": "default", "bridge": {}, "acpiIndex": 101, "pciAddress": "0000:01:00.0"},
                {"name": "second", "bridge": {}},
            ],
        },
        networks=[{"name": "default", "pod": {}}, {"name": "second", "multus": {"networkName": "blue"}}],
        volumes=[
            {"name": "data", "hostDisk": {"path": "/unused"}},
            {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\n"}},
            {"name": "scratch", "emptyDisk": {"capacity": "3Mi"}},
            {"name": "mounted", "containerDisk": {"image": "unused"}},
        ],
    )
    assert machine.await_report("lease").fields["address"] == ADDRESS
    machine.await_report("nic", 2)
    assert machine.command("grep -c ^processor /proc/cpuinfo") == "2"
    assert machine.command("cat /sys/block/vda/size /sys/block/vda/serial") == "2048\nD-1"
    assert machine.command("cat /sys/bus/pci/devices/0000:01:00.0/acpi_index") == "101"
    assert machine.command("cat /sys/bus/pci/devices/0000:01:00.0/virtio*/net/*/address") == MAC
    assert machine.command("cat /sys/class/misc/hw_random/rng_current").startswith("virtio_rng")
    assert machine.command("mkdir /seed; mount -t iso9660 -o ro /dev/vdb /seed; cat /seed/user-data") == "#cloud-config"
    assert machine.command("ls /seed") == "meta-data\nuser-data"
    assert machine.command("cat /sys/block/vdb/ro /sys/block/vdc/size") == "1\n6144"
    assert machine.command("head -c 9 /dev/vdd; echo changed >/dev/vdd; sync; head -c 7 /dev/vdd") == "as it waschanged"
    machine.terminate()
    assert machine.await_end() == 0
    assert (mounted / "disk.img").read_bytes().startswith(b"as it was")
    assert not (machine.state_dir / "volumes").exists()


def test_pc_machine(boot: Boot) -> None:
    machine = boot(machine={"type": "pc"}, settings={"then": "poweroff"})
    assert machine.await_report("lease").fields["address"] == ADDRESS
    assert machine.await_end() == 0
