"""Domain and interface XML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from launcher.interface_xml import interface_xml
from launcher.machine.accelerator import Accelerator
from launcher.machine.disk_images import DiskImage
from launcher.machine.domain_xml import domain_xml, drive_letters
from launcher.vmi.model import (
    CPU,
    Clock,
    Disk,
    Firmware,
    InterfaceSpec,
    KernelBoot,
    Timer,
    VirtualMachineInstance,
)
from netsetup.bindings.binding import InterfaceElement

UUID = "3f2a6b52-7a07-4f64-9d6c-0e5f7b1c2d3e"
VMI = VirtualMachineInstance("testvm", "default", 128 << 20, Firmware(UUID))
TCG = Accelerator("tcg", "no /dev/kvm")
KVM = Accelerator("kvm", "it works")


def parsed(vmi: VirtualMachineInstance = VMI, **options: Any) -> ElementTree.Element:
    options = {"interfaces": (), "accelerator": TCG, **options}
    return ElementTree.fromstring(domain_xml(vmi, **options))


def one(element: ElementTree.Element, path: str) -> ElementTree.Element:
    found = element.find(path)
    assert found is not None, path
    return found


TAP0 = InterfaceElement("ethernet", (("target", (("dev", "tap0"), ("managed", "no"))),))


def test_interface_as_the_hook_prints_it() -> None:
    assert interface_xml(InterfaceSpec("default"), TAP0, "52:54:00:12:34:56", 1400) == (
        "<interface type='ethernet'>\n"
        "  <mac address='52:54:00:12:34:56'/>\n"
        "  <target dev='tap0' managed='no'/>\n"
        "  <model type='virtio'/>\n"
        "  <mtu size='1400'/>\n"
        "  <rom enabled='no'/>\n"
        "  <alias name='ua-default'/>\n"
        "</interface>"
    )


def test_interface_with_everything() -> None:
    text = interface_xml(
        InterfaceSpec(
            "blue",
            model="e1000e",
            state="down",
            boot_order=2,
            acpi_index=101,
            pci_address="0000:03:00.0",
            queues=4,
        ),
        InterfaceElement("ethernet", (("target", (("dev", "tap1"), ("managed", "no"))),)),
        "52:54:00:12:34:57",
        9000,
    )
    element = ElementTree.fromstring(text)
    assert one(element, "model").get("type") == "e1000e"
    assert one(element, "driver").attrib == {"queues": "4"}
    assert one(element, "link").get("state") == "down"
    assert one(element, "boot").get("order") == "2"
    assert element.find("rom") is None, "the ROM is what boots"
    assert one(element, "acpi").get("index") == "101"
    assert one(element, "address").attrib == {
        "type": "pci",
        "domain": "0x0000",
        "bus": "0x03",
        "slot": "0x00",
        "function": "0x0",
    }


def test_domain_of_a_minimal_request() -> None:
    domain = parsed()
    assert domain.get("type") == "qemu"
    assert one(domain, "name").text == "default_testvm"
    assert one(domain, "uuid").text == UUID
    assert (one(domain, "memory").get("unit"), one(domain, "memory").text) == ("KiB", "131072")
    assert one(domain, "vcpu").text == "1"
    assert one(domain, "os/type").attrib == {"arch": "x86_64", "machine": "q35"}
    assert one(domain, "features/acpi") is not None
    assert [one(domain, name).text for name in ("on_poweroff", "on_reboot", "on_crash")] == [
        "destroy",
        "restart",
        "destroy",
    ]
    assert one(domain, "devices/controller[@type='usb']").get("model") == "none"
    assert one(domain, "devices/memballoon").get("model") == "none"
    assert one(domain, "devices/panic").get("model") == "isa"
    assert domain.find("devices/rng") is None


def test_memory_is_rounded_up() -> None:
    assert one(parsed(replace(VMI, memory=(1 << 20) + 1)), "memory").text == "1025"


def test_interfaces_are_taken_as_they_are() -> None:
    text = interface_xml(InterfaceSpec("default"), TAP0, "52:54:00:12:34:56", 1400)
    assert text in domain_xml(VMI, interfaces=[text], accelerator=TCG)


@pytest.mark.parametrize(
    ("accelerator", "model", "mode", "name"),
    [
        (TCG, None, "maximum", None),
        (TCG, "host-passthrough", "maximum", None),
        (TCG, "Nehalem", "custom", "Nehalem"),
        (KVM, None, "host-passthrough", None),
        (KVM, "host-model", "host-model", None),
    ],
)
def test_processor(accelerator: Accelerator, model: str | None, mode: str, name: str | None) -> None:
    cpu = CPU(1, 2, 2, model, (("x2apic", "disable"),))
    domain = parsed(replace(VMI, cpu=cpu), accelerator=accelerator)
    assert domain.get("type") == accelerator.domain_type
    assert one(domain, "vcpu").text == "4"
    assert one(domain, "cpu").get("mode") == mode
    assert domain.findtext("cpu/model") == name
    assert one(domain, "cpu/topology").attrib == {"sockets": "1", "dies": "1", "cores": "2", "threads": "2"}
    assert one(domain, "cpu/feature").attrib == {"policy": "disable", "name": "x2apic"}


def test_kernel_boot_and_identity() -> None:
    boot = KernelBoot("/boot/a&b", "/boot/initrd", "console=ttyS0 a='<b>'")
    domain = parsed(replace(VMI, firmware=Firmware(UUID, "S-1", True, boot)))
    assert one(domain, "os/kernel").text == "/boot/a&b"
    assert one(domain, "os/initrd").text == "/boot/initrd"
    assert one(domain, "os/cmdline").text == "console=ttyS0 a='<b>'"
    assert one(domain, "os/bios").get("useserial") == "yes"
    assert one(domain, "os/smbios").get("mode") == "sysinfo"
    assert one(domain, "sysinfo/system/entry[@name='serial']").text == "S-1"


def test_clock() -> None:
    assert one(parsed(), "clock").attrib == {"offset": "utc"}
    timed = replace(VMI, clock=Clock("Europe/Berlin", None, (Timer("rtc", True, "catchup", "guest"),)))
    assert one(parsed(timed), "clock").attrib == {"offset": "timezone", "timezone": "Europe/Berlin"}
    assert one(parsed(timed), "clock/timer").attrib == {
        "name": "rtc",
        "present": "yes",
        "tickpolicy": "catchup",
        "track": "guest",
    }
    assert one(parsed(replace(VMI, clock=Clock(offset_seconds=-3600))), "clock").get("adjustment") == "-3600"


def test_disks() -> None:
    disks = (
        Disk("root", bus="virtio", boot_order=1, cache="none", io="native", serial="D-1"),
        Disk("media", "cdrom", readonly=True),
        Disk("raw", "lun", bus="scsi"),
    )
    images = {
        "root": DiskImage("/images/root.qcow2", "qcow2"),
        "media": DiskImage("/images/media.iso"),
        "raw": DiskImage("/dev/sdx", block=True),
    }
    domain = parsed(replace(VMI, disks=disks), images=images)
    root, media, raw = domain.findall("devices/disk")
    assert one(root, "driver").attrib == {"name": "qemu", "type": "qcow2", "cache": "none", "io": "native"}
    assert one(root, "source").attrib == {"file": "/images/root.qcow2"}
    assert one(root, "target").attrib == {"dev": "vda", "bus": "virtio"}
    assert (one(root, "boot").get("order"), one(root, "serial").text) == ("1", "D-1")
    assert (media.get("device"), one(media, "target").get("dev")) == ("cdrom", "sda")
    assert media.find("readonly") is not None
    assert (raw.get("type"), one(raw, "source").attrib) == ("block", {"dev": "/dev/sdx"})
    assert one(raw, "target").attrib == {"dev": "sdb", "bus": "scsi"}
    assert one(domain, "devices/controller[@type='scsi']").get("model") == "virtio-scsi"


@pytest.mark.parametrize(
    ("machine", "models", "disks", "ports"),
    [
        # One more than devices and spare ones: the guest agent's channel.
        ("q35", [], 0, 1),
        ("q35", ["virtio"], 0, 5),
        ("q35", ["virtio"], 2, 7),
        ("q35", ["virtio", "e1000", "rtl8139"], 0, 4),
        ("q35", ["virtio"] * 5, 0, 6),
        ("pc", ["virtio"], 0, 0),
    ],
)
def test_ports_to_plug_interfaces_into(machine: str, models: list[Any], disks: int, ports: int) -> None:
    vmi = replace(
        VMI,
        machine=machine,
        interfaces=tuple(InterfaceSpec(f"n{index}", model=model) for index, model in enumerate(models)),
        disks=tuple(Disk(f"d{index}", bus="virtio") for index in range(disks)),
    )
    domain = parsed(vmi, images={disk.name: DiskImage("/d") for disk in vmi.disks})
    assert len(domain.findall("devices/controller[@model='pcie-root-port']")) == ports


def test_console() -> None:
    domain = parsed(console_socket="/run/c.sock", console_log="/run/c.log")
    assert one(domain, "devices/serial").get("type") == "unix"
    assert one(domain, "devices/serial/source").attrib == {"mode": "bind", "path": "/run/c.sock"}
    assert one(domain, "devices/serial/log").attrib == {"file": "/run/c.log", "append": "on"}
    assert parsed(replace(VMI, serial_console=False)).find("devices/serial") is None


@pytest.mark.parametrize(("index", "letters"), [(0, "a"), (25, "z"), (26, "aa"), (51, "az"), (52, "ba"), (702, "aaa")])
def test_drive_letters(index: int, letters: str) -> None:
    assert drive_letters(index) == letters
