"""nft(8) as a library (libnftables(3)): the same commands and the same texts, without a process of 3 ms for each."""

import ctypes
import socket
from functools import cache

from netsetup.errors import NotPermitted, RulesetRefused
from netsetup.nft.fingerprint import NETLINK_NETFILTER

LIBRARY = "libnftables.so.1"


def run(commands: str) -> str:
    """What nft prints for these commands, in the network namespace of the calling thread.

    A text of several commands is one transaction. Raises NotPermitted and RulesetRefused.
    """
    library = _library()
    try:  # the library ends the process when it cannot have this socket
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER).close()
    except OSError as refused:
        raise RulesetRefused(f"nftables: no netfilter socket: {refused.strerror}") from None
    context = library.nft_ctx_new(0)
    if not context:
        raise RulesetRefused(f"{LIBRARY}: out of memory")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        failed = library.nft_run_cmd_from_buffer(context, commands.encode())
        output, error = library.nft_ctx_get_output_buffer(context), library.nft_ctx_get_error_buffer(context)
    finally:
        library.nft_ctx_free(context)
    if not failed:
        return _text(output)
    if "Operation not permitted" in _text(error):
        raise NotPermitted("nftables")
    raise RulesetRefused(f"nftables: {next(iter(_text(error).splitlines()), 'no message')}")


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise RulesetRefused(f"{LIBRARY}: no such library; install the package nftables") from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    return library


def _text(buffer: bytes | None) -> str:
    return (buffer or b"").decode(errors="replace").strip()
