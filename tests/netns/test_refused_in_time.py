"""What cannot be done is refused before the first change, and nothing is asked for that is not needed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.forked import SUCCEEDED, run_in
from lab.monitor import Monitor
from lab.nft import Nft
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

import netsetup.kernel.netns as netns
from launcher.cli import main
from netsetup.kernel.netns import is_initial
from netsetup.kernel.rtnetlink import Netlink

pytestmark = pytest.mark.root

READ_ONLY = ["sh", "-c", 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"', "sh"]


@pytest.mark.parametrize("binding", [*DIRECT, "masquerade"])
def test_a_pod_without_ipv6_needs_no_writable_proc_sys(make_pod: MakePod, binding: str) -> None:
    """As a container that has CAP_NET_ADMIN and no more; Docker switches IPv6 off, and masquerade needs ip_forward."""
    pod = make_pod("flannel", guest_port=False)
    pod.pod.ip("link add other type veth peer name otherp", "link set other up")
    pod.pod.sysctl(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
    if binding == "masquerade":
        pod.pod.sysctl(ipv4__ip_forward=1)
        for key in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
            pod.pod.write_sysctl(f"bridge/{key}", 0)
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        done = agent.run("prestart", prefix=READ_ONLY)
        assert done.returncode == 0, done.stderr
        if binding != "masquerade":
            assert pod.pod.read_sysctl("ipv4/conf/other/arp_ignore") == "3"
        assert pod.pod.read_sysctl("ipv6/conf/tap0/disable_ipv6") == "1"
        assert agent.status()["pending"] == []
        done = agent.run("teardown", prefix=READ_ONLY)
        assert done.returncode == 0, done.stderr
    assert_restored(pod.pod, before)


def test_a_device_that_no_vm_could_open_is_no_guest_port(make_pod: MakePod) -> None:
    pod = make_pod("flannel", guest_port=False)
    pod.pod.ip(
        "tuntap add dev port0 mode tun",
        "tuntap add dev port1 mode tap multi_queue",
        "link add port2 type bridge",
        "tuntap add dev port3 mode tap user 1000",
    )
    with Agent(pod) as agent, Monitor(pod.pod) as monitor:
        for number, fault in enumerate(("a tun device without frames", "several queues", "a bridge device")):
            done = agent.run("prestart", "--guest-port", f"port{number}")
            assert done.returncode == 2
            assert re.search(rf"^virt-launcher: error: port{number}: .*{fault}.*--guest-port", done.stderr)
        assert monitor.events() == []
        agent.run("prestart", "--guest-port", "port3", check=True)  # who has CAP_NET_ADMIN may open it


@pytest.mark.parametrize("unknown", ["fwd to", "hook egress"])
def test_a_kernel_that_cannot_forward_frames_is_told_before_a_device_is_made(
    make_pod: MakePod, tmp_path: Path, unknown: str
) -> None:
    pod = make_pod("flannel", guest_port=False)
    nft = Nft(tmp_path, unknown)
    with Agent(pod, binding="fwd") as agent, Monitor(pod.pod) as monitor:
        done = agent.run("prestart", prefix=nft.prefix)
        assert monitor.events() == []
    assert done.returncode == 2
    assert "this kernel lacks" in done.stderr
    assert nft.changes == 0


# --- the machine's own network namespace ------------------------------------------------------------------------------


def test_a_namespace_of_a_container_is_not_the_machines(pod: Pod) -> None:
    with pod.pod.entered():
        assert not is_initial()


@pytest.mark.parametrize("name", ["INITIAL_INODE", "INITIAL_COOKIE"])
def test_the_machines_namespace_is_known_by_inode_or_cookie(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Linux 6.18 and later, and before."""
    with pod.pod.entered():
        with Netlink() as netlink:
            own = {"INITIAL_INODE": os.stat(netns.SELF).st_ino, "INITIAL_COOKIE": netlink.namespace_cookie}
        monkeypatch.setattr(netns, name, own[name])
        assert is_initial()


@pytest.mark.parametrize("verb", ["prestart", "teardown", "run"])
def test_the_machines_namespace_is_touched_only_when_it_is_meant(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setattr(netns, "is_initial", lambda: True)
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm}\n"
        "spec: {domain: {memory: {guest: 64Mi}, devices: {interfaces: [{name: default, bridge: {}}]}},"
        " networks: [{name: default, pod: {}}]}\n"
    )
    more = ["--vmi", str(manifest)] if verb == "run" else []
    before = take_snapshot(pod.pod)

    def refused(state_dir: Path) -> None:
        assert main([verb, "--state-dir", str(state_dir), *more]) == 2

    assert run_in(pod.pod, refused, tmp_path / "state") == SUCCEEDED
    assert "the machine's own network namespace" in capfd.readouterr().err
    assert_restored(pod.pod, before)
    assert not (tmp_path / "state").exists()

    def meant(state_dir: Path) -> None:
        for done in ("prestart", "teardown"):
            assert main([done, "--host-network", "--state-dir", str(state_dir)]) == 0

    if verb != "run":
        assert run_in(pod.pod, meant, tmp_path / "state") == SUCCEEDED
        assert_restored(pod.pod, before)


def test_a_result_that_cannot_be_printed_is_undone_there_as_well(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netns, "is_initial", lambda: True)
    before = take_snapshot(pod.pod)

    def unprinted(state_dir: Path) -> None:
        with open("/dev/full", "w") as full:
            os.dup2(full.fileno(), 1)
        with open(1, "w", closefd=False) as sys.stdout:
            assert main(["prestart", "--host-network", "--state-dir", str(state_dir)]) == 1

    assert run_in(pod.pod, unprinted, tmp_path / "state") == SUCCEEDED
    assert_restored(pod.pod, before)
    assert pod.pod.processes() == []
    assert not (tmp_path / "state").exists()
