"""Modules that the server imports only when its configuration, or a frame of the guest, needs them.

The server is another user by then, who may have no access to the package (a virtual environment below /root). So the
package's folder is opened before, and what is imported later is found through that descriptor (/proc/PID/fd, proc(5)).
"""

from __future__ import annotations

import sys
from posix import O_CLOEXEC, O_DIRECTORY, O_RDONLY, open, stat

from dhcp.lean.importer import install

# Of the standard library; mostly they are part of the interpreter, and then there is nothing to find.
_EXTENSIONS = ("_random", "_stat", "errno", "fcntl")
_OPEN_TO_OTHERS = 0o005
# What is of the programs that start or examine a server.
_OTHER_PROGRAMS = frozenset(("__main__", "__init__", "process", "server", "probe"))


def keep_importable() -> tuple[int, ...]:
    """Let modules be imported after privileges were dropped; the descriptors that have to stay open for that.

    Where the package's own folder is closed to other users, everything is imported now. Raises OSError.
    """
    for name in _EXTENSIONS:
        if name not in sys.builtin_module_names:
            __import__(name)
    package = sys.modules["dhcp"]
    (folder,) = package.__path__
    if stat(folder).st_mode & _OPEN_TO_OTHERS != _OPEN_TO_OTHERS:
        import_all()
        return ()
    descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    importer = install("dhcp", folder)
    importer.folder = f"/proc/self/fd/{descriptor}"
    importer.compiles = True
    return (descriptor,)


def import_all() -> None:
    """Import every module that the server may ever need."""
    import os

    (folder,) = sys.modules["dhcp"].__path__
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _OTHER_PROGRAMS]
        package = "dhcp" + parent.removeprefix(folder).replace("/", ".")
        for name in files:
            module, _, suffix = name.rpartition(".")
            if suffix == "py" and module not in _OTHER_PROGRAMS:
                __import__(f"{package}.{module}")
