"""What `virt-launcher run` refuses, and what fails under it: one line, an exit code, and the pod as it was."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from lab.pod import Pod

from launcher.demo.guest_image import GuestImage, kernel_arguments

from .entrypoint import Entrypoint
from .machine import manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

INTERFACES = "spec.domain.devices.interfaces"
NO_DISK = {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]}
ROOT_VOLUME = [{"name": "root", "hostDisk": {"path": "/unused"}}]


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    """One for all: every test leaves it as it was."""
    with Pod("flannel", guest_port=False) as pod:
        yield pod


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


def assert_refused(machine: Entrypoint, code: int, message: str) -> None:
    """This exit code, and one line of errors that this pattern matches; nothing is left in the pod."""
    __tracebackhide__ = True
    assert machine.await_end() == code, machine.errors()
    (line,) = machine.messages("error")
    assert re.search(message, line), line
    assert "\n" not in line
    assert machine.messages("critical") == []
    assert machine.result() == ""
    machine.assert_pod_restored()


# Bad input: nothing is begun


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"cpu": {"cores": 0}}, (), r"^spec\.domain\.cpu\.cores: "),
        ({"cpu": {"model": "Nonsense"}}, (), r"^spec\.domain\.cpu\.model: `Nonsense` is no model that libvirt has"),
        ({"devices": {"gpus": [{"name": "gpu"}]}}, (), r"^spec\.domain\.devices\.?.*gpus"),
        (
            {
                "devices": {"interfaces": [{"name": "default", "passt": {}}]},
                "networks": [{"name": "default", "pod": {}}],
            },
            (),
            r"^spec\.domain\.devices\.interfaces\[0\]\.passt: ",
        ),
        ({"firmware": {"kernelBoot": {"container": {"kernelPath": "/no/kernel"}}}}, (), r"kernelPath: /no/kernel: "),
        ({"devices": NO_DISK, "volumes": ROOT_VOLUME}, (), r"`root` has no image: give --disk root=PATH"),
        (
            {"devices": NO_DISK, "volumes": ROOT_VOLUME},
            ("--disk", "root=/no/image"),
            r"^--disk root: /no/image: No such file",
        ),
        ({"devices": NO_DISK, "volumes": ROOT_VOLUME}, ("--disk", "root=/tmp"), r"^--disk root: /tmp is neither"),
        ({}, ("--disk", "other=/dev/null"), r"^--disk other: the manifest has no volume `other`"),
        ({}, ("--disk", "no-path"), r"^--disk no-path: must be NAME=PATH"),
        ({}, ("--disk", "a=/x", "--disk", "a=/y"), r"^--disk a=/y: a is given twice"),
        ({}, ("--netns", "no-such-namespace"), r"no-such-namespace: No such file"),
    ],
    ids=[
        "cores",
        "processor model",
        "unknown device",
        "passt",
        "no kernel",
        "no image",
        "image missing",
        "image a folder",
        "no volume",
        "disk word",
        "disk twice",
        "netns",
    ],
)
def test_bad_input_is_named(
    pod: Pod, directory: Path, guest: GuestImage, changes: Mapping[str, Any], options: tuple[str, ...], message: str
) -> None:
    machine = Entrypoint(pod, directory, manifest(guest, kernel_arguments(), **changes), *options)
    assert_refused(machine, 2, message)
    assert not machine.state_dir.exists()


def test_pod_without_the_interface(directory: Path, guest: GuestImage) -> None:
    with Pod("flannel", guest_port=False) as pod:
        pod.pod.ip("route del default", "link set eth0 name net7")
        machine = Entrypoint(pod, directory, manifest(guest, kernel_arguments()))
        assert_refused(machine, 2, r"^eth0: no such interface .*net7")
        assert not machine.state_dir.exists()


# What libvirt refuses: the network is set up by then, and put back


def test_no_libvirt_at_that_address(pod: Pod, directory: Path, guest: GuestImage) -> None:
    options = ("--connect", "qemu+unix:///system?socket=/nowhere/sock")
    machine = Entrypoint(pod, directory, manifest(guest, kernel_arguments()), *options)
    assert_refused(machine, 1, r"libvirt cannot connect to qemu\+unix:///system\?socket=/nowhere/sock: ")


def test_unknown_kind_of_libvirt(pod: Pod, directory: Path, guest: GuestImage) -> None:
    machine = Entrypoint(pod, directory, manifest(guest, kernel_arguments()), "--connect", "nonsense:///")
    assert_refused(machine, 1, r"libvirt cannot connect to nonsense:///: ")


def test_libvirt_is_not_installed(pod: Pod, directory: Path, guest: GuestImage) -> None:
    reason = "libvirt.so.0: cannot open shared object file"
    (directory / "libvirt.py").write_text(f"raise ImportError({reason!r})\n")
    environment = {"PYTHONPATH": os.pathsep.join([str(directory), *sys.path])}
    machine = Entrypoint(pod, directory, manifest(guest, kernel_arguments()), environment=environment)
    assert_refused(machine, 1, rf"libvirt cannot be loaded: {reason}; apt-get install ")


def test_qemu_is_not_installed(pod: Pod, directory: Path, guest: GuestImage) -> None:
    programs = directory / "bin"
    programs.mkdir()
    for name in ("nft", "ip"):
        (programs / name).symlink_to(f"/usr/sbin/{name}")
    machine = Entrypoint(pod, directory, manifest(guest, kernel_arguments()), environment={"PATH": str(programs)})
    assert_refused(machine, 1, r"libvirt cannot start the domain: .*qemu-system-x86")


def test_emulator_that_cannot_do_what_is_asked(pod: Pod, directory: Path, guest: GuestImage) -> None:
    """More memory than there is: libvirt's own words, one line."""
    described = manifest(guest, kernel_arguments(), memory={"guest": "100Ti"})
    assert_refused(Entrypoint(pod, directory, described), 1, r"libvirt cannot start the domain: .*memory")


# What a limit on processes refuses

ONE_THREAD_LESS = """
import sys, threading
from launcher import cli
start = threading.Thread.start
def start_all_but_one(thread):
    if thread.name == NAME:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = start_all_but_one
sys.exit(cli.main())
"""


@pytest.mark.parametrize("name", ["dhcp-watchdog", "libvirt-open", "console-log"])
def test_a_thread_that_cannot_be_started(pod: Pod, directory: Path, guest: GuestImage, name: str) -> None:
    program = (sys.executable, "-c", f"NAME = {name!r}\n{ONE_THREAD_LESS}")
    machine = Entrypoint(pod, directory, manifest(guest, kernel_arguments()), program=program)
    assert_refused(machine, 1, rf"^thread {name}: cannot be started; raise the container's limit on processes$")
