"""Whatever a pod or a program gives, the server takes what is made of it, or it is refused before the first change."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.scenes import eth0
from lab.vmnetworks import bridged, masqueraded

from dhcp.config import parse_configs
from dhcp.lean.frozen import replace
from dhcp.v4.lease import prepare_lease
from dhcp.v6.router_advertisement import RDNSS
from dhcp.wire.addresses import is_unicast, parse_ipv4
from dhcp.wire.ndp import ADVERTISEMENT
from launcher.dhcpconfig.client import warnings_of
from launcher.manifest.objects import choose
from launcher.request import SetupRequest
from launcher.serve import require_servable
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import check_vmi
from launcher.vmi.model import DHCPOptions, InterfaceSpec
from netsetup.errors import InvalidRequest
from netsetup.model.kernel import AF_INET, AF_INET6, SCOPE_LINK, Address, Neighbour, Route
from netsetup.model.pod_interface import DNSRequest, PodInterface, Resolver
from netsetup.model.vm_network import VMNetwork
from netsetup.record import Record, require_readable
from netsetup.resolver import MOST_ENTRIES, MOST_PROBLEMS, merge_dns, parse_resolver

MAC = "02:00:00:00:00:09"
POD4 = (Address(AF_INET, "10.0.0.5", 24),)
POD6 = (Address(AF_INET6, "fd00::5", 64),)
ROUTES4 = (
    Route(AF_INET, "10.0.0.0/24", interface=2, scope=SCOPE_LINK),
    Route(AF_INET, "0.0.0.0/0", interface=2, gateway="10.0.0.1"),
)
ROUTES6 = (Route(AF_INET6, "fd00::/64", interface=2), Route(AF_INET6, "::/0", interface=2, gateway="fe80::1"))

SERVERS4 = tuple(f"192.0.2.{n}" for n in range(1, 255)) + tuple(f"198.51.100.{n}" for n in range(1, 47))
SERVERS6 = tuple(f"fd00::{n:x}" for n in range(16, 36))
NAMES = tuple(f"n{n}.example{n}.test" for n in range(5000))


def network(**given: Any) -> VMNetwork:
    """A pod of both families, unless said otherwise."""
    options, mtu = given.pop("options", None), given.pop("mtu", 1450)
    pod = {"addresses": POD4 + POD6, "routes": ROUTES4 + ROUTES6} | given
    made = bridged(PodInterface(eth0(mtu=mtu), **pod), mtu=mtu)
    return replace(made, options=options) if options else made


def served(*networks: VMNetwork) -> list[dict[str, Any]]:
    """The configurations, as the server takes them."""
    record = Record("boot", 1, {net.name: net for net in networks})
    require_readable(record)
    configs: list[dict[str, Any]] = require_servable(record)
    for config in parse_configs(configs):
        prepare_lease(config, bytes(6))
    warnings_of(networks)
    return configs


def advertisement(config: dict[str, Any]) -> bytes:
    lease = prepare_lease(parse_configs([config])[0], bytes(6)).ipv6
    assert lease
    assert len(lease.advertisement) <= lease.room
    return lease.advertisement


# --- what the environment gives: served as far as it goes -------------------------------------------------------------


@pytest.mark.parametrize("mtu", [576, 1280, 1450, 9000, 65535])
def test_of_too_much_the_first_is_served_and_the_rest_is_reported(mtu: int) -> None:
    text = "".join(f"nameserver {server}\n" for server in SERVERS4 + SERVERS6) + f"search {' '.join(NAMES)}\n"
    net = network(resolver=parse_resolver(text), mtu=mtu)
    (config,) = served(net)
    assert config["dns"] == list(SERVERS4[:16])
    assert config["search"] == list(NAMES[:256])
    if mtu >= 1280:
        assert config["dns6"] == list(SERVERS6[:16])
        octets = advertisement(config)[ADVERTISEMENT.size :]
        assert bytes((RDNSS, 33)) in octets, "all sixteen name servers"
    lines = warnings_of([net])
    assert len(lines) < 50
    assert any("search list: 1000 names are more than 256" in line for line in lines)
    assert f"nameserver {SERVERS4[16]}: one of more than 16; left out" in lines
    assert any(line.endswith("more entries of the resolver configuration are left out") for line in lines)


def test_a_resolver_configuration_is_bounded() -> None:
    bad = "\n".join(f"nameserver nowhere{n}" for n in range(5000))
    resolver = parse_resolver(f"{bad}\nsearch {' '.join(NAMES)}\noptions {' '.join(NAMES)}\n")
    assert (len(resolver.search), len(resolver.options)) == (MOST_ENTRIES, MOST_ENTRIES)
    assert len(resolver.problems) == MOST_PROBLEMS + 1
    assert resolver.problems[-1] == f"{5000 + 4000 - MOST_PROBLEMS} more entries for name resolution are left out"


@pytest.mark.parametrize(
    ("address", "mac", "fault"),
    [
        ("10.0.0.5", MAC, "the address is the VM's own"),
        ("fd00::5", MAC, "the address is the VM's own"),
        ("10.0.0.9", "03:bf:0a:00:00:09", "the MAC is no interface's"),
        ("fd00::9", "00:00:00:00:00:00", "the MAC is no interface's"),
        ("fe80::1", "33:33:00:00:00:01", "the MAC is no interface's"),
    ],
)
def test_a_neighbour_that_cannot_be_answered_for_is_left_out(address: str, mac: str, fault: str) -> None:
    family = AF_INET6 if ":" in address else AF_INET
    net = network(neighbours=(Neighbour(family, address, mac), Neighbour(AF_INET, "10.0.0.1", MAC)))
    (config,) = served(net)
    assert config["neighbours"] == {"10.0.0.1": MAC}
    assert "router6_lladdr" not in config
    assert warnings_of([net]) == (f"network default: neighbour {address} at {mac}: {fault}; it is not answered for",)


def test_more_prefixes_than_an_advertisement_holds_are_reported() -> None:
    many = tuple(Route(AF_INET6, f"fd01:{n:x}::/32", interface=2) for n in range(1, 200))
    net = network(addresses=POD6, routes=(ROUTES6[0], *many))
    (config,) = served(net)
    advertisement(config)
    assert warnings_of([net]) == ("network default: router advertisements have room for only 20 of 199 IPv6 prefixes",)


def test_names_that_an_advertisement_does_not_hold_are_reported() -> None:
    net = network(addresses=POD6, routes=ROUTES6, resolver=Resolver(search=NAMES[:100]))
    (config,) = served(net)
    advertisement(config)
    (line,) = warnings_of([net])
    assert line.startswith("network default: router advertisements have room for only ")
    assert line.endswith(" of 100 search names")


@pytest.mark.parametrize("address", ["240.0.0.5", "255.255.255.1"])
def test_a_pod_of_the_reserved_range_is_served(address: str) -> None:
    """As some clouds have them."""
    gateway = str(ipaddress.ip_address(address) + 1)
    routes = (Route(AF_INET, "0.0.0.0/0", interface=2, gateway=gateway),)
    (config,) = served(network(addresses=(Address(AF_INET, address, 24),), routes=routes))
    assert (config["client_address"], config["router"]) == (f"{address}/32", gateway)


def test_what_is_of_ipv4_is_reported_where_there_is_none() -> None:
    net = network(addresses=POD6, routes=ROUTES6, options=options_of(ntp=("192.0.2.1",)))
    served(net)
    assert warnings_of([net]) == ("network default: dhcpOptions are of IPv4, and there is no IPv4 address; left out",)


def test_name_servers_of_the_other_family_alone_are_reported() -> None:
    only6 = network(addresses=POD4, routes=ROUTES4, resolver=Resolver(("fd00::53",)))
    line = "the VM has no name server: the pod's are all of the IP version that the VM has no address of"
    assert warnings_of([only6]) == (line,)
    assert warnings_of([only6, replace(network(resolver=Resolver(("fd00::53",))), name="second")]) == ()
    assert warnings_of([network(addresses=POD4, routes=ROUTES4, resolver=Resolver(("fd00::53", "192.0.2.1")))]) == ()


def test_a_mapped_address_is_that_of_ipv4() -> None:
    assert parse_resolver("nameserver ::ffff:192.0.2.1").nameservers == ("192.0.2.1",)


def test_a_subdomain_that_makes_no_name_is_reported() -> None:
    options = replace(options_of(), subdomain="a b")
    net = network(resolver=Resolver(search=("ns.svc.cluster.local",)), options=options)
    assert served(net)[0]["search"] == ["ns.svc.cluster.local"]
    assert [line.partition(":")[0] for line in warnings_of([net])] == ["search a b.ns.svc.cluster.local"]


def test_what_is_left_out_is_quoted_in_short() -> None:
    (line,) = parse_resolver(f"nameserver {'x' * 900_000}\noptions {'y' * 900_000}").problems
    assert len(line) < 400


def test_options_without_room_are_reported() -> None:
    ntp = SERVERS4[:20]
    net = network(options=options_of(private=((224, "x" * 400), (225, "y" * 1000)), ntp=ntp, boot_file="z" * 200))
    (config,) = served(net)
    assert config["ntp"] == list(ntp[:16])
    lines = warnings_of([net])
    assert [line for line in lines if line.startswith("NTP")] == [
        f"NTP server {server}: one of more than 16; left out" for server in ntp[16:]
    ]
    whole, small = lines[4:]
    assert whole.endswith("DHCP messages of 1450 octets have room for only 0 of 1 option 225")
    assert "of 576 octets" in small
    assert "0 of 1 option 224, 0 of 1 option 225" in small


def options_of(**options: Any) -> Any:
    interface = InterfaceSpec(name="default", dhcp_options=DHCPOptions(**options))
    return SetupRequest.of(interface).guest_options(interface, "vm")


# --- what an author writes: taken, or refused by its path -------------------------------------------------------------

BASE = "spec.domain.devices.interfaces[0].dhcpOptions"


def manifest(dhcp_options: object = None, **spec: object) -> Any:
    interface = {"name": "default", "bridge": {}, "dhcpOptions": dhcp_options}
    domain = {"memory": {"guest": "64Mi"}, "devices": {"interfaces": [interface]}}
    spec = {"domain": domain, "networks": [{"name": "default", "pod": {}}], **spec}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "vm"}, "spec": spec}


def admitted(document: object) -> Any:
    return check_vmi(choose([document], "manifest", None))


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"bootFileName": "a b"}, f"{BASE}.bootFileName"),
        ({"bootFileName": "ä"}, f"{BASE}.bootFileName"),
        ({"bootFileName": "a" * 256}, f"{BASE}.bootFileName"),
        ({"tftpServerName": "tftp example"}, f"{BASE}.tftpServerName"),
        ({"tftpServerName": "\n"}, f"{BASE}.tftpServerName"),
        ({"ntpServers": ["ntp.example"]}, f"{BASE}.ntpServers[0]"),
        ({"ntpServers": ["192.0.2.1", "::1"]}, f"{BASE}.ntpServers[1]"),
        ({"privateOptions": [{"option": 224, "value": ""}]}, f"{BASE}.privateOptions[0].value"),
        ({"privateOptions": [{"option": 224, "value": "0x1"}]}, f"{BASE}.privateOptions[0].value"),
        ({"privateOptions": [{"option": 254, "value": "a" * 1025}]}, f"{BASE}.privateOptions[0].value"),
        ({"privateOptions": [{"option": 224, "value": "a"}] * 2}, f"{BASE}.privateOptions[1].option"),
        ({"privateOptions": [{"option": 53, "value": "a"}]}, f"{BASE}.privateOptions[0].option"),
    ],
)
def test_an_option_that_the_server_would_not_take_is_refused_by_its_path(options: object, path: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        admitted(manifest(options))
    assert refusal.value.path == path


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"searches": ["good.test", "b\nnameserver 192.0.2.66"]}, "spec.dnsConfig.searches[1]"),
        ({"searches": ["a..b"]}, "spec.dnsConfig.searches[0]"),
        ({"searches": ["-a"]}, "spec.dnsConfig.searches[0]"),
        ({"nameservers": ["fe80::1%eth0 192.0.2.66"]}, "spec.dnsConfig.nameservers[0]"),
        ({"nameservers": ["224.0.0.1"]}, "spec.dnsConfig.nameservers[0]"),
    ],
)
def test_a_name_that_clients_refuse_is_refused_by_its_path(config: object, path: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        admitted(manifest(dnsConfig=config))
    assert refusal.value.path == path


def test_a_request_is_data_and_not_the_text_of_a_file() -> None:
    """Of a program, which no manifest's rules have gone before."""
    request = DNSRequest(False, ("192.0.2.1\nnameserver 192.0.2.66",), ("a.test\nnameserver 192.0.2.66", "b.test"))
    merged = merge_dns(Resolver(), request)
    assert (merged.nameservers, merged.search) == ((), ("b.test",))
    assert all(line.isprintable() and line.endswith("left out (dnsConfig)") for line in merged.problems)


