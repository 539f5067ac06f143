"""Who may open the VM's tap device. Pure."""

import re

from dhcp.lean.frozen import Frozen

LARGEST_ID = 2**32 - 2
"""The next one means no user (chown(2))."""


class Owner(Frozen):
    """A user and a group, by their numbers."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


def parse_owner(text: str) -> Owner:
    """``UID`` or ``UID:GID``; without a group it has the user's number. Raises ValueError with the reason."""
    found = re.fullmatch(r"([0-9]{1,10})(?::([0-9]{1,10}))?", text)
    if not found:
        raise ValueError("must be UID or UID:GID, in numbers")
    owner = Owner(int(found[1]), int(found[2] or found[1]))
    if max(owner.uid, owner.gid) > LARGEST_ID:
        raise ValueError(f"must be at most {LARGEST_ID}")
    return owner
