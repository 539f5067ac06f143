"""Network namespaces by name or path (ip-netns(8)): entering one, and which one this is."""

import os
import sys

CLONE_NEWNET = 0x40000000
NAMED = "/run/netns"
STATE_ROOT = "/run/virt-launcher"
SELF = "/proc/thread-self/ns/net"
SO_NETNS_COOKIE = 71
INITIAL_INODE = 0xEFFFFFF9
INITIAL_COOKIE = 1


def enter(namespace: str) -> None:
    """Move the calling thread into a network namespace: a name below /run/netns or a path such as /proc/1/ns/net.

    Only the network changes: mounts, and with them /sys, stay the caller's. Raises InvalidRequest and NotPermitted.
    """
    from netsetup.errors import InvalidRequest, NotPermitted

    path = namespace if "/" in namespace else f"{NAMED}/{namespace}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequest(
            f"network namespace {namespace}: {error.strerror}; "
            "name one of `ip netns list`, or a path such as /proc/1/ns/net"
        ) from None
    import ctypes  # os.setns() comes with Python 3.12

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            if code == 1:
                raise NotPermitted(f"enter network namespace {namespace}", "CAP_SYS_ADMIN")
            raise InvalidRequest(f"network namespace {namespace}: {os.strerror(code)}")
    finally:
        os.close(descriptor)


def is_initial() -> bool:
    """Whether the calling thread is in the network namespace that the kernel began with: the machine's own, which
    `docker run --network host` and a pod with `hostNetwork` have, too.

    No other can be taken for it. Since Linux 6.18 its inode is fixed (NET_NS_INIT_INO, linux/nsfs.h), where inodes of
    namespaces used to begin at 0xF0000000; before, its cookie was the first that was given out, 1, and since then 1 is
    the number of a namespace of another kind. A node that is a container itself (kind, LXC) has another namespace for
    its own, and is not recognised. Raises KernelRefused.
    """
    if os.stat(SELF).st_ino == INITIAL_INODE:
        return True
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
            cookie = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError as error:
        from netsetup.errors import KernelRefused

        raise KernelRefused.of("read the cookie of the network namespace", error) from None
    return int.from_bytes(cookie, sys.byteorder) == INITIAL_COOKIE


def require_own_namespace(host_network: bool) -> None:
    """Raises InvalidRequest in the machine's own network namespace, unless `host_network` says that it is meant."""
    if not host_network and is_initial():
        from netsetup.errors import InvalidRequest

        raise InvalidRequest(
            "this is the machine's own network namespace, and the machine would lose its network to the VM; "
            "name the pod's with --netns, or say --host-network if the machine's is meant"
        )


def resolver_path(namespace: str | None) -> str:
    """The resolver configuration that holds in a namespace: below /etc/netns, where it has its own (ip-netns(8))."""
    if namespace and "/" not in namespace:
        own = f"/etc/netns/{namespace}/resolv.conf"
        if os.path.exists(own):
            return own
    return "/etc/resolv.conf"


def state_directory(state_dir: str | os.PathLike[str] | None = None) -> str:
    """The folder for what belongs to the caller's network namespace: `state_dir` itself, where it is given.

    Else it is below STATE_ROOT. A user who may not write there, and finds nothing there either, has it below
    XDG_RUNTIME_DIR, or in /tmp.
    """
    if state_dir:
        return os.fspath(state_dir)
    try:
        number = os.stat(SELF).st_ino  # unique among the namespaces alive
    except OSError as error:
        from netsetup.errors import KernelRefused

        raise KernelRefused.of(f"read {SELF}", error) from None
    usual = f"{STATE_ROOT}/net-{number}"
    user = os.geteuid()
    if user == 0 or os.path.isdir(usual) or _may_make(usual):
        return usual
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    # Nobody else can make or replace a folder of ours there, for /tmp has the sticky bit; one of another's is refused.
    return f"{own}/virt-launcher/net-{number}" if _may_make(f"{own}/_") else f"/tmp/virt-launcher-{user}-{number}"


def _may_make(path: str) -> bool:
    """Whether this process may make a folder there, and those above it that are missing."""
    parent = os.path.dirname(path)
    while parent and not os.path.exists(parent):
        parent = os.path.dirname(parent)
    return bool(parent) and os.access(parent, os.W_OK | os.X_OK, effective_ids=True)
