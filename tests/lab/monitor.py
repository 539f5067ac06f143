"""Records the output of `ip monitor` in a namespace, in the background."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.namespace import Namespace
from lab.waiting import PATIENCE


class Monitor:
    """Records events of links, or of other `objects`; ready when /proc/net/netlink shows its subscription."""

    def __init__(self, namespace: Namespace, objects: str = "link") -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 – closed in close()
        self._process = namespace.popen(["ip", "-o", "monitor", *objects.split()], stdout=self._output)
        self._wait_until_listening()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if not self._output.closed:
            self._process.terminate()
            self._process.wait()
            self._output.close()

    def events(self, interface: str | None = None) -> list[str]:
        """The lines so far, of one interface if one is given."""
        self._output.seek(0)
        lines = self._output.read().splitlines()
        return [line for line in lines if interface is None or _interface(line) == interface]

    def _wait_until_listening(self) -> None:
        table = Path("/proc", str(self._process.pid), "net", "netlink")
        deadline = time.monotonic() + PATIENCE
        while not any(_is_listening(line, self._process.pid) for line in table.read_text().splitlines()[1:]):
            if self._process.poll() is not None:
                raise RuntimeError("ip monitor ended early")
            if time.monotonic() > deadline:
                raise TimeoutError("ip monitor did not subscribe to events")
            time.sleep(0.002)


def _interface(line: str) -> str:
    """The name in `12: eth0@if3: <BROADCAST…` or `Deleted 12: eth0…`."""
    words = line.removeprefix("Deleted ").split()
    return words[1].rstrip(":").partition("@")[0] if len(words) > 1 else ""


def _is_listening(row: str, pid: int) -> bool:
    """Whether a row of /proc/net/netlink is a socket of this process that is in some group."""
    _, protocol, port, groups, *_ = row.split()
    return (protocol, port) == ("0", str(pid)) and int(groups, 16) != 0
