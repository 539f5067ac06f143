"""A network of the node's that a pod is on by a macvtap, a macvlan or a veth; and a guest of a macvtap without QEMU."""

from __future__ import annotations

import os
import random
import select
import socket
import struct
from fcntl import ioctl
from pathlib import Path

from lab.namespace import Namespace
from lab.waiting import PATIENCE

ROUTER = "192.168.77.1"
BROADCAST = b"\xff" * 6
ETHERTYPE_ARP = b"\x08\x06"

_IFF_TAP, _IFF_NO_PI = 0x2, 0x1000
_TUNSETIFF = 0x400454CA


def join(node: Namespace, pod: Namespace, name: str, kind: str) -> None:
    """Give a pod a device of that kind, up; the network's other end is the node's `lan1`.

    A device node /dev/tapN is named by an index that is unique in one namespace alone, so this one is random.
    """
    node.ip("link add lan0 type veth peer name lan1", "link set lan1 up", f"addr add {ROUTER}/24 dev lan1")
    if kind == "veth":
        node.ip(f"link set lan0 netns {pod.name} name {name}")
    else:
        device = f"link add {name} index {random.randrange(1 << 20, 1 << 30)} link lan0 type {kind} mode bridge"
        node.ip("link set lan0 up", device, f"link set {name} netns {pod.name}")
    pod.ip(f"link set {name} up")


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def probe(mac: str) -> bytes:
    """An ARP request for the router's address, of a host that has none yet (RFC 5227 §1.1); it is answered."""
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, octets(mac), bytes(4), bytes(6), socket.inet_aton(ROUTER))
    return (BROADCAST + octets(mac) + ETHERTYPE_ARP + arp).ljust(60, b"\0")


class MacvtapGuest:
    """A VM's end of a macvtap: what QEMU does with it, without QEMU."""

    def __init__(self, pod: Namespace, name: str, folder: Path) -> None:
        found = pod.run(["sh", "-c", f"cat /sys/class/net/{name}/tap*/dev"]).stdout
        major, minor = map(int, found.split(":"))
        node = folder / f"tap-{name}"
        os.mknod(node, 0o20600, os.makedev(major, minor))
        with pod.entered():
            self._tap = os.open(node, os.O_RDWR | os.O_NONBLOCK)
        ioctl(self._tap, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TAP | _IFF_NO_PI))

    def send(self, data: bytes) -> None:
        os.write(self._tap, data)

    def receive(self, prefix: bytes) -> bytes:
        """The first frame that begins so."""
        while select.select([self._tap], [], [], PATIENCE)[0]:
            if (data := os.read(self._tap, 65536)).startswith(prefix):
                return data
        raise AssertionError(f"no frame that begins with {prefix.hex()}")

    def close(self) -> None:
        os.close(self._tap)
