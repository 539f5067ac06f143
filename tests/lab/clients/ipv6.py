"""The clients with IPv6, as images configure them by default."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lab.clients import Client, Dhcpcd, Networkd, NetworkManager
from lab.waiting import PATIENCE

_RDNSSD = Path(__file__).parents[3] / ".cache" / "rdnssd"
"""Where `make` has unpacked the package."""


@dataclass(frozen=True, slots=True)
class Observed6:
    """The IPv6 configuration of a guest's NIC, as the kernel and the client's files show it."""

    addresses: tuple[str, ...]
    """Global ones with prefix length."""
    tentative: bool
    """Whether duplicate address detection is still going on, or has failed."""
    routers: tuple[str, ...]
    """Gateways of default routes."""
    on_link: tuple[str, ...]
    """Prefixes that are reached without a gateway, but for the addresses themselves and link-local ones."""
    mtu: int
    nameservers: tuple[str, ...]
    """Of both families; one that both the advertisement and DHCPv6 give may be listed twice."""
    search: tuple[str, ...]

    @property
    def nameservers6(self) -> set[str]:
        return {server for server in self.nameservers if ":" in server}


class Client6(Client):
    """Observation of a client's IPv6 configuration."""

    manages_addresses: ClassVar[bool] = True
    """Whether it has a DHCPv6 client; the kernel alone processes advertisements only."""
    manages_resolver: ClassVar[bool] = True

    def is_bound6(self) -> bool:
        """Whether it has all that this client can get."""
        observed = self.observe6()
        wanted = [bool(observed.routers), not observed.tentative]
        if self.manages_addresses:
            wanted.append(bool(observed.addresses))
        if self.manages_resolver:
            wanted.append(bool(observed.nameservers6))
        return all(wanted)

    def acquire6(self) -> Observed6:
        """Start the client unless it runs, wait until it has all that it can get, and observe the result.

        Raises:
            AssertionError: it did not within its patience; the message holds what there is, and its log.
        """
        if self._process is None:
            self.start()
        deadline = time.monotonic() + max(self.patience, PATIENCE)
        while not self.is_bound6():
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} has only {self.observe6()}:\n{self.log()}")
            time.sleep(0.05)
        return self.observe6()

    def observe6(self) -> Observed6:
        """The present state of NIC and files."""
        links = self.guest.ip_json(f"-6 addr show dev {self.nic} scope global")
        found = [address for link in links for address in link["addr_info"] if address]
        routes = self.guest.ip_json(f"-6 route show dev {self.nic}")
        own = {address["local"] for address in found}
        defaults = [route for route in routes if route["dst"] == "default"]
        limits = [self.guest.link(self.nic)["mtu"], int(self.guest.read_sysctl(f"ipv6/conf/{self.nic}/mtu"))]
        limits += [m["mtu"] for route in defaults for m in route.get("metrics", []) if "mtu" in m]
        nameservers, search = self.resolver()
        return Observed6(
            addresses=tuple(f"{address['local']}/{address['prefixlen']}" for address in found),
            tentative=any(address.get("tentative") or address.get("dadfailed") for address in found),
            routers=tuple(route["gateway"] for route in defaults),
            on_link=tuple(
                route["dst"]
                for route in routes
                if "gateway" not in route and route["dst"].partition("/")[0] not in own and "fe80::" not in route["dst"]
            ),
            mtu=min(limits),
            nameservers=nameservers,
            search=search,
        )


class Networkd6(Client6, Networkd):
    """As cloud-init and the distributions' images configure it."""

    def prepare(self) -> str:
        script = super().prepare()
        network = f"[Match]\nName={self.nic}\n[Network]\nDHCP=yes\n[DHCPv4]\nUseMTU=yes\nUseDomains=yes\n"
        network += "[DHCPv6]\nUseDomains=yes\n[IPv6AcceptRA]\nUseDomains=yes\n"
        (self.directory / "run" / "systemd" / "network" / "10-guest.network").write_text(network)
        return script


class NetworkManager6(Client6, NetworkManager):
    """A connection with default settings: both families `auto`."""

    def prepare(self) -> str:
        script = super().prepare()
        path = self.directory / "etc" / "NetworkManager" / "system-connections" / "guest.nmconnection"
        path.write_text(path.read_text().replace("method=disabled", "method=auto").replace("may-fail=false\n", ""))
        return script


