"""Which nftables tables there are, asked of the kernel itself: in 0.1 ms, where a listing takes 0.5.

linux/netfilter/nfnetlink.h and nf_tables.h; the comment of a table is libnftnl's user data.

Within a table the kernel numbers chains, rules, sets and objects as they are made, and uses no number twice. So in a
table that was loaded at one go, and left alone since, the highest number is how many things there are: deleting one
leaves fewer, and adding or replacing one gives a higher number. That tells without reading a single expression.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from netsetup.errors import KernelRefused, NotPermitted

NETLINK_NETFILTER: Final = 12
NFNL_SUBSYS_NFTABLES: Final = 10 << 8
NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETOBJ = 1, 4, 7, 10, 19
NLM_F_REQUEST, NLM_F_DUMP_INTR, NLM_F_DUMP = 1, 0x10, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFTA_TABLE_NAME, NFTA_TABLE_FLAGS, NFTA_TABLE_USERDATA = 1, 2, 6
NFTA_TABLE: Final = 1
"""The table's name, in what is told of a chain, a rule, a set or an object."""
NFTA_HANDLE: Final = {NFT_MSG_GETCHAIN: 2, NFT_MSG_GETRULE: 3, NFT_MSG_GETSET: 16, NFT_MSG_GETOBJ: 6}
NFTA_CHAIN_POLICY: Final = 5
NF_ACCEPT: Final = 1
NFT_TABLE_F_DORMANT: Final = 1
NFTNL_UDATA_TABLE_COMMENT: Final = 0
NLA_TYPE_MASK: Final = 0x3FFF
_ATTRIBUTE: Final = struct.Struct("=HH").unpack_from
FAMILIES: Final = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}

DUMP_ATTEMPTS: Final = 3

UNKNOWN_FAMILY = {errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT}
"""A kernel that does not know a family has no table of it."""


@dataclass(frozen=True, slots=True)
class TableHead:
    """What a table says of itself."""

    comment: str
    is_dormant: bool
    """Whether its rules are out of force."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a table."""

    rules: int
    """How many, in all chains."""
    as_loaded: bool
    """Whether nothing was added, replaced or deleted in the middle since it was loaded, and all chains still accept
    what no rule decides about. That the last rule is gone only `rules` tells."""


def table_heads(name: str, families: Iterable[str]) -> dict[str, TableHead]:
    """Of the `families` those in which there is a table of this name, each with the table's head.

    Raises NotPermitted and KernelRefused.
    """
    found = {}
    for family in families:
        for table in _dump(NFT_MSG_GETTABLE, family, name):
            comments = dict(_user_data(table.get(NFTA_TABLE_USERDATA, b"")))
            is_dormant = bool(_number(table.get(NFTA_TABLE_FLAGS, b"")) & NFT_TABLE_F_DORMANT)
            found[family] = TableHead(comments.get(NFTNL_UDATA_TABLE_COMMENT) or "none", is_dormant)
    return found


def table_contents(name: str, family: str) -> Contents:
    """What is in the table of this name, which is there. Raises as `table_heads` does."""
    counts: dict[int, int] = {}
    highest = 0
    as_loaded = True
    for kind, handle in NFTA_HANDLE.items():
        things = _dump(kind, family, name)
        counts[kind] = len(things)
        highest = max([highest, *(_number(thing.get(handle, b"")) for thing in things)])
        if kind == NFT_MSG_GETCHAIN:
            as_loaded &= all(_number(chain.get(NFTA_CHAIN_POLICY, b"\1")) == NF_ACCEPT for chain in things)
    return Contents(counts[NFT_MSG_GETRULE], as_loaded and highest == sum(counts.values()))


def _dump(kind: int, family: str, table: str) -> list[dict[int, bytes]]:
    """The attributes of each table, chain … of the table of this name."""
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError:
        return []  # a kernel without netfilter; loading a table will say so
    name = table.encode() + b"\0"
    body = struct.pack("=BBH", FAMILIES[family], 0, 0)
    if kind not in (NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN):  # the kernel chooses by table only the others
        body += struct.pack("=HH", 4 + len(name), NFTA_TABLE) + name + bytes(-len(name) % 4)
    header = struct.pack("=IHHII", 16 + len(body), NFNL_SUBSYS_NFTABLES | kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    with netlink:
        for _ in range(DUMP_ATTEMPTS):
            netlink.send(header + body)
            dumped, interrupted = _received(netlink)
            if not interrupted:
                break
        else:
            raise KernelRefused("read nftables", errno.EINTR, "it kept changing meanwhile")
    return [attributes for attributes in dumped if attributes.get(NFTA_TABLE, b"") == name]


def _received(netlink: socket.socket) -> tuple[list[dict[int, bytes]], bool]:
    """The attributes of each message of a dump, and whether something was changed meanwhile."""
    dumped: list[dict[int, bytes]] = []
    interrupted = False
    while True:
        data = netlink.recv(1 << 16)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, flags = struct.unpack_from("=IHH", data, offset)
            message = data[offset + 16 : offset + length]
            interrupted |= bool(flags & NLM_F_DUMP_INTR)
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", message)[0]
                if code in (errno.EPERM, errno.EACCES):
                    raise NotPermitted("nftables")
                if code in UNKNOWN_FAMILY:
                    return [], False
                raise KernelRefused("read nftables", code)
            if kind == NLMSG_DONE:
                return dumped, interrupted
            dumped.append(_attributes(message[4:]))
            offset += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    """The value of each attribute by its type (struct nlattr)."""
    found = {}
    offset, end = 0, len(data) - 4
    while offset <= end:
        length, kind = _ATTRIBUTE(data, offset)
        found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += max(4, (length + 3) & ~3)
    return found


def _user_data(data: bytes) -> Iterator[tuple[int, str]]:
    """A type and a length of one byte each, and a text that ends with a zero byte."""
    offset = 0
    while offset + 2 <= len(data):
        kind, length = data[offset], data[offset + 1]
        yield kind, _text(data[offset + 2 : offset + 2 + length])
        offset += 2 + length


def _number(data: bytes) -> int:
    """Numbers are in network order here."""
    return int.from_bytes(data, "big")


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
