"""The measured servers, each with a configuration that serves the client the same lease."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.laboratory import (
    ADDRESS,
    DNS,
    HERE,
    MAC,
    MTU,
    NETMASK,
    NETWORK,
    PORT,
    ROUTER,
    SEARCH,
    SERVICES,
    Tools,
)
from dhcp.process import server_command

OURS = "virt-launcher"
FLOOR = "floor, Python"
FLOOR_C = "floor, C"
DNSMASQ = "dnsmasq"
ISC = "ISC dhcpd"
KEA = "Kea"
BARE = "bare Python"
"""A Python that only opens a socket, see `floor.py`."""

Words = list[str | Path]


@dataclass(frozen=True, slots=True)
class Server:
    """One server: `prepare` writes what it needs into a directory and returns its command line."""

    name: str
    prepare: Callable[[Path, Tools], Words]
    program: str = ""
    """The server's program, searched for on this host; empty for programs of this repository."""
    package: str = ""
    """The Debian package of the program."""

    @property
    def missing(self) -> str:
        """The package to install; empty when the program is installed."""
        return self.package if self.program and find(self.program) is None else ""


def find(program: str) -> str | None:
    """The path of a program, also in /usr/sbin and /sbin; None if it is not installed."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _ours(directory: Path, _: Tools) -> Words:
    config = directory / "config.json"
    config.write_text(
        json.dumps(
            {
                "client_mac": MAC,
                "client_address": f"{ADDRESS}/{NETWORK.partition('/')[2]}",
                "server_address": ROUTER,
                "router": ROUTER,
                "routes": [{"destination": SERVICES, "gateway": ROUTER}],
                "dns": [DNS],
                "search": SEARCH,
                "mtu": MTU,
            }
        )
    )
    return [*server_command(), "--interface", PORT, "--config", config]


def _floor(directory: Path, _: Tools) -> Words:
    return [sys.executable, "-I", "-S", HERE / "dhcp/floor.py", PORT, MAC, ADDRESS, ROUTER]


def bare(interface: str) -> Words:
    """The command line of a Python that opens the socket and prints the time."""
    return [sys.executable, "-I", "-S", HERE / "dhcp/floor.py", interface]


def _floor_c(_: Path, tools: Tools) -> Words:
    return [tools.floor, PORT, MAC, ADDRESS, ROUTER]


def dnsmasq(interface: str, directory: Path, *, lease: str = "24h") -> Words:
    """The command line of a dnsmasq in the foreground that serves DHCP only."""
    words = f"""dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --bind-interfaces --no-ping --quiet-dhcp
        --interface={interface} --except-interface=lo --user=root --group=root --log-facility=-
        --pid-file={directory}/dnsmasq.pid --dhcp-leasefile={directory}/dnsmasq.leases --dhcp-authoritative
        --dhcp-range={NETWORK.partition("/")[0]},static,{NETMASK},{lease} --dhcp-host={MAC},{ADDRESS},{lease}
        --dhcp-option=option:router,{ROUTER} --dhcp-option=option:dns-server,{DNS} --dhcp-option=option:mtu,{MTU}
        --dhcp-option=option:domain-search,{",".join(SEARCH)}
        --dhcp-option=option:classless-static-route,{SERVICES},{ROUTER},0.0.0.0/0,{ROUTER}"""
    return list(words.split())


def _dnsmasq(directory: Path, _: Tools) -> Words:
    return dnsmasq(PORT, directory)


def _isc(directory: Path, _: Tools) -> Words:
    subnet = NETWORK.partition("/")[0]
    config, leases = directory / "dhcpd.conf", directory / "dhcpd.leases"
    leases.touch()
    config.write_text(
        f"""authoritative; ping-check false; default-lease-time 86400;
        option classless code 121 = array of unsigned integer 8;
        subnet {subnet} netmask {NETMASK} {{
            option routers {ROUTER}; option domain-name-servers {DNS}; option interface-mtu {MTU};
            option domain-search {", ".join(f'"{name}"' for name in SEARCH)};
            option classless {", ".join(map(str, _classless()))};
        }}
        host guest {{ hardware ethernet {MAC}; fixed-address {ADDRESS}; }}
        """
    )
    return ["dhcpd", "-4", "-f", "-q", "-cf", config, "-lf", leases, "--no-pid", PORT]


def _kea(directory: Path, _: Tools) -> Words:
    config = directory / "kea.json"
    options = {
        "routers": ROUTER,
        "domain-name-servers": DNS,
        "interface-mtu": str(MTU),
        "domain-search": ", ".join(SEARCH),
        "classless": bytes(_classless()).hex(),
    }
    data = {
        "Dhcp4": {
            "interfaces-config": {"interfaces": [PORT]},
            "lease-database": {"type": "memfile", "persist": True, "name": f"{directory}/kea.csv"},
            "valid-lifetime": 86400,
            "host-reservation-identifiers": ["hw-address"],
            "option-def": [{"name": "classless", "code": 121, "type": "binary"}],
            "subnet4": [
                {
                    "subnet": NETWORK,
                    "option-data": [
                        {"name": name, "data": value, "csv-format": name != "classless"}
                        for name, value in options.items()
                    ],
                    "reservations": [{"hw-address": MAC, "ip-address": ADDRESS}],
                }
            ],
            "loggers": [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": "stderr"}]}],
        }
    }
    config.write_text(json.dumps(data))
    return ["env", f"KEA_PIDFILE_DIR={directory}", f"KEA_LOCKFILE_DIR={directory}", "kea-dhcp4", "-c", config]


def _classless() -> list[int]:
    """Option 121 (RFC 3442): the services' network and the default, both by the router."""
    destination, _, length = SERVICES.partition("/")
    router = [int(part) for part in ROUTER.split(".")]
    significant = [int(part) for part in destination.split(".")][: (int(length) + 7) // 8]
    return [int(length), *significant, *router, 0, *router]


SERVERS = (
    Server(FLOOR_C, _floor_c),
    Server(FLOOR, _floor),
    Server(OURS, _ours),
    Server(DNSMASQ, _dnsmasq, "dnsmasq", "dnsmasq-base"),
    Server(KEA, _kea, "kea-dhcp4", "kea-dhcp4-server"),
    Server(ISC, _isc, "dhcpd", "isc-dhcp-server"),
)
"""In the order of the tables."""
