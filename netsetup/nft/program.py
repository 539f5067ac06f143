"""nft(8), started with its commands as its standard input.

The program rather than its library (libnftables(3)): where the kernel is short of memory that ends the process it is
in, by exit(3) or a crash, so it would need a process of its own as well.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Final

from netsetup.errors import KernelRefused, MissingFeature, NotPermitted, RulesetRefused
from netsetup.kernel.capabilities import CAP_NET_ADMIN, has_capability, inherited

PATHS: Final = ("/usr/sbin/nft", "/usr/bin/nft", "/sbin/nft", "/usr/local/sbin/nft")
"""Instead of PATH, which may be that of somebody without our capabilities."""


def path() -> str:
    """Where the program is. Raises MissingFeature."""
    for found in PATHS:
        if os.path.exists(found):
            return found
    raise MissingFeature("nft: no such program; install the package nftables")


def run(commands: str, *, handles: bool = False, dry_run: bool = False) -> str:
    """What nft prints for these commands, in the network namespace of the calling thread; with `handles` as by `-a`.

    A text of several commands is one transaction; in a dry run the kernel checks it and changes nothing.

    Raises NotPermitted, MissingFeature without the program, KernelRefused and RulesetRefused.
    """
    with running(commands, handles=handles, dry_run=dry_run) as output:
        return output()


@contextlib.contextmanager
def running(commands: str, *, handles: bool = False, dry_run: bool = False) -> Iterator[Callable[[], str]]:
    """As `run`, but returns while the commands run; what it yields waits for their output."""
    if not has_capability(CAP_NET_ADMIN):
        raise NotPermitted("nftables")
    options = [option for option, given in (("-a", handles), ("-c", dry_run)) if given]
    status: int | None = None  # as long as it runs, and where another thread of this process has reaped it
    with contextlib.ExitStack() as opened:
        try:
            given, said, errors = [_memory(opened) for _ in range(3)]
            os.pwrite(given, commands.encode(), 0)
            child = _start([*options, "-f", "-"], (given, said, errors))
        except OSError as error:
            raise KernelRefused.of("nftables: start nft", error) from None

        def wait() -> None:
            nonlocal status
            with contextlib.suppress(ChildProcessError):
                status = os.waitpid(child, 0)[1]

        def output() -> str:
            wait()
            message = _content(errors)
            if status or (status is None and message):
                raise _failure(message)
            return _content(said)

        try:
            yield output
        finally:
            if status is None:
                wait()


def _memory(opened: contextlib.ExitStack) -> int:
    """An empty file in memory, by a descriptor that is none of the standard streams' numbers."""
    file = os.memfd_create("nft", os.MFD_CLOEXEC)
    try:
        descriptor = fcntl(file, F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(file)
    opened.callback(os.close, descriptor)
    return descriptor


def _start(options: Sequence[str], streams: Sequence[int]) -> int:
    """The program's pid. Raises OSError and MissingFeature."""
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(streams)]
    with inherited(CAP_NET_ADMIN):
        return os.posix_spawn(path(), ["nft", *options], {}, file_actions=actions)


def _content(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace").strip()


def _failure(message: str) -> Exception:
    if not message:
        return RulesetRefused("nft has ended; the kernel may be short of memory: try again")
    if "Operation not permitted" in message:
        return NotPermitted("nftables")
    line = message.splitlines()[0]
    return RulesetRefused(f"nftables: {line.split('Error: ', 1)[-1]}")
