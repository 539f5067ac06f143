"""The start of the server's process: an interpreter with as little in it as the server needs, and its modules."""

import gc
import sys
from encodings.aliases import aliases


class Future:
    """What `from __future__ import annotations` looks for, without the module."""

    annotations = None


gc.disable()  # nothing of what is made here is garbage
aliases.clear()  # hundreds of codecs' other names
sys.modules.setdefault("__future__", Future)  # type: ignore[arg-type]

from dhcp.lean.importer import install  # noqa: E402

install("dhcp", sys.modules["dhcp"].__path__[0])

from dhcp.lean import json, libc  # noqa: E402, F401

sys.path_importer_cache.clear()  # the names of all files of the standard library, which these were found by

from dhcp.daemon.args import main  # noqa: E402

gc.freeze()
gc.enable()

__all__ = ["main"]
