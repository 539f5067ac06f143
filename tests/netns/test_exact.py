"""What a pod has comes back exactly, whatever ip(8) can say about it: pods at random, and one of each kind by name.

And what a CNI changes while the VM runs is there afterwards, as in a pod without a VM.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.forked import FAILED, SUCCEEDED, WAYS, put_back, run_in, set_up
from lab.namespace import Namespace
from lab.random_pod import IpPod, random_pod
from lab.snapshot import Snapshot, assert_restored, take_ip_snapshot, take_snapshot

from netsetup.apply import prepare_pod_network_interfaces
from netsetup.model.request import NetworkRequest

pytestmark = pytest.mark.root

SECONDS = float(os.environ.get("EXACT_SECONDS", "5"))
"""How long pods are tried, for each binding."""

BASE = (
    "address add 10.0.0.5/24 dev eth0",
    "address add 10.1.0.5/24 dev eth1",
    "address add fd00::5/64 dev eth0 nodad",
    "address add fd01::5/64 dev eth1 nodad",
)
KINDS = {
    "two defaults of one interface": ("route add default via 10.0.0.1", "route append default via 10.0.0.2"),
    "defaults of two interfaces, ours first": ("route add default via 10.0.0.1", "route append default via 10.1.0.1"),
    "defaults of two interfaces, ours last": ("route add default via 10.1.0.1", "route append default via 10.0.0.1"),
    "defaults of two interfaces, ours between": (
        "route add default via 10.1.0.1 metric 100",
        "route append default via 10.0.0.1 metric 100",
        "route append default via 10.1.0.2 metric 100",
        "route append default via 10.0.0.2 metric 100",
        "route append default via 10.1.0.3 metric 100",
    ),
    "two interfaces in one subnet": ("address add 10.0.0.6/24 dev eth1", "address add 10.0.0.5/32 dev lo"),
    "IPv6 defaults of two interfaces": (
        "route add default via fe80::1 dev eth0",
        "route append default via fe80::1 dev eth1",
        "route add fd50::/64 dev eth0",
        "route append fd50::/64 dev eth1",
        "route add fd51::/64 dev eth1",
        "route append fd51::/64 dev eth0",
    ),
    "multipath through two interfaces": (
        "route add default nexthop via 10.0.0.1 dev eth0 nexthop via 10.1.0.1 dev eth1",
        "route add default nexthop via fd00::1 dev eth0 nexthop via fd01::1 dev eth1",
    ),
    "the source of routes of other interfaces": (
        "address add 10.0.0.6/24 dev eth0",
        "address add 10.9.0.1/32 dev eth0 scope link",
        "route add 10.50.0.0/16 dev eth1 src 10.0.0.5",
        "route add 10.51.0.0/16 dev eth1 src 10.0.0.6",
        "route add 10.52.0.0/16 dev eth1 src 10.9.0.1",
        "route add 10.53.0.0/16 dev lo src 10.0.0.5",
        "route add blackhole 10.54.0.0/16 src 10.0.0.6",
        "route add fd50::/64 dev eth1 src fd00::5",
        "route add fd51::/64 dev lo src fd00::5",
    ),
    "an IPv6 next hop of IPv4": (
        "route add 10.50.0.0/16 via inet6 fe80::1 dev eth0",
        "route add default nexthop via 10.0.0.1 dev eth0 weight 3 nexthop via inet6 fe80::1 dev eth0",
    ),
    "encapsulation": (
        "route add 10.50.0.0/16 encap ip id 5 dst 10.0.0.1 via 10.0.0.1",
        "route add 10.51.0.0/16 encap seg6 mode encap segs fd00::1,fd00::2 dev eth0",
        "route add fd50::/64 encap ip6 id 5 dst fd00::1 via fd00::1",
        "route add fd51::/64 encap seg6local action End dev eth0",
        "route add fd52::/64 encap ip6 id 5 dst fd00::1 via fd00::1 expires 5000",
    ),
    "realms, metrics": (
        "route add 10.50.0.0/16 via 10.0.0.1 realms 3/4",
        "route add 10.51.0.0/16 nexthop via 10.0.0.1 realms 3 nexthop via 10.0.0.2",
        "route add 10.52.0.0/16 via 10.0.0.1 congctl reno",
        "route add 10.53.0.0/16 via 10.0.0.1 mtu lock 1400 advmss 1300 rtt 100ms features ecn fastopen_no_cookie 1",
        "route add fd50::/64 via fd00::1 congctl lock reno",
    ),
    "nexthop objects": (
        "nexthop add id 1 via 10.0.0.1 dev eth0",
        "nexthop add id 2 via 10.0.0.2 dev eth0",
        "nexthop add id 3 group 1/2",
        "nexthop add id 4 via fd00::1 dev eth0",
        "nexthop add id 5 encap ip id 5 dst 10.0.0.1 via 10.0.0.1 dev eth0",
        "route add default nhid 1",
        "route add 10.50.0.0/16 nhid 3",
        "route add 10.51.0.0/16 nhid 5",
        "route add ::/0 nhid 4",
    ),
    "a gateway that is not reachable any more": (
        "route add 10.60.0.1/32 dev eth0",
        "route add 10.50.0.0/16 via 10.60.0.1",
        "route add 10.51.0.0/16 via 10.60.0.1 table 100",
        "route del 10.60.0.1/32 dev eth0",
    ),
    "neighbours": (
        "neigh add 10.0.0.1 dev eth0 lladdr 02:00:00:00:00:01 nud noarp",
        "neigh add 10.0.0.2 dev eth0 lladdr 02:00:00:00:00:02 nud permanent protocol 42",
        "neigh add 10.0.0.3 dev eth0 managed",
        "neigh add 10.0.0.4 dev eth0 lladdr 02:00:00:00:00:04 extern_learn",
        "neigh add 10.0.0.6 dev eth0 lladdr 02:00:00:00:00:06 nud permanent router",
        "neigh add proxy 10.0.0.77 dev eth0",
        "neigh add proxy fd00::77 dev eth0 router protocol 17",
        "neigh add fd00::3 dev eth0 managed",
        "neigh add fd00::4 dev eth0 lladdr 02:00:00:00:00:04 nud noarp router",
    ),
    "addresses": (
        "address add 10.0.0.9/24 dev eth0 label eth0:x metric 7",
        "address add 10.0.0.7/24 dev eth0",
        "address add 10.2.0.7/24 dev eth0 scope host",
        "address add 10.3.0.1 peer 10.3.0.2/32 dev eth0 noprefixroute",
        "address add 10.0.0.8/24 dev eth0",
        "address add 239.1.1.1/32 dev eth0 autojoin",
        "address add fd00::6/64 dev eth0 nodad home metric 7",
        "address add fd00::7 peer fd00::8/128 dev eth0 nodad",
    ),
}
"""`ip` commands after those of BASE."""

CHANGES = {
    "the default replaced": ("route replace default via 10.0.0.254 dev eth0 onlink",),
    "one of two replaced": ("route replace 10.50.0.0/16 via 10.0.0.254 dev eth0 onlink",),
    "another default": ("route add default via 10.0.0.254 dev eth0 onlink metric 50",),
    "an address of the same subnet": ("address add 10.0.0.9/24 dev eth0",),
    "an address of another subnet": ("address add 10.7.0.9/24 dev eth0", "route add 10.70.0.0/16 via 10.7.0.1"),
    "the same address, with a metric": ("address replace 10.7.0.5/24 dev eth0 metric 70",),
    "a neighbour replaced": ("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",),
    "a neighbour proxied": ("neigh replace proxy 10.0.0.1 dev eth0",),
}
"""What a CNI does while the VM runs. A pod without a VM shows what is right."""

BEFORE = (
    *BASE,
    "address add 10.7.0.5/24 dev eth0",
    "address add 10.0.0.6/24 dev eth0",
    "route add default via 10.0.0.1 dev eth0",
    "route add default via 10.1.0.1 dev eth1 metric 100",
    "route add 10.50.0.0/16 via 10.0.0.1",
    "route append 10.50.0.0/16 via 10.0.0.2",
    "neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
)
"""The pod before that."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_exactly(kind: str, tmp_path: Path) -> None:
    with IpPod((*BASE, *KINDS[kind])).build() as pod:
        assert _comes_back(pod, "bridge", tmp_path / "state", take_ip_snapshot)


