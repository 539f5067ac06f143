"""Devices found again after they were recorded. Pure.

An interface is its index and its MAC, not its name: anybody may rename it while the VM runs. Our own devices carry a
mark in their alias, which stays theirs under every name.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from dhcp.lean.frozen import replace
from netsetup.model.kernel import Address, Link, Namespace
from netsetup.model.mac import local_mac
from netsetup.model.pod_interface import PodInterface
from netsetup.model.settings import renamed_settings
from netsetup.model.vm_network import VMNetwork

ALIAS: Final = "virt-launcher"
"""How the alias of every device that we make begins; the name of its network follows."""
LABEL_MAX: Final = 15
TAP: Final = "tun"
"""The kind of tap devices, and of tun devices."""
MACVTAP: Final = "macvtap"
GUEST_PORTS: Final = (TAP, MACVTAP)
"""The kinds of devices of ours that a VM opens."""


def mark_of(network: str) -> str:
    """The alias of the devices that we make for a network, by its name; every release has set this one."""
    return f"{ALIAS} {network}"


def is_marked(link: Link) -> bool:
    """Whether a device has the mark of some network of ours, where no record says which."""
    word, _, name = link.alias.partition(" ")
    return word == ALIAS and bool(name) and not any(c.isspace() for c in name)


def derived_mac(role: str, pod: PodInterface) -> str:
    """A locally administered unicast MAC of this pod's own; no two pods of one network share it."""
    address = pod.addresses[0].address if pod.addresses else ""
    return local_mac(f"{role} {pod.link.mac} {address}")


def own_nic(observed: Namespace, pod: PodInterface) -> Link | None:
    """The pod interface, under whatever name; None when the CNI has taken it away since it was recorded, or has made
    another one of its name (DEL and ADD): what that one has is for nobody to put back."""
    return _find_nic(observed.links, pod)


def _find_nic(links: Sequence[Link], pod: PodInterface) -> Link | None:
    """Beside its index a renamed one has the MAC that it was recorded with, or that of a port of our bridge."""
    return _find(links, pod.link, derived_mac("port", pod))


def _find(links: Sequence[Link], before: Link, *macs: str) -> Link | None:
    link = next((link for link in links if link.index == before.index), None)
    if link is None or link.name == before.name:
        return link
    # Of a device whose MAC was changed, too, the other end is the same (a veth's peer, a macvlan's lower device).
    known = link.mac in (before.mac, *macs) or link.parent == before.parent != 0
    return link if known and link.kind == before.kind else None


def as_named_now(links: Sequence[Link], network: VMNetwork) -> VMNetwork:
    """The recorded network with the names that its devices have now."""
    present = {link.name: link for link in links}
    network = _with_egress_renamed(links, network)
    port, adopted = network.guest_port, network.adopted
    found = {
        network.pod.name: _find_nic(links, network.pod),
        network.bridge: _made(links, network, network.bridge, is_port=False),
        port: _find(links, adopted) if adopted else _made(links, network, port, is_port=True),
    }
    if port == network.pod.name:
        found[port] = _find_nic(links, network.pod)
    names = {name: link.name for name, link in found.items() if name and link and link.name != name}
    requested = network.requested or (network.pod.name, port)
    if found[network.pod.name] is None and network.pod.name not in present and requested[0] in present:
        names[network.pod.name] = requested[0]  # a renamed one that the CNI has made anew (DEL and ADD)
    if not names:
        return network
    state = network.adopted_state
    return replace(
        network,
        adopted_state=state and _renamed_interface(state, names),
        pod=_renamed_interface(network.pod, names),
        bridge=names.get(network.bridge, network.bridge),
        guest_port=names.get(port, port),
        adopted=adopted and replace(adopted, name=names.get(adopted.name, adopted.name)),
        adopted_sysctls=renamed_settings(network.adopted_sysctls, names),
        requested=requested,
    )


def _with_egress_renamed(links: Sequence[Link], network: VMNetwork) -> VMNetwork:
    """By their indexes alone: of a new interface nothing is put back by the record of an old one."""
    names = {link.index: link.name for link in links}
    renamed = tuple(replace(one, name=names.get(one.index, one.name)) for one in network.egress)
    return network if renamed == network.egress else replace(network, egress=renamed)


def _made(links: Sequence[Link], network: VMNetwork, name: str, *, is_port: bool) -> Link | None:
    """A device of ours: the marked one of that name, else any that is marked so."""
    marked = [link for link in links if (link.kind in GUEST_PORTS) is is_port and link.alias == mark_of(network.name)]
    return next((link for link in marked if link.name == name), marked[0] if marked else None)


def _renamed_interface(pod: PodInterface, names: Mapping[str, str]) -> PodInterface:
    return replace(
        pod,
        link=replace(pod.link, name=names.get(pod.name, pod.name)),
        addresses=tuple(_relabelled(address, names) for address in pod.addresses),
        sysctls=renamed_settings(pod.sysctls, names),
    )


def _relabelled(address: Address, names: Mapping[str, str]) -> Address:
    """The kernel keeps what follows the interface's name in a label (`eth0:1`) when that is changed."""
    name, colon, rest = address.label.partition(":")
    if name not in names:
        return address
    return replace(address, label=names[name][: LABEL_MAX - len(colon + rest)] + colon + rest)
