"""The interfaces of a domain that runs, and its places for further ones, as libvirt's XML has them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

ALIAS = "ua-"
"""Begins the alias of an interface; the network's name follows (`launcher.interface_xml`)."""
ROOT_PORT = "pcie-root-port"
SLOTS = 32
"""Of a bus for conventional devices; the first is the bridge's."""


class LiveInterface(Frozen):
    """One interface of the running machine."""

    model: str
    mac: str
    link: str
    """`up` or `down`, as the guest sees its carrier."""


def live_interfaces(domain: str) -> dict[str, LiveInterface]:
    """By the networks' names, of the domain's XML."""
    return {
        name: LiveInterface(_of(element, "model", "type"), _of(element, "mac", "address"), _link(element))
        for name, element in _elements(domain)
    }


def with_link(domain: str, name: str, link: str) -> str | None:
    """The element of one interface, with its link `up` or `down`; None where it has no such interface."""
    element = dict(_elements(domain)).get(name)
    if element is None:
        return None
    state = element.find("link")
    if state is None:
        state = ElementTree.SubElement(element, "link")
    state.set("state", link)
    return ElementTree.tostring(element, encoding="unicode")


def free_buses(domain: str) -> tuple[int, ...]:
    """Buses where a device can be plugged in: root ports that nothing is in, or bus 0 of a machine without any."""
    devices = ElementTree.fromstring(domain).find("devices")
    assert devices is not None
    ports = [c for c in devices.findall("controller") if c.get("type") == "pci" and c.get("model") == ROOT_PORT]
    places = [(int(a.get("bus", "0"), 16), a.get("slot")) for a in devices.iter("address") if a.get("type") == "pci"]
    if ports:
        taken = {bus for bus, _ in places}
        return tuple(index for port in ports if (index := int(port.get("index", "0"))) not in taken)
    return (0,) if len({slot for bus, slot in places if bus == 0}) < SLOTS - 1 else ()


def _elements(domain: str) -> Iterator[tuple[str, ElementTree.Element]]:
    for element in ElementTree.fromstring(domain).iterfind("devices/interface"):
        alias = _of(element, "alias", "name")
        if alias.startswith(ALIAS):
            yield alias.removeprefix(ALIAS), element


def _of(element: ElementTree.Element, child: str, attribute: str) -> str:
    found = element.find(child)
    return "" if found is None else found.get(attribute, "")


def _link(element: ElementTree.Element) -> str:
    return _of(element, "link", "state") or "up"
