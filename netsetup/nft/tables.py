"""Our own nftables tables, loaded and removed as a whole; no other table is ever touched.

One is of the bridge family; where addresses are translated there is another of the inet family. One transaction a
change (nft(8)), so that no half of a ruleset is ever in force. The tables' comments carry a digest of the whole text
and the number of rules: that tells whether the right table was loaded, and `nfnetlink` whether it was left alone since,
so no rules have to be compared. A set of comments carries a copy of the record, so that the pod can be put back when
every file is lost.
"""

import binascii
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from netsetup.nft import library as libnftables
from netsetup.nft.fingerprint import TableHead, table_contents, table_heads

FAMILY = "bridge"
TRANSLATING = "inet"
TABLE = "virt-launcher"


@dataclass(frozen=True, slots=True)
class Barrier:
    """What must not cross one bridge."""

    pod_interface: str
    guest_port: str
    dhcp4: bool
    """Whether we serve DHCPv4 on the guest port: then none of it crosses."""
    dhcp6: bool
    """Whether we serve DHCPv6 there: then neither it nor router solicitations and advertisements cross."""
    isolated: bool
    """Whether the guest is held to its own addresses."""
    mac: str
    addresses4: tuple[str, ...] = ()
    addresses6: tuple[str, ...] = ()
    routed: bool = False
    """Whether the bridge is the guest's router (masquerade) and not its way to the pod interface, which is no port."""


COUNTERS = {
    "mac": "another source MAC",
    "ethertype": "a VLAN tag, or no IP and no ARP",
    "arp": "an ARP sender of another MAC or address",
    "ipv4": "another IPv4 source",
    "ipv6": "another IPv6 source or neighbour-discovery target",
    "server": "a DHCP server's message, router advertisement or redirect",
}
"""Why a frame of an isolated guest is dropped; a counter of each is kept as ``<guest port>-<name>``."""

COPY_CHUNK = 120
"""Characters of the copy in one comment; the kernel's tools take 128."""

EDITED = " edited"
"""What the digest of a table ends with whose rules were changed since it was loaded."""

_COUNTER = re.compile(r"counter (\S+) \{\s*packets (\d+)")
_COPY_ELEMENT = re.compile(r'0x([0-9a-f]{8}) comment "([^"]*)"')


@dataclass(frozen=True, slots=True)
class Table:
    """What our table in the kernel says; empty texts when there is no such table."""

    digest: str = ""
    """Ends with EDITED when the rules are not those that were loaded with it any more."""
    copy: str = ""
    translation: str = ""
    """The digest of the table of the inet family, likewise."""


def ruleset(barriers: Iterable[Barrier], copy: str = "", translation: str = "") -> str:
    """The text of our tables, ready for `nft -f`, with a `copy` of the record (printable ASCII) in it.

    The bridge device itself hears nothing and says nothing (it only keeps the pod's addresses), unless it is the
    guest's router. What we serve to the guest does not cross between guest and network; a family we do not serve
    passes: some networks serve it. An isolated guest sends with its own addresses alone. `translation` is the content
    of the inet table, empty when there is none.
    """
    lines: list[str] = []
    forward: list[str] = []
    local_in, local_out = [], []
    for barrier in barriers:
        if barrier.routed:
            # The server hears the guest before the bridge does; nothing in the pod is to hear it too.
            local_in.append(f'iifname "{barrier.guest_port}" meta protocol ip udp dport {{ 67, 68 }} drop')
            local_in.append(f'iifname "{barrier.guest_port}" meta protocol ip6 udp dport {{ 546, 547 }} drop')
            if barrier.isolated:
                local_in.append(f'iifname "{barrier.guest_port}" jump {barrier.guest_port}')
                lines += _isolation(barrier)
            continue
        forward += _served(barrier)
        ports = f'{{ "{barrier.pod_interface}", "{barrier.guest_port}" }}'
        local_in.append(f"iifname {ports} drop")
        local_out.append(f"oifname {ports} drop")
        if barrier.isolated:
            forward.append(f'iifname "{barrier.guest_port}" jump {barrier.guest_port}')
            lines += _isolation(barrier)
    for hook, rules in (("forward", forward), ("input", local_in), ("output", local_out)):
        lines += [f"  chain {hook} {{", f"    type filter hook {hook} priority filter; policy accept;"]
        lines += [f"    {rule}" for rule in rules]
        lines += ["  }"]
    chunks = [copy[start : start + COPY_CHUNK] for start in range(0, len(copy), COPY_CHUNK)]
    if chunks:
        elements = ", ".join(f'{number} comment "{chunk}"' for number, chunk in enumerate(chunks))
        lines += ["  set record {", "    type mark", f"    elements = {{ {elements} }}", "  }"]
    body = "\n".join(lines)
    of_all = f"{digest(body + translation)}-{_rules_in(body + translation)}"
    tables = {FAMILY: body} | ({TRANSLATING: translation} if translation else {})
    return "".join(f'table {family} {TABLE} {{\n  comment "{of_all}"\n{text}\n}}\n' for family, text in tables.items())


