"""resolv.conf(5) → Resolver. A line that cannot be used is skipped and reported; nothing is invented."""

import ipaddress
import re

from dhcp.lean.frozen import replace
from netsetup.model.local_resolver import DNS_PORT, is_loopback, listening_address
from netsetup.model.pod_interface import MOST_NAMESERVERS, MOST_SEARCHES, DNSRequest, Resolver

LABEL_MAX = 63
NAME_MAX = 253
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")


def read_resolver(path: str = "/etc/resolv.conf") -> Resolver:
    """Read a resolver configuration; a file that is not there is an empty one, with the reason in `problems`."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        return Resolver(problems=(f"{path}: {error.strerror}",))
    resolver = parse_resolver(text)
    here = dict.fromkeys(listening_address(server) for server in resolver.nameservers if is_loopback(server))
    if not here:
        return resolver
    from netsetup.kernel.listeners import dns_ports

    ports = [(address, *dns_ports(address)) for address in here]
    return replace(resolver, ports=tuple(found for found in ports if found[1:] != (DNS_PORT, DNS_PORT)))


def parse_resolver(text: str) -> Resolver:
    """The settings in the text of a resolv.conf.

    As resolv.conf(5) has it: `;` and `#` begin a comment, the last `search` or `domain` line wins, and a search list of
    `.` is empty. Names are lower-cased and lose their final dot; commas between entries count as blanks.
    """
    nameservers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    problems: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        keyword, values = words[0], words[1:]
        if keyword == "nameserver":
            for value in _listed(values) if "," in line else values[:1]:
                address, fault = _address(value)
                if fault:
                    problems.append(f"nameserver {value}: {fault}; left out")
                elif address not in nameservers:
                    nameservers.append(address)
        elif keyword in ("search", "domain"):
            search.clear()
            names = _listed(values)
            for value in names if keyword == "search" else names[:1]:
                name = value.lower().removesuffix(".")
                if fault := name and fault_of_name(name):
                    problems.append(f"{keyword} {value}: {fault}; left out")
                elif name and name not in search:
                    search.append(name)
        elif keyword == "options":
            options += values
    return Resolver(tuple(nameservers), tuple(search), tuple(options), tuple(problems))


def merge_dns(resolver: Resolver, request: DNSRequest | None) -> Resolver:
    """The pod's resolver configuration with what the VM asks for, as the kubelet merges a pod's `dnsConfig`.

    Where the kubelet has done that already, because the pod has the same `dnsConfig`, this changes nothing. DHCP cannot
    carry the options.
    """
    if request is None:
        return resolver
    asked = [*(f"nameserver {server}" for server in request.nameservers), f"search {' '.join(request.searches)}"]
    added = parse_resolver("\n".join(asked))
    base = Resolver() if request.replaces else resolver
    servers = tuple(dict.fromkeys((*base.nameservers, *added.nameservers)))
    search = tuple(dict.fromkeys((*base.search, *added.search)))
    given = {option.partition(":")[0]: option for option in (*base.options, *request.options)}
    problems = [*base.problems, *(problem for problem in added.problems if problem not in base.problems)]
    problems += [
        f"nameserver {server}: one of more than {MOST_NAMESERVERS}; left out" for server in servers[MOST_NAMESERVERS:]
    ]
    problems += [f"search {name}: one of more than {MOST_SEARCHES}; left out" for name in search[MOST_SEARCHES:]]
    problems += [f"dnsConfig option {option}: DHCP has no option for it; left out" for option in request.options]
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


def _address(text: str) -> tuple[str, str]:
    """An address in canonical form, with its zone, and what is wrong with it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "", "not an IP address"
    is_group = address.is_multicast or address == _BROADCAST
    return str(address), "not the address of one host" if is_group else ""


def fault_of_name(name: str) -> str:
    """Why clients do not take a host or domain name; empty when they do.

    A name must go on the wire (RFC 1035 §2.3.4) and be one of hosts (RFC 1123 §2.1), but may have underscores within a
    label. ISC dhclient discards a whole search list for one name that is not such.
    """
    if len(name) > NAME_MAX:
        return f"longer than {NAME_MAX} characters"
    labels = name.split(".")
    if any(not label for label in labels):
        return "an empty label"
    if any(len(label) > LABEL_MAX for label in labels):
        return f"a label longer than {LABEL_MAX} characters"
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "a label is letters, digits, and within it `-` and `_`"
    return ""
