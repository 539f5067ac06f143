"""Real clients as guests of a pod that the program has set up: what they end with, and that it works."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.bridged import dnsmasq_arguments
from lab.checks import assert_lease, assert_traffic, pings
from lab.clients import CLIENTS, Client, Dhclient, Dhcpcd, Networkd, NetworkManager, Udhcpc
from lab.namespace import Namespace
from lab.pod import DNS, GUEST_PORT, SEARCH, MakePod, Pod
from lab.shape import GuestNetwork, load_shape, shape_names
from lab.sniffer import Sniffer
from lab.waiting import kill

pytestmark = pytest.mark.root

SERVED = [name for name in shape_names() if load_shape(name).guest]
LONG_SEARCH = tuple(f"{letter * 40}.example-{letter}.test" for letter in "abcdefg")
"""Some 400 bytes in option 119."""


@pytest.mark.parametrize(
    ("client", "binding"),
    [(Udhcpc, "bridge"), (Dhclient, "bridge"), (Networkd, "bridge"), (Udhcpc, "fwd")],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.parametrize("shape", SERVED)
def test_every_shape(make_pod: MakePod, shape: str, client: type[Client], binding: str) -> None:
    check(make_pod(shape), client, binding)


@dataclass(frozen=True, slots=True)
class OwnDHCP:
    """What a network without addresses in the pod serves its VM itself, and on which bridge of the node."""

    bridge: str
    guest: GuestNetwork


def own_dhcp(bridge: str, address: str, gateway: str, neighbour: str, mtu: int) -> OwnDHCP:
    reaches = {"gateway": gateway, "neighbour": neighbour, "outside": "192.0.2.1"}
    return OwnDHCP(bridge, GuestNetwork(address, mtu, gateway, reaches=reaches))


LAYER2 = {
    "layer2": own_dhcp("cni0", "10.99.0.77/24", "10.99.0.1", "10.99.0.4", 1500),
    "ovn-udn-layer2": own_dhcp("udn0", "203.203.0.7/24", "203.203.0.1", "203.203.0.6", 1400),
}


@pytest.mark.parametrize(
    ("client", "binding"),
    [(Udhcpc, "bridge"), (Dhclient, "bridge"), (Networkd, "bridge"), (Dhclient, "fwd")],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.parametrize("shape", LAYER2)
def test_a_network_that_serves_dhcp_itself(make_pod: MakePod, shape: str, client: type[Client], binding: str) -> None:
    """Its server's answers reach the guest, and there is none of ours."""
    pod, network = make_pod(shape), LAYER2[shape]
    pod.shape = replace(pod.shape, guest=network.guest)
    pod.node.popen(dnsmasq_arguments(network.guest, pod.mac, network.bridge, 600))
    with Agent(pod, binding=binding) as agent, client(pod.guest) as running:
        assert agent.prestart()["dhcp"] == {"pid": None}
        assert_lease(running, running.acquire(), network.guest)
        assert_traffic(pod, running)


