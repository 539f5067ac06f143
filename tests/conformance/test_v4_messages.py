"""RFC checklist V4-29 … V4-45: the answer to each message, and lease times (RFC 2131 §4.3, §4.4.5)."""

from __future__ import annotations

import pytest
from exchange import Exchange
from lab.requests import (
    ACK,
    BROADCAST,
    CLIENT,
    CLIENT_MAC,
    DECLINE,
    DISCOVER,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    SERVER,
    discover,
    frame,
    inform,
    packed,
    payload,
    reboot,
    renewing,
    selecting,
)
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

SAME_SUBNET, OTHER_SUBNET = "10.0.0.9", "192.168.7.2"


@pytest.mark.parametrize("wish", [None, CLIENT, SAME_SUBNET, OTHER_SUBNET, "0.0.0.0"])
def test_v4_29_discover_is_offered_the_only_address(server: Exchange, wish: str | None) -> None:
    options = [] if wish is None else [(50, packed(wish))]
    first, second = server.reply(discover(options)), server.reply(discover(options))
    assert (first.message_type, first.yiaddr) == (OFFER, CLIENT)
    assert first.frame == second.frame


def test_v4_30_selecting(server: Exchange) -> None:
    reply = server.reply(selecting())
    assert (reply.message_type, reply.yiaddr) == (ACK, CLIENT)


@pytest.mark.parametrize("address", [CLIENT, SAME_SUBNET])
def test_v4_31_another_server_was_selected(server: Exchange, address: str) -> None:
    assert server.silent(selecting(address, server="10.0.0.254"))


@pytest.mark.parametrize("address", [SAME_SUBNET, OTHER_SUBNET, "0.0.0.0"])
def test_v4_32_selecting_another_address(server: Exchange, address: str) -> None:
    assert server.reply(selecting(address)).message_type == NAK


def test_v4_33_selecting_without_an_address(server: Exchange) -> None:
    """Choice: no answer. A NAK would take the address from a client that only failed to clear option 54."""
    assert server.silent(frame(payload(REQUEST, [(54, packed(SERVER))])))
    assert server.silent(selecting(ciaddr=CLIENT))


def test_v4_33_selecting_with_the_address_of_a_lease_that_a_nak_has_ended(server: Exchange) -> None:
    """Choice: the checklist has no answer here either. NetworkManager 1.42 keeps that `ciaddr` in all messages after
    the NAK, and has no address until it is answered."""
    reply = server.reply(selecting(ciaddr=SAME_SUBNET))
    assert (reply.message_type, reply.yiaddr) == (ACK, CLIENT)


def test_v4_34_init_reboot(server: Exchange) -> None:
    server.restart()
    reply = server.reply(reboot(CLIENT))
    assert (reply.message_type, reply.yiaddr) == (ACK, CLIENT)


@pytest.mark.parametrize("address", [SAME_SUBNET, OTHER_SUBNET])
def test_v4_35_init_reboot_with_an_old_address(server: Exchange, address: str) -> None:
    assert server.reply(reboot(address)).message_type == NAK


@pytest.mark.parametrize("to", [SERVER, BROADCAST], ids=["renewing", "rebinding"])
def test_v4_36_renewing_and_rebinding(server: Exchange, to: str) -> None:
    reply = server.reply(renewing(CLIENT, server=to))
    assert (reply.message_type, reply.yiaddr, reply.packet[IP].dst) == (ACK, CLIENT, CLIENT)


@pytest.mark.parametrize("address", [SAME_SUBNET, OTHER_SUBNET])
def test_v4_37_renewing_another_address(server: Exchange, address: str) -> None:
    assert {reply.message_type for reply in server.replies(renewing(address))} == {NAK}


def test_v4_37_request_of_nothing(server: Exchange) -> None:
    """Choice: no answer; it is none of the four states of RFC 2131 §4.3.2."""
    assert server.silent(frame(payload(REQUEST)))


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ([(50, packed(CLIENT)), (54, packed(SERVER))], True),
        ([(54, packed(SERVER))], False),
        ([(50, packed(SAME_SUBNET)), (54, packed(SERVER))], False),
        ([(50, packed(CLIENT)), (54, packed("10.0.0.254"))], False),
    ],
    ids=["ours", "no-address", "other-address", "other-server"],
)
def test_v4_38_decline(server: Exchange, options: list[tuple[int, bytes]], warned: bool) -> None:
    """Choice: there is no other address to offer, so the same one is offered again; the log has a warning."""
    message = frame(payload(DECLINE, options))
    assert server.silent(message)
    warnings = server.warnings(message)
    assert warnings == ([f"the client found {CLIENT} in use by another host"] if warned else [])
    assert server.reply(discover()).yiaddr == CLIENT


