"""What a network namespace looks like: frozen data. Pure.

Names and values are rtnetlink's (rtnetlink(7), linux/if_link.h, linux/rtnetlink.h): families are ``AF_INET`` (2) and
``AF_INET6`` (10), addresses are text, MACs are lower-case ``aa:bb:cc:dd:ee:ff``, MTUs are bytes, lifetimes are seconds.
"""

import ipaddress
from typing import Final

from dhcp.lean.frozen import Frozen, replace

AF_INET: Final = 2
AF_INET6: Final = 10

FOREVER: Final = 0xFFFFFFFF
"""The lifetime of an address that does not age (struct ifa_cacheinfo)."""

READING_SECONDS: Final = 2
"""How far two readings of the same end may be apart."""

SCOPE_UNIVERSE: Final = 0
SCOPE_LINK: Final = 253
SCOPE_HOST: Final = 254

TABLE_MAIN: Final = 254
TABLE_LOCAL: Final = 255

PROTO_KERNEL: Final = 2
RTN_UNICAST, RTN_LOCAL = 1, 2
RTNH_F_PERVASIVE, RTNH_F_ONLINK = 2, 4
USER_NEXTHOP_FLAGS: Final = RTNH_F_PERVASIVE | RTNH_F_ONLINK
"""The flags of a next hop that a user sets (linux/rtnetlink.h). The others are states: dead, linkdown, offloaded …"""

IFA_F_TEMPORARY: Final = 0x01
IFA_F_NODAD: Final = 0x02
IFA_F_TENTATIVE: Final = 0x40
IFA_F_MANAGETEMPADDR: Final = 0x100
"""The kernel has made the address of a router's prefix (RFC 4862), or makes temporary ones of it."""
IFAPROT_KERNEL_RA: Final = 2
IFA_F_STABLE_PRIVACY: Final = 0x800
"""The kernel has made the address of a secret (RFC 7217); no user can add one that says so."""
# The address flags that a user sets (linux/if_addr.h): no DAD, optimistic, home address, manage temporary addresses, no
# prefix route, multicast auto-join. The others are states: tentative, deprecated, secondary …
USER_ADDRESS_FLAGS: Final = 0x02 | 0x04 | 0x10 | 0x100 | 0x200 | 0x400

IFF_UP: Final = 1
IFF_LOOPBACK: Final = 8
IFF_ALLMULTI: Final = 0x200
"""Set by a user: the device receives all multicast frames."""
IFF_LOWER_UP: Final = 0x10000

ADDR_GEN_MODE_NONE: Final = 1
"""The kernel makes no link-local address (IFLA_INET6_ADDR_GEN_MODE)."""

NUD_PERMANENT: Final = 0x80
NUD_KNOWN: Final = 0x02 | 0x04 | 0x08 | 0x10 | NUD_PERMANENT
"""States in which a neighbour's MAC is known: reachable, stale, delay, probe, permanent."""
NUD_NOARP: Final = 0x40
NTF_PROXY: Final = 0x08
NTF_EXT_LEARNED: Final = 0x10
NTF_EXT_MANAGED: Final = 1
"""Of NDA_FLAGS_EXT: the kernel keeps the entry resolved by itself."""


class Link(Frozen):
    """A network device (RTM_NEWLINK)."""

    index: int
    name: str
    kind: str
    """IFLA_INFO_KIND: ``veth``, ``bridge``, ``tun`` …; empty for a device that has none."""
    mac: str
    mtu: int
    flags: int
    master: int
    """Index of the bridge (or bond, VRF) the device is a port of; 0 when it is none's."""
    alias: str
    addr_gen_mode: int | None
    """How IPv6 makes a link-local address (0 eui64, 1 none …); None where the device has no IPv6."""
    learning: bool | None
    """Whether the bridge learns addresses on this port; None for what is not a bridge port."""
    parent: int = 0
    """IFLA_LINK: the lower device's index, or a veth's peer's."""
    parent_elsewhere: bool = False
    """Whether that index is one of another network namespace (IFLA_LINK_NETNSID)."""
    multi_queue: bool | None = None
    """Whether who opens this tap device must ask for several queues; None for what is no tap."""
    tap_owner: int | None = None
    """The only user who may open this tap device without CAP_NET_ADMIN; None for any."""

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def all_multicast(self) -> bool:
        return bool(self.flags & IFF_ALLMULTI)

    @property
    def carrier(self) -> bool:
        return bool(self.flags & IFF_LOWER_UP)