@pytest.mark.parametrize("client", [NetworkManager, Dhcpcd], ids=lambda client: client.name)
@pytest.mark.parametrize("shape", ["flannel", "calico", "azure", "ptp", "routes-only"])
def test_more_clients(make_pod: MakePod, shape: str, client: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """On-link and link-local gateways, with and without more routes and a default route, MTUs up to that of the NIC."""
    monkeypatch.setattr(Dhcpcd, "probing", False)
    check(make_pod(shape), client)


@pytest.mark.parametrize("binding", DIRECT)
def test_a_client_that_probes_finds_its_address_free(make_pod: MakePod, binding: str) -> None:
    """dhcpcd asks thrice whether somebody has the address (RFC 5227); the pod, which had it, keeps silent."""
    pod = make_pod("calico")
    with Sniffer(pod.guest, "eth0") as sniffer:
        check(pod, Dhcpcd, binding)
        assert any("ARP who has 192.168.103.70" in str(frame) for frame in sniffer.frames if frame.outgoing)


def check(pod: Pod, client: type[Client], binding: str = "bridge") -> None:
    network = pod.shape.guest
    assert network
    with Agent(pod, binding=binding) as agent, client(pod.guest) as running:
        agent.prestart()
        observed = running.acquire()
        assert_lease(running, observed, network)
        assert_traffic(pod, running)
        assert network.address.partition("/")[0] in observed.lease


def test_the_lease_as_dhclient_writes_it_down(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    with Dhclient(pod.guest) as client:
        lease = client.acquire().lease
    stated = dict(re.findall(r"^  (?:option )?([\w-]+) (.+);$", lease, re.MULTILINE))
    for times in ("renew", "rebind", "expire"):
        del stated[times]
    assert stated == {
        "interface": '"eth0"',
        "fixed-address": "10.244.1.3",
        "subnet-mask": "255.255.255.0",
        "broadcast-address": "10.244.1.255",
        "routers": "10.244.1.1",
        "domain-name": '"default.svc.cluster.local"',
        "domain-name-servers": "10.96.0.10",
        "domain-search": '"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."',
        "host-name": f'"{os.uname().nodename}"',
        "interface-mtu": "1450",
        "dhcp-message-type": "5",
        "dhcp-server-identifier": "10.244.1.1",
        "dhcp-lease-time": "86400",
        "dhcp-renewal-time": "3600",
        "dhcp-rebinding-time": "75600",
    }


def test_the_lease_as_udhcpc_tells_its_script(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    with Udhcpc(pod.guest) as client:
        lease = client.acquire().lease
    told = dict(line.split("=", 1) for line in lease.splitlines() if "=" in line)
    assert {key: told.get(key) for key in ("ip", "mask", "router", "mtu", "lease", "serverid", "dns", "search")} == {
        "ip": "10.244.1.3",
        "mask": "24",
        "router": "10.244.1.1",
        "mtu": "1450",
        "lease": "86400",
        "serverid": "10.244.1.1",
        "dns": "10.96.0.10",
        "search": "default.svc.cluster.local svc.cluster.local cluster.local",
    }
    assert "staticroutes" not in told, "the pod's other route is implied by the default one"


def test_a_remembered_address_is_confirmed_at_once(pod: Pod, agent: Agent) -> None:
    """dhclient with a lease file asks for its old address (INIT-REBOOT), here of a server that knows no leases."""
    pid = agent.prestart()["dhcp"]["pid"]
    with Dhclient(pod.guest) as client:
        client.acquire()
        client.stop()
        kill(pid)
        assert agent.prestart()["dhcp"]["pid"] != pid
        with Sniffer(pod.guest, "eth0") as sniffer:
            assert client.acquire().addresses == ("10.244.1.3/24",)
        messages = [frame.packet()["DHCP options"].options[0] for frame in sniffer.frames if frame.is_dhcp()]
    assert messages == [("message-type", 3), ("message-type", 5)]


def test_a_remembered_address_of_another_pod_is_refused_at_once(make_pod: MakePod) -> None:
    """The same disk in a new pod: NAK, then the new address within two seconds and not after a timeout."""
    old, new = make_pod("flannel"), make_pod("ovn-kubernetes")
    with Agent(old) as agent, Dhclient(old.guest) as client:
        agent.prestart()
        lease = client.acquire().lease
    with Agent(new) as agent, Dhclient(new.guest) as client:
        agent.prestart()
        client.remember(lease)
        observed = client.acquire()
        assert observed.addresses == ("10.244.2.5/24",)
        assert observed.seconds < 2
        assert "DHCPNAK" in client.log()


@pytest.mark.parametrize(
    ("client", "names"),
    [(Udhcpc, 6), (Dhclient, 6), (NetworkManager, 6), (Dhcpcd, 7), (Networkd, 4)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_search_list_beyond_255_bytes(
    make_pod: MakePod, client: type[Client], names: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Split by RFC 3396, over all fields of a message of 576 bytes, in which the first six of the names have room.

    dhcpcd takes messages of 1472 bytes, hence all names. So does systemd-networkd, but 252 reads each part as a list by
    itself and keeps the last that makes sense: the first, which is cut for it at the end of a name.
    """
    monkeypatch.setattr(Dhcpcd, "probing", False)
    pod = make_pod(resolv_conf=f"nameserver 192.0.2.53\nsearch {' '.join(LONG_SEARCH)}\n")
    network = pod.shape.guest
    assert network
    with Agent(pod) as agent, client(pod.guest) as running:
        agent.prestart()
        observed = running.acquire()
        assert_lease(running, observed, network, dns=("192.0.2.53",), search=LONG_SEARCH[:names])
        if client is Udhcpc:  # Debian 12's script does not use what it is told
            assert f"search={' '.join(LONG_SEARCH[:names])}" in observed.lease.splitlines()


@pytest.mark.parametrize(("octets", "names"), [(255, 5), (256, 4)])
def test_the_longest_search_list_that_systemd_networkd_takes(make_pod: MakePod, octets: int, names: int) -> None:
    """All of a list that is one option; of one octet more, as many names as the first part holds."""
    stems = ("a" * 46, "b" * 46, "c" * 46, "d" * 46, "e" * (octets - 209))
    search = tuple(f"{stem}.t{stem[0]}" for stem in stems)
    assert sum(len(name) + 2 for name in search) == octets
    pod = make_pod(resolv_conf=f"nameserver 192.0.2.53\nsearch {' '.join(search)}\n")
    network = pod.shape.guest
    assert network
    with Agent(pod) as agent, Networkd(pod.guest) as running:
        agent.prestart()
        assert_lease(running, running.acquire(), network, dns=("192.0.2.53",), search=search[:names])


def test_options_by_number_reach_the_client(make_pod: MakePod, tmp_path: Path) -> None:
    """Text and hexadecimal digits; udhcpc tells its script the octets of options that it does not know."""
    options = {224: "0x00ff10", 240: "a text", 254: "0xfe"}
    private = [{"option": number, "value": value} for number, value in options.items()]
    interface = {
        "name": "default",
        "bridge": {},
        "dhcpOptions": {
            "ntpServers": ["192.0.2.123"],
            "tftpServerName": "tftp.test",
            "bootFileName": "boot.ipxe",
            "privateOptions": private,
        },
    }
    manifest = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "annotations": {"virt-launcher.io/mac": "pod"}},
        "spec": {
            "domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": [interface]}},
            "networks": [{"name": "default", "pod": {}}],
        },
    }
    path = tmp_path / "vmi.json"
    path.write_text(json.dumps(manifest))
    pod = make_pod()
    with Agent(pod) as agent, Udhcpc(pod.guest) as client:
        agent.prestart("--vmi", path)
        client.asked = ("42", "66", "67", "224", "240", "254")
        told = dict(line.split("=", 1) for line in client.acquire().lease.splitlines() if "=" in line)
    names = ("ntpsrv", "tftp", "bootfile", "opt224", "opt240", "opt254")
    assert [told[name] for name in names] == [
        "192.0.2.123",
        "tftp.test",
        "boot.ipxe",
        "00ff10",
        b"a text".hex(),
        "fe",
    ]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@pytest.mark.parametrize("shape", ["flannel", "calico"])
@pytest.mark.parametrize("count", [40, 200])
def test_a_long_list_of_routes(
    make_pod: MakePod, client: type[Client], shape: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every client has its default route and the first of the others, as many as its messages hold; none is garbled."""
    monkeypatch.setattr(Dhcpcd, "probing", False)
    pod = make_pod(shape)
    network = pod.shape.guest
    assert network
    gateway = {"flannel": "10.244.1.7", "calico": "169.254.1.7"}[shape]
    listed = [(f"10.{100 + n // 100}.{n % 100}.0/24", gateway) for n in range(count)]
    pod.pod.ip(*(f"route add {destination} via {gateway} dev eth0 onlink" for destination, _ in listed))
    with Agent(pod) as agent, client(pod.guest) as running:
        warnings = agent.prestart()["warnings"]
        observed = running.acquire()
    assert bool(warnings) == (count > 50)
    assert observed.router == network.router
    got = {route for route in observed.routes if route[1] == gateway}
    held = 0 if not client.classless_routes else 40 if count == 40 else 49  # beside what NetworkManager asks for
    assert got >= set(listed[:held])
    assert got <= set(listed)
    known = {f"{address}/32" for address in (gateway, network.router, *DNS)} | {network.address, "0.0.0.0/0"}
    known |= {str(ipaddress.ip_interface(network.address).network), f"{network.address.partition('/')[0]}/32"}
    assert {destination for destination, via in observed.routes if via != gateway} <= known


@pytest.mark.parametrize("client", [Dhclient, Networkd, Dhcpcd], ids=lambda client: client.name)
@pytest.mark.parametrize(
    ("odd", "kept"),
    [
        ("bad..name -", ()),
        ("-foo.test", ()),
        ("a$b.test _tcp.test", ()),
        ("foo,com", ("foo", "com")),
        ("a_b.test X--y.test.", ("a_b.test", "x--y.test")),
        (f"{'a' * 64}.test münchen.test foo-.test", ()),
    ],
)
def test_odd_resolver_entries_cost_only_themselves(
    make_pod: MakePod, client: type[Client], odd: str, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dhcpcd, "probing", False)
    resolv_conf = f"nameserver nonsense\nnameserver 192.0.2.53\nsearch good.test {odd} last.test\noptions ndots:5\n"
    pod = make_pod(resolv_conf=resolv_conf)
    with Agent(pod) as agent, client(pod.guest) as running:
        agent.prestart()
        observed = running.acquire()
    assert (observed.nameservers, observed.addresses) == (("192.0.2.53",), ("10.244.1.3/24",))
    assert observed.search == ("good.test", *kept, "last.test")


@pytest.mark.parametrize(
    ("policy", "dns", "search"),
    [
        ("None", ("192.0.2.1", "192.0.2.2"), ("own.test",)),
        ("ClusterFirst", (*DNS, "192.0.2.1", "192.0.2.2"), (*SEARCH, "own.test")),
        ("Default", (*DNS, "192.0.2.1", "192.0.2.2"), (*SEARCH, "own.test")),
    ],
)
def test_the_dns_policy_and_configuration_of_the_manifest(
    make_pod: MakePod, tmp_path: Path, policy: str, dns: tuple[str, ...], search: tuple[str, ...]
) -> None:
    """Merged with the pod's as the kubelet does it, or in its place; where it has done so that changes nothing."""
    config = {"nameservers": ["192.0.2.1", "192.0.2.2"], "searches": ["own.test"]}
    manifest = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "annotations": {"virt-launcher.io/mac": "pod"}},
        "spec": {"domain": {"memory": {"guest": "64Mi"}}, "dnsPolicy": policy, "dnsConfig": config},
    }
    path = tmp_path / "vmi.json"
    path.write_text(json.dumps(manifest))
    pod = make_pod()
    with Agent(pod) as agent, Dhclient(pod.guest) as client:
        agent.prestart("--vmi", path)
        observed = client.acquire()
        assert (observed.nameservers, observed.search) == (dns, search)
        pod.pod.write_resolv_conf("".join(f"nameserver {server}\n" for server in dns) + f"search {' '.join(search)}\n")
        printed = json.loads(agent.run("prestart", "--vmi", path, "--dry-run", "--output", "json", check=True).stdout)
        assert [(c["dns"], c["search"]) for c in printed["configs"]] == [(list(dns), list(search))]


def test_without_a_resolver_none_is_invented(make_pod: MakePod) -> None:
    pod = make_pod(resolv_conf="")
    with Agent(pod) as agent, Dhclient(pod.guest) as client:
        agent.prestart()
        observed = client.acquire()
    assert (observed.nameservers, observed.search) == ((), ())
    assert "domain-name" not in observed.lease


def test_two_vms_of_one_node_get_their_own(pod: Pod, agent: Agent) -> None:
    """Both servers call themselves by the gateway's address; neither hears the other's guest."""
    agent.prestart()
    with Namespace("guest", resolv_conf="") as guest, Agent(pod, pod.neighbour) as other:
        mac = pod.neighbour.link("eth0")["address"]
        guest.ip(f"link add eth0 address {mac} type veth peer name tap0 netns {pod.neighbour.name}")
        other.prestart()
        with Udhcpc(pod.guest) as first, Udhcpc(guest) as second:
            second.start()
            assert first.acquire().addresses == ("10.244.1.3/24",)
            assert second.acquire().addresses == ("10.244.1.4/24",)
            assert pings(pod.guest, "10.244.1.4")
            assert pings(guest, "10.244.1.3")


def test_a_guest_port_that_goes_down_and_up_is_served_again(pod: Pod, agent: Agent) -> None:
    """As when a VM is powered off and on: the tap loses its carrier and gets it back."""
    agent.prestart()
    with Udhcpc(pod.guest) as client:
        client.acquire()
    pod.guest.ip("link set eth0 down", "addr flush dev eth0")
    pod.pod.ip(f"link set {GUEST_PORT} down", f"link set {GUEST_PORT} up")
    with Udhcpc(pod.guest) as client:
        assert client.acquire().addresses == ("10.244.1.3/24",)
