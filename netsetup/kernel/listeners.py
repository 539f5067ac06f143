"""Where a server on this host listens (proc(5), /proc/net/udp and tcp)."""

import sys
from ipaddress import IPv4Address, ip_address

from netsetup.model.local_resolver import DNS_PORT

PROC_NET = "/proc/thread-self/net"
TCP_LISTEN = "0A"
"""The state of a listening socket (include/net/tcp_states.h)."""
USUAL_LOOPBACK = IPv4Address("127.0.0.1")


def dns_ports(address: str) -> tuple[int, int]:
    """The UDP and TCP port of the name server at a loopback address: 53 unless only others are open at just that one.

    So it is with Docker's at 127.0.0.11, to which packet filters lead the pod's own queries. At 127.0.0.1 there may be
    all kinds of servers, and at ::1.
    """
    found = ip_address(address)
    if not isinstance(found, IPv4Address) or found == USUAL_LOOPBACK:
        return DNS_PORT, DNS_PORT
    return _port(_open("udp", found)), _port(_open("tcp", found, TCP_LISTEN))


def _port(ports: set[int]) -> int:
    return ports.pop() if len(ports) == 1 else DNS_PORT


def _open(protocol: str, address: IPv4Address, state: str = "") -> set[int]:
    """The ports of this address at which sockets that are not connected wait; `state` is the one they have."""
    try:
        with open(f"{PROC_NET}/{protocol}", encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    except OSError:
        return set()
    own = f"{int.from_bytes(address.packed, sys.byteorder):08X}"
    ports = set()
    for _, local, remote, socket_state, *_ in rows:
        where, _, port = local.partition(":")
        if where == own and remote.endswith(":0000") and state in ("", socket_state):
            ports.add(int(port, 16))
    return ports
