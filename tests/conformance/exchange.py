"""Sends whole frames to the server under test: as a function, or as a process at the end of a veth."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import time
from collections.abc import Iterable
from typing import Any, Protocol

import pytest
from lab.namespace import Namespace
from lab.rawclient import Reply, decode_reply
from lab.requests import CLIENT, CLIENT_MAC, SERVER, discover, mac_octets
from lab.waiting import PATIENCE
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from dhcp.config import ConfigError, parse_configs
from dhcp.daemon.connection import ServerError
from dhcp.handler import handle
from dhcp.process import ServerProcess
from dhcp.v4.lease import prepare_lease

PORT_MAC = "02:00:00:00:00:0a"
CONFIG = {
    "client_mac": CLIENT_MAC,
    "client_address": f"{CLIENT}/24",
    "server_address": SERVER,
    "router": SERVER,
    "dns": ["10.0.0.53"],
    "mtu": 1400,
}
_SENTINEL = 0xFFFFFFFE


class Server(Protocol):
    """A server that is tested with whole frames."""

    def serve(self, **fields: Any) -> None:
        """Serve CONFIG with these fields changed; None removes a field."""

    def frames(self, request: bytes) -> list[bytes]:
        """All replies to one frame; if there is none, the server has processed the frame and still runs."""

    def warnings(self, request: bytes) -> list[str]:
        """The reasons in the warnings that a frame causes."""

    def restart(self) -> None:
        """Restart the server, which keeps its configuration only."""


class Exchange:
    """Sends requests to a server, and checks every reply by scapy's dissection first."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.serve = server.serve
        self.frames = server.frames
        self.warnings = server.warnings
        self.restart = server.restart

    def replies(self, request: bytes) -> list[Reply]:
        return [well_formed(frame) for frame in self.frames(request)]

    def reply(self, request: bytes) -> Reply:
        """The one reply to a frame."""
        (reply,) = self.replies(request)
        return reply

    def silent(self, request: bytes) -> bool:
        return self.frames(request) == []

    def refusal(self, **fields: Any) -> str:
        """The error of a configuration with these fields; the previous one is still served."""
        before = self.frames(discover())
        with pytest.raises((ConfigError, ServerError)) as refused:
            self.serve(**fields)
        assert self.frames(discover()) == before != []
        return str(refused.value)


def well_formed(frame: bytes) -> Reply:
    """Check the rules that every reply must follow, and return the reply."""
    reply = decode_reply(frame)
    assert reply is not None
    packet = reply.packet
    assert packet[Ether].src == PORT_MAC
    assert packet[IP].src == SERVER
    assert (packet[UDP].sport, packet[UDP].dport) == (67, 68)
    assert packet[IP].len == len(frame) - 14
    assert packet[UDP].len == len(frame) - 34
    assert packet[UDP].chksum != 0
    assert reply.checksums_are_valid()
    assert isinstance(reply.bootp, BOOTP)
    assert reply.codes[0] == 53
    return reply


class Function:
    """Calls `handle` directly."""

    def __init__(self) -> None:
        self.serve()

    def serve(self, **fields: Any) -> None:
        data = {name: value for name, value in {**CONFIG, **fields}.items() if value is not None}
        self._port = prepare_lease(parse_configs(data)[0], mac_octets(PORT_MAC))

    def frames(self, request: bytes) -> list[bytes]:
        return list(handle(request, self._port).frames)

    def warnings(self, request: bytes) -> list[str]:
        decision = handle(request, self._port)
        return [decision.reason] if decision.warning else []

    def restart(self) -> None:
        pass


class Wire:
    """The server's process on one end of a veth, a packet socket on the other."""

    def __init__(self, pod: Namespace, guest: Namespace) -> None:
        pod.ip(f"link add tap0 address {PORT_MAC} type veth peer name eth0 address {CLIENT_MAC} netns {guest.name}")
        for namespace, link in ((pod, "tap0"), (guest, "eth0")):
            namespace.write_sysctl(f"ipv6/conf/{link}/disable_ipv6", 1)  # no frames but ours
        pod.ip("link set tap0 up")
        guest.ip("link set eth0 up")
        guest.await_up("eth0")
        self._pod = pod
        with guest.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        self._socket.bind(("eth0", 3))  # ETH_P_ALL
        self._socket.settimeout(PATIENCE)
        self._configs: list[dict[str, object]] = []
        self._start()

    def _start(self, log: int | None = None) -> None:
        with self._pod.entered():
            self._process = ServerProcess.spawn(log, log_format="json")
            if self._configs:
                self._process.configure(self._configs)

    def serve(self, **fields: Any) -> None:
        data = {"interface": "tap0", **CONFIG, **fields}
        configs = [{name: value for name, value in data.items() if value is not None}]
        with self._pod.entered():
            self._process.configure(configs)
        self._configs = configs
        self._socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(65536):  # the former router has advertised lifetime 0
                pass
        self._socket.settimeout(PATIENCE)

    def frames(self, request: bytes) -> list[bytes]:
        """All replies: the server answers in order, so the answer to a DISCOVER sent afterwards ends the wait."""
        self._socket.send(request)
        self._socket.send(discover(xid=_SENTINEL))
        received = []
        while True:
            frame = self._socket.recv(65536)
            if frame[12:14] == b"\x08\x00" and frame[46:50] == _SENTINEL.to_bytes(4):
                return received
            received.append(frame)

    def late_frames(self, requests: Iterable[bytes], seconds: float) -> list[bytes]:
        """All replies to these frames, until some seconds after the last frame."""
        for request in requests:
            self._socket.send(request)
        received = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                received.append(self._socket.recv(65536))
        self._socket.settimeout(PATIENCE)
        return received

    def warnings(self, request: bytes) -> list[str]:
        """The warnings of a new server, which has no repeated lines to suppress yet."""
        with tempfile.TemporaryFile() as log:
            self._process.stop()
            self._start(log.fileno())
            self.frames(request)
            self._process.status()  # makes the server write its delayed log lines
            log.seek(0)
            lines = [json.loads(line) for line in log]
        return [line["data"]["reason"] for line in lines if line["level"] == "warning"]

    def restart(self) -> None:
        self._process.stop()
        self._start()

    def close(self) -> None:
        self._process.stop()
        self._socket.close()
