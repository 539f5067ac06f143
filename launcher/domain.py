"""The libvirt domain of one virtual machine, as XML. Pure: a request in, text out."""

from __future__ import annotations


def escape(text: str) -> str:
    """`text` as the content of an XML attribute in single quotes, or of an element.

    The standard library's own would cost the pre-start hook several milliseconds of imports.
    """
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("'", "&apos;")
        .replace('"', "&quot;")
    )


def pci_address_xml(address: str) -> str:
    """`0000:03:00.0` as a libvirt address element."""
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return f"<address type='pci' domain='0x{domain}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"


def interface_xml(
    name: str,
    guest_port: str,
    mac: str,
    mtu: int,
    *,
    model: str = "virtio",
    state: str = "up",
    boot_order: int | None = None,
    acpi_index: int | None = None,
    pci_address: str | None = None,
    queues: int = 1,
) -> str:
    """The libvirt `<interface>` of one network whose tap device `guest_port` is in place.

    `managed='no'` tells libvirt that the device is ours: it opens it and neither makes, configures nor
    removes it. `mtu` (bytes) is what virtio tells the guest's driver. The alias `ua-<name>` finds the
    interface again in a running domain.
    """
    parts = [
        f"<mac address='{escape(mac)}'/>",
        f"<target dev='{escape(guest_port)}' managed='no'/>",
        f"<model type='{escape(model)}'/>",
    ]
    if queues > 1:
        parts.append(f"<driver queues='{queues}'/>")
    parts.append(f"<mtu size='{mtu}'/>")
    if state == "down":
        parts.append("<link state='down'/>")
    if boot_order is None:
        # The option ROM is there for network boot alone; without it the guest starts sooner.
        parts.append("<rom enabled='no'/>")
    else:
        parts.append(f"<boot order='{boot_order}'/>")
    if acpi_index is not None:
        parts.append(f"<acpi index='{acpi_index}'/>")
    parts.append(f"<alias name='ua-{escape(name)}'/>")
    if pci_address is not None:
        parts.append(pci_address_xml(pci_address))
    lines = "\n  ".join(parts)
    return f"<interface type='ethernet'>\n  {lines}\n</interface>"
