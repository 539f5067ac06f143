"""Snapshots of the complete network state of a namespace, for comparison.

A pod that is set up and torn down must have an equal snapshot: the same addresses in the same order, the same routes in
every table, rules, permanent neighbours, sysctls, offloads. Left out are only values that change with time (counters,
ages, remaining lifetimes) and the indexes and random MACs of devices that do not exist any more.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.namespace import Namespace

_FOREVER = 0xFFFFFFFF
_VOLATILE = {"stats", "stats64", "expires", "used", "confirmed", "updated", "probes", "refcnt", "mcast_n_groups"}
_VOLATILE_BRIDGE = re.compile(r"_timer$|^root_path_cost$|^ipv6_.*_age$|^hello_timer$|^gc_timer$")
_SYSCTLS = ("ipv4/conf", "ipv6/conf", "ipv4/neigh", "ipv6/neigh")
_SYSCTLS_ALONE = ("ipv4/ip_forward", "ipv6/bindv6only", "bridge/bridge-nf-call-iptables")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Canonical lines of text under a heading each, e.g. `ip -4 route show table all`."""

    sections: dict[str, tuple[str, ...]]

    def difference(self, later: Snapshot) -> str:
        """A unified diff from this snapshot to a later one, empty when they are equal."""
        return "\n".join(
            line
            for heading in sorted(self.sections.keys() | later.sections.keys())
            for line in difflib.unified_diff(
                self.sections.get(heading, ()),
                later.sections.get(heading, ()),
                f"before: {heading}",
                f"after: {heading}",
                lineterm="",
                n=2,
            )
        )


def take_snapshot(namespace: Namespace) -> Snapshot:
    """Take a snapshot of the present state."""
    sections = {
        **take_ip_snapshot(namespace).sections,
        "ip -4 rule": _lines(namespace.ip_json("-4 rule show")),
        "ip -6 rule": _lines(namespace.ip_json("-6 rule show")),
        "bridge link": _lines(_bridge(namespace, "-d link show")),
        "bridge fdb": _lines(_bridge(namespace, "fdb show")),
        "nft list ruleset": tuple(_ruleset(namespace)),
        "tc qdisc": tuple(namespace.run(["tc", "qdisc", "show"]).stdout.splitlines()),
        "sysctl": tuple(_sysctls(namespace)),
    }
    for link in namespace.ip_json("link show"):
        name = link["ifname"]
        features = namespace.run(["ethtool", "-k", name], check=False).stdout
        sections[f"ethtool -k {name}"] = tuple(features.splitlines())
    return Snapshot(sections)


def _ruleset(namespace: Namespace) -> list[str]:
    """Without what rules have added to sets, which goes by itself."""
    text = namespace.run(["nft", "list", "ruleset"]).stdout
    return re.sub(r"(flags dynamic[^}]*?)elements = \{[^}]*\}", r"\1", text).splitlines()


def take_ip_snapshot(namespace: Namespace) -> Snapshot:
    """Take a snapshot of links, addresses, routes and neighbours alone, in a tenth of the time."""
    sections = {
        "ip -d addr": _lines(namespace.ip_json("-d addr show"), indent=1),
        "ip -4 route show table all": _lines(namespace.ip_json("-4 -d route show table all")),
        "ip -6 route show table all": _lines(_routes6(namespace)),
        "ip neigh": _lines(_configured_neighbours(namespace)),
        "ip neigh show proxy": _lines(sorted(namespace.ip_json("-d neigh show proxy"), key=_by_device)),
    }
    return Snapshot(sections)


def assert_restored(
    namespace: Namespace,
    before: Snapshot,
    *,
    within: float = 10,
    take: Callable[[Namespace], Snapshot] = take_snapshot,
) -> None:
    """Fail with a diff unless the namespace's state equals the snapshot.

    The kernel completes some changes a little later (carrier, duplicate-address detection), so only a difference that
    lasts for `within` seconds counts.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + within
    while difference := before.difference(take(namespace)):
        if time.monotonic() > deadline:
            raise AssertionError(f"{namespace.name} is not as it was before:\n{difference}")
        time.sleep(0.05)


def _routes6(namespace: Namespace) -> list[dict[str, Any]]:
    """All IPv6 routes; of the kernel's own (fe80::/64, ff00::/8) those of several interfaces in the order of names.

    Their order is that in which the interfaces last came up, and nothing but an interface's going down and up again
    changes it.
    """
    routes = namespace.ip_json("-6 -d route show table all")
    places = [at for at, route in enumerate(routes) if route["protocol"] == "kernel"]
    ordered = sorted((routes[at] for at in places), key=lambda r: (r["table"], r["type"], r["dst"], r.get("dev", "")))
    for at, route in zip(places, ordered, strict=True):
        routes[at] = route
    return routes


def _configured_neighbours(namespace: Namespace) -> list[dict[str, Any]]:
    """Those that somebody has added, by device and address (IPv4 and IPv6 in one list; the order is the hash table's).

    What the kernel finds out by itself is left out: entries resolved for traffic, the MACs of groups and of `lo`, and
    the state and the MAC of managed entries.
    """
    kept = []
    for entry in namespace.ip_json("-d neigh show nud all"):
        of_kernel = re.match("01:00:5e|33:33|ff:ff|00:00:00:00:00:00", entry.get("lladdr", "ff:ff"))
        if "managed" in entry:
            kept.append({key: value for key, value in entry.items() if key not in ("state", "lladdr")})
        elif (
            "PERMANENT" in entry.get("state", ())
            or "extern_learn" in entry
            or ("NOARP" in entry.get("state", ()) and not of_kernel)
        ):
            kept.append(entry)
    return sorted(kept, key=_by_device)


def _by_device(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["dev"], entry["dst"]


def _bridge(namespace: Namespace, arguments: str) -> list[dict[str, Any]]:
    printed = namespace.run(["bridge", "-j", *arguments.split()]).stdout
    entries: list[dict[str, Any]] = json.loads(printed or "[]", strict=False)
    return sorted(entries, key=lambda entry: json.dumps(entry, sort_keys=True))


def _sysctls(namespace: Namespace) -> Iterator[str]:
    root = Path("/proc/sys/net")
    with namespace.entered():
        paths = [path for part in _SYSCTLS for path in (root / part).glob("*/*")]
        paths += [root / alone for alone in _SYSCTLS_ALONE]
        for path in sorted(paths):
            try:
                value = path.read_text().strip()
            except OSError:  # stable_secret that was never set
                value = "unreadable"
            yield f"{path.relative_to(root)} = {value}"


def _lines(entries: list[dict[str, Any]], indent: int | None = None) -> tuple[str, ...]:
    """One line per entry, or with an indent one per field where entries are long."""
    return tuple(
        line for entry in entries for line in json.dumps(_canonical(entry), indent=indent, sort_keys=True).splitlines()
    )


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _lifetime(part) if key.endswith("_life_time") else _canonical(part)
            for key, part in value.items()
            if key not in _VOLATILE and not _VOLATILE_BRIDGE.search(key)
        }
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return value


def _lifetime(seconds: int) -> str:
    return "forever" if seconds == _FOREVER else "expired" if seconds == 0 else "finite"
