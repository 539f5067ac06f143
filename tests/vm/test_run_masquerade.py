"""A real VM behind its pod's address, run as a container would run it."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.checks import pings
from lab.pod import DNS, Pod
from lab.reach import PATIENCE

from launcher.guest import GuestImage, kernel_arguments

from .entrypoint import Entrypoint
from .machine import BOOT_SECONDS, manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

POD4, POD6 = "10.244.2.5", "fd00:10:244:3::5"
OUTSIDE4, OUTSIDE6 = "192.0.2.1", "2001:db8::1"
MTU = 1400
SERVE = "(while :; do echo served | nc -l -p {port}; done) >/dev/null 2>&1 &"


@pytest.fixture(scope="module")
def machine(guest: GuestImage) -> Iterator[Entrypoint]:
    """A machine in a pod of both families, to which one port is forwarded."""
    ports = [{"port": 1500}, {"port": 1502, "protocol": "UDP"}]
    document = manifest(
        guest,
        kernel_arguments(ping=["router", OUTSIDE4]),
        devices={"interfaces": [{"name": "default", "masquerade": {}, "ports": ports}]},
        networks=[{"name": "default", "pod": {}}],
    )
    with Pod("ovn-kubernetes", guest_port=False) as pod, tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        machine = Entrypoint(pod, Path(directory), document)
        machine.await_report("lease")
        # The router is what an advertisement has told; the address is given by hand: the guest has no DHCPv6 client.
        wait_for(machine, "ip -6 route show default", "via fe80::ff:fe00:0")
        machine.command("ip -6 addr add fd10:0:2::2/120 dev eth0")
        wait_for(machine, "ip -6 addr show dev eth0 | grep fd10 | grep -v tentative", "fd10")
        yield machine
        machine.terminate()
        assert machine.await_end() == 0, machine.errors()
        machine.assert_pod_restored()


def wait_for(machine: Entrypoint, command: str, text: str) -> None:
    """Repeat a command in the guest until it prints something."""
    deadline = time.monotonic() + BOOT_SECONDS
    while not re.search(text, printed := machine.command(command)):
        assert time.monotonic() < deadline, printed
        time.sleep(0.1)


def connects(machine: Entrypoint, address: str, port: int) -> bool:
    """Whether a client on the node gets the guest's answer."""
    command = ["timeout", str(5 * PATIENCE), "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port} && head -n 1 <&3"]
    return machine.pod.node.run(command, check=False).stdout.strip() == "served"


def test_the_guest_has_an_address_of_its_own(machine: Entrypoint) -> None:
    lease = machine.await_report("lease")
    told = {name: lease.fields[name] for name in ("address", "router", "mtu", "server")}
    assert told == {"address": "10.0.2.2/24", "router": "10.0.2.1", "mtu": str(MTU), "server": "10.0.2.1"}
    assert lease.list("dns") == list(DNS)


def test_the_guest_reaches_router_and_world(machine: Entrypoint) -> None:
    told = {ping.fields["target"]: ping.fields["result"] for ping in (machine.await_report("ping", n) for n in (1, 2))}
    assert told == {"10.0.2.1": "ok", OUTSIDE4: "ok"}
    for address in ("fd10:0:2::1", OUTSIDE6):
        assert "1 packets received" in machine.command(f"ping -c 1 -W 2 {address}"), address


def test_the_node_reaches_the_declared_port_alone(machine: Entrypoint) -> None:
    for port in (1500, 1501):
        machine.command(SERVE.format(port=port))
    for address in (POD4, POD6):
        for port, reached in ((1500, True), (1501, False)):
            # Between two connections nobody listens for a moment.
            wait_for(machine, "netstat -ltn", f":{port} ")
            assert connects(machine, address, port) is reached, (address, port)


def test_packets_of_the_mtu_pass_and_larger_ones_do_not(machine: Entrypoint) -> None:
    assert pings(machine.pod.node, POD4, size=MTU)
    assert not pings(machine.pod.node, POD4, size=MTU + 1)
    assert "1 packets received" in machine.command(f"ping -c 1 -W 2 -s {MTU - 28} {OUTSIDE4}")
