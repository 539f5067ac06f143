"""nft(8) as a library (libnftables(3)): the same commands and the same texts, without starting a program each time.

It is called in a forked process. Where the kernel is short of memory the library ends its process, by exit(3)
when it gets no socket, or by a crash when it lists a set whose elements it could not read.
"""

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterator
from functools import cache

from netsetup.errors import KernelRefused, MissingFeature, NotPermitted, RulesetRefused
from netsetup.kernel.capabilities import CAP_NET_ADMIN, has_capability

LIBRARY = "libnftables.so.1"
NETLINK_NETFILTER = 12
NFT_CTX_OUTPUT_HANDLE = 1 << 3


def has_netfilter() -> bool:
    """Whether the kernel has a netfilter socket. Raises KernelRefused."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER).close()
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
            return False
        raise KernelRefused.of("nftables: open a netlink socket", error) from None
    return True


def run(commands: str, *, handles: bool = False, dry_run: bool = False) -> str:
    """What nft prints for these commands, in the network namespace of the calling thread; with `handles` as by `-a`.

    A text of several commands is one transaction; in a dry run the kernel checks it and changes nothing.

    Raises NotPermitted, MissingFeature without the library, KernelRefused and RulesetRefused.
    """
    with running(commands, handles=handles, dry_run=dry_run) as output:
        return output()


@contextlib.contextmanager
def running(commands: str, *, handles: bool = False, dry_run: bool = False) -> Iterator[Callable[[], str]]:
    """As `run`, but returns while the commands run; what it yields waits for their output."""
    library = _library()
    if not has_capability(CAP_NET_ADMIN):
        raise NotPermitted("nftables")  # which the library itself prints on standard error
    if not has_netfilter():
        raise RulesetRefused("nftables: no netfilter socket; the kernel has no nftables (nf_tables)")
    try:
        read, write = os.pipe()
        child = os.fork()
    except OSError as error:
        raise KernelRefused.of("nftables: start a process", error) from None
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # for what the library says before it exits
            with open(write, "wb") as pipe:
                pipe.write(b"".join(_run(library, commands.encode(), handles, dry_run)))
        finally:
            os._exit(0)
    os.close(write)
    try:
        with open(read, "rb") as pipe:
            yield lambda: _output(pipe.read().decode(errors="replace"))
    finally:
        with contextlib.suppress(ChildProcessError):  # reaped by another thread
            os.waitpid(child, 0)


def _output(answer: str) -> str:
    """The output, of an answer of `_run`; raises NotPermitted and RulesetRefused."""
    if not answer:
        raise RulesetRefused(f"{LIBRARY} has ended; the kernel may be short of memory: try again")
    succeeded, text = answer[0] == "+", answer[1:].strip()
    if succeeded:
        return text
    if "Operation not permitted" in text:
        raise NotPermitted("nftables")
    line = next(iter(text.splitlines()), "no message")
    raise RulesetRefused(f"nftables: {line.removeprefix('netlink: ').removeprefix('Error: ')}")


def _run(library: ctypes.CDLL, commands: bytes, handles: bool, dry_run: bool) -> tuple[bytes, bytes]:
    """`+` and the output, or `-` and the message. The process ends after it, so nothing is freed."""
    context = library.nft_ctx_new(0)
    library.nft_ctx_output_set_flags(context, NFT_CTX_OUTPUT_HANDLE if handles else 0)
    library.nft_ctx_set_dry_run(context, dry_run)
    library.nft_ctx_buffer_output(context)
    library.nft_ctx_buffer_error(context)
    if library.nft_run_cmd_from_buffer(context, commands):
        return b"-", library.nft_ctx_get_error_buffer(context) or b""
    return b"+", library.nft_ctx_get_output_buffer(context) or b""


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise MissingFeature(f"{LIBRARY}: no such library; install the package nftables") from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_ctx_set_dry_run.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    return library