class Address(Frozen):
    """An address of an interface (RTM_NEWADDR)."""

    family: int
    address: str
    """IFA_LOCAL for IPv4, for IPv6 IFA_LOCAL where there is a peer."""
    prefixlen: int
    scope: int = SCOPE_UNIVERSE
    flags: int = 0
    """IFA_F_* (linux/if_addr.h)."""
    label: str = ""
    broadcast: str = ""
    peer: str = ""
    """The other end of a point-to-point address; empty when there is none."""
    metric: int = 0
    proto: int = 0
    valid_seconds: int = FOREVER
    """How long it remains valid, from `read_at` on."""
    preferred_seconds: int = FOREVER
    read_at: int = 0
    """When the lifetimes were read, by CLOCK_BOOTTIME in seconds; 0 for an address without any, or that a router renews
    for as long as it advertises."""

    def at(self, now: int) -> "Address":
        """The address with what is left of its lifetimes; `valid_seconds` is 0 when it has run out."""
        if not self.read_at:
            return self
        passed = max(0, now - self.read_at)
        left = [s if s == FOREVER else max(0, s - passed) for s in (self.valid_seconds, self.preferred_seconds)]
        return replace(self, valid_seconds=left[0], preferred_seconds=left[1], read_at=max(now, self.read_at))

    def unless_renewed(self, later: "Address") -> "Address":
        """This reading of an address, or a later one where its lifetimes were set anew meanwhile."""
        ends = ((self.valid_until, later.valid_until), (self.preferred_until, later.preferred_until))
        return self if self.key == later.key and all(abs(a - b) <= READING_SECONDS for a, b in ends) else later

    @property
    def valid_until(self) -> int:
        """When it runs out, by CLOCK_BOOTTIME; 0 for never."""
        return self.read_at + self.valid_seconds if self.read_at and self.valid_seconds != FOREVER else 0

    @property
    def preferred_until(self) -> int:
        """When it becomes deprecated, likewise."""
        return self.read_at + self.preferred_seconds if self.read_at and self.preferred_seconds != FOREVER else 0

    @property
    def cidr(self) -> str:
        return f"{self.address}/{self.prefixlen}"

    @property
    def network(self) -> str:
        """The prefix this address lies in, ``10.244.1.0/24``."""
        return str(ipaddress.ip_network(f"{self.peer or self.address}/{self.prefixlen}", strict=False))

    @property
    def is_global(self) -> bool:
        """Whether it is worth handing to a VM: neither link-local nor for this host alone."""
        return self.scope == SCOPE_UNIVERSE

    @property
    def restorable(self) -> bool:
        """Temporary addresses (RFC 8981) are managed by the kernel; a user cannot add one."""
        return not (self.family == AF_INET6 and self.flags & IFA_F_TEMPORARY)

    @property
    def identity(self) -> "Address":
        """The address without its lifetimes and states."""
        return replace(self.key, valid_seconds=FOREVER, preferred_seconds=FOREVER)

    @property
    def place(self) -> tuple[int, str, int, str]:
        """What an interface has one address of; IPv6 looks at the address alone."""
        return self.family, self.address, *((self.prefixlen, self.peer) if self.family == AF_INET else (0, ""))

    @property
    def key(self) -> "Address":
        """The address without what changes by itself: states in the flags, lifetimes that run down."""
        ages = self.valid_seconds != FOREVER
        return replace(
            self,
            flags=self.flags & (USER_ADDRESS_FLAGS | IFA_F_STABLE_PRIVACY),
            valid_seconds=0 if ages else FOREVER,
            preferred_seconds=0 if ages else FOREVER,
            read_at=0,
        )


class NextHop(Frozen):
    """One leg of a multipath route (struct rtnexthop)."""

    interface: int
    weight: int
    flags: int = 0
    gateway: str = ""
    via: str = ""
    """A gateway of the other family, as in `Route`."""


class Route(Frozen):
    """A route (RTM_NEWROUTE). `metrics` holds RTAX_* numbers by name, `mtu` among them."""

    family: int
    destination: str
    """In CIDR form; ``0.0.0.0/0`` and ``::/0`` for a default route."""
    table: int = TABLE_MAIN
    interface: int = 0
    gateway: str = ""
    type: int = RTN_UNICAST
    scope: int = SCOPE_UNIVERSE
    proto: int = 3
    metric: int = 0
    tos: int = 0
    flags: int = 0
    """Of USER_NEXTHOP_FLAGS, nothing else: the other bits are the kernel's own."""
    preferred_source: str = ""
    source: str = ""
    via: str = ""
    """A gateway of the other family (RTA_VIA): an IPv6 next hop of an IPv4 route."""
    preference: int = 0
    """RFC 4191 router preference of an IPv6 route (0 medium, 1 high, 3 low)."""
    metrics: tuple[tuple[str, int], ...] = ()
    nexthops: tuple[NextHop, ...] = ()
    expires_seconds: int = 0
    """How long an IPv6 route learnt from a router remains valid; 0 for one that does not age."""
    nexthop_id: int = 0
    """The nexthop object (ip-nexthop(8)) that the route leads to; its next hops are the object's. 0 for none."""
    raw: str = ""
    """The kernel's message (struct rtmsg and attributes), in hexadecimal, of a route with anything else than these
    fields: an encapsulation, realms, a congestion control … Empty for all others."""

    @property
    def place(self) -> tuple[int, int, str, str, int, int]:
        """By what the kernel distinguishes routes when it looks one up. Of those that are equal in this the first is
        used, so their order counts."""
        return self.family, self.table, self.destination, self.source, self.tos, self.metric

    @property
    def interfaces(self) -> set[int]:
        """The indexes of the interfaces that the route leads through."""
        return {hop.interface for hop in self.nexthops} or {self.interface}

    @property
    def key(self) -> "Route":
        """The route without what changes by itself."""
        return replace(self, expires_seconds=0) if self.expires_seconds else self

    @property
    def text(self) -> str:
        """As ip-route(8) writes it, short: ``10.96.0.0/12 via 10.244.1.1 table 100``."""
        words = ["default" if self.is_default else self.destination]
        if self.gateway:
            words.append(f"via {self.gateway}")
        if self.table != TABLE_MAIN:
            words.append(f"table {self.table}")
        if self.metric:
            words.append(f"metric {self.metric}")
        return " ".join(words)

    @property
    def mtu(self) -> int:
        """The route's own MTU, 0 where it has none."""
        return dict(self.metrics).get("mtu", 0)

    @property
    def is_default(self) -> bool:
        return self.destination in ("0.0.0.0/0", "::/0")


