"""The server's log, a structured line for each transaction, bounded in rate and size; and its last transactions."""

from __future__ import annotations

from posix import O_ACCMODE, O_APPEND, O_CLOEXEC, O_RDWR, close, dup2, fstat, ftruncate, lseek, open, pread, write
from select import POLLOUT, poll
from time import gmtime, monotonic, strftime, time

from dhcp.config import ClientConfig
from dhcp.decision import Decision
from dhcp.lean.json import dumps
from dhcp.token_bucket import TokenBucket
from dhcp.wire.addresses import ipv4_text, mac_text
from dhcp.wire.dhcp4 import FOREIGN_MAC

LARGEST_LOG = 1024 * 1024
TRANSACTIONS = 64
# The guest decides how many messages there are; the log must stay bounded all the same.
LINES_AT_ONCE = 100
LINES_PER_SECOND = 20
MOST_UNKNOWN_MACS = 8


class Log:
    """Log and recent transactions of one server.

    `fd` is where lines go; `bounded` is for a file of the server's own, of which only the newer half
    is kept whenever it exceeds LARGEST_LOG octets.

    A line of JSON has the launcher's shape: `time` (UTC, RFC 3339), `level`, `logger`, `message`, `event`, `data`.
    """

    def __init__(self, fd: int, log_format: str = "text", bounded: bool = False) -> None:
        self._transactions: list[tuple[float, ClientConfig, Decision, int]] = []
        self.suppressed = 0
        self._fd = fd
        self._json = log_format == "json"
        self._rate = TokenBucket(LINES_AT_ONCE, 1 / LINES_PER_SECOND, monotonic())
        self._unreported = 0
        self._unknown_macs: set[bytes] = set()
        self._size = -1
        self._room = poll()
        self._room.register(fd, POLLOUT)
        if bounded:
            from _stat import S_ISREG  # without the rest of stat

            if S_ISREG((status := fstat(fd)).st_mode):
                self._size = status.st_size
                _make_readable(fd)

    @property
    def transactions(self) -> list[dict[str, object]]:
        """The last transactions, as they were logged, with their time."""
        last = list(self._transactions)
        return [{"time": _timestamp(at), **_fields(config, decision, xid)} for at, config, decision, xid in last]

    def transaction(self, config: ClientConfig, decision: Decision, xid: int) -> None:
        """Log a message of the client with its answer, or that it gets none."""
        self._transactions.append((time(), config, decision, xid))
        del self._transactions[:-TRANSACTIONS]
        level = "warning" if decision.warning or decision.dropped else "info"
        self.write(level, "dhcp", _fields(config, decision, xid))

    def warn_unknown_mac(self, config: ClientConfig, decision: Decision) -> None:
        """Warn once about each MAC that is not the client's; beyond MOST_UNKNOWN_MACS they are only counted."""
        mac = decision.client
        if mac in self._unknown_macs or len(self._unknown_macs) >= MOST_UNKNOWN_MACS:
            return
        self._unknown_macs.add(mac)
        fields: dict[str, object] = {
            "interface": config.interface,
            "client": mac_text(mac),
            "expected": mac_text(config.client_mac),
            "reason": "the guest sends requests with another MAC than the one it was given",
        }
        self.warn(FOREIGN_MAC, fields)

    def count_suppressed(self, transactions: int) -> None:
        """Count transactions that came too fast for a line each."""
        self.suppressed += transactions
        self._unreported += transactions

    def warn(self, event: str, fields: dict[str, object]) -> None:
        """Write a line whatever the rate: for what cannot happen often, whatever the guest does."""
        self._line("warning", event, fields)

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        """Write a line unless the rate is exceeded; how many were suppressed is a line of its own."""
        if not self._rate.take(monotonic()):
            self.count_suppressed(1)
            return
        if self._unreported:
            self._line("warning", "suppressed", {"lines": self._unreported})
            self._unreported = 0
        self._line(level, event, fields)

    def fail(self, message: str) -> None:
        """Write why the process ends; as text that alone, which may be an answer to who started it."""
        self._write(dumps(_record("error", message)) if self._json else message)

    def _line(self, level: str, event: str, fields: dict[str, object]) -> None:
        if self._json:
            line = dumps({**_record(level, _sentence(event, fields)), "event": event, "data": fields})
        else:
            pairs = (f"{key}={_plain(value)}" for key, value in fields.items())
            line = " ".join([_timestamp(time()), level, event, *pairs])
        self._write(line)

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode()
        try:
            if not self._room.poll(0):
                return  # a pipe that nobody reads: the server would wait for its reader for ever
            write(self._fd, data)
            if self._size >= 0:
                self._size += len(data)
                if self._size > LARGEST_LOG:
                    self._keep_newer_half()
        except OSError:
            pass  # a full disk or a closed pipe must not stop the guest from getting its address

    def _keep_newer_half(self) -> None:
        try:
            newer = pread(self._fd, LARGEST_LOG // 2, max(self._size - LARGEST_LOG // 2, 0))
        except OSError:  # opened for writing only
            newer = b""
        newer = newer[newer.find(b"\n") + 1 :]
        ftruncate(self._fd, 0)
        lseek(self._fd, 0, 0)
        write(self._fd, newer)
        self._size = len(newer)


def _record(level: str, message: str) -> dict[str, object]:
    return {"time": _timestamp(time()), "level": level, "logger": "dhcp", "message": message}


def _sentence(event: str, fields: dict[str, object]) -> str:
    """A line's message: where, what, and why, as `tap0: DISCOVER, answer OFFER: the client's only address`."""
    what = f"{fields['message']}, answer {fields['answer']}" if "answer" in fields else event
    parts = (fields.get("interface"), what, fields.get("reason") or fields.get("error"))
    return ": ".join(str(part) for part in parts if part)


def _fields(config: ClientConfig, decision: Decision, xid: int) -> dict[str, object]:
    fields: dict[str, object] = {
        "interface": config.interface,
        "message": decision.message,
        "answer": decision.answer or "none",
        "reason": decision.reason,
        "client": mac_text(decision.client),
        "xid": f"{xid:08x}",
    }
    if decision.answer in ("OFFER", "ACK"):
        fields["address"] = f"{ipv4_text(config.client_address)}/{config.prefix_length}"
    if decision.dropped:
        fields["dropped_options"] = ",".join(str(code) for code in decision.dropped)
    return fields


def _make_readable(fd: int) -> None:
    """Reopen a log that was opened for writing only, while there is still the right to."""
    from fcntl import F_GETFL, fcntl

    if fcntl(fd, F_GETFL) & O_ACCMODE == O_RDWR:
        return
    try:
        readable = open(f"/proc/self/fd/{fd}", O_RDWR | O_APPEND | O_CLOEXEC)
    except OSError:
        return
    dup2(readable, fd)
    close(readable)


def _timestamp(now: float) -> str:
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def _plain(value: object) -> str:
    text = str(value)
    return text if text and all("!" <= char <= "~" and char not in '"=' for char in text) else dumps(text)
