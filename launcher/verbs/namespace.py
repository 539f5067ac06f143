"""The network namespace that a verb works in."""

from __future__ import annotations


def enter(netns: str | None) -> str:
    """Enter a namespace, if one is named; the path of the resolver configuration that holds there."""
    if netns is None:
        return "/etc/resolv.conf"
    from netsetup.kernel.netns import enter, resolver_path

    enter(netns)
    return resolver_path(netns)
