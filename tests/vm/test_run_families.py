"""A real VM with addresses of both families, in every binding, run as a container would run it."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lab.checks import pings
from lab.namespace import Namespace
from lab.pod import DNS, Pod
from lab.reach import patience
from lab.shape import OUTSIDE, OUTSIDE6

from launcher.demo.guest_image import GuestImage, kernel_arguments

from .entrypoint import Entrypoint, assert_lease_line
from .machine import BOOT_SECONDS, manifest, open_queues
from .programs import with_programs

pytestmark = [pytest.mark.vm, pytest.mark.root]

POD = ("10.244.2.5", "fd00:10:244:3::5")
NODE = ("10.244.2.1", "fd00:10:244:3::1")
NEIGHBOUR = ("10.244.2.6", "fd00:10:244:3::6")
WORLD = (OUTSIDE, OUTSIDE6)
MTU = 1400
QUEUES = 2
OPEN, CLOSED = 1500, 1501
START_DHCP6 = (
    "mkdir -p /var/lib/dhcpv6 && echo 'interface eth0 { send ia-na 0; }; id-assoc na 0 { };' >/dhcp6c.conf"
    " && /usr/sbin/dhcp6c -c /dhcp6c.conf eth0"
)
SERVE = "(while :; do echo served | nc -l -p {port}; done) >/dev/null 2>&1 &"


@dataclass(frozen=True, slots=True)
class Binding:
    """What a guest has of one: IPv4 first, then IPv6."""

    interface: dict[str, Any]
    addresses: tuple[str, str]
    routers: tuple[str, str]
    gateways: tuple[str, str]
    """Addresses at which the routers answer a ping."""
    on_link6: str
    forwards: bool
    """Whether ports alone are forwarded, those of the manifest."""


BRIDGE = Binding(
    {"bridge": {}},
    addresses=("10.244.2.5/24", "fd00:10:244:3::5/128"),
    routers=("10.244.2.1", "fe80::fc:1"),
    gateways=NODE,
    on_link6="fd00:10:244:3::/64",
    forwards=False,
)
BINDINGS = {
    "bridge": BRIDGE,
    "fwd": replace(BRIDGE, interface={"binding": {"name": "fwd"}}),
    "masquerade": Binding(
        {"masquerade": {}, "ports": [{"port": OPEN}]},
        addresses=("10.0.2.2/24", "fd10:0:2::2/128"),
        routers=("10.0.2.1", "fe80::ff:fe00:0"),
        gateways=("10.0.2.1", "fd10:0:2::1"),
        on_link6="fd10:0:2::/120",
        forwards=True,
    ),
}


class Families(Entrypoint):
    """A machine whose guest asks for its address of IPv6, too."""

    def __init__(self, pod: Pod, directory: Path, image: GuestImage, binding: Binding) -> None:
        self.binding = binding
        document = manifest(
            image,
            kernel_arguments(),
            cpu={"cores": QUEUES},
            devices={
                "interfaces": [{"name": "default", **binding.interface}, {"name": "fast", "sriov": {}}],
                "networkInterfaceMultiqueue": True,
            },
            networks=[{"name": "default", "pod": {}}, {"name": "fast", "multus": {"networkName": "fast"}}],
        )
        document["metadata"]["annotations"] = {"virt-launcher.io/unserved-interfaces": "left-out"}
        super().__init__(pod, directory, document)
        self.await_report("lease")
        self.await_output("ip -6 route show default", f"via {binding.routers[1]}")
        assert self.command(START_DHCP6) == ""
        self.await_output("ip -6 addr show dev eth0 scope global | grep -v tentative", binding.addresses[1])

    def await_output(self, command: str, text: str) -> None:
        """Repeat a command in the guest until it prints something."""
        deadline = time.monotonic() + BOOT_SECONDS
        while text not in (printed := self.command(command)):
            assert time.monotonic() < deadline, printed
            time.sleep(0.1)

    def pings(self, address: str, size: int = 84) -> bool:
        """Whether an address answers the guest; `size` is that of the whole IP packet, which must not be fragmented."""
        header = 48 if ":" in address else 28
        return "1 received" in self.command(f"/usr/bin/ping -n -c 1 -W 1 -M do -s {size - header} {address}")

    def answers(self, client: Namespace, address: str, port: int) -> bool:
        """Whether a client gets the answer of a server in the guest."""
        # Between two connections nobody listens for a moment.
        self.await_output("netstat -ltn", f":{port} ")
        command = ["timeout", str(5 * patience()), "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port} && head -n 1 <&3"]
        return client.run(command, check=False).stdout.strip() == "served"


@pytest.fixture(scope="module", params=BINDINGS)
def machine(request: pytest.FixtureRequest, guest: GuestImage) -> Iterator[Families]:
    """In a pod of both families, with the two things that the image lacks: a DHCPv6 client, and a ping with DF."""
    with Pod("ovn-kubernetes", guest_port=False) as pod, tempfile.TemporaryDirectory(prefix="vltest-") as name:
        image = with_programs(guest, Path(name), "dhcp6c", "ping")
        machine = Families(pod, Path(name), image, BINDINGS[request.param])
        for port in (OPEN, CLOSED):
            machine.command(SERVE.format(port=port))
        yield machine
        machine.terminate()
        assert machine.await_end() == 0, machine.errors()
        machine.assert_pod_restored()


def test_the_console_shows_both_addresses_and_both_default_routes(machine: Families) -> None:
    binding, lease = machine.binding, machine.await_report("lease")
    if not binding.forwards:
        assert_lease_line(lease, machine.pod)
    assert (lease.fields["address"], lease.fields["router"]) == (binding.addresses[0], binding.routers[0])
    assert (lease.fields["mtu"], lease.list("dns")) == (str(MTU), list(DNS))
    addresses, routes = machine.command("ip -6 -o addr show dev eth0 scope global"), machine.command("ip -6 route show")
    assert re.findall(r"inet6 (\S+)", addresses) == [binding.addresses[1]], "and none of its own making"
    assert re.findall(r"default via (\S+)", routes) == [binding.routers[1]]
    assert f"{binding.on_link6} dev eth0" in routes
    assert machine.command("cat /proc/sys/net/ipv6/conf/eth0/mtu").strip() == str(MTU)
    for shown in (f"address={binding.addresses[0]} router={binding.routers[0]}", addresses, routes):
        assert shown in machine.console.replace("\r", "")


def test_the_guest_has_the_queues_that_its_processors_use(machine: Families) -> None:
    """As many of the NIC as of the tap, which no other process can open otherwise."""
    assert machine.command("ls /sys/class/net/eth0/queues").split() == [
        f"{way}-{number}" for way in ("rx", "tx") for number in range(QUEUES)
    ]
    assert open_queues(machine.pod.pod) == QUEUES


def test_the_interface_that_cannot_be_served_is_not_there(machine: Families) -> None:
    """Which is said once."""
    assert machine.command("ls /sys/class/net").split() == ["eth0", "lo"]
    warnings = [line for line in machine.messages("warning") if "`fast`" in line]
    assert warnings == [
        "spec.domain.devices.interfaces[1].sriov: is not supported: the VM goes without the interface `fast`"
    ]


def test_the_guest_reaches_node_and_world_over_both(machine: Families) -> None:
    for address in (*machine.binding.gateways, *NODE, *NEIGHBOUR, *WORLD):
        assert machine.pings(address), address


def test_a_server_in_the_guest_is_reached_over_both(machine: Families) -> None:
    """By its pod's address, from the node and from the neighbour; of a masqueraded one the declared port alone."""
    for client in (machine.pod.node, machine.pod.neighbour):
        for address in POD:
            assert machine.answers(client, address, OPEN), (client.name, address)
            assert machine.answers(client, address, CLOSED) != machine.binding.forwards, (client.name, address)


def test_packets_of_the_mtu_pass_and_larger_ones_do_not(machine: Families) -> None:
    for address in (*NODE, *WORLD):
        assert machine.pings(address, size=MTU), address
        assert not machine.pings(address, size=MTU + 1), address
    for address in POD:
        assert pings(machine.pod.node, address, size=MTU), address
        assert not pings(machine.pod.node, address, size=MTU + 1), address