def _rules_in(text: str) -> int:
    """How many rules a table's text has: the lines in its blocks but for those of a chain's hook and of a set."""
    inner = [line for line in text.splitlines() if line.startswith("    ")]
    return sum(not line.startswith(("    type ", "    elements ")) for line in inner)


def _served(barrier: Barrier) -> Iterator[str]:
    """What we serve does not cross, in either direction."""
    guest, network = barrier.guest_port, barrier.pod_interface
    for source, target in ((guest, network), (network, guest)):
        way = f'iifname "{source}" oifname "{target}"'
        if barrier.dhcp4:
            yield f"{way} meta protocol ip udp dport {{ 67, 68 }} drop"
        if barrier.dhcp6 and barrier.isolated and source == guest:
            # What only a server or a router says is left to the guest's own chain, which drops and counts it.
            yield f"{way} meta protocol ip6 udp dport 547 drop"
            yield f"{way} icmpv6 type nd-router-solicit drop"
        elif barrier.dhcp6:
            yield f"{way} meta protocol ip6 udp dport {{ 546, 547 }} drop"
            yield f"{way} icmpv6 type {{ nd-router-solicit, nd-router-advert }} drop"


def _isolation(barrier: Barrier) -> list[str]:
    """Counters and chains that let through what a guest may send, and nothing else.

    The Ethernet type is read from the frame as it was on the wire, where the kernel's own view skips a VLAN tag.
    """
    port = barrier.guest_port
    lines = [f"  counter {port}-{name} {{ }}" for name in COUNTERS]

    def drop(match: str, counter: str) -> str:
        return f"{match} counter name {port}-{counter} drop".strip()

    own4, own6 = _set(barrier.addresses4), _set((*barrier.addresses6, "fe80::/10"))
    arp = [drop(f"arp saddr ether != {barrier.mac}", "arp")]
    ipv4 = [drop("udp sport 67", "server")]
    if barrier.addresses4:
        # 0.0.0.0 asks for an address that nobody may have yet (RFC 5227 §2.1.1), or for a lease.
        arp.append(drop(f"arp saddr ip != {_set((*barrier.addresses4, '0.0.0.0'))}", "arp"))
        ipv4.insert(0, drop(f"ip saddr != {own4}", "ipv4"))
    ipv6 = [
        # RFC 6980: no neighbour discovery in fragments, where its type could hide.
        drop("frag nexthdr icmpv6", "server"),
        drop("icmpv6 type { nd-router-advert, nd-redirect }", "server"),
        drop("udp sport 547", "server"),
    ]
    if barrier.addresses4 or barrier.addresses6:
        unspecified = (
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, mld-listener-report, mld2-listener-report }"
        )
        ipv6 += [
            f"ip6 saddr :: {unspecified} accept",  # RFC 4862 §5.4.2, RFC 3590
            drop(f"ip6 saddr != {own6}", "ipv6"),
            # The target address of a neighbour advertisement (RFC 4861 §4.4).
            drop(f"icmpv6 type nd-neighbor-advert @th,64,128 & {_LINK_LOCAL_MASK} != {_LINK_LOCAL}"
                 f"{''.join(f' @th,64,128 != {_number(a)}' for a in barrier.addresses6)}", "ipv6"),
        ]  # fmt: skip
    kinds = {"0x0806": ("arp", arp), "0x0800": ("ipv4", ipv4), "0x86dd": ("ipv6", ipv6)}
    for name, rules in kinds.values():
        lines += [f"  chain {port}-{name} {{", *(f"    {rule}" for rule in rules), "  }"]
    types = ", ".join(f"{number} : goto {port}-{name}" for number, (name, _) in kinds.items())
    return [
        *lines,
        f"  chain {port} {{",
        f"    {drop(f'ether saddr != {barrier.mac}', 'mac')}",
        f"    @ll,96,16 vmap {{ {types} }}",
        f"    {drop('', 'ethertype')}",
        "  }",
    ]


