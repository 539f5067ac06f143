"""Numbers that are the kernel's, as its headers have them."""

from __future__ import annotations

import pytest

from netsetup.bindings.registry import binding_of
from netsetup.model import kernel
from netsetup.model.kernel import AF_INET, AF_INET6, Neighbour
from netsetup.steps import DEVCONF4

NUMBERS = {
    "AF_INET": 2,
    "AF_INET6": 10,
    # linux/rtnetlink.h
    "SCOPE_UNIVERSE": 0,
    "SCOPE_LINK": 253,
    "SCOPE_HOST": 254,
    "TABLE_MAIN": 254,
    "TABLE_LOCAL": 255,
    "PROTO_KERNEL": 2,
    "RTN_UNICAST": 1,
    "RTN_LOCAL": 2,
    "RTNH_F_PERVASIVE": 2,
    "RTNH_F_ONLINK": 4,
    "USER_NEXTHOP_FLAGS": 6,
    # linux/if_addr.h
    "FOREVER": 2**32 - 1,
    "IFA_F_TEMPORARY": 0x01,
    "IFA_F_NODAD": 0x02,
    "IFA_F_TENTATIVE": 0x40,
    "IFA_F_MANAGETEMPADDR": 0x100,
    "IFA_F_STABLE_PRIVACY": 0x800,
    "IFAPROT_KERNEL_RA": 2,
    "USER_ADDRESS_FLAGS": 0x716,
    # linux/if.h, linux/if_link.h
    "IFF_UP": 1,
    "IFF_LOOPBACK": 8,
    "IFF_ALLMULTI": 0x200,
    "IFF_LOWER_UP": 0x10000,
    "ADDR_GEN_MODE_NONE": 1,
    # linux/neighbour.h
    "NUD_PERMANENT": 0x80,
    "NUD_KNOWN": 0x9E,
    "NUD_NOARP": 0x40,
    "NTF_PROXY": 0x08,
    "NTF_EXT_LEARNED": 0x10,
    "NTF_EXT_MANAGED": 1,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_number(name: str) -> None:
    assert getattr(kernel, name) == NUMBERS[name]


def test_settings_by_netlink() -> None:
    assert DEVCONF4 == {"arp_ignore": 19, "route_localnet": 26}  # linux/ip.h


def test_an_interface_has_one_entry_of_each_neighbour_and_one_that_is_proxied() -> None:
    entry = Neighbour(AF_INET6, "fd00::1", "ee:ee:ee:ee:ee:01", flags=0x80)  # a router
    assert entry.place == (AF_INET6, "fd00::1", 0)
    assert Neighbour(AF_INET, "10.0.0.1", "", flags=0x88).place == (AF_INET, "10.0.0.1", 8)


@pytest.mark.parametrize(("name", "is_private"), [("bridge", False), ("fwd", False), ("masquerade", True)])
def test_bindings_with_a_network_of_the_vms_own(name: str, is_private: bool) -> None:
    assert binding_of(name).is_private is is_private
