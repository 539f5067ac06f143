"""The text of our nftables tables, put together from what each network adds to them. Pure.

One table for each family in use (nft(8)): bridge, inet where addresses are translated, netdev where frames are
forwarded without a bridge. Every table's comment carries a digest of all texts and the number of all rules, from which
`netsetup.nft.tables` sees whether the tables in the kernel are those of this set-up, and as they were loaded. A set of
comments in the bridge family's table carries a copy of the record, so that the pod can be put back when every file is
lost.
"""

import binascii
import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Final

from dhcp.lean.frozen import Frozen

TABLE: Final = "virt-launcher"
BRIDGE: Final = "bridge"
INET: Final = "inet"
NETDEV: Final = "netdev"

COPY_CHUNK: Final = 120
"""Characters of the copy in one comment; the kernel's tools take 128."""

FRAMES, PACKETS, CONNECTIONS = "frames of the guest", "packets", "connections"
FRAMES_IN, FRAMES_OWN = "frames for the guest", "frames of the pod itself"

OUR_MARK: Final = 0x766C6677
"""The mark of frames that may leave where the pod's own are dropped: the VM's, and those of our packet sockets, which
resolve addresses for it (`dhcp.io.sockets.OUR_MARK`)."""


class Counter(Frozen):
    """A named counter of one of our tables."""

    family: str
    name: str
    """Its name in the table."""
    label: str
    """Its name in `status`."""
    counts: str
    """FRAMES, FRAMES_IN, FRAMES_OWN or PACKETS that were dropped, or CONNECTIONS that were forwarded."""
    cause: str = ""
    """Why something is dropped, in words."""

    @property
    def what(self) -> str:
        """What is counted, in words: ``frames of the guest: another source MAC``."""
        return f"{self.counts}: {self.cause}" if self.cause else self.counts


class SourceSet(Frozen):
    """A set of one of our tables, in which rules count by source what they drop."""

    family: str
    name: str
    """Its name in the table."""
    label: str
    """That of the counter of all that is dropped for this cause."""


class NetworkRules(Frozen):
    """What one network adds to our tables; each element is a line of nft(8)."""

    bridge: tuple[str, ...] = ()
    """Counters, sets and chains of the bridge family."""
    forward: tuple[str, ...] = ()
    """Rules for frames that cross a bridge."""
    input: tuple[str, ...] = ()
    """Rules for frames to a bridge itself."""
    output: tuple[str, ...] = ()
    """Rules for frames of a bridge itself."""
    inet: tuple[str, ...] = ()
    """The content of the inet family's table."""
    netdev: tuple[str, ...] = ()
    """That of the netdev family's table, which can be loaded when its devices are there."""
    counters: tuple[Counter, ...] = ()
    sources: tuple[SourceSet, ...] = ()


def chain(name: str, rules: Iterable[str], hook: str = "") -> list[str]:
    """A chain's lines; with a `hook` (``filter hook input priority filter``) it is a base chain that accepts."""
    base = [f"    type {hook}; policy accept;"] if hook else []
    return [f"  chain {name} {{", *base, *(f"    {rule}" for rule in rules), "  }"]


def counter_lines(counters: Iterable[Counter]) -> list[str]:
    """What makes the counters of a table."""
    return [f"  counter {counter.name} {{ }}" for counter in counters]


def element_set(elements: Iterable[str]) -> str:
    """An anonymous set."""
    return f"{{ {', '.join(elements)} }}"


def raw_address6(address: str) -> str:
    """An IPv6 address as nft compares raw payload."""
    return f"0x{IPv6Address(address).packed.hex()}"


def tables_of(networks: Iterable[NetworkRules], copy: str = "") -> dict[str, str]:
    """The text of each table by its family, ready for `nft -f`; `copy` is the record's (printable ASCII)."""
    networks = list(networks)
    bridge = [line for rules in networks for line in rules.bridge]
    for hook in ("forward", "input", "output"):
        lines = [line for rules in networks for line in getattr(rules, hook)]
        bridge += chain(hook, lines, f"filter hook {hook} priority filter")
    bridge += _copy_lines(copy)
    bodies = {
        BRIDGE: bridge,
        INET: [line for rules in networks for line in rules.inet],
        NETDEV: [line for rules in networks for line in rules.netdev],
    }
    texts = {family: "\n".join(lines) for family, lines in bodies.items() if lines}
    content = "".join(texts.values())
    comment = f"{binascii.crc32(content.encode()):08x}-{_rules_in(content)}"
    return {family: f'table {family} {TABLE} {{\n  comment "{comment}"\n{text}\n}}\n' for family, text in texts.items()}


def digest_of(text: str) -> str:
    """The comment that a table of this text carries."""
    found = re.search(r'^\s*comment "([^"]*)"', text, re.MULTILINE)
    return found[1] if found else "none"


def _copy_lines(copy: str) -> list[str]:
    if not copy:
        return []
    chunks = [copy[start : start + COPY_CHUNK] for start in range(0, len(copy), COPY_CHUNK)]
    elements = ", ".join(f'{number} comment "{chunk}"' for number, chunk in enumerate(chunks))
    return ["  set record {", "    type mark", f"    elements = {{ {elements} }}", "  }"]


def _rules_in(text: str) -> int:
    """How many rules a table's text has: the lines in its blocks but for those of a chain's hook and of a set."""
    inner = [line for line in text.splitlines() if line.startswith("    ")]
    return sum(not line.startswith(("    type ", "    elements ")) for line in inner)