TEXT = st.text(st.characters(), max_size=40)
WORD = st.one_of(TEXT, st.sampled_from(["a.test", "a" * 64, "0x00", "192.0.2.1", "::1%eth0", "tftp.example", "a b"]))
ADDRESS4 = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
ADDRESS6 = st.integers(0, 2**128 - 1).map(lambda n: str(ipaddress.IPv6Address(n)))
PRIVATE = st.fixed_dictionaries({"option": st.integers(220, 256), "value": WORD})


@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "bootFileName": WORD,
            "tftpServerName": WORD,
            "ntpServers": st.lists(st.one_of(WORD, ADDRESS4), max_size=70),
            "privateOptions": st.lists(PRIVATE, max_size=4),
        },
    ),
    dns=st.fixed_dictionaries({}, optional={"nameservers": st.lists(WORD, max_size=4), "searches": st.lists(WORD)}),
    hostname=TEXT,
    resolv_conf=st.text(st.characters(), max_size=400).map(lambda text: f"search a.test {text}\nnameserver {text}"),
    mtu=st.sampled_from([576, 1280, 1450, 9000]),
)
@settings(max_examples=150)
def test_a_manifest_is_refused_or_served(
    options: object, dns: object, hostname: str, resolv_conf: str, mtu: int
) -> None:
    try:
        vmi = admitted(manifest(options, dnsConfig=dns))
    except ManifestError:
        return
    request = SetupRequest.from_vmi(vmi)
    made = network(resolver=merge_dns(parse_resolver(resolv_conf), request.dns), mtu=mtu)
    spec = request.interfaces["default"]
    served(replace(made, options=replace(request, hostname=None).guest_options(spec, hostname)))


