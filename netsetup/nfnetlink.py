"""Which nftables tables there are, asked of the kernel itself: in 0.1 ms, where nft takes 3–4 ms to start.

linux/netfilter/nfnetlink.h and nf_tables.h; the comment of a table is libnftnl's user data.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from netsetup.model import KernelRefused, NotPermitted

NETLINK_NETFILTER: Final = 12
NFT_MSG_GETTABLE: Final = 10 << 8 | 1
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFTA_TABLE_NAME, NFTA_TABLE_USERDATA = 1, 6
NFTNL_UDATA_TABLE_COMMENT: Final = 0
NLA_TYPE_MASK: Final = 0x3FFF
FAMILIES: Final = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}

UNKNOWN_FAMILY = {errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT}
"""A kernel that does not know a family has no table of it."""


def table_comments(name: str, families: Iterable[str]) -> dict[str, str]:
    """Of the `families` those in which there is a table of this name, each with the table's comment.

    Raises NotPermitted and KernelRefused.
    """
    found = {}
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError:
        return {}  # a kernel without netfilter; loading a table will say so
    with netlink:
        for family in families:
            header = struct.pack("=IHHII", 20, NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
            netlink.send(header + struct.pack("=BBH", FAMILIES[family], 0, 0))
            for table in _dumped(netlink):
                if _text(table.get(NFTA_TABLE_NAME, b"")) == name:
                    comments = dict(_user_data(table.get(NFTA_TABLE_USERDATA, b"")))
                    found[family] = comments.get(NFTNL_UDATA_TABLE_COMMENT) or "none"
    return found


def _dumped(netlink: socket.socket) -> Iterator[dict[int, bytes]]:
    """The attributes of each message of a dump."""
    while True:
        data = netlink.recv(1 << 16)
        offset = 0
        while offset + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, offset)
            message = data[offset + 16 : offset + length]
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", message)[0]
                if code in (errno.EPERM, errno.EACCES):
                    raise NotPermitted("nftables")
                if code in UNKNOWN_FAMILY:
                    return
                raise KernelRefused("read nftables", code)
            if kind == NLMSG_DONE:
                return
            yield dict(_attributes(message[4:]))
            offset += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += max(4, (length + 3) & ~3)


def _user_data(data: bytes) -> Iterator[tuple[int, str]]:
    """A type and a length of one byte each, and a text that ends with a zero byte."""
    offset = 0
    while offset + 2 <= len(data):
        kind, length = data[offset], data[offset + 1]
        yield kind, _text(data[offset + 2 : offset + 2 + length])
        offset += 2 + length


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
