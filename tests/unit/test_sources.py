"""Further addresses of an isolated guest: what may be one, and what the rules make of several."""

from __future__ import annotations

import pytest

from netsetup.nft.allow_list import AllowList
from netsetup.nft.sources import further_rules6, own_sources4, parse_further, source_text


def test_canonical_and_none_twice() -> None:
    given = ["10.0.0.200", "10.99.0.0/16", "fd00:0::1", "10.0.0.200/32", "00:00:5E:00:02:0a"]
    assert parse_further(given) == ("10.0.0.200/32", "10.99.0.0/16", "fd00::1/128", "00:00:5e:00:02:0a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.0.0.0/0", "is too wide, must be /8 or longer"),
        ("::/0", "is too wide, must be /32 or longer"),
        ("fd00::/31", "is too wide, must be /32 or longer"),
        ("0.0.0.0", "is this network"),
        ("127.0.0.0/8", "is loopback"),
        ("169.254.169.254", "is link-local"),
        ("224.0.0.18", "is multicast, or reserved"),
        ("255.255.255.255", "is multicast, or reserved"),
        ("::", "is unspecified, loopback or mapped"),
        ("::ffff:10.0.0.1", "is unspecified, loopback or mapped"),
        ("fe80::1", "is link-local, of which the guest has its own"),
        ("ff02::12", "is multicast"),
        ("fd76:6c64:6e73::/48", "is ours"),
        ("10.0.0.1/8", "is no IP address, no network"),
        ("10.0.0.0/33", "is no IP address"),
        ("10.0.0.1%eth0", "is no IP address"),
        ("fd00::1%eth0", "is no IP address"),
        ("02:00:00:00:00:01", "is no IP address, no network and no MAC of a virtual router"),
        ("00:00:5e:00:03:01", "is no IP address"),
        ("a }; drop", "is no IP address"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_further([text])


def test_their_number_is_bounded() -> None:
    addresses = [f"10.0.0.{number}" for number in range(1, 66)]
    assert len(parse_further(addresses[:64])) == 64
    with pytest.raises(ValueError, match="must be at most 64, are 65"):
        parse_further(addresses)


def test_elements_of_one_set_do_not_overlap() -> None:
    allowed = AllowList("tap0", "02:00:00:00:00:01", True, True, True, ("10.0.0.5",))
    assert own_sources4(allowed) == ("10.0.0.5",)
    further = AllowList(
        *("tap0", "02:00:00:00:00:01", True, True, True, ("10.0.0.5", "10.1.0.1")),
        further4=("10.0.0.0/24", "10.0.0.7/32"),
        further6=("fd00::1/128", "fd00::/64"),
    )
    assert own_sources4(further) == ("10.0.0.0/24", "10.1.0.1/32")
    mask, network = 0xFFFFFFFFFFFFFFFF << 64, 0xFD00 << 112
    assert further_rules6(further, "@nh,64,128") == [f"@nh,64,128 & {mask:#x} == {network:#x} return"]


def test_keys_as_text() -> None:
    assert source_text("0xfd000000000000000000000000000066") == "fd00::66"
    assert source_text("0x1") == "::1"
    assert (source_text("10.0.0.1"), source_text("02:00:00:00:00:01")) == ("10.0.0.1", "02:00:00:00:00:01")