_LINK_LOCAL = hex(0xFE80 << 112)
_LINK_LOCAL_MASK = hex(0xFFC0 << 112)


def _number(address: str) -> str:
    """An IPv6 address as nft compares raw payload."""
    return f"0x{socket.inet_pton(socket.AF_INET6, address).hex()}"


def _set(addresses: Iterable[str]) -> str:
    return f"{{ {', '.join(addresses)} }}"


def digest(text: str) -> str:
    return f"{binascii.crc32(text.encode()):08x}"


def digest_of(text: str) -> str:
    """The digest that a table of this text carries."""
    found = re.search(r'^\s*comment "([^"]*)"', text, re.MULTILINE)
    return found[1] if found else "none"


def read_table() -> Table:
    """Our tables as they are. Raises NotPermitted, KernelRefused and RulesetRefused."""
    digests = _true_digests(table_heads(TABLE, (FAMILY, TRANSLATING)))
    copy = ""
    if FAMILY in digests:
        elements = _COPY_ELEMENT.findall(libnftables.run(f"list table {FAMILY} {TABLE}"))
        copy = "".join(chunk for _, chunk in sorted((int(number, 16), chunk) for number, chunk in elements))
    return Table(digests.get(FAMILY, ""), copy, digests.get(TRANSLATING, ""))


def _true_digests(heads: Mapping[str, TableHead]) -> dict[str, str]:
    """The digest of each family's table, marked where the rules are not those that were loaded with it any more."""
    contents = {family: table_contents(TABLE, family) for family in heads}
    rules = sum(content.rules for content in contents.values())

    def is_intact(family: str, head: TableHead) -> bool:
        return contents[family].as_loaded and not head.is_dormant and head.comment.endswith(f"-{rules}")

    return {family: head.comment + ("" if is_intact(family, head) else EDITED) for family, head in heads.items()}


def read_counters(family: str = FAMILY) -> dict[str, int]:
    """How many packets each counter of our table has seen; empty when there is no table. Raises as that does."""
    if not table_heads(TABLE, (family,)):
        return {}
    output = libnftables.run(f"list counters table {family} {TABLE}")
    return {name: int(packets) for name, packets in _COUNTER.findall(output)}


def load(text: str, replace: Iterable[str] = ()) -> None:
    """Load our tables from `text` (see `ruleset`), in place of those of the families `replace`, which are there.

    Raises NotPermitted and RulesetRefused.
    """
    libnftables.run(_removal(replace) + text)


def delete(families: Iterable[str] = (FAMILY,)) -> None:
    """Remove our tables; nothing happens when there are none. Raises NotPermitted and RulesetRefused."""
    libnftables.run(_removal(families))


def _removal(families: Iterable[str]) -> str:
    """Declared first, so that removing a table that is not there is no error."""
    return "".join(f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in families)
