"""What a guest says of itself, through the QEMU agent in it, if it has one; a guest that hangs costs seconds at most.

The agent is asked in libvirt's raw text, so that an answer's size is known before anything is made of it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from dhcp.lean.frozen import replace
from launcher.guest.answers import BadAnswer, GuestWord, answer_of, hostname_in, interfaces_in, routes_in, system_in
from launcher.machine.libvirt_root import LibvirtError
from launcher.machine.threads import ThreadError, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_SECONDS: Final = 2
"""For each question."""
PATIENCE_SECONDS: Final = 4.0
"""For all of them."""
NO_ANSWER: Final = "the guest's agent does not answer"


class Agent(Protocol):
    """The agent of a running domain."""

    def ask_agent(self, command: str, seconds: int) -> str:
        """Raises LibvirtError."""

    def limit_agent(self, seconds: int) -> None:
        """Raises LibvirtError."""


class Questions:
    """Asks the agent, once at a time, in a thread of its own."""

    def __init__(self, agent: Agent, patience: float = PATIENCE_SECONDS) -> None:
        self._agent, self._patience = agent, patience
        self._asking = threading.Lock()

    def ask(self) -> GuestWord:
        """What the guest says, in `patience` seconds; `problem` says why something is missing."""
        deadline = time.monotonic() + self._patience
        if not self._asking.acquire(timeout=self._patience):
            return GuestWord(problem=NO_ANSWER)
        inquiry = _Inquiry(self._agent, deadline, self._asking.release)
        try:
            start_thread("guest-agent", inquiry.run)
        except ThreadError as error:
            self._asking.release()
            return GuestWord(problem=str(error))
        inquiry.done.wait(max(0.0, deadline - time.monotonic()))
        return inquiry.word if inquiry.done.is_set() else replace(inquiry.word, problem=NO_ANSWER)


class _Inquiry:
    """All questions, one after the other."""

    def __init__(self, agent: Agent, deadline: float, release: Callable[[], None]) -> None:
        self._agent, self._deadline, self._release = agent, deadline, release
        self.word = GuestWord()
        self.done = threading.Event()

    def run(self) -> None:
        try:
            self._agent.limit_agent(ANSWER_SECONDS)
            self._take("guest-network-get-interfaces", lambda answer: {"interfaces": interfaces_in(answer)})
            self._take("guest-get-host-name", lambda answer: {"hostname": hostname_in(answer)})
            self._take(
                "guest-get-osinfo", lambda answer: dict(zip(("system", "kernel"), system_in(answer), strict=True))
            )
            self._take("guest-network-get-route", lambda answer: {"routes": routes_in(answer)}, is_old=True)
        except (LibvirtError, BadAnswer) as error:
            what = f"the guest's agent gives {error}" if isinstance(error, BadAnswer) else f"{NO_ANSWER}: {error}"
            self.word = replace(self.word, problem=what)
        finally:
            self._release()
            self.done.set()

    def _take(self, command: str, fields: Callable[[Any], dict[str, Any]], *, is_old: bool = False) -> None:
        """Ask one question; an agent that `is_old` may not know it. Raises LibvirtError and BadAnswer."""
        if time.monotonic() >= self._deadline:
            raise LibvirtError("it is too slow")
        try:
            text = self._agent.ask_agent(f'{{"execute": "{command}"}}', ANSWER_SECONDS)
        except LibvirtError as error:
            if is_old or "has been disabled" in str(error) or "has not been found" in str(error):
                return
            raise
        self.word = replace(self.word, **fields(answer_of(text)))
