"""`virt-launcher run` from end to end: a pod, the program as its first process, a real VM, and the pod as before.

The guest port is the hook's own in all of these, as it is in a container.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.agent import Agent
from lab.bridged import dnsmasq_arguments
from lab.checks import pings
from lab.pod import DNS, SEARCH, MakePod, Pod
from lab.shape import GuestNetwork
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import PATIENCE, wait_until
from prometheus_client.parser import text_string_to_metric_families

from launcher.demo.guest_image import GuestImage, kernel_arguments

from .daemon import Daemon
from .entrypoint import Entrypoint, assert_lease_line, children, state_of
from .machine import manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

TERMINATED_IN_HOOK = """
import os, signal, sys
from launcher import cli, prestart
set_up = prestart.setup_pod_network
def set_up_and_terminate(*arguments, **options):
    pod = set_up(*arguments, **options)
    os.kill(os.getpid(), signal.SIGTERM)
    return pod
prestart.setup_pod_network = set_up_and_terminate
sys.exit(cli.main())
"""

Document = dict[str, Any]
Run = Callable[..., Entrypoint]


def vmi(guest: GuestImage, grace: int = 15, **settings: Any) -> Document:
    arguments = kernel_arguments(**settings)
    described = manifest(
        guest,
        arguments,
        devices={"interfaces": [{"name": "default", "bridge": {}}]},
        networks=[{"name": "default", "pod": {}}],
        terminationGracePeriodSeconds=grace,
    )
    described["metadata"]["annotations"] = {"virt-launcher.io/mac": "pod"}
    return described


@pytest.fixture
def pod(make_pod: MakePod) -> Pod:
    return make_pod(guest_port=False)


@pytest.fixture
def directory(pod: Pod) -> Iterator[Path]:
    # Sockets are made below it, so its path is short, which pytest's own are not; it goes before the pod does.
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


@pytest.fixture
def run(make_pod: MakePod, guest: GuestImage) -> Iterator[Run]:
    """Start the launcher in a new pod of a shape: the guest's settings, its grace period, more options."""
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:

        def start(shape: str, *options: str | Path, grace: int = 15, **settings: Any) -> Entrypoint:
            pod = make_pod(shape, guest_port=False)
            return Entrypoint(pod, Path(directory), vmi(guest, grace, **settings), *options)

        yield start


def wait_for_end(pid: int, seconds: float = PATIENCE) -> None:
    """Until a process has ended, whether or not somebody has waited for it."""
    deadline = time.monotonic() + seconds
    while state_of(pid) not in ("", "Z"):
        assert time.monotonic() < deadline
        time.sleep(0.001)


# One machine for all that does not end it


@pytest.fixture(scope="module")
def living(guest: GuestImage) -> Iterator[Entrypoint]:
    """A machine that has its lease and goes on running."""
    options = {"ntpServers": ["192.0.2.123"], "privateOptions": [{"option": 240, "value": "a text"}]}
    described = vmi(guest, ping=["router", "192.0.2.1"])
    devices = described["spec"]["domain"]["devices"]
    devices["interfaces"][0]["dhcpOptions"] = options
    devices["disks"] = [{"name": "data", "disk": {"bus": "virtio"}}]
    described["spec"] |= {"hostname": "named", "volumes": [{"name": "data", "hostDisk": {"path": "/unused"}}]}
    with Pod("flannel", guest_port=False) as pod, tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        image = Path(directory, "data.raw")
        image.write_bytes(b"what the guest reads".ljust(1 << 16, b"\n"))
        scraped = f"unix:{directory}/metrics"
        machine = Entrypoint(pod, Path(directory), described, "--disk", f"data={image}", "--metrics", scraped)
        machine.await_report("lease")
        yield machine