@pytest.mark.parametrize("merged", [True, False], ids=["prestart again", "teardown alone"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_meanwhile_stays(change: str, merged: bool, tmp_path: Path) -> None:
    with IpPod(BEFORE).build() as pod, IpPod(BEFORE).build() as other:
        assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
        for namespace in (pod.pod, other.pod):
            namespace.ip(*CHANGES[change])
        if merged:
            assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
            assert run_in(pod.pod, lambda folder: _assert_settled(folder, "bridge"), tmp_path) == SUCCEEDED
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
        assert_restored(pod.pod, take_ip_snapshot(other.pod), take=take_ip_snapshot)


def test_what_the_kernel_would_not_take_back_is_refused_first(tmp_path: Path) -> None:
    """A gateway that has become an address of the pod's own."""
    lines = (*BASE, "route add 10.50.0.0/16 via 10.0.0.1 dev eth0 onlink", "address add 10.0.0.1/32 dev lo")
    with IpPod(lines).build() as pod:
        before = take_ip_snapshot(pod.pod)
        assert run_in(pod.pod, set_up, tmp_path / "state") == FAILED
        assert_restored(pod.pod, before, take=take_ip_snapshot)
        assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("binding", ["bridge", "fwd", "masquerade"])
def test_random_pods_come_back_exactly(binding: str, tmp_path: Path) -> None:
    """EXACT_SEED tries one pod again, EXACT_SECONDS more of them."""
    given = os.environ.get("EXACT_SEED")
    seed = int(given) if given else random.randrange(1 << 30)
    deadline = time.monotonic() + SECONDS
    served = refused = 0
    while not served or (time.monotonic() < deadline and not given):
        with random_pod(seed).build(force=True) as pod:
            if _comes_back(pod, binding, tmp_path / str(seed)):
                served += 1
            else:
                refused += 1
        assert refused < 5 + served, f"{refused} pods were refused, the last with seed {seed}"
        seed += 1


def _comes_back(pod: IpPod, binding: str, state: Path, take: Callable[[Namespace], Snapshot] = take_snapshot) -> bool:
    """Whether the pod could be set up; it is as before in any case."""
    there, back = WAYS[binding]
    before = take(pod.pod)
    try:
        served = run_in(pod.pod, there, state) == SUCCEEDED
        if served:
            assert run_in(pod.pod, lambda folder: _assert_settled(folder, binding), state) == SUCCEEDED
            assert run_in(pod.pod, back, state) == SUCCEEDED
        assert_restored(pod.pod, before, take=take)
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n\n{pod}") from None
    return served


def _assert_settled(folder: Path, binding: str) -> None:
    """Run again, `prestart` changes nothing but the copy of the record, in which lifetimes run down."""
    prepared = prepare_pod_network_interfaces([NetworkRequest(binding=binding)], state_dir=folder)
    assert [line for line in prepared.plan.lines() if not line.startswith("nft load table")] == []