@given(
    boot_file=WORD,
    private=st.lists(st.tuples(st.integers(-1, 256), WORD), max_size=3),
    ntp=st.lists(st.one_of(WORD, ADDRESS4), max_size=3),
    hostname=TEXT,
    neighbours=st.lists(st.tuples(st.one_of(ADDRESS4, ADDRESS6), st.binary(min_size=6, max_size=6)), max_size=4),
    gateways=st.lists(ADDRESS4.filter(lambda address: is_unicast(parse_ipv4(address))), max_size=4),
    is_masqueraded=st.booleans(),
)
@settings(max_examples=150)
def test_a_programs_request_is_refused_or_served(
    boot_file: str,
    private: list[tuple[int, str]],
    ntp: list[str],
    hostname: str,
    neighbours: list[tuple[str, bytes]],
    gateways: list[str],
    is_masqueraded: bool,
) -> None:
    """With any neighbours and routes in the pod that a kernel takes, which nobody is refused for."""
    found = tuple(Neighbour(AF_INET6 if ":" in a else AF_INET, a, mac.hex(":")) for a, mac in neighbours)
    via = tuple(Route(AF_INET, f"10.{n}.0.0/16", interface=2, gateway=g) for n, g in enumerate(gateways, 1))
    made = network(neighbours=found, routes=ROUTES4 + ROUTES6 + (() if is_masqueraded else via))
    if is_masqueraded:
        made = masqueraded(made.pod)
    asked = replace(options_of(boot_file=boot_file, private=tuple(private), ntp=tuple(ntp)), hostname=hostname)
    refusal = ""
    try:
        served(replace(made, options=asked))
    except InvalidRequest as error:
        refusal = str(error)
    assert refusal.isprintable()
    assert refusal == "" or "network default: dhcpOptions." in refusal or "the record of this set-up: " in refusal
