"""A VM in a container without any capability, whose pod is set up and served by two others."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab.phases import MORE, VM_USER, Container, Volume, root, user
from lab.pod import MakePod, Pod
from lab.rights import assert_no_capability, rights_of
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import wait_until

from launcher.demo.guest_image import GuestImage, GuestReport, kernel_arguments, parse_reports

from .entrypoint import assert_lease_line
from .machine import BOOT_SECONDS, manifest, open_queues

pytestmark = [pytest.mark.vm, pytest.mark.root]

GROUPS = [VM_USER]
NETWORK = root("net_admin", groups=GROUPS)
SERVE = root("net_raw", groups=GROUPS)
DOMAIN = user(VM_USER)
VMI = f"{MORE}/vmi.yaml"


@pytest.fixture
def pod(make_pod: MakePod) -> Pod:
    return make_pod(guest_port=False)


def vmi(guest: GuestImage, folder: Path) -> None:
    """Write a manifest, and what it boots, where containers see them."""
    for file in (guest.kernel, guest.initrd):
        shutil.copy(file, folder / file.name)
        (folder / file.name).chmod(0o644)
    seen = GuestImage(Path(MORE, guest.kernel.name), Path(MORE, guest.initrd.name))
    described = manifest(
        seen,
        kernel_arguments(),
        cpu={"cores": 2},
        devices={"interfaces": [{"name": "default", "bridge": {}}], "networkInterfaceMultiqueue": True},
        networks=[{"name": "default", "pod": {}}],
        terminationGracePeriodSeconds=30,
    )
    described["metadata"]["annotations"] = {"virt-launcher.io/mac": "pod"}
    (folder / "vmi.yaml").write_text(yaml.safe_dump(described))


@pytest.fixture
def volume(pod: Pod, guest: GuestImage) -> Iterator[Volume]:
    with Volume(pod.pod, group=VM_USER) as volume:
        vmi(guest, volume.more)
        yield volume


def lease(container: Container, console: Path) -> GuestReport:
    """The guest's, as soon as it has printed it."""

    def leases() -> list[GuestReport]:
        assert container.is_running(), container.log()
        text = console.read_text(errors="replace") if console.exists() else ""
        return [report for report in parse_reports(text) if report.event == "lease"]

    wait_until(leases, BOOT_SECONDS, log=container.log)
    return leases()[0]


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    __tracebackhide__ = True
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    for word in words:
        assert word in line


def test_a_vm_without_any_capability(pod: Pod, volume: Volume) -> None:
    before = take_snapshot(pod.pod)
    run = ("run", "--phase", "domain", "--vmi", VMI)
    assert_refused(volume.run(DOMAIN, *run), "a network that is set up for its user (run `virt-launcher prestart ")
    done = volume.run(NETWORK, "prestart", "--phase", "network", "--owner", str(VM_USER), "--vmi", VMI)
    assert (done.returncode, done.stderr) == (0, "")
    missing = ["write access to /run/virt-launcher/", "/dev/net/tun: No such file or directory (Docker"]
    assert_refused(volume.run(DOMAIN, *run, bare=True), *missing)
    assert_refused(volume.run(user(VM_USER + 1, groups=GROUPS), *run), "may be opened by 107:107 alone")
    with volume.start(SERVE, "serve") as server, volume.start(DOMAIN, *run) as vm:
        assert_lease_line(lease(vm, volume.state / "vm/console.log"), pod)
        assert open_queues(pod.pod) == 2
        mine = [pid for pid in pod.pod.processes() if rights_of(pid)["Uid"][0] == str(VM_USER)]
        assert len(mine) == 3, "first process, launcher, QEMU"
        for pid in mine:
            assert_no_capability(pid)
        held = f"state directory /run/virt-launcher/{volume.state.name})"
        assert_refused(volume.run(DOMAIN, *run), "a VM runs in this pod (pid ", held)
        status = json.loads(volume.run(NETWORK, "status", "--output", "json").stdout)
        assert status["launcher"].startswith("pid "), status
        assert_refused(volume.run(DOMAIN, "attach", "blue", "--interface", "net1"), "it needs CAP_NET_ADMIN")
        assert_refused(volume.run(DOMAIN, "detach", "default"), "it needs CAP_NET_ADMIN")
        assert_refused(volume.run(user(VM_USER + 1, groups=GROUPS), "link", "default", "down"), "launcher's own user")
        assert volume.run(DOMAIN, "link", "default", "down").returncode == 0
        status = json.loads(volume.run(NETWORK, "status", "--output", "json").stdout)
        assert status["networks"][0]["link"] == "down"
        assert_refused(volume.run(NETWORK, "teardown"), "stop it first, or add --force")
        vm.signal(signal.SIGTERM)
        assert vm.wait(BOOT_SECONDS) == 0, vm.log()
        assert "Traceback" not in vm.log()
        status = json.loads(volume.run(NETWORK, "status", "--output", "json").stdout)
        assert (status["pending"], status["launcher"]) == ([], ""), "it stays set up"
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    torn_down = volume.run(NETWORK, "teardown")
    assert (torn_down.returncode, torn_down.stderr) == (0, "")
    assert_restored(pod.pod, before)


def test_one_process_of_another_user(pod: Pod, volume: Volume) -> None:
    """Without HOME, and without being told a state directory."""
    before = take_snapshot(pod.pod)
    with volume.start(user(VM_USER, "net_admin", "net_raw"), "run", "--vmi", VMI) as vm:
        wait_until(lambda: list(volume.path.iterdir()), log=vm.log)
        assert_lease_line(lease(vm, volume.state / "console.log"), pod)
        vm.signal(signal.SIGTERM)
        assert vm.wait(BOOT_SECONDS) == 0, vm.log()
    assert_restored(pod.pod, before)
