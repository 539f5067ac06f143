"""A pod bridged by hand with `ip` and served by dnsmasq: the reference for the program under test.

The suite's checks pass here too, which tests laboratory and checks: a check that fails here is wrong.
"""

from __future__ import annotations

import tempfile
import time
from ipaddress import IPv4Interface
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.pod import DNS, GUEST_NIC, GUEST_PORT, SEARCH, Pod
from lab.shape import GuestNetwork
from lab.waiting import PATIENCE

_BRIDGE = "br-hand"
_SERVER = "169.254.75.10/32"
_NIC_MAC = "02:00:00:00:00:01"


class BridgedPod:
    """Bridge `br-hand` with the pod interface and `tap0` as ports, dnsmasq on it; removed with the pod.

    Args:
        pod: a pod whose shape has an IPv4 address for its guest.
        lease_seconds: dnsmasq's shortest is 120.
    """

    def __init__(self, pod: Pod, *, lease_seconds: int = 120) -> None:
        if pod.shape.guest is None:
            raise ValueError(f"{pod.shape.name}: no IPv4 address to serve")
        self.pod = pod
        self.network = pod.shape.guest
        self.directory = tempfile.TemporaryDirectory(prefix="vltest-dnsmasq-")
        self._bridge()
        self._serve(lease_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.directory.cleanup()

    def teach_neighbours(self) -> None:
        """Add the pod's permanent neighbours to the guest: no host answers ARP for them here."""
        neighbours = self.network.neighbours.items()
        self.pod.guest.ip(*(f"neigh replace {ip} lladdr {mac} dev {GUEST_NIC}" for ip, mac in neighbours))

    def log(self) -> str:
        """dnsmasq's log of its transactions."""
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        return Path(self.directory.name, "log")

    def _bridge(self) -> None:
        nic = self.pod.shape.interface
        # learning off on the pod interface: the node's bridge may send the guest's own broadcasts back
        self.pod.pod.ip(
            f"addr flush dev {nic}",
            f"link set {nic} address {_NIC_MAC}",
            f"link add {_BRIDGE} mtu {self.pod.mtu} type bridge forward_delay 0 mcast_snooping 0",
            f"link set {nic} master {_BRIDGE}",
            f"link set {nic} type bridge_slave learning off",
            f"link set {GUEST_PORT} mtu {self.pod.mtu}",
            f"link set {GUEST_PORT} master {_BRIDGE}",
            f"link set {GUEST_PORT} up",
            f"link set {_BRIDGE} up",
            f"addr add {_SERVER} dev {_BRIDGE}",
        )

    def _serve(self, lease_seconds: int) -> None:
        arguments = dnsmasq_arguments(self.network, self.pod.mac, _BRIDGE, lease_seconds)
        leases = f"--dhcp-leasefile={self.directory.name}/leases"
        self.process = self.pod.pod.popen([*arguments, leases, f"--log-facility={self._log}"])
        deadline = time.monotonic() + PATIENCE
        while not (self._log.exists() and "sockets bound exclusively" in self._log.read_text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = self._log.read_text() if self._log.exists() else ""
                raise RuntimeError(f"dnsmasq did not start: exit code {self.process.poll()}\n{log}")
            time.sleep(0.005)


def dnsmasq_arguments(network: GuestNetwork, mac: str, interface: str, lease_seconds: int) -> list[str]:
    """A dnsmasq in the foreground that serves DHCP, and nothing else, to one client."""
    address = IPv4Interface(network.address)
    options = [f"6,{','.join(DNS)}", f"119,{','.join(SEARCH)}", f"26,{network.mtu}", f"15,{SEARCH[0]}"]
    # host routes to gateways first: some clients refuse a default route through a gateway that has no route yet
    routes = [(route.destination, route.gateway) for route in network.routes]
    if network.router:
        routes.append(("0.0.0.0/0", network.router))
        options.append(f"3,{network.router}")
    else:
        options.append("3")
    if routes:
        options.append(f"121,{','.join(f'{destination},{gateway}' for destination, gateway in routes)}")
    return [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--bind-interfaces",
        f"--interface={interface}",
        "--except-interface=lo",
        f"--dhcp-range={address.ip},static,{address.netmask},{lease_seconds}",
        f"--shared-network={interface},{address.ip}",
        f"--dhcp-host={mac},{address.ip}",
        "--no-ping",
        "--log-dhcp",
        "--dhcp-authoritative",
        "--user=root",
        *(f"--dhcp-option={option}" for option in options),
    ]
