"""More of everything than a lease has room for: the VM gets its address, and the first of each."""

from __future__ import annotations

import pytest
from lab.agent import Agent
from lab.clients import Client, Dhclient, Networkd, Udhcpc
from lab.clients.ipv6 import Dhclient6
from lab.pod import GUEST_NIC, MakePod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root

SERVERS = [f"10.96.{n // 100}.{n % 100 + 1}" for n in range(300)]
SERVERS6 = [f"fd00:10:96::{n:x}" for n in range(1, 21)]
NAMES = [f"n{n}.example{n}.test" for n in range(5000)]
RESOLV_CONF = "".join(f"nameserver {server}\n" for server in SERVERS + SERVERS6) + f"search {' '.join(NAMES)}\n"
ODD_NAME = ["unshare", "-u", "sh", "-c", 'printf "a host" > /proc/sys/kernel/hostname; exec "$@"', "sh"]
MULTICAST = "03:bf:0a:f4:01:09"


@pytest.mark.parametrize("client", [Dhclient, Networkd, Udhcpc], ids=lambda client: client.name)
def test_the_first_of_too_much_reaches_the_vm(make_pod: MakePod, client: type[Client]) -> None:
    """300 name servers, 5,000 search names, a host name with a blank, neighbours that nobody can answer for."""
    pod = make_pod(resolv_conf=RESOLV_CONF)
    own = pod.pod.ip_json("-4 addr show dev eth0")[0]["addr_info"][0]["local"]
    for address, mac in ((own, pod.mac), ("10.244.1.77", MULTICAST)):
        pod.pod.ip(f"neigh add {address} lladdr {mac} dev eth0 nud permanent")
    before = take_snapshot(pod.pod)
    with Agent(pod) as agent, client(pod.guest) as running:
        done = agent.run("prestart", prefix=ODD_NAME, check=True)
        found = running.acquire()
        assert own in found.addresses[0]
        assert list(found.nameservers) == SERVERS[:16]
        assert list(found.search) == NAMES[: len(found.search)]
        assert found.search or not client.search_list
        warnings = agent.status()["warnings"]
        for line in (
            "host name a host: a label is letters, digits, and within it `-` and `_`; left out",
            f"nameserver {SERVERS[16]}: one of more than 16; left out",
            f"network default: neighbour {own} at {pod.mac}: the address is the VM's own; it is not answered for",
            f"network default: neighbour 10.244.1.77 at {MULTICAST}: the MAC is no interface's; it is not answered for",
        ):
            assert line in warnings
            assert f"warning: {line}" in done.stderr
        agent.teardown()
        pod.guest.ip(f"link set {GUEST_NIC} down")
        assert_restored(pod.pod, before)


def test_the_first_of_too_much_reaches_a_vm_of_ipv6(make_pod: MakePod) -> None:
    pod = make_pod("calico", resolv_conf=RESOLV_CONF)
    with Agent(pod) as agent, Dhclient6(pod.guest) as running:
        agent.prestart()
        found = running.acquire6()
        assert found.nameservers6 == set(SERVERS6[:16])
        assert found.search
