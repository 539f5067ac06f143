"""A pod and its guest, joined by a veth whose pod end is the guest port `tap0`."""

from __future__ import annotations

import contextlib
import socket

from exchange import CONFIG, PORT_MAC
from lab.namespace import Namespace
from lab.rawclient import decode_reply
from lab.requests import CLIENT_MAC
from lab.waiting import PATIENCE

TAP0 = {"interface": "tap0", **CONFIG}


class Link:
    """A pod whose `tap0` is a veth, and the guest's end of it."""

    def __init__(self, pod: Namespace, guest: Namespace) -> None:
        self.pod, self.guest = pod, guest
        self.add("tap0", "eth0", CLIENT_MAC)
        self.socket = self.guest_socket("eth0")

    def add(self, port: str, nic: str, mac: str) -> None:
        self.pod.ip(
            f"link add {port} address {PORT_MAC} type veth peer name {nic} address {mac} netns {self.guest.name}"
        )
        for namespace, name in ((self.pod, port), (self.guest, nic)):
            namespace.write_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
            namespace.ip(f"link set {name} up")
        self.guest.await_up(nic)

    def guest_socket(self, nic: str) -> socket.socket:
        with self.guest.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        sock.bind((nic, 3))
        sock.settimeout(PATIENCE)
        return sock

    def ask(self, request: bytes, timeout: float = PATIENCE) -> list[int]:
        """Message types of the replies, until none arrives for a moment."""
        self.socket.settimeout(timeout)
        self.socket.send(request)
        kinds: list[int] = []
        with contextlib.suppress(TimeoutError):
            while True:
                if reply := decode_reply(self.socket.recv(65536)):
                    kinds.append(reply.message_type)
                    self.socket.settimeout(0.2)
        return kinds
