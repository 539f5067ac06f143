"""The devices of a request that names none, or names that are taken: from what is recorded and observed. Pure."""

from collections.abc import Mapping
from itertools import count
from typing import Final

from dhcp.lean.frozen import replace
from netsetup.bindings.devices import adopt
from netsetup.errors import DeviceConflict, InvalidRequest
from netsetup.model.kernel import AF_INET, AF_INET6, IFF_LOOPBACK, RTN_UNICAST, Namespace
from netsetup.model.request import NetworkRequest
from netsetup.model.routing import lookup_tables
from netsetup.model.vm_network import VMNetwork

POD_INTERFACE: Final = "eth0"
"""Where nothing has a default route (the CNI specification's usual CNI_IFNAME)."""


def with_devices(
    observed: Namespace, recorded: Mapping[str, VMNetwork], requests: Mapping[str, NetworkRequest]
) -> dict[str, NetworkRequest]:
    """The requests, each with the pod interface and the guest port that it gets in this pod.

    A network that is set up keeps those it has. Raises InvalidRequest for a pod interface that two networks would have,
    or that would be its own guest port.
    """
    named = {name: _with_pod_interface(observed, recorded.get(name), request) for name, request in requests.items()}
    pod_interfaces = _owners(named)
    named = {
        name: replace(request, others=tuple(other for other, owner in pod_interfaces.items() if owner != name))
        for name, request in named.items()
    }
    for name, request in named.items():
        if request.any_guest_port:
            taken = {*pod_interfaces, *(other.guest_port for key, other in named.items() if key != name)}
            named[name] = replace(request, guest_port=_guest_port(observed, recorded.get(name), request, taken))
        elif request.guest_port in pod_interfaces:
            port = request.guest_port
            raise InvalidRequest(
                f"network {name}: {port} is an interface of the pod; name another guest port (--guest-port)"
            )
    return named


def _with_pod_interface(observed: Namespace, network: VMNetwork | None, request: NetworkRequest) -> NetworkRequest:
    if network and (request.any_pod_interface or not request.pod_interface):
        return replace(request, pod_interface=network.pod.name)  # whatever interfaces have come and gone since
    return replace(request, pod_interface=request.pod_interface or default_interface(observed) or POD_INTERFACE)


def _owners(named: Mapping[str, NetworkRequest]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for name, request in named.items():
        other = owners.setdefault(request.pod_interface, name)
        if other != name:
            raise InvalidRequest(
                f"networks {other} and {name} would both have the pod interface {request.pod_interface}"
            )
    return owners


def default_interface(observed: Namespace) -> str:
    """The interface that the kernel would send to the world by, over IPv4, else over IPv6; empty for none."""
    links = {link.index: link for link in observed.links if not link.flags & IFF_LOOPBACK}
    for family in (AF_INET, AF_INET6):
        for table in lookup_tables(observed, "", family):
            routes = [r for r in observed.routes if (r.family, r.table, r.type) == (family, table, RTN_UNICAST)]
            # of equal ones the kernel takes the first, and so does sorted()
            for route in sorted((r for r in routes if r.is_default), key=lambda r: r.metric):
                first = route.nexthops[0].interface if route.nexthops else route.interface
                if first in links:
                    return links[first].name
    return ""


def _guest_port(observed: Namespace, network: VMNetwork | None, request: NetworkRequest, taken: set[str]) -> str:
    """The one it has; else the requested name, if that is free or an idle device's; else the first free one like it."""
    if network:
        return network.guest_port
    wanted = request.guest_port
    try:
        adopt(observed, request)
        if wanted not in taken:
            return wanted
    except DeviceConflict:
        pass
    names = (f"{wanted.rstrip('0123456789')}{number}" for number in count())
    return next(name for name in names if name not in taken and observed.link(name) is None)
