"""The PCI controllers of a machine: which buses there are for the devices that a manifest puts somewhere. Pure.

On a q35 machine, bus 0 has devices of the chipset; every other bus is a root port, with one slot (0), or a bridge for
conventional devices, with slots 1 to 31. libvirt places what has no address, but adds no spare root port, and only a
device that finds one at boot can be plugged in later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.vmi.checks import check_distinct_pci_addresses
from launcher.vmi.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from launcher.vmi.model import VirtualMachineInstance

HOTPLUG_INTERFACES = 4
"""Interfaces up to this many can be hot-plugged into a q35 machine."""
CONVENTIONAL = frozenset({"e1000", "ne2k_pci", "pcnet", "rtl8139", "virtio-transitional"})
"""NICs for a conventional PCI bus."""
CHIPSET_SLOTS = (0x1F,)
"""Slots of bus 0 that are the chipset's: ISA bridge, SATA controller, SMBus."""
_MOST_BUSES = 64


def is_q35(machine: str) -> bool:
    return machine.startswith(("q35", "pc-q35"))


class Placed:
    """A device that has an address: the manifest's field, its bus and slot, and whether it is a conventional one."""

    def __init__(self, field: str, name: str, address: str, conventional: bool) -> None:
        self.field, self.name, self.address, self.conventional = field, name, address, conventional
        _, bus, rest = address.split(":")
        self.bus, self.slot = int(bus, 16), int(rest[:2], 16)


def placed_devices(vmi: VirtualMachineInstance) -> list[Placed]:
    """The devices of the manifest that have an address."""
    path = "spec.domain.devices"
    disks = [
        Placed(f"{path}.disks[{n}].{disk.device}.pciAddress", disk.name, disk.pci_address, vmi.hardware.transitional)
        for n, disk in enumerate(vmi.disks)
        if disk.pci_address
    ]
    interfaces = [
        Placed(
            f"{path}.interfaces[{n}].pciAddress",
            interface.name,
            interface.pci_address,
            interface.model in CONVENTIONAL,
        )
        for n, interface in enumerate(vmi.interfaces)
        if interface.pci_address
    ]
    return disks + interfaces


def check_placement(vmi: VirtualMachineInstance) -> None:
    """Raise ManifestError for a device at an address where the machine has no place for it, or another device."""
    placed = placed_devices(vmi)
    check_distinct_pci_addresses([(device.field, device.name, device.address) for device in placed])
    bridges = _bridges(placed)
    for device in placed if is_q35(vmi.machine) else ():
        where = f"`{device.name}` at {device.address}"
        if device.bus == 0 and device.slot in CHIPSET_SLOTS:
            raise ManifestError(device.field, f"must be another slot of bus 00, of which 1f is the chipset's: {where}")
        if device.bus >= _MOST_BUSES:
            raise ManifestError(device.field, f"must be on a bus below {_MOST_BUSES:02x}: {where}")
        if device.bus in bridges and device.slot == 0:
            raise ManifestError(device.field, f"must be slot 01 to 1f on a bus with a conventional device: {where}")
        if device.bus and device.bus not in bridges and device.slot:
            raise ManifestError(device.field, f"must be slot 00, the only one of a PCI Express port: {where}")
    if is_q35(vmi.machine):
        _bridge_ports(placed)


def _bridge_ports(placed: Sequence[Placed]) -> dict[int, int]:
    """The bus of the port that each bridge is behind, by the bridge's own bus.

    Of the ports before it, because QEMU makes the buses in their order. Raises ManifestError where none is free.
    """
    bridges = _bridges(placed)
    taken = {device.bus for device in placed if device.bus not in bridges}
    ports: dict[int, int] = {}
    for bus in sorted(bridges):
        free = [port for port in range(1, bus) if port not in bridges and port not in taken]
        if not free:
            device = next(device for device in placed if device.bus == bus and device.conventional)
            raise ManifestError(
                device.field, f"must leave a bus before it to its bridge: `{device.name}` at {device.address}"
            )
        taken.add(free[0])
        ports[bus] = free[0]
    return ports


def _bridges(placed: Sequence[Placed]) -> set[int]:
    """The buses of bridges for conventional devices."""
    return {device.bus for device in placed if device.conventional and device.bus}


def controllers(vmi: VirtualMachineInstance) -> Iterator[str]:
    """Elements of the PCI controllers; none for the machine `pc`, where libvirt makes them."""
    if not is_q35(vmi.machine):
        return
    placed = placed_devices(vmi)
    bridges = _bridge_ports(placed)
    unplaced = sum(_conventional_devices(vmi)) - sum(device.conventional for device in placed)
    ports = _express_devices(vmi) - sum(not device.conventional and device.bus == 0 for device in placed)
    ports -= sum(not device.conventional and device.bus in bridges for device in placed)
    ports += len(bridges) + bool(unplaced and not bridges)
    ports += max(0, HOTPLUG_INTERFACES - len(vmi.interfaces)) if vmi.interfaces else 0
    highest = max((device.bus for device in placed), default=0)
    yield "<controller type='pci' index='0' model='pcie-root'/>"
    index = 0
    while ports > 0 or index < highest:
        index += 1
        if index in bridges:
            yield f"<controller type='pci' index='{index}' model='pcie-to-pci-bridge'>"
            yield f"<address type='pci' domain='0' bus='{bridges[index]}' slot='0' function='0'/></controller>"
        else:
            yield f"<controller type='pci' index='{index}' model='pcie-root-port'/>"
            ports -= 1
    if unplaced and not bridges:
        yield f"<controller type='pci' index='{index + 1}' model='pcie-to-pci-bridge'/>"


def _conventional_devices(vmi: VirtualMachineInstance) -> Iterator[bool]:
    hardware = vmi.hardware
    for interface in vmi.interfaces:
        yield interface.model in CONVENTIONAL
    for disk in vmi.disks:
        yield disk.bus == "virtio" and hardware.transitional
    yield hardware.watchdog is not None
    yield hardware.sound == "ac97"
    yield vmi.balloon and hardware.transitional
    yield vmi.rng and hardware.transitional


def _express_devices(vmi: VirtualMachineInstance) -> int:
    """How many devices need a root port of their own, wherever they are."""
    hardware = vmi.hardware
    buses = {disk.bus for disk in vmi.disks}
    virtio = sum(disk.bus == "virtio" for disk in vmi.disks) + vmi.rng + vmi.balloon
    return (
        sum(interface.model not in CONVENTIONAL for interface in vmi.interfaces)
        + (0 if hardware.transitional else virtio)
        + ("scsi" in buses)
        + ("usb" in buses or any(tablet.bus == "usb" for tablet in hardware.tablets))
        + sum(tablet.bus == "virtio" for tablet in hardware.tablets)
        + hardware.vsock
        + 1  # the guest agent's channel
    )
