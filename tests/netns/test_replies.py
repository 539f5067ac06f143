"""Every kind of DHCP message to the server that prestart started; scapy dissects the replies."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import pytest
from lab.agent import Agent
from lab.pod import DNS, SEARCH, MakePod, Pod
from lab.rawclient import ACK, BROADCAST_MAC, DECLINE, DISCOVER, NAK, OFFER, RELEASE, REQUEST, RawClient, Reply
from lab.shape import load_shape, shape_names
from lab.sniffer import Sniffer

pytestmark = pytest.mark.root

SERVED = [name for name in shape_names() if load_shape(name).guest]
SERVER = "10.244.1.1"
ADDRESS = "10.244.1.3"


@pytest.fixture
def client(pod: Pod, agent: Agent) -> Iterator[RawClient]:
    """A raw client behind the guest port of a flannel pod that has been set up."""
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        yield client


def judge(reply: Reply | None, message_type: int) -> Reply:
    """Assert what must be true of every reply."""
    assert reply
    assert reply.message_type == message_type
    assert reply.checksums_are_valid()
    bootp = reply.bootp
    assert (bootp.op, bootp.htype, bootp.hlen, bootp.hops, bootp.secs) == (2, 1, 6, 0, 0)
    assert reply.codes[0] == 53
    assert len(set(reply.codes)) == len(reply.codes)
    assert reply.option(54)
    assert not {50, 55, 57}.intersection(reply.codes)
    assert len(reply.payload) >= 300
    # scapy's own reading agrees
    assert ("message-type", message_type) in reply.packet["DHCP options"].options
    return reply


@pytest.mark.parametrize("shape", SERVED)
def test_the_offer_says_what_the_pod_is(make_pod: MakePod, shape: str) -> None:
    pod = make_pod(shape)
    network = pod.shape.guest
    assert network
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent, RawClient(pod.guest) as client:
        agent.prestart()
        offer = judge(client.discover(), OFFER)
    interface = ipaddress.IPv4Interface(network.address)
    assert offer.yiaddr == str(interface.ip)
    assert offer.address(1) == str(interface.netmask)
    assert offer.addresses(3) == ([network.router] if network.router else [])
    assert offer.addresses(6) == list(DNS)
    assert offer.option(12) == socket.gethostname().partition(".")[0].encode()
    assert offer.option(15) == SEARCH[0].encode()
    assert offer.number(26) == network.mtu
    assert offer.search() == list(SEARCH)
    assert (offer.number(51), offer.number(58), offer.number(59)) == (86400, 3600, 75600)
    assert offer.address(54) == network.router or network.router is None
    routes = [(route.destination, route.gateway) for route in network.routes]
    if network.router and routes:  # a default route alone is option 3's
        routes.append(("0.0.0.0/0", network.router))
    assert set(offer.routes()) == set(routes)
    # gateways are reachable by the time a route needs them: on-link routes first, then the default
    kinds = [(gateway != "0.0.0.0", destination != "0.0.0.0/0") for destination, gateway in offer.routes()]
    assert kinds == sorted(kinds)


def test_selecting(client: RawClient) -> None:
    offer = judge(client.discover(), OFFER)
    ack = judge(client.request(offer), ACK)
    assert (ack.yiaddr, ack.address(54)) == (ADDRESS, SERVER)
    assert [option for option in ack.options if option[0] != 53] == [o for o in offer.options if o[0] != 53]


def test_selecting_another_server_meets_silence(client: RawClient) -> None:
    wanted = [(54, bytes([10, 244, 1, 99])), (50, bytes([10, 244, 1, 3]))]
    assert client.replies(client.message(REQUEST, wanted)) == []


@pytest.mark.parametrize(("address", "verdict"), [(ADDRESS, ACK), ("10.244.1.77", NAK), ("192.168.1.5", NAK)])
def test_init_reboot(client: RawClient, address: str, verdict: int) -> None:
    reply = judge(client.reboot(address), verdict)
    if verdict == NAK:
        assert reply.packet.dst == BROADCAST_MAC
        assert reply.bootp.yiaddr == reply.bootp.ciaddr == reply.bootp.siaddr == "0.0.0.0"
        assert set(reply.codes) <= {53, 54, 56, 61}


def test_renewing_by_the_routers_mac(client: RawClient, pod: Pod) -> None:
    """The server identifier is the router's address, so the client's ARP resolves it to the node's MAC."""
    router = pod.node.link("cni0")["address"]
    with Sniffer(pod.node, "vethpod") as node:
        ack = judge(client.renew(ADDRESS, destination=SERVER, destination_mac=router), ACK)
        assert [str(frame) for frame in node.frames if frame.is_dhcp()] == []
    assert (ack.packet["IP"].dst, ack.packet.dst, ack.bootp.ciaddr) == (ADDRESS, pod.mac, ADDRESS)


def test_rebinding(client: RawClient) -> None:
    judge(client.renew(ADDRESS), ACK)


