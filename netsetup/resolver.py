"""resolv.conf(5) → Resolver. A line that cannot be used is skipped and reported; nothing is invented."""

import ipaddress
import os

from dhcp.lean.frozen import replace
from dhcp.lean.text import fault_of_name, printable, shortened
from netsetup.model.local_resolver import DNS_PORT, is_loopback, listening_address
from netsetup.model.pod_interface import MOST_NAMESERVERS, MOST_SEARCHES, DNSRequest, Resolver

LARGEST = 1 << 20
"""Octets of a resolver configuration that are read."""
MOST_ENTRIES = 1000
"""Of one kind; no message to a client has room for as many."""
MOST_PROBLEMS = 20
LONGEST_OPTION = 64
LONGEST_QUOTE = 300
"""Characters of an entry that is left out, in the line that says so."""
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def read_resolver(path: str | os.PathLike[str] = "/etc/resolv.conf") -> Resolver:
    """Read a resolver configuration; a file that is not there is an empty one, with the reason in `problems`."""
    try:
        text, is_whole = _read(path)
    except OSError as error:
        return Resolver(problems=(printable(f"{os.fspath(path)}: {error.strerror}"),))
    resolver = parse_resolver(text)
    if not is_whole:
        cut = printable(f"{os.fspath(path)}: is larger than {LARGEST} bytes; what follows is left out")
        resolver = replace(resolver, problems=(cut, *resolver.problems))
    here = dict.fromkeys(listening_address(server) for server in resolver.nameservers if is_loopback(server))
    if not here:
        return resolver
    from netsetup.kernel.listeners import dns_ports

    ports = [(address, *dns_ports(address)) for address in here]
    return replace(resolver, ports=tuple(found for found in ports if found[1:] != (DNS_PORT, DNS_PORT)))


def _read(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """The text of a file, whatever octets it has, and whether that is all of it; nobody is waited for (a FIFO)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(LARGEST + 1) or b""
    return data[:LARGEST].decode(errors="replace"), len(data) <= LARGEST


class _Collector:
    """The entries of a resolver configuration, checked one by one as they come."""

    def __init__(self) -> None:
        self.nameservers: list[str] = []
        self.search: list[str] = []
        self._problems: list[str] = []
        self._unreported = 0

    def add_nameserver(self, text: str, where: str) -> None:
        address, fault = canonical_nameserver(text)
        if not fault and address not in self.nameservers:
            if len(self.nameservers) < MOST_ENTRIES:
                self.nameservers.append(address)
                return
            fault = f"one of more than {MOST_ENTRIES}"
        if fault:
            self._report(f"nameserver {shortened(text, LONGEST_QUOTE)}: {fault}; left out ({where})")

    def add_search(self, text: str, where: str, keyword: str = "search") -> None:
        name = text.lower().removesuffix(".")
        fault = fault_of_name(name) if name else ""
        if not fault and name and name not in self.search:
            if len(self.search) < MOST_ENTRIES:
                self.search.append(name)
                return
            fault = f"one of more than {MOST_ENTRIES}"
        if fault:
            self._report(f"{keyword} {shortened(text, LONGEST_QUOTE)}: {fault}; left out ({where})")

    def _report(self, line: str) -> None:
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(printable(line))
        else:
            self._unreported += 1

    @property
    def problems(self) -> list[str]:
        """A line for each of the first; how many there are beyond them is one more."""
        more = [f"{self._unreported} more entries for name resolution are left out"] if self._unreported else []
        return [*self._problems, *more]


def parse_resolver(text: str) -> Resolver:
    """The settings in the text of a resolv.conf.

    As resolv.conf(5) has it: `;` and `#` begin a comment, the last `search` or `domain` line wins, and a search list of
    `.` is empty. Names are lower-cased and lose their final dot; commas between entries count as blanks.
    """
    found = _Collector()
    options: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        keyword, values, where = words[0], words[1:], f"resolv.conf line {number}"
        if keyword == "nameserver":
            for value in _listed(values) if "," in line else values[:1]:
                found.add_nameserver(value, where)
        elif keyword in ("search", "domain"):
            found.search.clear()
            names = _listed(values)
            for value in names if keyword == "search" else names[:1]:
                found.add_search(value, where, keyword)
        elif keyword == "options":
            options += [value for value in values if len(value) <= LONGEST_OPTION][: MOST_ENTRIES - len(options)]
    return Resolver(tuple(found.nameservers), tuple(found.search), tuple(options), tuple(found.problems))


def merge_dns(resolver: Resolver, request: DNSRequest | None) -> Resolver:
    """The pod's resolver configuration with what the VM asks for, as the kubelet merges a pod's `dnsConfig`.

    Where the kubelet has done that already, because the pod has the same `dnsConfig`, this changes nothing. DHCP cannot
    carry the options.
    """
    if request is None:
        return resolver
    added = _Collector()
    for server in request.nameservers:
        added.add_nameserver(server, "dnsConfig")
    for name in request.searches:
        added.add_search(name, "dnsConfig")
    base = Resolver() if request.replaces else resolver
    servers = tuple(dict.fromkeys((*base.nameservers, *added.nameservers)))
    search = tuple(dict.fromkeys((*base.search, *added.search)))
    given = {option.partition(":")[0]: option for option in (*base.options, *request.options)}
    problems = [*base.problems, *added.problems]
    problems += [
        f"nameserver {server}: one of more than {MOST_NAMESERVERS}; left out" for server in servers[MOST_NAMESERVERS:]
    ]
    problems += [f"search {name}: one of more than {MOST_SEARCHES}; left out" for name in search[MOST_SEARCHES:]]
    problems += [
        printable(f"dnsConfig option {option}: DHCP has no option for it; left out") for option in request.options
    ]
    problems = list(dict.fromkeys(problems))
    return replace(
        base,
        nameservers=servers[:MOST_NAMESERVERS],
        search=search[:MOST_SEARCHES],
        options=tuple(given.values()),
        problems=tuple(problems),
    )


def _listed(words: list[str]) -> list[str]:
    return " ".join(words).replace(",", " ").split()


def canonical_nameserver(text: str) -> tuple[str, str]:
    """An address in canonical form, with its zone, and what is wrong with it; a mapped one is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "", "not an IP address"
    if not text.isprintable() or any(c.isspace() for c in text):
        return "", "not an IP address"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    is_group = address.is_multicast or address == _BROADCAST
    return str(address), "not the address of one host" if is_group else ""
