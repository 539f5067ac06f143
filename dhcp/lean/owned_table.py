"""nftables tables that end with the process that made them, and that no other may change (nft(8), `flags owner`).

Only CAP_NET_ADMIN in the network namespace makes one, and the kernel removes it with the netlink socket that made it,
in whatever way its process ends. So it is a lock, or a sign, which an unprivileged process of the namespace can neither
take nor forge; its comment says whose it is. Needs Linux 5.12. The messages are those of linux/netfilter/nf_tables.h:
to start nft would take a hundred times as long.
"""

from __future__ import annotations

from _socket import AF_NETLINK, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_RAW, htons, socket
from _struct import pack, unpack_from
from posix import getpid, stat, strerror

_NETLINK_NETFILTER = 12
_NFNL_MSG_BATCH_BEGIN, _NFNL_MSG_BATCH_END = 0x10, 0x11
_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWTABLE, _NFT_MSG_GETTABLE, _NFT_MSG_DELTABLE = (_NFNL_SUBSYS_NFTABLES << 8 | kind for kind in range(3))
NFPROTO_INET = 1  # tables of this family are of no interest to iptables, ip6tables, arptables or ebtables
_NFTA_TABLE_NAME, _NFTA_TABLE_FLAGS, _NFTA_TABLE_USERDATA = 1, 2, 6
_NFT_TABLE_F_OWNER = 2
_NFTNL_UDATA_TABLE_COMMENT = 0
_NLMSG_ERROR = 2
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 1, 4, 0x200, 0x400
_EPERM, _ENOENT, _EEXIST = 1, 2, 17
_NLMSG_HEADER = 16  # struct nlmsghdr
_HEADERS = _NLMSG_HEADER + 4  # and struct nfgenmsg
_ATTEMPTS = 10  # each time its owner has removed it between two requests
LONGEST_COMMENT = 127
UNSUPPORTED = frozenset((22, 92, 93, 95, 97))
"""The errno of a kernel that has no such tables: EINVAL, ENOPROTOOPT, EPROTONOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT."""

_MOST_IDLE = 8
_idle: list[tuple[tuple[int, ...], socket]] = []
"""Sockets without a table, by process and network namespace (`_place`), to be used again."""


class OwnedTable:
    """A table that this process may make; until then, and where another process has it, a way to ask whose it is."""

    def __init__(self, name: str) -> None:
        """In the network namespace of the calling thread. Raises OSError."""
        self._name = _attribute(_NFTA_TABLE_NAME, name.encode() + b"\0")
        self._place = _place()
        self._socket = _open(self._place)
        self._is_owner = False

    def take(self, comment: str) -> bool:
        """Make the table; False when another process has it. Raises OSError: EPERM without CAP_NET_ADMIN."""
        text = comment.encode(errors="backslashreplace")[:LONGEST_COMMENT] + b"\0"
        userdata = pack("BB", _NFTNL_UDATA_TABLE_COMMENT, len(text)) + text
        flags = _attribute(_NFTA_TABLE_FLAGS, pack(">I", _NFT_TABLE_F_OWNER))
        content = self._name + flags + _attribute(_NFTA_TABLE_USERDATA, userdata)
        for _ in range(_ATTEMPTS):
            self._is_owner = True  # should the answer be lost, it may be ours
            code = self._change(_NFT_MSG_NEWTABLE, _NLM_F_CREATE | _NLM_F_EXCL, content)
            self._is_owner = code == 0
            if code not in (_EPERM, _EEXIST):
                _raise_for(code)
                return True
            # EPERM is about another process's table, or about us; then this raises it.
            if self.comment() is not None:
                return False
        raise OSError(code, strerror(code))

    def comment(self, family: int = NFPROTO_INET) -> str | None:
        """What the table's comment says, or that of another family's table of the same name; None when there is none.

        Raises OSError as `take` does.
        """
        code, answer = self._ask(_message(_NFT_MSG_GETTABLE, 0, family, 0, self._name))
        if code == _ENOENT:
            return None
        _raise_for(code)
        at = _HEADERS
        while at + 4 <= len(answer):
            length, kind = unpack_from("HH", answer, at)
            if kind == _NFTA_TABLE_USERDATA:
                return answer[at + 6 : at + length].rstrip(b"\0").decode(errors="replace")
            at += max(4, length + 3 & ~3)
        return ""

    def remove(self) -> None:
        """Remove our table at once."""
        if self._change(_NFT_MSG_DELTABLE, 0, self._name) == 0:
            self._is_owner = False

    def close(self) -> None:
        """Close the socket, and with it remove the table if it is still there and ours.

        For some 15 ms after any table of the namespace was removed or replaced that would wait for a grace period of
        the kernel's. So a socket without a table is kept, for the next one in this namespace.
        """
        if self._is_owner or not self._place:
            self._socket.close()
            return
        _idle.append((self._place, self._socket))
        if len(_idle) > _MOST_IDLE:
            _idle.pop(0)[1].close()

    def _change(self, kind: int, flags: int, content: bytes) -> int:
        """The errno of a transaction of one change."""
        begin = _message(_NFNL_MSG_BATCH_BEGIN, 0, 0, _NFNL_SUBSYS_NFTABLES, b"")
        end = _message(_NFNL_MSG_BATCH_END, 0, 0, _NFNL_SUBSYS_NFTABLES, b"")
        return self._ask(begin + _message(kind, _NLM_F_ACK | flags, NFPROTO_INET, 0, content) + end)[0]

    def _ask(self, messages: bytes) -> tuple[int, bytes]:
        """The errno of the kernel's answer, and the answer."""
        self._socket.send(messages)
        answer = self._socket.recv(1 << 14)
        if unpack_from("H", answer, 4)[0] != _NLMSG_ERROR:
            return 0, answer
        return -unpack_from("i", answer, _NLMSG_HEADER)[0], answer


def _place() -> tuple[int, ...]:
    """This process and the network namespace of this thread; empty where /proc does not say."""
    try:
        namespace = stat("/proc/thread-self/ns/net")
    except OSError:
        return ()
    return getpid(), namespace.st_dev, namespace.st_ino


def _open(place: tuple[int, ...]) -> socket:
    """An idle socket of this place, or a new one. Raises OSError."""
    for kept in [kept for kept in _idle if kept[0] == place]:
        try:
            _idle.remove(kept)
        except ValueError:  # another thread has taken it
            continue
        _drop_answers(kept[1])
        return kept[1]
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_NETFILTER)


def _drop_answers(idle: socket) -> None:
    """Drop what nobody has read, because a signal handler's exception came first."""
    try:
        while idle.recv(1, MSG_DONTWAIT):
            pass
    except OSError:
        return


def _message(kind: int, flags: int, family: int, resource: int, content: bytes) -> bytes:
    """struct nlmsghdr, struct nfgenmsg and what follows."""
    body = pack("BBH", family, 0, htons(resource)) + content
    return pack("IHHII", _NLMSG_HEADER + len(body), kind, _NLM_F_REQUEST | flags, 0, 0) + body


def _attribute(kind: int, content: bytes) -> bytes:
    return pack("HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def _raise_for(code: int) -> None:
    if code:
        raise OSError(code, strerror(code))