def test_renewing_a_wrong_address_is_refused_by_unicast_and_broadcast(client: RawClient) -> None:
    frame = client.message(REQUEST, ciaddr="10.244.1.77", source="10.244.1.77")
    replies = [judge(reply, NAK) for reply in client.replies(frame, expected=2)]
    assert {(reply.packet["IP"].dst, reply.packet.dst) for reply in replies} == {
        ("10.244.1.77", client.mac),
        ("255.255.255.255", BROADCAST_MAC),
    }


def test_inform(client: RawClient) -> None:
    ack = judge(client.inform(ADDRESS), ACK)
    assert ack.yiaddr == "0.0.0.0"
    assert not {51, 58, 59}.intersection(ack.codes)
    assert ack.addresses(6) == list(DNS)


@pytest.mark.parametrize("message_type", [DECLINE, RELEASE])
def test_decline_and_release_meet_silence_and_the_address_stays(client: RawClient, message_type: int) -> None:
    options = [(54, bytes([10, 244, 1, 1])), (50, bytes([10, 244, 1, 3]))]
    assert client.replies(client.message(message_type, options, parameters=())) == []
    assert judge(client.discover(), OFFER).yiaddr == ADDRESS


def test_the_client_identifier_comes_back(client: RawClient) -> None:
    identifier = b"\xff\x01\x02\x03\x04\x00\x01\x00\x01abcdef"
    offer = judge(client.discover([(61, identifier)]), OFFER)
    assert offer.option(61) == identifier


def test_windows_routes_when_asked_for(make_pod: MakePod) -> None:
    pod = make_pod("calico")
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent, RawClient(pod.guest) as client:
        agent.prestart()
        offer = judge(client.discover(parameters=(1, 3, 6, 249)), OFFER)
    assert offer.routes(249) == [("169.254.1.1/32", "0.0.0.0"), ("0.0.0.0/0", "169.254.1.1")]


@pytest.mark.parametrize("broadcast", [False, True])
def test_the_broadcast_flag_decides_the_destination(client: RawClient, broadcast: bool) -> None:
    offer = judge(client.discover(broadcast=broadcast), OFFER)
    assert offer.packet.dst == (BROADCAST_MAC if broadcast else client.mac)
    assert offer.packet["IP"].dst == ("255.255.255.255" if broadcast else ADDRESS)


def test_one_question_has_one_answer(client: RawClient) -> None:
    assert [reply.message_type for reply in client.replies(client.message(DISCOVER), expected=1)] == [OFFER]


def test_another_hardware_address_meets_silence(client: RawClient) -> None:
    assert client.replies(client.message(DISCOVER, chaddr="0e:00:00:00:00:99")) == []


def test_a_tagged_frame_meets_silence(client: RawClient) -> None:
    assert client.replies(client.message(DISCOVER, vlan=7)) == []


def test_a_request_for_few_options_gets_few(client: RawClient) -> None:
    offer = judge(client.discover(parameters=(1, 3)), OFFER)
    assert {12, 15, 42, 119, 249}.isdisjoint(offer.codes)


def test_a_small_client_is_not_sent_more_than_it_takes(client: RawClient) -> None:
    offer = judge(client.discover([(57, (576).to_bytes(2))]), OFFER)
    assert len(offer.packet["IP"]) <= 576


def test_the_hostname_and_options_of_a_manifest(make_pod: MakePod, tmp_path_factory: pytest.TempPathFactory) -> None:
    manifest = tmp_path_factory.mktemp("manifest") / "vmi.yaml"
    manifest.write_text("""
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vm}
spec:
  hostname: database
  domain:
    memory: {guest: 64Mi}
    devices:
      interfaces:
      - name: default
        bridge: {}
        model: e1000
        macAddress: 52:54:00:12:34:56
        dhcpOptions:
          bootFileName: boot.ipxe
          tftpServerName: tftp.test
          ntpServers: [192.0.2.123]
          privateOptions: [{option: 240, value: extra}]
  networks: [{name: default, pod: {}}]
""")
    pod = make_pod(guest_mac="52:54:00:12:34:56")
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent, RawClient(pod.guest) as client:
        printed = agent.prestart("--vmi", manifest)
        offer = judge(client.discover(parameters=(1, 3, 12, 42, 66, 67, 240)), OFFER)
    assert printed["networks"][0]["mac"] == client.mac
    assert "<model type='e1000'/>" in printed["networks"][0]["interface_xml"]
    assert (offer.option(12), offer.option(66), offer.option(67)) == (b"database", b"tftp.test", b"boot.ipxe")
    assert (offer.addresses(42), offer.option(240)) == (["192.0.2.123"], b"extra")


def test_the_log_tells_each_transaction_and_its_reason(client: RawClient, agent: Agent) -> None:
    offer = judge(client.discover(), OFFER)
    client.request(offer)
    client.reboot("10.244.1.77")
    for answer in ("answer=OFFER", "answer=ACK", "answer=NAK"):
        line = agent.wait_for_log(answer)
        assert "reason=" in line
        assert client.mac in line
