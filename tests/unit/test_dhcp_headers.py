"""Addresses and headers as octets: each limit from both sides, each frame against what scapy makes of it."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Address, IPv6Network

import pytest
from lab.requests import frame, mac_octets, packed, payload
from lab.requests6 import datagram6, icmp6, message6, packed6
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from dhcp.wire import addresses, addresses6, ipv4, ipv6, ndp
from dhcp.wire.arp import ARP_REQUEST, ARPPacket, decode_arp, encode_arp

MAC, OTHER_MAC = "02:00:00:00:00:0a", "52:54:00:0a:00:02"
OURS, THEIRS = "10.0.0.1", "10.0.0.2"
OURS6, THEIRS6 = "fe80::1", "fe80::2"


def cause(decode: object, *arguments: object) -> str:
    """Why this is not decoded, as the name of a counter; empty when it is."""
    try:
        decode(*arguments)  # type: ignore[operator]
    except ipv4.Unusable as error:
        return error.cause if str(error) == error.reason else repr(error)
    return ""


@pytest.mark.parametrize(
    ("address", "is_unicast"),
    [
        ("0.0.0.0", False),
        ("0.255.255.255", False),
        ("1.0.0.0", True),
        ("126.255.255.255", True),
        ("127.0.0.1", False),
        ("128.0.0.0", True),
        ("223.255.255.255", True),
        ("224.0.0.0", False),
        ("239.255.255.255", False),
        ("240.0.0.0", True),
        ("255.255.255.254", True),
        ("255.255.255.255", False),
    ],
)
def test_addresses_that_a_host_can_have(address: str, is_unicast: bool) -> None:
    assert addresses.is_unicast(packed(address)) is is_unicast


@pytest.mark.parametrize(
    ("address", "is_host", "is_link_local", "is_multicast"),
    [
        ("::", False, False, False),
        ("::1", False, False, False),
        ("::2", True, False, False),
        ("::1:0", True, False, False),
        ("100::", True, False, False),
        ("fe7f::1", True, False, False),
        ("fe80::1", True, True, False),
        ("febf::1", True, True, False),
        ("fec0::1", True, False, False),
        ("fd80::1", True, False, False),
        ("feff::1", True, False, False),
        ("ff02::1", False, False, True),
    ],
)
def test_addresses_that_a_host_can_have_over_ipv6(
    address: str, is_host: bool, is_link_local: bool, is_multicast: bool
) -> None:
    octets = packed6(address)
    assert bool(addresses6.is_host(octets)) is is_host
    assert addresses6.is_link_local(octets) is is_link_local
    assert addresses6.is_multicast(octets) is is_multicast


@pytest.mark.parametrize("length", range(33))
def test_subnets(length: int) -> None:
    interface = IPv4Interface(f"172.29.170.85/{length}")
    assert addresses.netmask(length) == interface.netmask.packed
    assert addresses.network(interface.ip.packed, length) == interface.network.network_address.packed
    assert addresses.directed_broadcast(interface.ip.packed, length) == interface.network.broadcast_address.packed
    assert addresses.parse_network(str(interface)) == (interface.ip.packed, length)


@pytest.mark.parametrize("length", range(129))
def test_prefixes(length: int) -> None:
    address = IPv6Address("fda5:a5a5:5a5a:ffff:1234:5678:9abc:def1")
    network = IPv6Network((address, length), strict=False)
    assert addresses6.network6(address.packed, length) == network.network_address.packed
    assert addresses6.parse_network6(f"{address}/{length}") == (address.packed, length)


def test_groups_of_addresses() -> None:
    assert packed6("::") == addresses6.UNSPECIFIED
    assert packed6("ff02::1") == addresses6.ALL_NODES
    assert packed6("ff02::2") == addresses6.ALL_ROUTERS
    assert packed6("ff02::1:2") == addresses6.ALL_DHCP_AGENTS
    assert addresses6.solicited_node(packed6("fd00::1234:5678")) == packed6("ff02::1:ff34:5678")
    assert addresses6.multicast_mac(packed6("ff02::1:ff34:5678")) == bytes.fromhex("3333ff345678")
    assert (packed("0.0.0.0"), packed("255.255.255.255")) == (addresses.ANY, addresses.BROADCAST)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("02:00:aA:Bb:cc:0f", "0200aabbcc0f"),
        ("fe:ff:ff:ff:ff:ff", "feffffffffff"),
        ("00:00:00:00:00:01", "000000000001"),
        ("00:00:00:00:00:00", ""),
        ("01:00:00:00:00:00", ""),
        ("ff:ff:ff:ff:ff:ff", ""),
        ("02:00:00:00:00", ""),
        ("02:00:00:00:00:00:00", ""),
        ("02:00:00:00:00:0", ""),
        ("02:00:00:00:0:000", ""),
        ("02:00:00:00:00:0g", ""),
        ("02:00:00:00:00: 1", ""),
        ("020000000001", ""),
    ],
)
def test_macs(text: str, octets: str) -> None:
    if not octets:
        with pytest.raises(ValueError, match="MAC address"):
            addresses.parse_mac(text)
        return
    assert addresses.parse_mac(text).hex() == octets
    assert addresses.mac_text(bytes.fromhex(octets)) == text.lower()


@pytest.mark.parametrize("text", ["10.0.0.1/0024", "10.0.0.1/33", "10.0.0.1/999", "10.0.0.1/1.0", "10.0.0/8"])
def test_prefix_lengths_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="IPv4 address"):
        addresses.parse_network(text)


# --- IPv4 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", b"even", b"odd octets"[:9], bytes(range(256)) * 5])
@pytest.mark.parametrize("fragment", [0, ipv4.DONT_FRAGMENT])
def test_datagrams_as_scapy_builds_them(content: bytes, fragment: int) -> None:
    ours = ipv4.encode_datagram(
        mac_octets(MAC), mac_octets(OTHER_MAC), packed(OURS), packed(THEIRS), content, fragment=fragment
    )
    ip = IP(src=OURS, dst=THEIRS, id=0, ttl=64, flags="DF" if fragment else 0)
    theirs = Ether(src=MAC, dst=OTHER_MAC) / ip / UDP(sport=67, dport=68) / Raw(content)
    assert ours == bytes(theirs)


def test_a_packet_with_another_time_to_live() -> None:
    ours = ipv4.encode_packet(mac_octets(MAC), mac_octets(OTHER_MAC), packed(OURS), packed(THEIRS), 1, b"ping", ttl=3)
    theirs = Ether(src=MAC, dst=OTHER_MAC) / IP(src=OURS, dst=THEIRS, id=0, ttl=3, proto=1) / Raw(b"ping")
    assert ours == bytes(theirs)


def test_a_udp_checksum_is_never_none() -> None:
    """RFC 768: a sum of 0 is sent as 0xFFFF."""
    for word in range(0x10000):
        segment = ipv4.encode_udp(packed(OURS), packed(THEIRS), (67, 68), word.to_bytes(2))
        if segment[6:8] == b"\xff\xff":
            break
        assert segment[6:8] != b"\0\0"
    else:
        pytest.fail("no datagram has that sum")
    assert ipv4.checksum(b"\x45\0") == 0xFFFF - 0x4500
    assert ipv4.checksum(b"\x45") == 0xFFFF - 0x4500
    assert ipv4.checksum(b"\xff\xff\0\1") == 0xFFFE


MESSAGE = payload(1)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (frame(MESSAGE), ""),
        (frame(MESSAGE, fragment=0x4000), ""),
        (frame(MESSAGE, fragment=0x2000), "fragment"),
        (frame(MESSAGE, fragment=0x1000), "fragment"),
        (frame(MESSAGE, fragment=1), "fragment"),
        (frame(MESSAGE, protocol=16), "not-dhcp"),
        (frame(MESSAGE, protocol=18), "not-dhcp"),
        (frame(MESSAGE, port=66), "not-dhcp"),
        (frame(MESSAGE, port=68), "not-dhcp"),
        (frame(MESSAGE, source_port=1), ""),
        (frame(MESSAGE, ip_options=bytes(4)), "ip-header"),
        (frame(MESSAGE)[:-1], "truncated"),
        (frame(MESSAGE) + b"\0", ""),
        (frame(b""), ""),
        (frame(b"")[:-1], "truncated"),
        (frame(b"")[:14], "truncated"),
    ],
)
def test_which_datagrams_are_read(octets: bytes, why: str) -> None:
    assert cause(ipv4.decode_datagram, octets) == why


@pytest.mark.parametrize(
    ("total", "length", "content"),
    [
        (28, 8, b""),
        (27, 8, None),
        (28, 7, None),
        (28, 9, None),
        (32, 8, b""),
        (32, 12, b"abcd"),
        (32, 11, b"abc"),
        (32, 13, None),
        (33, 12, None),
        (31, 12, None),
    ],
)
def test_lengths_of_ipv4_and_udp(total: int, length: int, content: bytes | None) -> None:
    octets = bytearray(frame(b"abcd", source=THEIRS, destination=OURS))
    octets[16:18], octets[38:40] = total.to_bytes(2), length.to_bytes(2)
    if content is None:
        assert cause(ipv4.decode_datagram, bytes(octets)) == "truncated"
        return
    datagram = ipv4.decode_datagram(bytes(octets))
    assert (datagram.source, datagram.destination, datagram.payload) == (packed(THEIRS), packed(OURS), content)


# --- ARP --------------------------------------------------------------------------------------------------------------


def test_arp_as_scapy_builds_it() -> None:
    packet = ARPPacket(ARP_REQUEST, mac_octets(MAC), packed(OURS), packed(THEIRS))
    ours = encode_arp(mac_octets(MAC), b"\xff" * 6, packet)
    theirs = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=MAC, psrc=OURS, hwdst=bytes(6), pdst=THEIRS)
    assert ours == bytes(theirs)
    assert decode_arp(ours) == packet
    assert cause(decode_arp, ours[:-1]) == "truncated"
    for at in range(14, 20):
        changed = ours[:at] + bytes((ours[at] + 1,)) + ours[at + 1 :]
        assert cause(decode_arp, changed) == "arp-not-a-request"


# --- IPv6 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", b"even", bytes(range(256)) * 4])
def test_datagrams_over_ipv6_as_scapy_builds_them(content: bytes) -> None:
    ours = ipv6.encode_datagram6(mac_octets(MAC), mac_octets(OTHER_MAC), packed6(OURS6), packed6(THEIRS6), content)
    ip = IPv6(src=OURS6, dst=THEIRS6, hlim=64)
    theirs = Ether(src=MAC, dst=OTHER_MAC) / ip / UDP(sport=547, dport=546) / Raw(content)
    assert ours == bytes(theirs)


def test_neighbour_messages_as_scapy_builds_them() -> None:
    target = packed6("fd00::1234:5678")
    ours = ndp.encode_neighbour_solicitation(mac_octets(MAC), packed6(OURS6), target)
    theirs = Ether(src=MAC, dst="33:33:ff:34:56:78") / IPv6(src=OURS6, dst="ff02::1:ff34:5678", hlim=255)
    assert ours == bytes(theirs / ICMPv6ND_NS(tgt="fd00::1234:5678") / ICMPv6NDOptSrcLLAddr(lladdr=MAC))
    theirs = Ether(src=MAC, dst="33:33:00:00:00:01") / IPv6(src="fd00::1234:5678", dst="ff02::1", hlim=255)
    for flags, (r, s, o) in ((0x80, (1, 0, 0)), (0x40, (0, 1, 0)), (0x20, (0, 0, 1)), (0xE0, (1, 1, 1))):
        ours = ndp.encode_neighbour_advertisement(target, mac_octets(MAC), flags)
        message = ICMPv6ND_NA(tgt="fd00::1234:5678", R=r, S=s, O=o) / ICMPv6NDOptDstLLAddr(lladdr=MAC)
        assert ours == bytes(theirs / message)
        packet = ipv6.decode_packet6(ours)
        assert ndp.decode_flags(packet) == flags
        assert ndp.decode_neighbour_advertisement(packet) == (target, mac_octets(MAC))
    assert (ndp.ROUTER, ndp.SOLICITED, ndp.OVERRIDE) == (0x80, 0x40, 0x20)


def advertisement(kind: int = 136, options: bytes = b"\2\1" + mac_octets(MAC), **fields: object) -> bytes:
    """A neighbour advertisement about fd00::1."""
    message = bytes((kind, 0, 0, 0, 0x60, 0, 0, 0)) + packed6("fd00::1") + options
    return icmp6(message, source="fd00::1", destination="ff02::1", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (advertisement(), ""),
        (advertisement(135), "icmp-type"),
        (advertisement(137), "icmp-type"),
        (datagram6(bytes((136,)) * 40, source_port=0x8800), "icmp-type"),
        (advertisement(hop_limit=254), "hop-limit"),
        (advertisement(checksum=1), "checksum"),
        (advertisement(options=b""), "nd-options"),
        (advertisement(options=b"\1\1" + mac_octets(MAC)), "nd-options"),
        (advertisement(options=b"\2\0" + mac_octets(MAC)), "nd-options"),
        (advertisement(options=b"\2"), "nd-options"),
        (advertisement(options=b"\2\2" + mac_octets(MAC)), "nd-options"),
        (advertisement(options=b"\2\1\1\0\0\0\0\1"), "nd-sender"),
        (advertisement(options=b"\2\1" + bytes(6)), "nd-sender"),
        (advertisement(options=b"\x0e\1" + bytes(6) + b"\2\1" + mac_octets(MAC)), ""),
        (advertisement(options=b"\2\2" + mac_octets(MAC) + bytes(8)), ""),
        (advertisement(options=b"\2\1" + mac_octets(MAC) + b"\2\1\1\0\0\0\0\1"), ""),
    ],
)
def test_which_advertisements_tell_a_mac(octets: bytes, why: str) -> None:
    packet = ipv6.decode_packet6(octets)
    assert cause(ndp.decode_neighbour_advertisement, packet) == why
    if not why:
        assert ndp.decode_neighbour_advertisement(packet) == (packed6("fd00::1"), mac_octets(MAC))


def test_the_fixed_part_of_a_neighbour_message_is_whole() -> None:
    for octets in (7, 8, 23, 24):
        message = bytes((136, 0, 0, 0, 0x60, 0, 0, 0, *packed6("fd00::1")))[:octets]
        packet = ipv6.decode_packet6(icmp6(message, source="fd00::1", destination="ff02::1"))
        assert cause(ndp.decode_nd_options, packet, 8) == (
            "truncated" if octets < 8 else "nd-options" if octets > 8 else ""
        )
        assert cause(ndp.decode_nd_options, packet, 24) == ("truncated" if octets < 24 else "")


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (datagram6(b"abcd"), ""),
        (datagram6(b"abcd") + b"padding", ""),
        (datagram6(b"abcd")[:-1], "truncated"),
        (datagram6(b"abcd")[:53], "truncated"),
        (datagram6(b"abcd", length=0), "short"),
        (datagram6(b"abcd", length=7), "short"),
        (datagram6(b"", length=8), ""),
        (datagram6(b"abcd", length=11), "short"),
        (datagram6(b"abcd", port=546), "not-dhcp"),
        (datagram6(b"abcd", port=548), "not-dhcp"),
        (datagram6(b"abcd", version=5), "ip-header"),
        (datagram6(b"abcd", version=7), "ip-header"),
    ],
)
def test_which_datagrams_are_read_over_ipv6(octets: bytes, why: str) -> None:
    def decode() -> bytes:
        return ipv6.decode_datagram6(ipv6.decode_packet6(octets))

    assert cause(decode) == why.replace("short", "truncated")
    if why == "short":
        assert cause(ipv6.decode_packet6, octets) == ""
    if not why:
        assert decode() == octets[62:66].removesuffix(b"padd")


@pytest.mark.parametrize(("length", "content"), [(7, None), (8, b""), (11, b"abc"), (12, b"abcd"), (13, None)])
def test_lengths_of_udp_over_ipv6(length: int, content: bytes | None) -> None:
    octets = bytearray(datagram6(b"abcd"))
    octets[58:60] = length.to_bytes(2)
    packet = ipv6.decode_packet6(bytes(octets))
    if content is None:
        assert cause(ipv6.decode_datagram6, packet) == "truncated"
    else:
        assert ipv6.decode_datagram6(packet) == content


def test_the_fields_of_an_ipv6_header() -> None:
    octets = datagram6(message6(1), source=THEIRS6, source_mac=OTHER_MAC, hop_limit=77)
    packet = ipv6.decode_packet6(octets)
    assert (packet.source_mac, packet.source, packet.destination) == (
        mac_octets(OTHER_MAC),
        packed6(THEIRS6),
        packed6("ff02::1:2"),
    )
    assert (packet.hop_limit, packet.protocol, packet.payload) == (77, 17, octets[54:])
    for protocol, why in ((17, ""), (58, ""), (16, "next-header"), (59, "next-header"), (0, "next-header")):
        changed = octets[:20] + bytes((protocol,)) + octets[21:]
        assert cause(ipv6.decode_packet6, changed) == why
