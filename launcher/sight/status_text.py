"""The status as text, a fact a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from launcher.sight.status import LeaseStatus, NetworkStatus, Status, timestamp

if TYPE_CHECKING:
    from launcher.guest.asking import GuestStatus

_OPENED = {True: "open: a VM runs", False: "opened by no VM", None: "a macvtap, which does not say whether a VM runs"}
MOST_SOURCES = 8
"""How many sources of dropped frames are shown of each cause; all of them are in the output as data."""
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def lines(status: Status) -> Iterator[str]:
    """All of it: network by network, the pod, its server, its launcher."""
    for network in status.networks:
        yield from _network_lines(network)
    yield from _pod_lines(status)
    yield from _server_lines(status)
    if status.launcher:
        yield f"launcher: {status.launcher}"
    if status.guest is not None:
        yield from guest_lines(status.guest)


def _network_lines(network: NetworkStatus) -> Iterator[str]:
    way = " ─ ".join(f"{name} (gone)" if name in network.missing else name for name in network.path)
    yield f"network {network.name}, {network.binding}: {way}"
    had = ", ".join(network.pod_addresses) or "no address"
    yield f"  pod's side: {network.pod_interface}, which the CNI gave MAC {network.pod_mac}, {had}"
    link = ", its link is down" if network.link == "down" else ""
    yield f"  guest's side: {network.guest_port}, {_OPENED[network.guest_connected]}{link}"
    yield f"  VM's MAC {network.mac} (from {network.mac_source}), MTU {network.mtu}"
    served = ", ".join(filter(None, (network.address, network.address6)))
    yield f"  VM's address {served or 'none: the network itself has to serve one'}"
    for lease in network.leases:
        yield f"  lease of {lease.address}: {lease_text(lease)}"
    if network.further_addresses:
        yield f"  not handed out: {', '.join(network.further_addresses)}"
    for server, substitute in network.name_servers.items():
        yield f"  the pod's own name server {server}, by {substitute}"
    yield f"  isolation {'on' if network.isolated else 'off'}"
    if network.further_sources:
        yield f"  may send from {', '.join(network.further_sources)}, too"
    for name, count in network.dropped.items():
        if count:
            yield f"  dropped {count} {network.causes[name]}"
            yield from (f"    {frames} from {source}" for source, frames in most(network.dropped_sources.get(name, {})))
    for name, count in network.forwarded.items():
        yield f"  forwarded {count} connections: {name}"


def most(sources: Mapping[str, int]) -> list[tuple[str, int]]:
    """The sources of the most frames, with their numbers."""
    return sorted(sources.items(), key=lambda item: (-item[1], item[0]))[:MOST_SOURCES]


def _pod_lines(status: Status) -> Iterator[str]:
    for line in status.warnings:
        yield f"warning: {line}"
    for step in status.pending:
        yield f"out of place, `prestart` would do: {step}"
    if status.refused:
        yield f"`prestart` would refuse: {status.refused}"
    for network in status.networks:
        if network.replaced:
            yield f"the CNI has made {network.pod_interface} anew: `prestart` hands it to the VM"
    if any(network.pod_interface in network.missing for network in status.networks):
        yield "the CNI has taken a pod interface away: `teardown` removes what is left"
    history = status.history
    if history.not_taken_in:
        yield f"what has changed in the pod is not taken in: {history.not_taken_in}"
    if took := dict(history.setup_seconds).get("total"):
        yield f"set up in {took * 1e3:.0f} ms; taken in changes since: {history.convergences}"


def _server_lines(status: Status) -> Iterator[str]:
    if status.dhcp is None:
        yield "DHCP: no server"
        return
    yield f"DHCP: server {status.dhcp['pid'] or 'whose pid is unknown here'}"
    if status.dhcp["problem"]:
        yield f"  {status.dhcp['problem']}: `prestart` replaces it"
    if started := status.dhcp.get("started"):
        yield f"  started {timestamp(started)}; restarts since the set-up: {status.history.server_restarts}"
    for port in status.dhcp.get("ports", ()):
        answered = ", ".join(f"{count} {name}" for name, count in port["answered"].items()) or "nothing yet"
        ignored = ", ".join(f"{count} {name}" for name, count in port["ignored"].items()) or "nothing"
        yield f"  {port['interface']}: answered {answered}; ignored {ignored}"
        if port.get("leases") == []:
            yield f"  {port['interface']}: no lease has been taken since the server started"
        if port.get("advertisements"):
            yield f"  {port['interface']}: advertised its router {port['advertisements']} times unsolicited"


def guest_lines(guest: GuestStatus) -> Iterator[str]:
    """What it says of itself, with what it was served."""
    yield f"guest, by its agent: {', '.join(filter(None, (guest.hostname, guest.system, guest.kernel))) or 'no name'}"
    served = {one.mac: one for one in guest.served}
    for nic in guest.interfaces:
        yield f"  {nic.name or 'unnamed'}, MAC {nic.mac or 'none'}: {', '.join(nic.addresses) or 'no address'}"
        if one := served.get(nic.mac):
            yield f"    network {one.network}, served {', '.join(one.addresses) or 'no address'}"
    for route in guest.routes or ():
        hop = f" via {route.gateway}" if route.gateway else ""
        yield f"  route {route.destination}{hop} dev {route.interface} metric {route.metric}"
    for difference in guest.differences:
        yield f"  otherwise than served: {difference.what}"
    if guest.problem:
        yield f"  {guest.problem}"


def lease_text(lease: LeaseStatus) -> str:
    """When it was taken, and what is still to come."""
    when = f"{duration(lease.age_seconds)} ago ({lease.taken})"
    if not lease.is_held:
        return f"given back {when}"
    if lease.left_seconds is None:
        return f"taken {when}, for ever"
    events = [("to be renewed", lease.renewal_seconds), ("ends", lease.left_seconds)]
    if lease.left_seconds < 0:
        return f"taken {when}, ended {duration(-lease.left_seconds)} ago"
    to_come = [f"{what} {_from_now(seconds)}" for what, seconds in events if seconds is not None]
    return ", ".join([f"taken {when}", *to_come])


def _from_now(seconds: float) -> str:
    return f"in {duration(seconds)}" if seconds >= 0 else f"since {duration(-seconds)}"


def duration(seconds: float) -> str:
    """In the two largest units that it has: `2 d 4 h`, `12 min 5 s`, `0 s`."""
    left = int(seconds)
    words: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or words:
            words.append(f"{count} {unit}" if count else "")
    return " ".join(filter(None, words[:2])) or "0 s"
