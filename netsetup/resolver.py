"""resolv.conf(5) → Resolver. A line that cannot be used is skipped and reported; nothing is invented."""

import ipaddress

from netsetup.model.pod_interface import Resolver

LABEL_MAX = 63
NAME_MAX = 253


def read_resolver(path: str = "/etc/resolv.conf") -> Resolver:
    """Read a resolver configuration; a file that is not there is an empty one, with the reason in `problems`."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        return Resolver(problems=(f"{path}: {error.strerror}",))
    return parse_resolver(text)


def parse_resolver(text: str) -> Resolver:
    """The settings in the text of a resolv.conf.

    As resolv.conf(5) has it: `;` and `#` begin a comment, the last `search` or `domain` line wins, and a search list of
    `.` is empty. Names are lower-cased and lose their final dot.
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
            address = _address(values[0])
            if address is None:
                problems.append(f"nameserver {values[0]}: not an IP address")
            elif address not in nameservers:
                nameservers.append(address)
        elif keyword in ("search", "domain"):
            search.clear()
            for value in values if keyword == "search" else values[:1]:
                name = value.lower().removesuffix(".")
                fault = _fault_of_name(name)
                if fault:
                    problems.append(f"search {value}: {fault}")
                elif name and name not in search:
                    search.append(name)
        elif keyword == "options":
            options += values
    return Resolver(tuple(nameservers), tuple(search), tuple(options), tuple(problems))


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _fault_of_name(name: str) -> str:
    """Why a name cannot go on the wire (RFC 1035 §2.3.4), empty when it can."""
    if len(name) > NAME_MAX:
        return f"longer than {NAME_MAX} characters"
    labels = name.split(".") if name else []
    if any(not label for label in labels):
        return "an empty label"
    if any(len(label) > LABEL_MAX for label in labels):
        return f"a label longer than {LABEL_MAX} characters"
    if not all(0x20 < ord(character) < 0x7F for character in name):
        return "not plain ASCII"
    return ""
