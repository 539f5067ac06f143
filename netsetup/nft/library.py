"""nft(8) as a library (libnftables(3)): the same commands and the same texts, without a process of 3 ms for each."""

import ctypes
import socket
from functools import cache

from netsetup.errors import NotPermitted, RulesetRefused

LIBRARY = "libnftables.so.1"
NETLINK_NETFILTER = 12
NFT_CTX_OUTPUT_HANDLE = 1 << 3
CAP_NET_ADMIN = 12


def has_netfilter() -> bool:
    """Whether the kernel has a netfilter socket, without which the library ends the process."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER).close()
    except OSError:
        return False
    return True


def _may_administer() -> bool:
    """Whether this thread has CAP_NET_ADMIN (proc(5), CapEff)."""
    with open("/proc/thread-self/status", "rb") as status:
        effective = next(line for line in status if line.startswith(b"CapEff:"))
    return bool(int(effective.split()[1], 16) & 1 << CAP_NET_ADMIN)


def run(commands: str, *, handles: bool = False) -> str:
    """What nft prints for these commands, in the network namespace of the calling thread; with `handles` as by `-a`.

    A text of several commands is one transaction. Raises NotPermitted and RulesetRefused.
    """
    library = _library()
    if not _may_administer():
        raise NotPermitted("nftables")  # which the library itself prints on standard error
    if not has_netfilter():
        raise RulesetRefused("nftables: no netfilter socket; the kernel has no nftables (nf_tables)")
    context = library.nft_ctx_new(0)
    if not context:
        raise RulesetRefused(f"{LIBRARY}: out of memory")
    try:
        library.nft_ctx_output_set_flags(context, NFT_CTX_OUTPUT_HANDLE if handles else 0)
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
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    return library


def _text(buffer: bytes | None) -> str:
    return (buffer or b"").decode(errors="replace").strip()
