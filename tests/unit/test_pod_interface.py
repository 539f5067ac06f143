"""Which interfaces can serve a VM: those that the kernel of the tests has not got are data here."""

from __future__ import annotations

import re
import shutil
import struct
import sys
from pathlib import Path

import pytest

from netsetup.admission import pod_interface
from netsetup.bindings.registry import BUILT_IN
from netsetup.errors import UnsupportedInterface
from netsetup.kernel.rtnl_messages import link_of
from netsetup.model.kernel import AF_INET, AF_INET6, IFF_UP, SCOPE_LINK, Address, Link, Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.plan import admit

OUTSIDE = Path(__file__).parent.parent / "outside_binding"
CARRIER = 0x10000  # IFF_LOWER_UP
ETH0 = Link(2, "eth0", "veth", "0a:58:0a:f4:01:05", 1450, IFF_UP | CARRIER, 0, "", 0, None)
ADDRESS = Address(AF_INET, "10.244.1.5", 24, label="eth0")
LINK_LOCAL = Address(AF_INET6, "fe80::858:aff:fef4:105", 64, scope=SCOPE_LINK)


def eth0(**changes: object) -> Link:
    import dataclasses

    return dataclasses.replace(ETH0, **changes)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        (
            (eth0(kind="macvlan"),),
            "eth0: a macvlan device lets no second MAC through; use the fwd or masquerade binding$",
        ),
        ((eth0(kind="ipvlan"),), "eth0: an ipvlan device lets no second MAC through; use the masquerade binding$"),
        ((eth0(kind="ipvtap"),), "eth0: an ipvtap device lets no second MAC through; use the masquerade binding$"),
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
        admitted(links, "bridge")


def admitted(links: tuple[Link, ...], binding: str, *addresses: Address, mac: str | None = None) -> VMNetwork:
    observed = Namespace(links=links, addresses=tuple((2, address) for address in addresses or (ADDRESS,)))
    return admit(observed, NetworkRequest(binding=binding, mac=mac), Resolver())


@pytest.mark.parametrize("mac", [None, "52:54:00:00:00:01"])
@pytest.mark.parametrize("with_address", [True, False])
@pytest.mark.parametrize("kind", ["veth", "macvlan", "ipvlan", "ipvtap", ""])
@pytest.mark.parametrize("binding", BUILT_IN)
def test_what_is_named_instead_would_work(binding: str, kind: str, with_address: bool, mac: str | None) -> None:
    """Whatever a refusal recommends is admitted; what is not recommended is not."""
    links, address = (eth0(kind=kind),), ADDRESS if with_address else LINK_LOCAL
    try:
        admitted(links, binding, address, mac=mac)
    except UnsupportedInterface as refusal:
        advice = re.search(r"use the ([\w ]+) binding$", str(refusal))
        for other in set(BUILT_IN) - {binding}:
            if advice and other in advice[1].split(" or "):
                admitted(links, other, address, mac=mac)
            else:
                with pytest.raises(UnsupportedInterface):
                    admitted(links, other, address, mac=mac)
    else:
        assert binding == "masquerade" or kind in ("veth", "macvlan", "")


@pytest.mark.parametrize(("kind", "others"), [("macvlan", "fwd or masquerade or outside"), ("ipvlan", "masquerade")])
def test_bindings_of_others_are_named_where_they_would_work(
    kind: str, others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(OUTSIDE)
    with pytest.raises(UnsupportedInterface, match=f"lets no second MAC through; use the {others} binding$"):
        admitted((eth0(kind=kind),), "bridge")


@pytest.mark.parametrize("content", ["1 / 0", "admit = None", None])
def test_a_broken_one_is_not_named(content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(OUTSIDE, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    if content is not None:
        (tmp_path / "outside.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside", raising=False)
    with pytest.raises(UnsupportedInterface, match=r"lets no second MAC through; use the fwd or masquerade binding$"):
        admitted((eth0(kind="macvlan"),), "bridge")
    sys.modules.pop("outside", None)


@pytest.mark.parametrize("mac", [None, "52:54:00:00:00:01"])
def test_one_of_others_has_the_others_named(mac: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(OUTSIDE)
    link = eth0(kind="macvlan" if mac else "ipvlan")
    with pytest.raises(UnsupportedInterface, match=r"eth0: receives no frames for .*; use the masquerade binding$"):
        admitted((link,), "outside", mac=mac)


@pytest.mark.parametrize(("kind", "named"), [("macvlan", "macvlan"), ("", "hardware")])
def test_a_vm_behind_what_filters_macs_has_the_pods(kind: str, named: str) -> None:
    link, other = eth0(kind=kind), "52:54:00:00:00:01"
    assert admitted((link,), "fwd", mac=link.mac).mac == link.mac
    message = (
        f"eth0: a {named} device lets no MAC through but its own {link.mac}, and the VM's is {other}; give the VM that "
        "one \\(no macAddress, and the annotation virt-launcher.io/mac: pod\\), or use the .*masquerade binding$"
    )
    with pytest.raises(UnsupportedInterface, match=message):
        admitted((link,), "fwd", mac=other)
    assert admitted((eth0(),), "fwd", mac=other).mac == other


def test_fallback_tunnels_beside_it_do_not_matter() -> None:
    """tunl0, gre0 and sit0 come with their modules, with link-layer addresses of four octets (KV#5735)."""
    octets = struct.pack("=HH", 10, 3) + b"tunl0\0" + b"\0\0" + struct.pack("=HH", 8, 1) + bytes(4)
    tunl0 = link_of(struct.pack("=BBHiII", 0, 0, 768, 3, 0x80, 0) + octets)
    assert (tunl0.name, tunl0.index) == ("tunl0", 3)
    found = pod_interface(Namespace(links=(ETH0, tunl0)), "eth0", Resolver())
    assert found.link == ETH0
