"""`virt-launcher probe`: requests the VM's lease from the DHCP server, and compares it with the record."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dhcp.daemon.connection import ServerConnection, ServerError
from dhcp.lean.frozen import Frozen, replace
from launcher.dhcpconfig.client import client_config
from launcher.phases.server_file import find_server
from netsetup.errors import NetworkSetupError
from netsetup.kernel.capabilities import CAP_NET_ADMIN, has_capability
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import state_directory
from netsetup.record import read_record

if TYPE_CHECKING:
    from dhcp.probe.dhcp4 import Offer
    from dhcp.probe.dhcp6 import Lease6, Router6
    from launcher.request import SetupRequest


class ProbeNotInstalled(NetworkSetupError):
    """scapy is missing."""

    exit_code = 2


class Probed(Frozen):
    """The server's answers for one network, and how they differ from the configuration."""

    name: str
    guest_port: str
    offer: Offer | None
    """The DHCPv4 lease that the VM would get; None where there is no usable answer."""
    problems: tuple[str, ...]
    """Differences from the configuration, and failures; empty when the answers are correct."""
    left_out: tuple[int, ...] = ()
    """Configured options for which the message had no room."""
    lease6: Lease6 | None = None
    """The DHCPv6 lease, and the content of the router advertisement, likewise."""
    router6: Router6 | None = None


def probe(state_dir: str | os.PathLike[str] | None = None, request: SetupRequest | None = None) -> list[Probed]:
    """Request the lease of every network of the current network namespace that our server serves.

    The answers are compared with the configuration made from the record, as `prestart` makes it; names and DHCP options
    are the manifest's if one is given. Nothing is changed, and nothing is sent to the guest. Raises NetworkSetupError
    when nothing is set up or the process lacks a permission, ProbeNotInstalled without scapy.
    """
    try:
        import dhcp.probe.dhcp4  # noqa: F401
    except ImportError:
        raise ProbeNotInstalled("probe needs scapy: pip install 'virt-launcher[probe]'") from None
    with NamespaceLock() if has_capability(CAP_NET_ADMIN) else contextlib.nullcontext():
        record = read_record(state_dir)
    if record is None:
        raise NetworkSetupError("nothing is set up in this network namespace")
    found = []
    server, problem = _connect(state_directory(state_dir))
    for name, network in record.networks.items():
        options = network.options
        if request and name in request.interfaces:
            options = request.guest_options(request.interfaces[name], options.hostname)
        config = client_config(replace(network, options=options), record.networks.values())
        if config is None:
            continue  # not served by us: it has no address
        if server is None:
            found.append(Probed(network.name, network.guest_port, None, (problem,)))
            continue
        probed = Probed(network.name, network.guest_port, None, ())
        if "client_address" in config:
            probed = _probe4(server, network.name, config)
        found.append(_probe6(server, probed, config) if "client_address6" in config else probed)
    if server is not None:
        server.release()
    return found


def _connect(folder: str) -> tuple[ServerConnection | None, str]:
    try:
        server = find_server(folder)
    except ServerError as error:
        return None, str(error)
    if server is None:
        return None, "no DHCP server runs in this network namespace; `virt-launcher prestart` starts one"
    if not server.is_current:
        server.release()
        return None, f"{server.problem}; `virt-launcher prestart` replaces it"
    return server, ""


def _probe4(server: ServerConnection, name: str, config: dict[str, Any]) -> Probed:
    """Try a DISCOVER and a REQUEST, as a client in INIT and SELECTING sends them, and compare both answers."""
    from dhcp.probe.dhcp4 import NotAnOffer, asked_of, decode_offer, differences, discover, request

    guest_port, mac, xid = config["interface"], config["client_mac"], secrets.randbits(32)
    parameters = asked_of(config)
    offer = None
    problems: list[str] = []
    left_out: list[int] = []
    try:
        for message, expected in (("DISCOVER", "offer"), ("REQUEST", "ack")):
            frame = request(mac, xid, offer, parameters) if offer else discover(mac, xid, parameters)
            outcome = server.try_frame(guest_port, frame)
            if outcome["problem"] and outcome["problem"] not in problems:
                problems.append(str(outcome["problem"]))
            frames = outcome["frames"]
            if not isinstance(frames, list) or not frames:
                problems.append(f"{message} gets no answer: {outcome['reason']}")
                break
            left_out = outcome["dropped"] if isinstance(outcome["dropped"], list) else []
            offer = decode_offer(bytes.fromhex(frames[0]), mac, xid)
            if offer.message != expected:
                problems.append(f"{message} is answered by {offer.message}")
            problems += [line for line in differences(offer, config, left_out) if line not in problems]
    except NotAnOffer as error:
        problems.append(f"{message}: {error}")
    except ServerError as error:
        problems.append(str(error))
    return Probed(name, guest_port, offer, tuple(problems), tuple(left_out))


