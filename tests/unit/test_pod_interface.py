"""Which interfaces can serve a VM: those that the kernel of the tests has not got are data here."""

from __future__ import annotations

import struct

import pytest

from netsetup.admission import pod_interface, require_bridge_port
from netsetup.errors import UnsupportedInterface
from netsetup.kernel.rtnl_messages import ifinfmsg, link_of
from netsetup.model.kernel import IFF_UP, Link, Namespace
from netsetup.model.pod_interface import Resolver

CARRIER = 0x10000  # IFF_LOWER_UP
ETH0 = Link(2, "eth0", "veth", "0a:58:0a:f4:01:05", 1450, IFF_UP | CARRIER, 0, "", 0, None)


def eth0(**changes: object) -> Link:
    import dataclasses

    return dataclasses.replace(ETH0, **changes)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ((eth0(kind="macvlan"),), "eth0: a macvlan device lets no second MAC through; use macvtap or masquerade"),
        ((eth0(kind="ipvlan"),), "eth0: a ipvlan device lets no second MAC through; use masquerade"),
        ((eth0(kind="ipvtap"),), "eth0: a ipvtap device lets no second MAC through; use masquerade"),
        (
            (eth0(master=7), Link(7, "red", "vrf", "0a:00:00:00:00:07", 65575, IFF_UP, 0, "", 0, None)),
            "eth0: a port of the vrf device red; release it$",
        ),
        (
            (eth0(master=7), Link(7, "bond0", "bond", "0a:00:00:00:00:07", 1500, IFF_UP, 0, "", 0, None)),
            "eth0: a port of the bond device bond0; release it, or give the VM bond0 itself",
        ),
        ((eth0(kind="ipip", mac="0.0.0.0"),), "eth0: not an Ethernet device"),
        ((eth0(kind="tun", mac=""),), "eth0: not an Ethernet device"),
        ((eth0(flags=IFF_UP),), "eth0: no carrier, nothing could reach the VM"),
    ],
    ids=["macvlan", "ipvlan", "ipvtap", "vrf", "bond", "tunnel", "tun", "carrier"],
)
def test_what_cannot_be_bridged_is_refused_with_what_to_use_instead(links: tuple[Link, ...], message: str) -> None:
    with pytest.raises(UnsupportedInterface, match=f"^{message}"):
        require_bridge_port(Namespace(links=links), links[0])


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_it_need_not_become_a_port(kind: str) -> None:
    """In the masquerade binding the pod keeps its interface."""
    found = pod_interface(Namespace(links=(eth0(kind=kind),)), "eth0", Resolver())
    assert found.name == "eth0"


def test_fallback_tunnels_beside_it_do_not_matter() -> None:
    """tunl0, gre0 and sit0 come with their modules, with link-layer addresses of four octets (KV#5735)."""
    octets = struct.pack("=HH", 10, 3) + b"tunl0\0" + b"\0\0" + struct.pack("=HH", 8, 1) + bytes(4)
    header = struct.pack("=IHHII", 16 + 16 + len(octets), 16, 0, 1, 0) + struct.pack("=BBHiII", 0, 0, 768, 3, 0x80, 0)
    message = ifinfmsg(header + octets)
    message.decode()
    tunl0 = link_of(message)
    assert (tunl0.name, tunl0.index) == ("tunl0", 3)
    found = pod_interface(Namespace(links=(ETH0, tunl0)), "eth0", Resolver())
    assert found.link == ETH0
