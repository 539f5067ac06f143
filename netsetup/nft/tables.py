"""Our nftables tables in the kernel: loaded, read and removed as a whole; no other table is ever touched.

One transaction a change (nft(8)), so that no half of a ruleset is ever in force.
"""

import contextlib
import errno
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from dhcp.lean.frozen import Frozen
from dhcp.lean.owned_table import UNSUPPORTED, OwnedTable
from netsetup.errors import KernelRefused, NotPermitted
from netsetup.nft import program
from netsetup.nft.ruleset import BRIDGE, INET, NETDEV, TABLE, digest_of

_NFPROTO: Final = {BRIDGE: 7, INET: 1, NETDEV: 5}  # linux/netfilter.h

EDITED: Final = " edited"
"""What the digest of a table ends with whose rules were changed since it was loaded, or name a device that has gone."""

# Compiled when they are needed, which is not on a fresh pod.
_COUNTER = r"counter (\S+) \{\s*packets (\d+)"
_SET = r"(?s)\tset (\S+) \{(.*?)\n\t\}"
_COUNTED = r"(\S+) counter packets (\d+)"
_COPY_ELEMENT = r'0x([0-9a-f]{8}) comment "([^"]*)"'
_HANDLE = r"(?m)# handle (\d+)$"
_RULE = r"(?m)^\t\t(.*) # handle \d+$"
_ANONYMOUS_SET = r"(?:^|\s)[^@\s]\S* \{ "  # not what a rule adds to a set: `add @name { … }`
# The last is a device that is there no more, or was made anew: the rule has the number of the old one.
_OUT_OF_FORCE = r"(?m)^\t\t.*policy (?!accept)|^\tflags .*dormant|^\t\tfwd to \d"


class Tables(Frozen):
    """What our tables in the kernel hold."""

    digests: tuple[tuple[str, str], ...] = ()
    """Family and digest of each; a digest ends with EDITED when the rules are not those any more that were loaded."""
    copy: str = ""
    """The copy of the record; empty when there is none."""


def has_netfilter() -> bool:
    """Whether the kernel has a netfilter socket. Raises KernelRefused."""
    try:
        OwnedTable(TABLE).close()
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
            return False
        raise KernelRefused.of("nftables: open a netlink socket", error) from None
    return True


@contextlib.contextmanager
def reading_tables() -> Iterator[Callable[[], Tables]]:
    """Starts to read our tables in another process; what it yields waits for them.

    Both raise NotPermitted, MissingFeature, KernelRefused and RulesetRefused.
    """
    with _listing("table", _present(), handles=True) as listings:
        yield lambda: _tables(listings())


def read_tables() -> Tables:
    """Our tables as they are. Raises as `reading_tables` does."""
    with reading_tables() as read:
        return read()


def _tables(listings: dict[str, str]) -> Tables:
    rules = sum(len(re.findall(_RULE, listing)) for listing in listings.values())

    def digest(listing: str) -> str:
        loaded = digest_of(listing)
        intact = _is_as_loaded(listing) and loaded.endswith(f"-{rules}")
        return loaded if intact else loaded + EDITED

    elements = re.findall(_COPY_ELEMENT, listings.get(BRIDGE, ""))
    copy = "".join(chunk for _, chunk in sorted((int(number, 16), chunk) for number, chunk in elements))
    return Tables(tuple((family, digest(listing)) for family, listing in listings.items()), copy)


def read_counters(families: Iterable[str]) -> dict[tuple[str, str], int]:
    """How many packets each counter of our tables has seen, by family and name. Raises as `read_tables` does."""
    present = _present()
    with _listing("counters table", [family for family in families if family in present], handles=False) as listings:
        return {
            (family, name): int(packets)
            for family, listing in listings().items()
            for name, packets in re.findall(_COUNTER, listing)
        }


def read_sources(families: Iterable[str]) -> dict[tuple[str, str], dict[str, int]]:
    """How many packets of each source were counted, by family and set of our tables. Raises as `read_tables` does."""
    present = _present()
    with _listing("sets table", [family for family in families if family in present], handles=False) as listings:
        return {
            (family, name): {key: int(packets) for key, packets in re.findall(_COUNTED, content)}
            for family, listing in listings().items()
            for name, content in re.findall(_SET, listing)
        }


def load(text: str, replace: Iterable[str] = ()) -> None:
    """Load tables of ours in place of those of the families `replace`, which are there.

    Raises NotPermitted and RulesetRefused.
    """
    program.run(_removal(replace) + text)


def delete(families: Iterable[str]) -> None:
    """Remove our tables; nothing happens when there are none. Raises NotPermitted and RulesetRefused."""
    program.run(_removal(families))


def _removal(families: Iterable[str]) -> str:
    """Declared first, so that removing a table that is not there is no error."""
    return "".join(f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in families)


def _present() -> list[str]:
    """The families in which there is a table of ours. To ask the kernel takes a hundredth of what nft's start does."""
    try:
        asking = OwnedTable(TABLE)
        present = [family for family, number in _NFPROTO.items() if asking.comment(number) is not None]
        asking.close()
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return []
        if error.errno == errno.EPERM:
            raise NotPermitted("nftables") from None
        raise KernelRefused.of("nftables: ask for our tables", error) from None
    return present


@contextlib.contextmanager
def _listing(what: str, families: Iterable[str], *, handles: bool) -> Iterator[Callable[[], dict[str, str]]]:
    """The listing of each family's table, being made: by a process each, as nft reads but one table at a time."""
    with contextlib.ExitStack() as running:
        outputs = {
            family: running.enter_context(program.running(f"list {what} {family} {TABLE}\n", handles=handles))
            for family in families
        }
        yield lambda: {family: output() for family, output in outputs.items()}


def _is_as_loaded(listing: str) -> bool:
    """Whether nothing was added, replaced or deleted in the midst of a table since it was loaded, and it is in force.

    The kernel numbers a table's chains, rules, sets and objects as they are made, and uses no number twice. So in a
    table that was loaded in one transaction, and left alone since, the highest number is how many things there are. A
    listing shows the numbers of all but the anonymous sets. A deleted last rule shows in the number of rules alone.
    """
    handles = [int(number) for number in re.findall(_HANDLE, listing)][1:]  # the first is the table's own
    anonymous_sets = sum(len(re.findall(_ANONYMOUS_SET, rule)) for rule in re.findall(_RULE, listing))
    return len(handles) + anonymous_sets == max(handles, default=0) and not re.search(_OUT_OF_FORCE, listing)
