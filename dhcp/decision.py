"""The decision about one frame: replies or silence, and why. Pure."""

from __future__ import annotations

from dhcp.lean.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    Grant = tuple[bytes, int, int, int]
    """Address, T1, T2 and length of a lease in seconds."""


class Decision(Frozen):
    """The answer to one frame, or the reason why it gets none."""

    reason: str
    """The rule that decided, in words."""
    frames: tuple[bytes, ...] = ()
    """Complete Ethernet frames to send, in order; empty is silence."""
    message: str = ""
    """Name of the message received, e.g. `DISCOVER`; empty when the frame is not a message of the client."""
    answer: str = ""
    """Name of the message sent, e.g. `OFFER`."""
    cause: str = ""
    """Why there is no answer, as the name of a counter."""
    client: bytes = b""
    """MAC of the client that asked, where the frame has it."""
    xid: int = 0
    dropped: tuple[int, ...] = ()
    """Options that did not fit into the reply."""
    warning: bool = False
    """Whether it is logged as a warning."""
    grant: Grant | None = None
    """The lease that the client has by this message; with times of 0 if it has given it back."""
