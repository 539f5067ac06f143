"""The order of an interface's addresses, and of its routes among those of other interfaces. Pure.

The kernel keeps it and uses it: of routes that differ only in next hop, metrics or source (`Route.place`) it takes the
first; the first address is the source of what the pod sends, and the VM's.
"""

from collections.abc import Iterable, Sequence

from netsetup.model.kernel import AF_INET, AF_INET6, SCOPE_LINK, Address, Route
from netsetup.model.routing import is_unordered6
from netsetup.steps import AddRoute, DeleteRoute, MoveRoute, Step


def merge_addresses(recorded: Sequence[Address], news: Iterable[Address]) -> tuple[Address, ...]:
    """The addresses of an interface that had those `recorded` when the `news` came: each in the place of one that it
    replaces (``ip address replace``), or where the kernel inserts it."""
    later = {address.place: address for address in news}
    merged = [later.pop(address.place, address) for address in recorded]
    of4 = [a for a in (*merged, *later.values()) if a.family == AF_INET]
    # The kernel lists IPv6 addresses by scope, and of each scope the newest first.
    of6 = [a for a in (*reversed(later.values()), *merged) if a.family == AF_INET6]
    return (*(listed4(of4) if later else of4), *sorted(of6, key=lambda a: a.scope == SCOPE_LINK))


def listed4(addresses: Iterable[Address]) -> list[Address]:
    """IPv4 addresses, added in this order, as the kernel lists them (net/ipv4/devinet.c, __inet_insert_ifa): the first
    of each prefix, its primary, before all secondaries, and sorted by scope."""
    primaries: list[Address] = []
    secondaries: list[Address] = []
    prefixes: set[str] = set()
    for address in addresses:
        if address.network in prefixes:
            secondaries.append(address)
        else:
            prefixes.add(address.network)
            behind = [at for at, other in enumerate(primaries, start=1) if address.scope <= other.scope]
            primaries.insert(max(behind, default=0), address)
    return primaries + secondaries


def merge_routes(recorded: Sequence[Route], now: Sequence[Route]) -> list[Route]:
    """The routes of one place that an interface had when those of `now` came, which it did not have then: as
    ``ip route replace`` does, each takes the place of one that is recorded and not there now."""
    present = set(now)
    news = [route for route in now if route not in set(recorded)]
    merged = [route if route in present or not news else news.pop(0) for route in recorded]
    return merged + news


def route_steps(now: Sequence[Route], own: Sequence[Route], recorded: Sequence[Route], interface: int) -> list[Step]:
    """The way to the routes that an interface is to have in one place, `own`, among those that others have there now.

    Args:
        now: what is there, of all interfaces.
        recorded: the order there was, of all interfaces; empty when there were no others, and that of `now` counts.
    """
    others = [route for route in now if route.interfaces != {interface}]
    own = [route for route in own if route not in others]  # a multipath route through others as well never goes
    if is_unordered6((*now, *own)):
        return [*(DeleteRoute(r) for r in now if r not in own + others), *(AddRoute(r) for r in own if r not in now)]
    return _reorder(list(now), _among(others, own, recorded or now, interface), others)


def _among(others: list[Route], own: list[Route], recorded: Sequence[Route], interface: int) -> list[Route]:
    """Both kinds in the order that their like had among each other; what is new comes last, ours first."""
    if not others:
        return own
    rest_own, rest = list(own), list(others)
    order: list[Route] = []
    for route in recorded:
        if route.interfaces == {interface}:
            order += [rest_own.pop(0)] if rest_own else []
        elif route in others and rest:
            order.append(rest.pop(0))
    return order + rest_own + rest


def _reorder(now: list[Route], wanted: list[Route], others: list[Route]) -> list[Step]:
    """Deletes nothing of others, and moves it only where nothing else leads to the order: the kernel inserts a route
    before its equals (IPv4 alone) or behind them, and nowhere between."""
    same = 0
    while same < min(len(now), len(wanted)) and now[same] == wanted[same]:
        same += 1
    now, wanted = now[same:], wanted[same:]
    steps: list[Step] = [DeleteRoute(route) for route in reversed(now) if route not in others]
    staying = [route for route in now if route in others]
    if same == 0 and staying and staying[0].family == AF_INET:
        first = wanted.index(staying[0])
        steps += [AddRoute(route, first=True) for route in reversed(wanted[:first])]
        wanted = wanted[first:]
    while staying and wanted and staying[0] == wanted[0]:
        del staying[0], wanted[0]
    return steps + [MoveRoute(route) if route in others else AddRoute(route) for route in wanted]