class Dhcpcd6(Client6, Dhcpcd):
    """Processes router advertisements itself, instead of the kernel."""

    patience = 15

    def command(self) -> Sequence[str | Path]:
        return ["dhcpcd", "-B", "-d", "-c", self.directory / "script", self.nic]


class KernelOnly(Client6):
    """No client program: the kernel takes default route and MTU from advertisements."""

    name = "kernel"
    manages_addresses = False
    manages_resolver = False
    patience = 8

    def command(self) -> Sequence[str | Path]:
        return ["sleep", "infinity"]

    def is_bound(self) -> bool:
        return self.is_bound6()

    def lease(self) -> str:
        return ""


class Rdnssd(KernelOnly):
    """The kernel, and rdnssd, which writes the resolvers of advertisements that arrive while it runs."""

    name = "rdnssd"
    manages_resolver = True
    search_list = False

    def prepare(self) -> str:
        return f"""
            install -d -o nobody /run/rdnssd
            ip link set {self.nic} down
            (sleep 0.3; ip link set {self.nic} up) &
        """

    def command(self) -> Sequence[str | Path]:
        return [_RDNSSD / "sbin/rdnssd", "-f", "-u", "nobody", "-H", _RDNSSD / "etc/rdnssd/merge-hook"]


class Dhclient6(Client6):
    """ISC dhclient, which leaves advertisements to the kernel.

    It binds its socket to the interface's link-local address, and exits while that is still tentative: start it after
    duplicate-address detection, as Debian's ifupdown does. The same is true of dibbler.
    """

    name = "dhclient -6"
    patience = 10

    def prepare(self) -> str:
        return f"""
            ready() {{ ip -6 addr show dev {self.nic} scope link -tentative | grep -q inet6; }}
            until ready; do sleep 0.05; done
        """

    def command(self) -> Sequence[str | Path]:
        files: list[str | Path] = ["-lf", self.directory / "leases", "-pf", self.directory / "pid"]
        return ["dhclient", "-6", "-v", "-d", *files, self.nic]

    def is_bound(self) -> bool:
        return "Bound to lease" in self.log()

    def lease(self) -> str:
        return (self.directory / "leases").read_text()


class WideDhcpv6(Client6):
    """The KAME client, which requests an address only if configured to, and does not write resolv.conf."""

    name = "wide-dhcpv6"
    manages_resolver = False
    patience = 12

    def prepare(self) -> str:
        configuration = (
            f"interface {self.nic} {{ send ia-na 0; request domain-name-servers; }};\nid-assoc na 0 {{ }};\n"
        )
        (self.directory / "dhcp6c.conf").write_text(configuration)
        (self.directory / "lib").mkdir(exist_ok=True)
        wait = Dhclient6.prepare(self)  # type: ignore[arg-type]
        return f'mkdir -p /var/lib/dhcpv6; mount --bind "$1/lib" /var/lib/dhcpv6\n{wait}'

    def command(self) -> Sequence[str | Path]:
        return ["dhcp6c", "-f", "-D", "-c", self.directory / "dhcp6c.conf", "-p", self.directory / "pid", self.nic]

    def is_bound(self) -> bool:
        return self.is_bound6()

    def lease(self) -> str:
        return self.log()


class Dibbler(Client6):
    """dibbler with its Debian package's configuration, which requests resolvers but no search list."""

    name = "dibbler"
    search_list = False
    patience = 12

    def prepare(self) -> str:
        (self.directory / "lib").mkdir(exist_ok=True)
        wait = Dhclient6.prepare(self)  # type: ignore[arg-type]
        return f'for folder in lib log; do mount --bind "$1/lib" /var/$folder/dibbler; done\n{wait}'

    def command(self) -> Sequence[str | Path]:
        return ["dibbler-client", "run"]

    def is_bound(self) -> bool:
        return self.is_bound6()

    def lease(self) -> str:
        return (self.directory / "lib" / "client-AddrMgr.xml").read_text()


CLIENTS6: tuple[type[Client6], ...] = (
    KernelOnly,
    Rdnssd,
    Networkd6,
    NetworkManager6,
    Dhcpcd6,
    Dhclient6,
    WideDhcpv6,
    Dibbler,
)
