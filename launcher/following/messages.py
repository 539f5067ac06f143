"""Whether a message of rtnetlink(7) can be about what a pod's set-up depends on. Pure.

What a guest does is not: the neighbours that its traffic has the kernel look for, the MACs that a bridge learns, the
carrier of its port. Otherwise it could keep the launcher at work.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from netsetup.model.kernel import IFF_UP, NTF_PROXY, NUD_NOARP, NUD_PERMANENT, TABLE_LOCAL

# linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h
HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, and the port of the socket that asked for the change."""
RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
AF_BRIDGE: Final = 7
RTM_F_CLONED: Final = 0x200
NUD_FAILED: Final = 0x20
_LINK, _ROUTE, _NEIGHBOUR = struct.Struct("=BxHiII"), struct.Struct("=8BI"), struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_IFALIAS = 1, 3, 4, 10, 20
_FACTS = frozenset((IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_IFALIAS))


class Judge:
    """Remembers of each interface what matters, because the kernel sends all of it when anything changes."""

    def __init__(self) -> None:
        self._links: dict[int, object] = {}

    def any_matters(self, datagram: bytes) -> bool:
        """Whether one of a datagram's messages can matter; each is looked at."""
        return max([self._matters(kind, port, body) for kind, port, body in messages(datagram)], default=False)

    def _matters(self, kind: int, port: int, body: bytes) -> bool:
        if not body or body[0] == AF_BRIDGE:
            return False
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            return self._link_matters(kind, body)
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            table, flags = _ROUTE.unpack_from(body)[4], _ROUTE.unpack_from(body)[8]
            return table != TABLE_LOCAL and not flags & RTM_F_CLONED
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            return _neighbour_matters(port, body)
        return True  # an address, or a rule

    def _link_matters(self, kind: int, body: bytes) -> bool:
        _, _, index, flags, _ = _LINK.unpack_from(body)
        if kind == RTM_DELLINK:
            self._links.pop(index, None)
            return True
        facts = (flags & IFF_UP, tuple(_attributes(body)))
        is_news = self._links.get(index) != facts
        self._links[index] = facts
        return is_news


def _neighbour_matters(port: int, body: bytes) -> bool:
    """What somebody has configured. To remove such an entry has it fail, and the message says who has asked for that;
    of those that fail by themselves it says nobody."""
    _, _, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    if flags & NTF_PROXY or state & NUD_PERMANENT:
        return True
    return port != 0 and state in (0, NUD_FAILED, NUD_NOARP)


def messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, port of who asked, content) of each message; what is malformed ends them."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, _, _, port = HEADER.unpack_from(datagram, offset)
        if not HEADER.size <= length <= len(datagram) - offset:
            return
        yield kind, port, datagram[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Those of a link that a set-up depends on."""
    offset = _LINK.size
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            return
        if kind in _FACTS:
            yield kind, body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
