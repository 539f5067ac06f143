"""What an option that is configured by its number cannot be is refused when the configuration is read."""

from __future__ import annotations

import pytest

from dhcp.config import ConfigError, parse_configs
from dhcp.config_options import parse_option

BASE = {"client_mac": "52:54:00:00:00:02", "client_address": "10.0.0.2/24", "server_address": "10.0.0.1"}


@pytest.mark.parametrize(
    ("code", "text", "octets"),
    [
        (25, "68, 1500", "004405dc"),
        (25, "0x004405dc", "004405dc"),
        (78, "0x000a000001", "000a000001"),
        (81, "0x0effff", "0effff"),
        (93, "0 7", "00000007"),
        (97, "0x00" + "11" * 16, "00" + "11" * 16),
        (117, "0x0006", "0006"),
        (124, "0x0000013700", "0000013700"),
        (138, "10.0.0.5,10.0.0.6", "0a0000050a000006"),
        (142, "0x0a000005", "0a000005"),
        (211, "30", "0000001e"),
    ],
)
def test_what_can_be(code: int, text: str, octets: str) -> None:
    assert parse_option(code, text).hex() == octets


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (25, "x"),
        (25, "67"),
        (25, "0x0043"),
        (25, "0x004400"),
        (25, "65536"),
        (78, "0x00"),
        (81, "a name"),
        (81, "0x0eff"),
        (94, "0x0102"),
        (97, "0x0011"),
        (112, "abc"),
        (117, "-1"),
        (120, "sip.example"),
        (124, "0x00000137"),
        (125, "text"),
        (136, "0x0a0000"),
        (138, "abc"),
        (142, "10.0.0"),
        (159, "0x01"),
        (208, "magic"),
        (211, "0x01"),
        (211, "soon"),
        (212, "0x20"),
    ],
)
def test_what_cannot_be(code: int, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"^options\.{code}: "):
        parse_configs({**BASE, "options": {str(code): text}})
