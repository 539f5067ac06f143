"""A name server in a namespace, and questions to one."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import time
from collections.abc import Iterator

from scapy.layers.dns import DNS, DNSQR

from lab.namespace import Namespace

NAME, ANSWER = "database.test", "198.51.100.77"
PATIENCE, AGAIN = 3.0, 0.5
"""Seconds until a question counts as unanswered, and until it is asked again by UDP."""


@contextlib.contextmanager
def name_server(namespace: Namespace, *addresses: str, port: int = 53, upstream: str = "") -> Iterator[None]:
    """dnsmasq at these addresses of a namespace; it is there when this begins.

    It knows one name, and asks `upstream` for others.
    """
    arguments = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll"]
    arguments += ["--bind-interfaces", "--pid-file", f"--port={port}", "--user=root", "--no-daemon"]
    arguments += [f"--listen-address={address}" for address in addresses]
    arguments += [f"--host-record={NAME},{ANSWER}"]
    arguments += [f"--server={upstream}"] if upstream else []
    process = namespace.popen(arguments)
    try:
        deadline = time.monotonic() + 5
        while not all(ask(namespace, address, port=port) == ANSWER for address in addresses):
            assert process.poll() is None, f"no name server at {addresses}"
            assert time.monotonic() < deadline, f"no answer from {addresses}"
        yield
    finally:
        process.kill()
        process.wait()


def ask(client: Namespace, server: str, name: str = NAME, *, tcp: bool = False, port: int = 53) -> str:
    """The address that a server says a name has; empty without an answer. By UDP it is asked more than once."""
    question = DNS(id=random.randrange(1 << 16), rd=1, qd=DNSQR(qname=name))
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with client.entered():
        sock = socket.socket(family, (socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) | socket.SOCK_CLOEXEC)
    with sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect((server, port))
            data = bytes(question)
            if tcp:
                sock.sendall(len(data).to_bytes(2, "big") + data)
            else:
                _send_until_answered(sock, data)
            answer = DNS(sock.recv(4096)[2 if tcp else 0 :])
        except OSError:  # refused, unreachable, or TimeoutError
            return ""
    assert answer.id == question.id
    return str(answer.an[0].rdata) if answer.ancount else ""


def _send_until_answered(sock: socket.socket, data: bytes) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        sock.sendall(data)
        if select.select([sock], [], [], AGAIN)[0]:
            return
