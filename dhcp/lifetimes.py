"""Leases that run out with the pod's address: what is left of them. Pure."""

from __future__ import annotations

from dhcp.config import INFINITE, SHORTEST_LEASE, ClientConfig
from dhcp.lean.frozen import replace


def config_at(config: ClientConfig, now: float) -> ClientConfig:
    """What is served at a time by CLOCK_BOOTTIME: with what is left of the lease, without an address that ran out."""
    if config.ipv6 and (config.ipv6.lease_end or config.ipv6.preferred_end):
        config = replace(config, ipv6=replace(config.ipv6, **_changes6(config, now)))
    if not config.lease_end:
        return config
    left = int(config.lease_end - now)
    if left < SHORTEST_LEASE:
        return replace(config, client_address=b"")
    t1, t2, lease = _times(config, left)
    return replace(config, lease_seconds=lease, t1_seconds=t1, t2_seconds=t2)


def _times(config: ClientConfig, left: int) -> tuple[int, int, int]:
    """T1, T2 and lease when so many seconds are left: RFC 2131 §4.4.5 gives 0.5 and 0.875 of it as the defaults."""
    if left >= config.lease_seconds:
        return config.t1_seconds, config.t2_seconds, config.lease_seconds
    t1, t2 = config.t1_seconds or INFINITE, config.t2_seconds or INFINITE
    return min(t1, left // 2), min(t2, left * 7 // 8), left


def _changes6(config: ClientConfig, now: float) -> dict[str, object]:
    assert config.ipv6
    valid_end, preferred_end = config.ipv6.lease_end, config.ipv6.preferred_end
    left = int(valid_end - now) if valid_end else config.lease_seconds
    if left < SHORTEST_LEASE:
        return {"client_address": b""}
    t1, t2, valid = _times(config, left)
    preferred = min(max(int(preferred_end - now), 0), valid) if preferred_end else valid
    if SHORTEST_LEASE <= preferred < valid:  # a client renews before the address is deprecated (RFC 8415 §14.2)
        t1, t2, _ = _times(config, preferred)
    return {"times": (t1 or valid, t2 or valid, preferred, valid)}