@pytest.mark.parametrize("named", [SERVER, "10.0.0.254"])
def test_v4_39_decline_of_a_stranger(server: Exchange, named: str) -> None:
    """A nested guest, for example, must not be able to declare the address in use."""
    options = [(50, packed(CLIENT)), (54, packed(named))]
    message = frame(payload(DECLINE, options, chaddr="52:54:00:0a:00:03"))
    assert server.silent(message)
    assert not [reason for reason in server.warnings(message) if "in use" in reason]
    assert server.reply(discover()).yiaddr == CLIENT


@pytest.mark.parametrize("chaddr", [CLIENT_MAC, "52:54:00:0a:00:03"])
@pytest.mark.parametrize("named", [SERVER, "10.0.0.254"])
def test_v4_39_release(server: Exchange, chaddr: str, named: str) -> None:
    message = payload(RELEASE, [(54, packed(named))], ciaddr=CLIENT, chaddr=chaddr)
    assert server.silent(frame(message, source=CLIENT, destination=SERVER))
    assert server.reply(discover()).yiaddr == CLIENT


@pytest.mark.parametrize("address", [CLIENT, SAME_SUBNET, OTHER_SUBNET])
def test_v4_40_inform(server: Exchange, address: str) -> None:
    """Never a NAK: the client has its address from elsewhere."""
    reply = server.reply(inform(address))
    assert (reply.message_type, reply.yiaddr) == (ACK, "0.0.0.0")
    assert (reply.packet[Ether].dst, reply.packet[IP].dst) == (CLIENT_MAC, address)
    assert not {51, 58, 59} & set(reply.codes)
    assert reply.addresses(6) == ["10.0.0.53"]


def test_v4_41_inform_without_ciaddr(server: Exchange) -> None:
    """Choice: the source address is used instead, as in Kea."""
    reply = server.reply(inform("0.0.0.0", source="10.0.0.9"))
    assert (reply.message_type, reply.packet[IP].dst) == (ACK, "10.0.0.9")
    assert server.silent(inform("0.0.0.0", source="0.0.0.0"))


def test_v4_42_a_restart_loses_nothing(server: Exchange) -> None:
    """Choice: leases are not stored, so a renewal of the right address is granted, whether or not this server gave it.
    By RFC 2131 §4.3.2 a server without a record stays silent, because another server may have one; here the pod's
    address is the client's and there is no other server."""
    server.restart()
    assert server.reply(renewing(CLIENT)).message_type == ACK
    assert server.reply(selecting()).message_type == ACK
    server.restart()
    assert server.reply(renewing(CLIENT)).message_type == ACK


@pytest.mark.parametrize("seconds", [10, 600, 86_400, 0xFFFFFFFF])
def test_v4_43_lease_time(server: Exchange, seconds: int) -> None:
    server.serve(lease_seconds=seconds)
    for reply in (server.reply(discover()), server.reply(selecting()), server.reply(renewing(CLIENT))):
        assert reply.option(51) == seconds.to_bytes(4)


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({}, (3_600, 75_600, 86_400)),
        ({"lease_seconds": 1_000}, (500, 875, 1_000)),
        ({"lease_seconds": 10, "t1_seconds": 3, "t2_seconds": 7}, (3, 7, 10)),
        ({"lease_seconds": 0xFFFFFFFF}, (None, None, 0xFFFFFFFF)),
    ],
    ids=str,
)
@pytest.mark.parametrize("parameters", [(1,), (58, 59, 51)])
def test_v4_44_renewal_times(
    server: Exchange, fields: dict[str, int], times: tuple[int | None, ...], parameters: tuple[int, ...]
) -> None:
    server.serve(**fields)
    reply = server.reply(discover(parameters=parameters))
    assert (reply.number(58), reply.number(59), reply.number(51)) == times


@pytest.mark.parametrize("wish", [60, 86_401, 0xFFFFFFFF])
def test_v4_45_a_wish_for_another_lease_time(server: Exchange, wish: int) -> None:
    """Choice: ignored. A shorter lease on the client's only address has no use, and OFFER and ACK agree even when the
    client requests the time in one message only."""
    options = [(51, wish.to_bytes(4))]
    assert server.reply(discover(options)).number(51) == 86_400
    assert server.reply(selecting(options=options)).number(51) == 86_400


def test_a_discover_that_names_a_server_is_answered(server: Exchange) -> None:
    assert server.reply(frame(payload(DISCOVER, [(54, packed("10.0.0.254"))]))).message_type == OFFER