def _probe6(server: ServerConnection, probed: Probed, config: dict[str, Any]) -> Probed:
    """Try a Solicit, a Request and a Router Solicitation, and add their answers to `probed`."""
    from dhcp.probe.dhcp4 import NotAnOffer
    from dhcp.probe.dhcp6 import decode_lease, decode_router, differences6, request, router_solicitation, solicit

    mac, xid = config["client_mac"], secrets.randbits(24)
    left_out: list[int] = []

    def answer_to(name: str, frame: bytes) -> bytes:
        outcome = server.try_frame(probed.guest_port, frame)
        frames = outcome["frames"]
        if not isinstance(frames, list) or not frames:
            raise NotAnOffer(f"{name} gets no answer: {outcome['reason']}")
        left_out.extend(outcome["dropped"] if isinstance(outcome["dropped"], list) else ())
        return bytes.fromhex(frames[0])

    try:
        offer = decode_lease(answer_to("Solicit", solicit(mac, xid)), mac, xid)
        lease = decode_lease(answer_to("Request", request(mac, xid, offer)), mac, xid)
        router = decode_router(answer_to("Router Solicitation", router_solicitation(mac)), mac)
    except (NotAnOffer, ServerError) as error:
        return replace(probed, problems=(*probed.problems, f"IPv6: {error}"))
    problems = differences6(lease, router, config, left_out)
    return replace(probed, problems=(*probed.problems, *problems), lease6=lease, router6=router)


def lines(found: list[Probed]) -> Iterator[str]:
    """The result as text, line by line."""
    for probed in found:
        yield f"network {probed.name}, on {probed.guest_port}:"
        if offer := probed.offer:
            yield f"  {offer.message} of {offer.address} by {offer.server}"
            yield f"  lease {_seconds(offer.lease_seconds)}, renewed after {_seconds(offer.t1_seconds)}"
            for name in ("router", "mtu", "hostname", "domain", "tftp_server", "boot_file"):
                if value := getattr(offer, name):
                    yield f"  {name.replace('_', ' ')} {value}"
            for name in ("dns", "search", "ntp"):
                if values := getattr(offer, name):
                    yield f"  {name} {' '.join(values)}"
            for destination, gateway in offer.routes:
                yield f"  route {destination} {'on-link' if gateway == '0.0.0.0' else f'via {gateway}'}"
            for code, value in offer.options.items():
                yield f"  option {code} 0x{value}"
        if (lease := probed.lease6) and (router := probed.router6):
            yield f"  DHCPv6: {lease.address or 'no address'}, lease {_seconds(lease.lease_seconds)}"
            gateway = f"router {router.address}" if router.lifetime else "no default router"
            yield f"  advertised: {gateway}, mtu {router.mtu}"
            for name, values in (("dns", lease.dns), ("search", lease.search), ("on the link", router.on_link)):
                if values:
                    yield f"  {name} {' '.join(values)}"
        if probed.left_out:
            yield f"  no room for all of options {', '.join(map(str, probed.left_out))}"
        for problem in probed.problems:
            yield f"  wrong: {problem}"
        if not probed.problems:
            yield "  as configured"
    if not found:
        yield "no network is served here: none has an address"


def _seconds(value: int) -> str:
    return {0: "never", 0xFFFFFFFF: "for ever"}.get(value, f"{value} s")