def test_a_running_vm_is_measured(living: Entrypoint) -> None:
    text = scrape(str(living.state_dir.parent / "metrics"))
    found = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    for name in ("guest_up", "launcher_up", "dhcp_up", "lease_held", "status_readable"):
        assert found[f"virt_launcher_{name}"].value == 1, name
    assert found["virt_launcher_network_info"].labels["mac"] == living.pod.mac
    assert found["virt_launcher_lease_renewed_timestamp_seconds"].value == pytest.approx(time.time(), abs=600)


def scrape(path: str) -> str:
    """What a unix socket serves, with the headers in front."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        head, _, body = b"".join(iter(lambda: client.recv(1 << 16), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ")
    return body.decode()


def test_the_guest_has_what_the_pod_had(living: Entrypoint) -> None:
    (nic,) = living.reports("nic")
    assert (nic.fields["mac"], nic.fields["mtu"]) == (living.pod.mac, str(living.pod.mtu))
    lease = living.await_report("lease")
    assert_lease_line(lease, living.pod, hostname="named")
    assert lease.fields["broadcast"] == "10.244.1.255"
    assert lease.fields["ntp"] == "192.0.2.123"
    assert lease.fields["seconds"] == "86400"
    assert lease.fields["server"] == "10.244.1.1"
    assert living.command("hostname") == "named"
    assert living.command("cat /etc/resolv.conf").splitlines() == [
        f"search {' '.join(SEARCH)}",
        f"nameserver {DNS[0]}",
    ]


def test_guest_node_and_world_reach_each_other(living: Entrypoint) -> None:
    told = {ping.fields["target"]: ping.fields["result"] for ping in (living.await_report("ping", n) for n in (1, 2))}
    assert told == {"10.244.1.1": "ok", "192.0.2.1": "ok"}
    for namespace in (living.pod.node, living.pod.neighbour):
        assert pings(namespace, "10.244.1.3", size=1450), namespace


def test_the_disk_is_what_the_command_line_says(living: Entrypoint) -> None:
    assert living.command("head -n 1 /dev/vda") == "what the guest reads"


def test_the_log_tells_each_milestone(living: Entrypoint) -> None:
    living.await_event("started")
    assert set(living.event("network")["elapsed_ms"]) == {"discover", "plan", "apply", "serve", "total"}
    assert living.event("accelerator")["name"] in ("kvm", "tcg")
    assert living.event("started")["ms"] > 0
    said = " ".join(living.messages("info"))
    assert f"network default: eth0 (10.244.1.3/24), bridge binding, VM's MAC {living.pod.mac}, MTU 1450" in said
    assert str(living.state_dir / "console.log") in said
    assert living.result() == ""


def test_a_killed_dhcp_server_is_replaced(living: Entrypoint) -> None:
    leases = len(living.reports("lease"))
    server = living.dhcp_server()
    assert server is not None
    os.kill(server, signal.SIGKILL)
    # udhcpc renews; should the request meet nobody, it is repeated for as long as the lease holds
    living.command("kill -USR1 $(cat /run/udhcpc.eth0)")
    assert_lease_line(living.await_report("lease", leases + 1, seconds=10), living.pod, hostname="named")
    replacement = living.dhcp_server()
    assert replacement not in (None, server)
    assert f"DHCP server (pid {server}): has exited; starting another" in living.messages("warning")


def test_nothing_waits_to_be_reaped(living: Entrypoint) -> None:
    """QEMU, which libvirt starts as a daemon, is the first process's own child, as is every other orphan."""
    first, launcher = living.process.pid, living.launcher()
    assert living.emulator() in children(first)
    assert [pid for parent in (first, launcher) for pid in children(parent) if state_of(pid) == "Z"] == []


