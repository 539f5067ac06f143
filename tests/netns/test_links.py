"""The links of a namespace as this program reads them, next to what ip(8) says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lab.namespace import Namespace

from dhcp.lean.frozen import replace
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import Link

pytestmark = pytest.mark.root

IFF_RUNNING = 0x40
"""Which ip(8) does not show."""
GENERATION = {"eui64": 0, "none": 1, "stable_secret": 2, "random": 3}
LINKS = (
    "link add br0 type bridge",
    "link add v0 type veth peer name v1",
    "link add v2 type veth peer name v3",
    "link set v0 master br0 address 02:00:00:00:00:01 alias network up",
    "link set v1 addrgenmode none mtu 1400",
    "tuntap add dev t0 mode tap user 107 multi_queue",
    "tuntap add dev t1 mode tap",
    "tuntap add dev t2 mode tun user 107",
    "link set t1 master br0",
    "link set dev t1 type bridge_slave learning off",
    "link add vx type vxlan id 7 dev v0 dstport 4789",
    "link add mv link v2 type macvtap mode bridge",
)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace("links") as one, Namespace("other") as other:
        one.ip(*LINKS, f"link set v3 netns {other.name}")
        yield one


def test_links_are_what_the_kernel_has(namespace: Namespace) -> None:
    with namespace.entered(), Netlink() as netlink:
        found = {link.name: replace(link, flags=link.flags & ~IFF_RUNNING) for link in netlink.links()}
    told = {link["ifname"]: link for link in namespace.ip_json("-d link show")}
    indexes = {name: link["ifindex"] for name, link in told.items()}
    assert found == {name: expected(link, indexes) for name, link in told.items()}


def expected(link: dict[str, Any], indexes: dict[str, int]) -> Link:
    info = link.get("linkinfo", {})
    data, port = info.get("info_data", {}), info.get("info_slave_data", {})
    is_tap = data.get("type") == "tap"
    flags = {"UP": 1, "BROADCAST": 2, "LOOPBACK": 8, "POINTOPOINT": 0x10, "NOARP": 0x80, "MULTICAST": 0x1000}
    flags |= {"LOWER_UP": 0x10000, "NO-CARRIER": 0, "M-DOWN": 0}
    lower = link.get("link") or data.get("link")
    return Link(
        index=link["ifindex"],
        name=link["ifname"],
        kind=info.get("info_kind", ""),
        mac=link.get("address", ""),
        mtu=link["mtu"],
        flags=sum(flags[name] for name in link["flags"]),
        master=indexes.get(link.get("master", ""), 0),
        alias=link.get("ifalias", ""),
        addr_gen_mode=GENERATION[link["inet6_addr_gen_mode"]],
        learning=port.get("learning"),
        parent=link.get("link_index") or indexes.get(lower or "", 0),
        parent_elsewhere="link_netnsid" in link,
        multi_queue=data["multi_queue"] if is_tap else None,
        tap_owner=int(data["user"]) if is_tap and "user" in data else None,
    )
