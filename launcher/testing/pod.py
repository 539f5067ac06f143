"""Builds a pod of a given shape: node, neighbour, pod and guest as namespaces joined by veth pairs.

    outside, uplink ─ node ─ vethpod ═ eth0 ─ pod ─ tap0 ═ eth0 ─ guest
                        └─── vethnbr ═ eth0 ─ neighbour

The guest's NIC is the other end of a veth pair whose pod end is called `tap0`: to the pod it is what a VM's
tap is, and any program can be run in the guest's namespace as if inside the VM. It has the MAC that the
pod's NIC has.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from launcher.testing.namespace import Namespace
from launcher.testing.shape import OUTSIDE, OUTSIDE6, Nic, Shape, Side, load_shape
from launcher.testing.waiting import PATIENCE

GUEST_PORT = "tap0"
GUEST_NIC = "eth0"
DNS = ("10.96.0.10",)
SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
RESOLV_CONF = f"nameserver {DNS[0]}\nsearch {' '.join(SEARCH)}\noptions ndots:5\n"

_UPLINK = (
    "link add up0 type veth peer name up1",
    "addr add 172.31.0.1/24 dev up0",
    "addr add fd00:ffff::1/64 dev up0 nodad",
    "link set up1 up",
    "link set up0 up",
    "route add default via 172.31.0.254 dev up0",
    "route add default via fd00:ffff::fe dev up0",
    f"addr add {OUTSIDE}/32 dev lo",
    f"addr add {OUTSIDE6}/128 dev lo",
)


class Pod:
    """A built shape; a context manager that removes all of it.

    Args:
        shape: a `Shape` or the name of one.
        guest_port: whether `tap0` and the guest's NIC exist already; without them the guest namespace is empty and
            the program under test has to create the guest port.
        guest_mac: the MAC of the guest's NIC; None for the pod NIC's.
        duplicate_address_detection: IPv6 DAD as the kernel does it by default. It makes every new address
            tentative for a second or two, so tests that do not look at it go without.
        resolv_conf: what programs in the pod see as /etc/resolv.conf.

    Attributes:
        node, neighbour, pod, guest: the namespaces.
        mac: the MAC of the pod's NIC as the CNI made it, hence the VM's.
    """

    def __init__(
        self,
        shape: Shape | str = "flannel",
        *,
        guest_port: bool = True,
        guest_mac: str | None = None,
        duplicate_address_detection: bool = False,
        resolv_conf: str = RESOLV_CONF,
    ) -> None:
        self.shape = load_shape(shape) if isinstance(shape, str) else shape
        self.mac = self.shape.nic.mac
        self.mtu = self.shape.nic.mtu
        with contextlib.ExitStack() as stack:
            self.node = stack.enter_context(Namespace("node"))
            self.neighbour = stack.enter_context(Namespace("neighbour"))
            self.pod = stack.enter_context(Namespace("pod", resolv_conf=resolv_conf))
            self.guest = stack.enter_context(Namespace("guest", resolv_conf=""))
            if not duplicate_address_detection:
                for namespace in (self.node, self.neighbour, self.pod, self.guest):
                    namespace.sysctl(ipv6__conf__default__accept_dad=0)
            self._build_node()
            _configure(self.pod, self.shape.pod)
            _configure(self.node, self.shape.node)
            _configure(self.neighbour, self.shape.neighbour)
            if guest_port:
                self.plug_guest(guest_mac or self.mac)
            if duplicate_address_detection:
                self.pod.settle()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the processes in the namespaces and remove them. May be called twice."""
        self._stack.close()

    @property
    def interface(self) -> str:
        """The name of the interface that becomes the VM's."""
        return self.shape.interface

    def plug_guest(self, mac: str, port: str = GUEST_PORT, nic: str = GUEST_NIC) -> None:
        """Join pod and guest by a veth pair `port` ═ `nic`. Both ends are down, as a new tap is."""
        plug_guest(self.pod, self.guest, mac, port, nic)

    def await_carrier(self) -> None:
        """Wait until the kernel has found out whether the bridges of the pod have a carrier, which takes up to a second
        for one without a port."""
        deadline = time.monotonic() + PATIENCE
        while any(b["operstate"] == "UNKNOWN" for b in self.pod.ip_json("link show type bridge") if "UP" in b["flags"]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.pod.name}: a bridge is neither with nor without a carrier")
            time.sleep(0.02)

    def _build_node(self) -> None:
        self.node.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        self.node.ip(*_UPLINK)
        for nic in self.shape.nics:
            self._join(self.pod, nic)
        self._join(self.neighbour, Nic("eth0", "0e:99:00:00:00:01", self.mtu, "vethnbr"))
        if self.shape.node_before:
            self.node.ip(*(line.format(pod=self.pod.name) for line in self.shape.node_before))
            self.pod.ip(*(f"link set {name} up" for name in _interfaces(self.pod)))

    def _join(self, namespace: Namespace, nic: Nic) -> None:
        namespace.ip(
            f"link add {nic.name} address {nic.mac} mtu {nic.mtu}"
            f" type veth peer name {nic.node_port} mtu {nic.mtu} netns {self.node.name}",
            f"link set {nic.name} up",
        )
        self.node.ip(f"link set {nic.node_port} up")


def plug_guest(pod: Namespace, guest: Namespace, mac: str, port: str = GUEST_PORT, nic: str = GUEST_NIC) -> None:
    """Join two namespaces as `Pod.plug_guest` does its own."""
    guest.ip(f"link add {nic} address {mac} type veth peer name {port} netns {pod.name}")
    # a device keeps the queueing discipline of its first activation: no teardown can restore that
    pod.ip(f"link set {port} up", f"link set {port} down")


MakePod = Callable[..., Pod]
"""The type of the fixture `make_pod`: takes the arguments of `Pod`; the fixture closes the pod."""


def _configure(namespace: Namespace, side: Side) -> None:
    for path, value in side.sysctls.items():
        namespace.write_sysctl(path, value)
    if side.commands:
        namespace.ip(*side.commands)


def _interfaces(namespace: Namespace) -> list[str]:
    return [link["ifname"] for link in namespace.ip_json("link show")]
