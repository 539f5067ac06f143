"""Our own nftables table, loaded and removed as a whole; no other table is ever touched.

One transaction a change (nft(8)), so that no half of a ruleset is ever in force. The table's comment carries a digest
of its text: comparing that tells whether the rules are in place without comparing rules. A set of comments carries a
copy of the record, so that the pod can be put back when every file is lost.
"""

import binascii
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from netsetup.model import NotPermitted, RulesetRefused

FAMILY = "bridge"
TABLE = "virt-launcher"


@dataclass(frozen=True, slots=True)
class Barrier:
    """What must not cross one bridge."""

    pod_interface: str
    guest_port: str
    dhcp4: bool
    """Whether we serve DHCPv4 on the guest port: then none of it crosses."""


COPY_CHUNK = 120
"""Characters of the copy in one comment; the kernel's tools take 128."""

_COPY_ELEMENT = re.compile(r'0x([0-9a-f]{8}) comment "([^"]*)"')


@dataclass(frozen=True, slots=True)
class Table:
    """What our table in the kernel says; empty texts when there is no such table."""

    digest: str = ""
    copy: str = ""


def ruleset(barriers: Iterable[Barrier], copy: str = "") -> str:
    """The text of the table, ready for `nft -f`, with a `copy` of the record (printable ASCII) in it.

    The bridge device itself hears nothing and says nothing (it only keeps the pod's addresses), and what we serve to
    the guest does not cross between guest and network. A family we do not serve passes: some networks serve it.
    """
    forward, local_in, local_out = [], [], []
    for barrier in barriers:
        if barrier.dhcp4:
            for source, target in (
                (barrier.guest_port, barrier.pod_interface),
                (barrier.pod_interface, barrier.guest_port),
            ):
                forward.append(f'iifname "{source}" oifname "{target}" meta protocol ip udp dport {{ 67, 68 }} drop')
        ports = f'{{ "{barrier.pod_interface}", "{barrier.guest_port}" }}'
        local_in.append(f"iifname {ports} drop")
        local_out.append(f"oifname {ports} drop")
    lines: list[str] = []
    for hook, rules in (("forward", forward), ("input", local_in), ("output", local_out)):
        lines += [f"  chain {hook} {{", f"    type filter hook {hook} priority filter; policy accept;"]
        lines += [f"    {rule}" for rule in rules]
        lines += ["  }"]
    chunks = [copy[start : start + COPY_CHUNK] for start in range(0, len(copy), COPY_CHUNK)]
    if chunks:
        elements = ", ".join(f'{number} comment "{chunk}"' for number, chunk in enumerate(chunks))
        lines += ["  set record {", "    type mark", f"    elements = {{ {elements} }}", "  }"]
    body = "\n".join(lines)
    return f'table {FAMILY} {TABLE} {{\n  comment "{digest(body)}"\n{body}\n}}\n'


def digest(text: str) -> str:
    return f"{binascii.crc32(text.encode()):08x}"


def digest_of(text: str) -> str:
    """The digest that a table of this text carries."""
    found = re.search(r'^\s*comment "([^"]*)"', text, re.MULTILINE)
    return found[1] if found else "none"


class TableReading:
    """A read of our table that runs while other things are read.

    Starting nft costs 3–4 ms, most of what discovery takes; `result` waits for it.
    """

    def __init__(self) -> None:
        self._process = _Nft(["list", "table", FAMILY, TABLE])

    def result(self) -> Table:
        """Raises NotPermitted and RulesetRefused."""
        status, output, error = self._process.wait()
        if status == 0:
            chunks = sorted((int(number, 16), chunk) for number, chunk in _COPY_ELEMENT.findall(output))
            return Table(digest_of(output), "".join(chunk for _, chunk in chunks))
        if "No such file or directory" in error:
            return Table()
        raise _failure("nft list", error)


REMOVAL = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
"""Declared first, so that removing a table that is not there is no error."""


def load(text: str, replace: bool) -> None:
    """Load our table from `text` (see `ruleset`), in place of the one that is there if `replace` says so.

    Raises NotPermitted and RulesetRefused.
    """
    _transaction(REMOVAL + text if replace else text)


def delete() -> None:
    """Remove our table; nothing happens when there is none. Raises NotPermitted and RulesetRefused."""
    _transaction(REMOVAL)


def _transaction(text: str) -> None:
    status, _, error = _Nft(["-f", "-"], text).wait()
    if status != 0:
        raise _failure("nft", error)


def _failure(what: str, error: str) -> NotPermitted | RulesetRefused:
    lines = error.strip().splitlines() or ["no message"]
    if "Operation not permitted" in error:
        return NotPermitted("nftables")
    return RulesetRefused(f"{what}: {lines[0]}")


class _Nft:
    """A running nft with its output in pipes; what it prints is far below a pipe's capacity."""

    def __init__(self, arguments: list[str], text: str = "") -> None:
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        in_read, in_write = os.pipe()
        actions = [
            (os.POSIX_SPAWN_DUP2, in_read, 0),
            (os.POSIX_SPAWN_DUP2, out_write, 1),
            (os.POSIX_SPAWN_DUP2, err_write, 2),
        ]
        try:
            self._pid = os.posix_spawnp("nft", ["nft", *arguments], os.environ, file_actions=actions)
        except FileNotFoundError:
            for descriptor in (out_read, err_read, in_write):
                os.close(descriptor)
            raise RulesetRefused("nft: no such program; install the package nftables") from None
        finally:
            for descriptor in (out_write, err_write, in_read):
                os.close(descriptor)
        with os.fdopen(in_write, "w") as stdin:
            stdin.write(text)
        self._outputs = (out_read, err_read)

    def wait(self) -> tuple[int, str, str]:
        """(exit status, standard output, standard error)"""
        texts = []
        for descriptor in self._outputs:
            with os.fdopen(descriptor) as stream:
                texts.append(stream.read())
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status), texts[0], texts[1]
