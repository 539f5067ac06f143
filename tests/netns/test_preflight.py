"""Missing features of kernel and container are reported, all at once, before anything in the pod is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.forked import SUCCEEDED, Action, fwd, masquerade, run_in, set_up
from lab.monitor import Monitor
from lab.nft import Nft
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

import netsetup.executor
from netsetup.bindings.registry import BUILT_IN
from netsetup.errors import MissingFeature
from netsetup.kernel.rtnetlink import NLM_F_CREATE, Netlink

pytestmark = pytest.mark.root

WITHOUT_SYS_ADMIN = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
NOT_THERE = "mount -t tmpfs none /dev/net"
ANOTHER = "mount --bind /dev/null /dev/net/tun"


@pytest.fixture
def pod(make_pod: MakePod) -> Iterator[Pod]:
    """A pod without a guest port; after the test it must be unchanged and without link events."""
    pod = make_pod("ovn-kubernetes", guest_port=False)
    before = take_snapshot(pod.pod)
    with Monitor(pod.pod) as monitor:
        yield pod
        assert_restored(pod.pod, before, within=0)
        assert monitor.events() == []


def refusal(pod: Pod, binding: str, prefix: Sequence[str]) -> str:
    """The one line with which a set-up ends."""
    with Agent(pod, binding=binding) as agent:
        done = agent.run("prestart", prefix=prefix)
        assert not agent.state_directory.exists()
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("more", [[], WITHOUT_SYS_ADMIN], ids=["", "no namespace"])
@pytest.mark.parametrize(
    ("binding", "unknown", "missing"),
    [
        ("masquerade", "masquerade", ["masquerading (nft_masq)"]),
        (
            "masquerade",
            "type nat",
            [
                "NAT in nftables' inet family (nft_chain_nat, Linux 5.2)",
                "destination NAT (nft_nat)",
                "masquerading (nft_masq)",
            ],
        ),
        ("masquerade", "fib", ["address types in rules (nft_fib_inet)"]),
        ("bridge", "table bridge", ["nftables' bridge family (nf_tables, Linux 3.14)", "named counters"]),
        ("bridge", "counter name", ["named counters (nft_objref, Linux 4.10)"]),
        ("fwd", "table bridge", ["nftables' bridge family (nf_tables, Linux 3.14)", "named counters"]),
    ],
)
def test_nftables(pod: Pod, tmp_path: Path, binding: str, unknown: str, missing: list[str], more: list[str]) -> None:
    """MQ01, NP04: the first change of a set-up is one transaction with all the rules; no other is attempted."""
    nft = Nft(tmp_path, unknown)
    line = refusal(pod, binding, [*more, *nft.prefix])
    assert f"this kernel lacks {', '.join(missing)}" in line
    assert nft.changes == 1


@pytest.mark.parametrize(
    ("unknown", "missing"),
    [
        ("fwd to", ["forwarding frames between devices (nft_fwd_netdev, Linux 4.10)"]),
        ("hook egress", ["nftables' egress hook (nf_tables, Linux 5.16)"]),
    ],
)
def test_nftables_of_the_netdev_family(make_pod: MakePod, tmp_path: Path, unknown: str, missing: list[str]) -> None:
    """It needs the devices, which are not made for a kernel that could do nothing with them."""
    pod = make_pod("ovn-kubernetes", guest_port=False)
    before = take_snapshot(pod.pod)
    line = refusal(pod, "fwd", Nft(tmp_path, unknown).prefix)
    assert f"this kernel lacks {', '.join(missing)}: nftables: Error" in line
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("binding", BUILT_IN)
@pytest.mark.parametrize(("mount", "reason"), [(NOT_THERE, "is missing; give the container"), (ANOTHER, "is another")])
def test_tap_devices(pod: Pod, tmp_path: Path, binding: str, mount: str, reason: str) -> None:
    nft = Nft(tmp_path, "nothing")
    line = refusal(pod, binding, [*nft.prefix, "sh", "-c", f'{mount} && exec "$@"', "sh"])
    assert re.search(rf"this kernel lacks tap devices \(tun, /dev/net/tun\): create tap tap0: .*{reason}", line), line
    assert nft.changes == 0


def test_all_that_is_missing_is_named_at_once(pod: Pod, tmp_path: Path) -> None:
    nft = Nft(tmp_path, "masquerade")
    line = refusal(pod, "masquerade", [*nft.prefix, "sh", "-c", f'{NOT_THERE} && exec "$@"', "sh"])
    assert "this kernel lacks masquerading (nft_masq), tap devices (tun, /dev/net/tun): create tap tap0: " in line
    assert nft.changes == 0


@pytest.mark.parametrize("action", [set_up, fwd, masquerade])
def test_bridge_devices(pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Action) -> None:
    """The kernel's answer to the request is the one for an unknown kind of device."""

    def create_bridge(netlink: Netlink, name: str, mac: str, mtu: int) -> None:
        kind = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "no-such-kind")]})]
        netlink._link_request(f"create bridge {name}", 0, [("IFLA_IFNAME", name), *kind], flags=NLM_F_CREATE)

    def fails(state_dir: Path) -> None:
        with pytest.raises(MissingFeature, match=r"create bridge k6t-eth0: no bridge devices \(bridge\)"):
            action(state_dir)

    monkeypatch.setattr(Netlink, "create_bridge", create_bridge)
    monkeypatch.setattr(netsetup.executor.nftables, "load", None)
    assert run_in(pod.pod, fails, tmp_path) == SUCCEEDED