class Neighbour(Frozen):
    """A neighbour entry (RTM_NEWNEIGH): the link address of an IP address."""

    family: int
    address: str
    mac: str
    """Empty for one that has none of its own: proxied, or resolved by the kernel."""
    state: int = NUD_PERMANENT
    flags: int = 0
    """NTF_*: router, proxied, learnt externally …"""
    extended_flags: int = 0
    """NTF_EXT_*: managed."""
    proto: int = 0
    """Who has added it (RTPROT_*)."""

    @property
    def place(self) -> tuple[int, str, int]:
        """What an interface has one entry of."""
        return self.family, self.address, self.flags & NTF_PROXY

    @property
    def text(self) -> str:
        """As ip-neighbour(8) writes it, short: ``10.244.1.1 lladdr ee:ee:ee:ee:ee:ee``."""
        return f"{'proxy ' if self.flags & NTF_PROXY else ''}{self.address}{' lladdr ' if self.mac else ''}{self.mac}"


class Rule(Frozen):
    """A routing policy rule (RTM_NEWRULE), as far as discovery reports it."""

    family: int
    priority: int
    table: int
    source: str = ""
    destination: str = ""
    selective: bool = False
    """Whether it looks at more than addresses (a mark, an interface, a port …), that a VM's packets never match."""
    mark: int = 0
    """The whole mark (fwmark) that it looks at; 0 for none, and for a part of one."""
    protocol: int = 0
    """Who has made it (ip-rule(8): `protocol`); 0 for unspecified."""

    @property
    def text(self) -> str:
        """As ip-rule(8) writes it: ``pref 500 from 10.0.2.0/24 to 10.96.0.0/12 lookup 100``."""
        ends = [f"{word} {end}" for word, end in (("from", self.source), ("to", self.destination)) if end]
        marks = [f"fwmark {self.mark:#x}"] if self.mark else []
        return " ".join([f"pref {self.priority}", *ends, *marks, f"lookup {self.table}"])


class Namespace(Frozen):
    """Everything the plan looks at, read once."""

    links: tuple[Link, ...] = ()
    addresses: tuple[tuple[int, Address], ...] = ()
    """Each with the index of its interface; the order is the kernel's."""
    routes: tuple[Route, ...] = ()
    neighbours: tuple[tuple[int, Neighbour], ...] = ()
    rules: tuple[Rule, ...] = ()
    forwarding_entries: tuple[tuple[int, str], ...] = ()
    """Static entries of bridge forwarding databases: (port, MAC)."""
    sysctls: tuple[tuple[str, str], ...] = ()
    tables: tuple[tuple[str, str], ...] = ()
    """Our nftables tables: family and digest of each that is there."""
    now: int = 0
    """When it was read, by CLOCK_BOOTTIME in seconds."""
    copy: str = ""
    """The copy of the record that our nftables table of the bridge family carries."""

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)

    def addresses_of(self, index: int) -> tuple[Address, ...]:
        return tuple(address for owner, address in self.addresses if owner == index)

    def routes_of(self, index: int) -> tuple[Route, ...]:
        return tuple(r for r in self.routes if r.interface == index or (r.nexthops and index in r.interfaces))

    def neighbours_of(self, index: int) -> tuple[Neighbour, ...]:
        return tuple(neighbour for owner, neighbour in self.neighbours if owner == index)

    def table(self, family: str) -> str:
        """The digest that our nftables table of a family carries; empty when there is no such table."""
        return dict(self.tables).get(family, "")

    def sysctl(self, key: str) -> str | None:
        return dict(self.sysctls).get(key)
