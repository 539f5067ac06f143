"""A VM that boots from the network: iPXE, in the NIC's ROM, gets its lease and its boot file's name from the pod."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.sniffer import Frame, Sniffer
from scapy.layers.dhcp import DHCP
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6ND_RS, IPv6
from scapy.layers.l2 import Ether

from .entrypoint import Entrypoint

pytestmark = [pytest.mark.vm, pytest.mark.root]

BOOT_FILE = "scripts/vm.ipxe"
SCRIPT = "#!ipxe\necho booted ${net0/ip} by ${filename} from ${net0/next-server} as ${hostname}\nshell\n"
BOOT_SECONDS = 120
NODE = "10.244.1.1"

DOCUMENT: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {"name": "testvm"},
    "spec": {
        "domain": {
            "memory": {"guest": "64Mi"},
            "firmware": {"bootloader": {"bios": {"useSerial": True}}},
            "devices": {
                "interfaces": [
                    {
                        "name": "default",
                        "bridge": {},
                        "bootOrder": 1,
                        "dhcpOptions": {"bootFileName": BOOT_FILE, "tftpServerName": NODE},
                    }
                ]
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "terminationGracePeriodSeconds": 0,
    },
}


@pytest.fixture
def directory() -> Iterator[Path]:
    # Sockets are made below it, so its path is short, which pytest's own are not.
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


def test_ipxe_boots_what_the_manifest_names(make_pod: MakePod, directory: Path) -> None:
    """As far as a script that the node's TFTP server has, which prints what iPXE has learnt."""
    pod = make_pod(guest_port=False)
    serve_files(pod, directory)
    machine = Entrypoint(pod, directory / "run", DOCUMENT)
    machine.await_event("network")
    with Sniffer(pod.pod, "tap0") as sniffer, Router(pod):
        booted = await_console(machine, "booted ")
        machine.process.send_signal(signal.SIGTERM)
        assert machine.await_end() == 4  # iPXE does not shut down
    assert "net0: 10.244.1.3/255.255.255.0 gw 10.244.1.1" in machine.console
    assert booted == f"booted 10.244.1.3 by {BOOT_FILE} from {NODE} as testvm"
    machine.assert_pod_restored()

    offer, ack = (frame for frame in sniffer.frames if frame.outgoing and frame.is_dhcp())
    told = {option[0]: option[1] for option in ack.packet()[DHCP].options if isinstance(option, tuple)}
    assert (told["tftp_server_name"], told["boot-file-name"]) == (NODE.encode(), BOOT_FILE.encode())
    # 175.176 = 1: no two seconds of waiting for a ProxyDHCP server
    assert told[175] == b"\xb0\x01\x01"
    assert ack.time - offer.time < 1


def serve_files(pod: Pod, directory: Path) -> None:
    """A TFTP server on the node."""
    file = directory / "tftp" / BOOT_FILE
    file.parent.mkdir(parents=True)
    file.write_text(SCRIPT)
    options = ["--conf-file=/dev/null", "--port=0", "--enable-tftp", "--user=root", "--pid-file="]
    pod.node.popen(["dnsmasq", "--keep-in-foreground", f"--tftp-root={directory / 'tftp'}", *options])


class Router:
    """Answers iPXE's router solicitation, which it would otherwise repeat for sixteen seconds before it goes on."""

    def __init__(self, pod: Pod) -> None:
        self._node = RawClient(pod.node, "cni0")
        self._sniffer = Sniffer(pod.node, "vethpod")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._sniffer.close()
        self._node.close()

    def _answer(self) -> None:
        ether = Ether(src=self._node.mac, dst="33:33:00:00:00:01")
        advertisement = ether / IPv6(src="fe80::1", dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=0)
        while not self._done.wait(0.2):
            if any(is_solicitation(frame) for frame in self._sniffer.frames):
                self._sniffer.frames.clear()
                self._node.send(bytes(advertisement))


def is_solicitation(frame: Frame) -> bool:
    return not frame.outgoing and ICMPv6ND_RS in frame.packet()


def await_console(machine: Entrypoint, beginning: str) -> str:
    """The first line of the console that begins so."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        for line in machine.console.splitlines(keepends=True):
            if line.startswith(beginning) and line.endswith("\n"):
                return line.rstrip()
        assert machine.process.poll() is None, f"ended before it booted:\n{machine.console}\n{machine.errors()}"
        assert time.monotonic() < deadline, f"did not boot:\n{machine.console}"
        time.sleep(0.05)
