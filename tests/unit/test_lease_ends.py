"""Addresses that run out: what the server makes of the time, and what is put back."""

from __future__ import annotations

from typing import Any

import pytest

from dhcp.config import ClientConfig, parse_configs
from dhcp.lifetimes import config_at
from dhcp.v4.lease import prepare_lease
from netsetup.model.kernel import AF_INET, AF_INET6, FOREVER, IFF_UP, TABLE_LOCAL, Address, Link, Route
from netsetup.model.pod_interface import PodInterface

CONFIG = {"client_mac": "02:00:00:00:00:01", "client_address": "10.0.0.2/24", "server_address": "10.0.0.1"}
BOTH = {**CONFIG, "client_address6": "fd00::2/64", "router6": "fe80::1"}


def config(**fields: Any) -> ClientConfig:
    (parsed,) = parse_configs({**BOTH, **fields})
    return parsed


@pytest.mark.parametrize(
    ("left", "times"),
    [
        (10**6, (3600, 75600, 86400)),
        (86400, (3600, 75600, 86400)),
        (86399, (3600, 75599, 86399)),
        (600, (300, 525, 600)),
        (4, (2, 3, 4)),
    ],
)
def test_the_lease_is_what_is_left(left: int, times: tuple[int, int, int]) -> None:
    served = config_at(config(lease_end=5000 + left), 5000)
    assert (served.t1_seconds, served.t2_seconds, served.lease_seconds) == times
    assert served.client_address
    infinite = config_at(config(lease_seconds=0xFFFFFFFF, lease_end=5000 + 600), 5000)
    assert (infinite.t1_seconds, infinite.t2_seconds, infinite.lease_seconds) == (300, 525, 600)


@pytest.mark.parametrize("now", [4997, 5000, 9999])
def test_an_address_that_has_run_out_is_not_served(now: int) -> None:
    served = config_at(config(lease_end=5000, lease_end6=5000), now)
    assert served.ipv6
    assert (served.client_address, served.ipv6.client_address) == (b"", b"")
    prepare_lease(served, bytes(6))


@pytest.mark.parametrize(
    ("valid", "preferred", "times"),
    [
        (900, 500, (250, 437, 500, 900)),
        (900, 900, (450, 787, 900, 900)),
        (900, 0, (450, 787, 0, 900)),
        (10**6, 10**6, (3600, 75600, 86400, 86400)),
        (10**6, 5000, (2500, 4375, 5000, 86400)),
    ],
)
def test_ipv6_has_two_lifetimes(valid: int, preferred: int, times: tuple[int, ...]) -> None:
    served = config_at(config(lease_end6=5000 + valid, preferred_end6=5000 + preferred), 5000)
    assert served.ipv6
    assert served.ipv6.times == times
    assert served.lease_seconds == 86400, "IPv4 does not run out with it"
    lease = prepare_lease(served, bytes(6)).ipv6
    assert lease
    assert lease.lifetimes == times
    prefix = lease.advertisement.index(bytes((3, 4, 64)))
    words = [int.from_bytes(lease.advertisement[prefix + at : prefix + at + 4], "big") for at in (4, 8)]
    assert words == [times[3], times[2]]


def test_what_never_runs_out_is_served_as_configured() -> None:
    assert config_at(config(), 10**9) == config()


def address(text: str, valid: int = FOREVER, preferred: int = FOREVER, **more: Any) -> Address:
    plain, _, length = text.partition("/")
    family = AF_INET6 if ":" in plain else AF_INET
    read_at = 1000 if valid != FOREVER else 0
    return Address(
        family, plain, int(length), valid_seconds=valid, preferred_seconds=preferred, read_at=read_at, **more
    )


def route(destination: str, **more: Any) -> Route:
    return Route(AF_INET6 if ":" in destination else AF_INET, destination, interface=2, **more)


def pod(*addresses: Address, routes: tuple[Route, ...] = ()) -> PodInterface:
    return PodInterface(Link(2, "eth0", "veth", "02:00:00:00:00:01", 1500, IFF_UP, 0, "", 0, None), addresses, routes)


def test_addresses_come_back_with_what_is_left() -> None:
    before = pod(address("10.0.0.5/24", 600, 300), address("10.0.1.5/24"))
    (limited, lasting) = before.at(1400).addresses
    assert (limited.valid_seconds, limited.preferred_seconds) == (200, 0)
    assert lasting == before.addresses[1]
    assert before.at(0) == before.at(1000) == before
    assert limited.key == before.addresses[0].key


def test_with_an_address_go_its_routes() -> None:
    own = (
        route("10.0.0.0/24", proto=2, preferred_source="10.0.0.5"),
        route("10.0.0.5/32", proto=2, table=TABLE_LOCAL, preferred_source="10.0.0.5"),
        route("10.7.0.0/16", preferred_source="10.0.0.5"),
        route("fd00::/64", proto=2),
        route("fd00::5/128", proto=2, table=TABLE_LOCAL),
    )
    others = (route("10.0.1.0/24", proto=2, preferred_source="10.0.1.5"), route("0.0.0.0/0", gateway="10.0.1.1"))
    others += (route("::/0", gateway="fe80::1"),)
    before = pod(
        address("10.0.0.5/24", 600, 600), address("fd00::5/64", 600, 600), address("10.0.1.5/24"), routes=own + others
    )
    assert before.at(1599).routes == own + others
    assert before.at(1600).routes == others
    assert [a.address for a in before.at(1600).addresses] == ["10.0.1.5"]


def test_with_the_last_ipv4_address_goes_all_of_ipv4() -> None:
    routes = (route("0.0.0.0/0", gateway="10.0.0.1"), route("::/0", gateway="fe80::1"))
    assert pod(address("10.0.0.5/24", 600, 600), routes=routes).at(2000).routes == routes[1:]


def test_a_prefix_stays_with_another_address_of_it() -> None:
    connected = route("10.0.0.0/24", proto=2, preferred_source="10.0.0.6")
    before = pod(address("10.0.0.5/24", 600, 600), address("10.0.0.6/24"), routes=(connected,))
    assert before.at(2000).routes == (connected,)


def test_a_lifetime_that_is_set_anew_is_taken() -> None:
    before = pod(address("10.0.0.5/24", 600, 600))
    (recorded,) = before.addresses
    read_again = recorded.at(1300)
    assert before.with_renewed([read_again]) is before
    longer = Address(AF_INET, "10.0.0.5", 24, valid_seconds=600, preferred_seconds=600, read_at=1300)
    assert before.with_renewed([longer]).addresses == (longer,)
    lasting = Address(AF_INET, "10.0.0.5", 24)
    assert before.with_renewed([lasting]).addresses == (lasting,)
    assert pod(lasting).with_renewed([longer]).addresses == (longer,)
    assert before.with_renewed([]) is before
