"""Windows clients: their frames octet for octet, and the replies that they get.

Its DISCOVER has option 249 in place of 121 in older versions and both in newer ones (MS-DHCPE 2.2.8). Its INFORM looks
for a proxy (option 252): without an answer the guest waits some eleven seconds.
"""

from __future__ import annotations

import pytest
from exchange import Exchange
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

CONFIG = {
    "client_address": "10.0.0.2/32",
    "router": "169.254.1.1",
    "dns": ["10.0.0.53", "10.0.0.54"],
    "search": ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"],
    "domain": "default.svc.cluster.local",
    "mtu": 1400,
}
IDENTIFIER = "3d 07 01 52 54 00 0a 00 02"
IDENTITY = f"""
    {IDENTIFIER}
    0c 06 57 49 4e 2d 56 4d          # WIN-VM
    3c 08 4d 53 46 54 20 35 2e 30    # MSFT 5.0
"""
PARAMETERS = "37 0e 01 03 06 0f 1f 21 2b 2c 2e 2f 77 79 f9 fc"
OLDER_PARAMETERS = "37 0c 01 0f 03 06 2c 2e 2f 1f 21 f9 2b fc"  # Vista and before: 249 only

ROUTES = "20 a9 fe 01 01 00 00 00 00  00 a9 fe 01 01"  # 169.254.1.1/32 on-link, then the default over it
SEARCH = """
    07 64 65 66 61 75 6c 74          # default
    03 73 76 63                      # svc
    07 63 6c 75 73 74 65 72          # cluster
    05 6c 6f 63 61 6c 00             # local
    c0 08                            # svc.cluster.local, within the first
    c0 0c                            # cluster.local, too
"""
DOMAIN = "64 65 66 61 75 6c 74 2e 73 76 63 2e 63 6c 75 73 74 65 72 2e 6c 6f 63 61 6c"
LEASE = "33 04 00 01 51 80  3a 04 00 00 0e 10  3b 04 00 01 27 50"  # a day, an hour, 21 hours


def octets(text: str) -> bytes:
    """Hexadecimal digits, with blanks and comments."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


def message(op: int, options: str, *, xid: str, flags: str = "0000", ciaddr: str = "", yiaddr: str = "") -> bytes:
    """A BOOTP message of at least 300 octets."""
    header = f"{op:02x} 01 06 00 {xid} 0000 {flags}"
    addresses = octets(ciaddr).ljust(4, b"\0") + octets(yiaddr).ljust(4, b"\0") + bytes(8)
    fixed = octets(header) + addresses + octets("52 54 00 0a 00 02").ljust(16, b"\0") + bytes(192)
    return (fixed + octets(f"63 82 53 63 {options}".replace("\n", "\n ")) + b"\xff").ljust(300, b"\0")


def sent(payload: bytes, source: str = "0.0.0.0") -> bytes:
    """The frame as Windows sends it: broadcast, with a checksum, TTL 128."""
    packet = Ether(src="52:54:00:0a:00:02", dst="ff:ff:ff:ff:ff:ff")
    return bytes(packet / IP(src=source, dst="255.255.255.255", ttl=128, id=0x3A71) / UDP(sport=68, dport=67) / payload)


def received(payload: bytes, to: str, mac: str = "52:54:00:0a:00:02") -> bytes:
    """The frame as our server sends it, with headers and checksums by scapy."""
    packet = Ether(src="02:00:00:00:00:0a", dst=mac) / IP(src="10.0.0.1", dst=to, id=0)
    return bytes(packet / UDP(sport=67, dport=68) / payload)


def test_discover(server: Exchange) -> None:
    server.serve(**CONFIG)
    asked = message(1, f"35 01 01 {IDENTITY} {PARAMETERS}", xid="5c1a3b07")
    offered = message(
        2,
        f"""
        35 01 02
        01 04 ff ff ff ff
        03 04 a9 fe 01 01
        06 08 0a 00 00 35 0a 00 00 36
        0f 19 {DOMAIN}
        77 1f {SEARCH}
        79 0e {ROUTES}
        f9 0e {ROUTES}
        36 04 0a 00 00 01
        {LEASE}
        1a 02 05 78
        {IDENTIFIER}
        """,
        xid="5c1a3b07",
        yiaddr="0a 00 00 02",
    )
    assert server.frames(sent(asked)) == [received(offered, "10.0.0.2")]


def test_discover_of_an_older_windows(server: Exchange) -> None:
    """It requests a broadcast answer, and ignores option 121."""
    server.serve(**CONFIG)
    asked = message(1, f"35 01 01 74 01 01 {IDENTITY} {OLDER_PARAMETERS}", xid="5c1a3b08", flags="8000")
    offered = message(
        2,
        f"""
        35 01 02
        01 04 ff ff ff ff
        0f 19 {DOMAIN}
        03 04 a9 fe 01 01
        06 08 0a 00 00 35 0a 00 00 36
        f9 0e {ROUTES}
        36 04 0a 00 00 01
        {LEASE}
        1a 02 05 78
        {IDENTIFIER}
        """,
        xid="5c1a3b08",
        flags="8000",
        yiaddr="0a 00 00 02",
    )
    assert server.frames(sent(asked)) == [received(offered, "255.255.255.255", "ff:ff:ff:ff:ff:ff")]


def test_request(server: Exchange) -> None:
    server.serve(**CONFIG)
    chosen = "32 04 0a 00 00 02  36 04 0a 00 00 01  51 09 00 00 00 57 49 4e 2d 56 4d"
    asked = message(1, f"35 01 03 {IDENTITY} {chosen} {PARAMETERS}", xid="5c1a3b07")
    acknowledged = message(
        2,
        f"""
        35 01 05
        01 04 ff ff ff ff
        03 04 a9 fe 01 01
        06 08 0a 00 00 35 0a 00 00 36
        0f 19 {DOMAIN}
        77 1f {SEARCH}
        79 0e {ROUTES}
        f9 0e {ROUTES}
        36 04 0a 00 00 01
        {LEASE}
        1a 02 05 78
        51 09 08 ff ff 57 49 4e 2d 56 4d    # N: nobody updates the DNS here
        {IDENTIFIER}
        """,
        xid="5c1a3b07",
        yiaddr="0a 00 00 02",
    )
    assert server.frames(sent(asked)) == [received(acknowledged, "10.0.0.2")]


@pytest.mark.parametrize("proxy", ["", "http://10.0.0.9/wpad.dat"])
def test_inform(server: Exchange, proxy: str) -> None:
    """Answered at once, with no address and no lease times, with or without a proxy configured."""
    server.serve(**CONFIG, options={"252": proxy} if proxy else {})
    asked = message(
        1, f"35 01 08 {IDENTITY} 37 0d 01 0f 03 06 2c 2e 2f 1f 21 79 f9 2b fc", xid="77aa0142", ciaddr="0a 00 00 02"
    )
    told = message(
        2,
        f"""
        35 01 05
        01 04 ff ff ff ff
        0f 19 {DOMAIN}
        03 04 a9 fe 01 01
        06 08 0a 00 00 35 0a 00 00 36
        79 0e {ROUTES}
        f9 0e {ROUTES}
        {f"fc 18 {proxy.encode().hex()}" if proxy else ""}
        36 04 0a 00 00 01
        1a 02 05 78
        {IDENTIFIER}
        """,
        xid="77aa0142",
        ciaddr="0a 00 00 02",
    )
    assert server.frames(sent(asked, "10.0.0.2")) == [received(told, "10.0.0.2")]