@pytest.mark.parametrize("words", [("run", "--vmi", "vmi.yaml"), ("teardown",)], ids=lambda words: words[0])
def test_the_pod_of_a_running_vm_is_its_launchers(living: Entrypoint, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Whatever state directory another launcher has: it changes nothing, and says whose the pod is."""
    before = take_snapshot(living.pod.pod)
    verb = [Agent.program(), *(str(living.vmi) if word == "vmi.yaml" else word for word in words)]
    for folder in (living.state_dir, tmp_path):
        refused = living.pod.pod.run([*verb, "--state-dir", folder], check=False)
        assert refused.returncode == 2
        assert f"a VM runs in this pod (pid {living.launcher()}, virt-launcher run, " in refused.stderr
        assert f"state directory {living.state_dir}); stop " in refused.stderr
    assert_restored(living.pod.pod, before, within=0)
    assert pings(living.pod.node, living.pod.shape.guest.address.partition("/")[0])


def test_a_hook_that_runs_meanwhile_changes_nothing(living: Entrypoint) -> None:
    before = take_snapshot(living.pod.pod)
    hook = [Agent.program(), "prestart", "--vmi", living.vmi, "--state-dir", living.state_dir, "--output", "json"]
    printed = living.pod.pod.run(hook)
    assert f'"dhcp": {{"pid": {living.dhcp_server()}}}' in printed.stdout
    assert_restored(living.pod.pod, before, within=0)


# How a machine ends, each in a pod of another shape


def test_the_network_follows_the_pod(living: Entrypoint) -> None:
    """Nobody calls `prestart`."""
    mtu = living.pod.mtu
    for changed in (mtu - 100, mtu):
        living.pod.pod.ip(f"link set {living.pod.interface} mtu {changed}")
        wait_until(lambda changed=changed: living.pod.pod.link("tap0")["mtu"] == changed, log=living.errors)
    assert living.launcher()


def test_sigterm_shuts_the_guest_down(run: Run) -> None:
    machine = run("calico")
    assert_lease_line(machine.await_report("lease"), machine.pod)
    assert pings(machine.pod.node, "192.168.103.70")
    machine.terminate()
    assert machine.await_end() == 0
    assert machine.reports("power-button")
    assert machine.event("ended") == {"how": "shut down"}
    machine.assert_pod_restored()


def test_guest_that_powers_itself_off(run: Run) -> None:
    machine = run("ovn-kubernetes", ping=["10.96.0.10"], then="poweroff")
    assert_lease_line(machine.await_report("lease"), machine.pod)
    server = machine.dhcp_server()
    assert server is not None
    # its end is the beginning of the way back: a signal in its midst breaks nothing off
    wait_for_end(server)
    machine.terminate()
    assert machine.await_end() == 0
    assert [ping.fields["result"] for ping in machine.reports("ping")] == ["ok"]
    assert machine.event("ended") == {"how": "powered off"}
    assert machine.messages("critical") == []
    machine.assert_pod_restored()


def test_deaf_guest_is_destroyed_after_its_grace_period(run: Run) -> None:
    machine = run("ptp", grace=1, button=False)
    assert_lease_line(machine.await_report("lease"), machine.pod)
    machine.terminate()
    assert machine.await_end() == 4
    assert machine.event("ended") == {"how": "destroyed"}
    machine.assert_pod_restored()


def test_panic_of_the_guest(run: Run) -> None:
    machine = run("azure", then="crash")
    assert_lease_line(machine.await_report("lease"), machine.pod)
    emulator = machine.emulator()
    assert emulator is not None
    # asked to stop when there is no machine any more, but libvirt has not said so yet
    wait_for_end(emulator)
    machine.terminate()
    assert machine.await_end() == 5, machine.errors()
    assert machine.event("ended") == {"how": "crashed"}
    machine.assert_pod_restored()


def test_sigterm_while_the_guest_boots(run: Run) -> None:
    machine = run("kindnet")
    machine.await_event("started")
    machine.terminate()
    assert machine.await_end() == 0
    assert machine.event("ended") == {"how": "shut down"}
    machine.assert_pod_restored()


def test_five_capabilities_are_enough(pod: Pod, directory: Path, guest: GuestImage) -> None:
    """Two for the pod's network, and three for libvirt to start QEMU with."""
    five = "--bounding-set=-all,+net_admin,+net_raw,+setpcap,+setuid,+setgid"
    program = ("setpriv", five, "--inh-caps=-all", Agent.program())
    machine = Entrypoint(pod, directory, vmi(guest), program=program)
    assert_lease_line(machine.await_report("lease"), pod)
    machine.terminate()
    assert machine.await_end() == 0
    machine.assert_pod_restored()


def test_sigterm_during_the_hook(pod: Pod, directory: Path, guest: GuestImage) -> None:
    """At its very end, before anybody has taken note of what it did."""
    machine = Entrypoint(pod, directory, vmi(guest), program=(sys.executable, "-c", TERMINATED_IN_HOOK))
    assert machine.await_end() == 0
    assert machine.messages("info")[-2:] == [
        "received a signal to stop before the VM was started",
        "the pod's network is as it was",
    ]
    machine.assert_pod_restored()


def test_next_container_takes_over_what_a_killed_one_left(run: Run, guest: GuestImage, tmp_path: Path) -> None:
    """The pod lives on, and with it its network; the container's files do not."""
    killed = run("aws")
    killed.await_report("up")
    os.kill(killed.launcher(), signal.SIGKILL)
    assert killed.await_end() == 128 + signal.SIGKILL
    assert killed.pod.pod.processes() == []
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        machine = Entrypoint(killed.pod, Path(directory), vmi(guest))
        assert_lease_line(machine.await_report("lease"), machine.pod)
        machine.terminate()
        assert machine.await_end() == 0
    killed.assert_pod_restored()


def test_a_run_whose_vm_does_not_start_leaves_what_it_found(pod: Pod, directory: Path, guest: GuestImage) -> None:
    described = directory / "init.yaml"
    described.write_text(yaml.safe_dump(vmi(guest)))
    pod.pod.run([Agent.program(), "prestart", "--vmi", described, "--state-dir", directory / "state"])
    wait_until(lambda: pod.pod.link("tap0")["operstate"] == "DOWN")  # a tap that nobody has opened has no carrier
    before, served = take_snapshot(pod.pod), pod.pod.processes()
    machine = Entrypoint(pod, directory, vmi(guest), "--connect", "qemu+unix:///system?socket=/nowhere/sock")
    assert machine.await_end() == 1
    assert "the VM was not started: the pod's network stays set up, as it was found" in machine.messages("info")
    assert_restored(pod.pod, before)
    assert pod.pod.processes() == served


# Other ways to run


def test_network_without_addresses_serves_its_own_dhcp(run: Run, tmp_path: Path) -> None:
    """On a layer-2 NIC there is nothing to hand out: no server of ours, and the network's answers reach the guest."""
    machine = run("layer2")
    network = GuestNetwork("10.99.0.77/24", 1500, "10.99.0.1")
    machine.pod.node.popen(dnsmasq_arguments(network, machine.pod.mac, "cni0", 600))
    lease = machine.await_report("lease")
    assert (lease.fields["address"], lease.fields["router"]) == (network.address, network.router)
    assert lease.fields["seconds"] == "600"
    assert pings(machine.pod.neighbour, "10.99.0.77")
    assert machine.dhcp_server() is None
    machine.terminate()
    assert machine.await_end() == 0
    machine.assert_pod_restored()


def test_machine_of_a_libvirt_daemon(make_pod: MakePod, guest: GuestImage) -> None:
    pod = make_pod("flannel", guest_port=False)
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        daemon = Daemon(pod.pod, Path(directory, "daemon"))
        machine = Entrypoint(pod, Path(directory), vmi(guest), "--connect", daemon.uri)
        assert_lease_line(machine.await_report("lease"), pod)
        assert pings(pod.node, "10.244.1.3")
        assert daemon.emulators()
        machine.terminate()
        assert machine.await_end() == 0
        assert daemon.emulators() == []
        machine.assert_pod_restored()
