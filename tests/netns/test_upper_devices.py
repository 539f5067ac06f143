"""What others have put on top of a pod interface: kept where it goes on working, else refused in time."""

from __future__ import annotations

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.monitor import Monitor
from lab.pod import GUEST_NIC, MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot
from lab.xdp import GENERIC, attached_xdp, xdp_program

pytestmark = pytest.mark.root

UPPER = {
    "macvlan": "link add link eth0 up7 type macvlan mode bridge",
    "macvtap": "link add link eth0 up7 type macvtap mode bridge",
    "vxlan": "link add up7 type vxlan id 7 dstport 4789 dev eth0 remote 10.244.1.4",
}


@pytest.mark.parametrize("kind", UPPER)
@pytest.mark.parametrize("binding", DIRECT)
def test_an_interface_with_another_device_on_top_is_refused(pod: Pod, agent: Agent, kind: str) -> None:
    pod.pod.ip(UPPER[kind], "link set up7 up")
    pod.pod.settle()
    before = take_snapshot(pod.pod)
    with Monitor(pod.pod) as monitor:
        done = agent.run("prestart")
        assert monitor.events() == []
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"eth0: up7, a {kind} device, is on top of it" in line
    assert "remove up7, or use the masquerade binding" in line
    assert_restored(pod.pod, before)
    assert not agent.state_directory.exists()
    pod.pod.ip("link del up7")
    agent.prestart()


@pytest.mark.parametrize("kind", UPPER)
def test_masquerade_keeps_it(make_pod: MakePod, kind: str) -> None:
    pod = make_pod("flannel")
    pod.pod.ip(UPPER[kind], "link set up7 up")
    if kind == "macvlan":
        pod.pod.ip(f"link set up7 netns {pod.guest.name}")
        pod.guest.ip("addr add 10.244.1.77/24 dev up7", "link set up7 up")
    pod.pod.settle()
    before = take_snapshot(pod.pod)
    with Agent(pod, binding="masquerade") as agent:
        agent.prestart()
        if kind == "macvlan":
            assert pings(pod.neighbour, "10.244.1.77")
        agent.teardown()
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("binding", DIRECT)
def test_the_end_of_a_pair_and_a_device_of_another_namespace_are_not_on_top(pod: Pod, agent: Agent) -> None:
    """A macvlan's lower device may be another namespace's that has the number of the pod interface by chance."""
    index = pod.pod.link("eth0")["ifindex"]
    pod.node.ip(
        f"link add low index {index + 900} type veth peer name lowp",
        f"link add link low up7 netns {pod.pod.name} type macvlan",
    )
    pod.pod.ip(f"link add pair index {index + 900} type veth peer name pairp", "link set eth0 down")
    assert pod.pod.link("up7")["link_index"] == pod.pod.link("pair")["ifindex"]
    pod.pod.ip("link set eth0 up", "route add default via 10.244.1.1")
    assert agent.run("prestart", "--dry-run").returncode == 0


@pytest.mark.parametrize("mode", [0, GENERIC], ids=["driver", "generic"])
@pytest.mark.parametrize("binding", [*DIRECT, "masquerade"])
def test_an_xdp_program_stays(make_pod: MakePod, binding: str, mode: int) -> None:
    """It sees what comes in for the VM, as before for the pod."""
    pod = make_pod("flannel")
    with xdp_program(pod.pod, "eth0", mode) as program, Agent(pod, binding=binding) as agent:
        before = take_snapshot(pod.pod)
        network = agent.prestart()["networks"][0]
        assert attached_xdp(pod.pod, "eth0") == program
        pod.guest.ip(
            f"link set {GUEST_NIC} address {network['mac']}",
            f"link set {GUEST_NIC} up",
            f"addr add {agent.status()['networks'][0]['address']} dev {GUEST_NIC}",
            f"route add default via {'10.0.2.1' if binding == 'masquerade' else '10.244.1.1'}",
        )
        assert pings(pod.guest, "192.0.2.1")
        assert pings(pod.node, "10.244.1.3")
        agent.teardown()
        pod.guest.ip(f"link set {GUEST_NIC} address {pod.mac}", f"link set {GUEST_NIC} down")
        assert attached_xdp(pod.pod, "eth0") == program
        assert_restored(pod.pod, before)
