"""A real VM with the pod's own addresses of both families, run as a container would run it."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lab.checks import pings
from lab.pod import Pod
from lab.shape import OUTSIDE, OUTSIDE6

from launcher import cpio
from launcher.guest import GuestImage, kernel_arguments

from .entrypoint import Entrypoint, assert_lease_line
from .machine import BOOT_SECONDS, manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

POD4, POD6 = "10.244.2.5", "fd00:10:244:3::5"
NEIGHBOUR6 = "fd00:10:244:3::6"
MTU = 1400
CONFIGURATION = b"interface eth0 { send ia-na 0; };\nid-assoc na 0 { };\n"


def with_dhcp6_client(image: GuestImage, directory: Path) -> GuestImage:
    """The image with wide-dhcpv6's client in a second archive: BusyBox has none for DHCPv6.

    The kernel unpacks one after the other (Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    program = shutil.which("dhcp6c", path="/usr/sbin")
    assert program, "apt-get install wide-dhcpv6-client"
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    files = [Path(program), *map(Path, re.findall(r"(/\S+) \(0x", linked))]
    parents = {parent for path in files for parent in path.parents if parent != Path("/")}
    parents |= {Path("/var"), Path("/var/lib"), Path("/var/lib/dhcpv6")}
    entries = [cpio.directory(str(path)[1:]) for path in sorted(parents)]
    entries += [cpio.file(str(path)[1:], path.read_bytes(), 0o755) for path in files]
    entries.append(cpio.file("dhcp6c.conf", CONFIGURATION))
    initrd = directory / "initrd"
    initrd.write_bytes(image.initrd.read_bytes() + gzip.compress(cpio.archive(entries), compresslevel=1, mtime=0))
    return replace(image, initrd=initrd)


@pytest.fixture(scope="module")
def machine(guest: GuestImage) -> Iterator[Entrypoint]:
    """A machine in a pod of both families, with the only thing that its image lacks: a client for DHCPv6."""
    with Pod("ovn-kubernetes", guest_port=False) as pod, tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        image = with_dhcp6_client(guest, Path(directory))
        document = manifest(
            image,
            kernel_arguments(ping=["router", OUTSIDE]),
            devices={"interfaces": [{"name": "default", "bridge": {}}]},
            networks=[{"name": "default", "pod": {}}],
        )
        machine = Entrypoint(pod, Path(directory), document)
        machine.await_report("lease")
        wait_for(machine, "ip -6 route show default", "via fe80::fc:1")
        machine.command("/usr/sbin/dhcp6c -c /dhcp6c.conf eth0")
        wait_for(machine, "ip -6 addr show dev eth0 scope global | grep -v tentative", POD6)
        yield machine
        machine.terminate()
        assert machine.await_end() == 0, machine.errors()
        machine.assert_pod_restored()


def wait_for(machine: Entrypoint, command: str, text: str) -> None:
    """Repeat a command in the guest until it prints something."""
    deadline = time.monotonic() + BOOT_SECONDS
    while text not in (printed := machine.command(command)):
        assert time.monotonic() < deadline, printed
        time.sleep(0.1)


def test_the_console_shows_both_addresses_and_both_routers(machine: Entrypoint) -> None:
    assert_lease_line(machine.await_report("lease"), machine.pod)
    addresses = machine.command("ip -6 -o addr show dev eth0 scope global")
    assert re.findall(r"inet6 (\S+)", addresses) == [f"{POD6}/128"], "and none of its own making"
    routes = machine.command("ip -6 route show")
    assert re.findall(r"default via (\S+)", routes) == ["fe80::fc:1"]
    assert "fd00:10:244:3::/64 dev eth0" in routes
    assert machine.command("cat /proc/sys/net/ipv6/conf/eth0/mtu").strip() == str(MTU)


def test_the_guest_reaches_the_world_over_both(machine: Entrypoint) -> None:
    told = {ping.fields["target"]: ping.fields["result"] for ping in (machine.await_report("ping", n) for n in (1, 2))}
    assert told == {"10.244.2.1": "ok", OUTSIDE: "ok"}
    for address in ("fd00:10:244:3::1", NEIGHBOUR6, OUTSIDE6):
        assert "1 packets received" in machine.command(f"ping -c 1 -W 2 {address}"), address


def test_node_and_neighbour_reach_the_guest_over_both(machine: Entrypoint) -> None:
    for namespace in (machine.pod.node, machine.pod.neighbour):
        for address in (POD4, POD6):
            assert pings(namespace, address), (namespace, address)


def test_packets_of_the_mtu_pass_and_larger_ones_do_not(machine: Entrypoint) -> None:
    for address in (POD4, POD6):
        assert pings(machine.pod.node, address, size=MTU)
        assert not pings(machine.pod.node, address, size=MTU + 1)
