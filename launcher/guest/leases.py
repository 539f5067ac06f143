"""The leases that a guest takes, from two reports of the DHCP server. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.guest.events import GuestEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RENEWED_EARLY = 0.8
"""Of the time until T1: a client that asks before that has started anew."""


class LeaseFollower:
    """Compares each report with the one before; a renewal in time is no news. The first one is what was before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, bool], Mapping[str, Any]] | None = None

    def news(self, report: Mapping[str, Any]) -> tuple[GuestEvent, ...]:
        """Of the server's report `status`, as `dhcp.io.taken_leases` has its leases."""
        now = {
            (port["interface"], ":" in lease["address"]): lease
            for port in report.get("ports", ())
            for lease in port.get("leases", ())
        }
        before = now if self._before is None else self._before
        self._before = {**before, **now}
        return tuple(_changes(before, now))


def _changes(
    before: Mapping[tuple[str, bool], Mapping[str, Any]], now: Mapping[tuple[str, bool], Mapping[str, Any]]
) -> Iterator[GuestEvent]:
    for place, lease in now.items():
        known, (guest_port, _) = before.get(place), place
        if known is not None and known["at"] == lease["at"]:
            continue
        address, seconds = lease["address"], lease["seconds"]
        data = {"guest_port": guest_port, "address": address, "seconds": seconds, "age_seconds": float(lease["age"])}
        if seconds == 0:
            yield GuestEvent("lease-released", f"{guest_port}: the guest has given {address} back", data)
        elif known is None or known["seconds"] == 0 or known["address"] != address or _is_early(known, lease):
            long = "for ever" if seconds is None else f"for {seconds} s"
            yield GuestEvent("lease-taken", f"{guest_port}: the guest has taken its lease of {address}, {long}", data)


def _is_early(known: Mapping[str, Any], lease: Mapping[str, Any]) -> bool:
    return known["t1"] is None or lease["at"] - known["at"] < known["t1"] * RENEWED_EARLY
