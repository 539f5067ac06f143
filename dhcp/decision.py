"""What the server makes of one frame, and why. Pure."""

from __future__ import annotations

from dhcp.lean.frozen import Record


class Decision(Record):
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
    """MAC address that asked, where known."""
    xid: int = 0
    dropped: tuple[int, ...] = ()
    """Options that did not fit into the reply."""
    warning: bool = False
    """Worth an administrator's attention."""
