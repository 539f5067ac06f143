"""Network namespaces by name or path (ip-netns(8)): entering one, and which one this is."""

import os

CLONE_NEWNET = 0x40000000
NAMED = "/run/netns"
STATE_ROOT = "/run/virt-launcher"
SELF = "/proc/thread-self/ns/net"


def enter(namespace: str) -> None:
    """Move the calling thread into a network namespace: a name below /run/netns or a path such as /proc/1/ns/net.

    Only the network changes: mounts, and with them /sys, stay the caller's. Raises InvalidRequest and NotPermitted.
    """
    from netsetup.errors import InvalidRequest, NotPermitted

    path = namespace if "/" in namespace else f"{NAMED}/{namespace}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequest(f"network namespace {namespace}: {error.strerror}") from None
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


def resolver_path(namespace: str | None) -> str:
    """The resolver configuration that holds in a namespace: below /etc/netns, where it has its own (ip-netns(8))."""
    if namespace and "/" not in namespace:
        own = f"/etc/netns/{namespace}/resolv.conf"
        if os.path.exists(own):
            return own
    return "/etc/resolv.conf"


def state_directory(state_dir: str | os.PathLike[str] | None = None) -> str:
    """The folder for what belongs to the caller's network namespace: `state_dir` itself, where it is given."""
    if state_dir:
        return os.fspath(state_dir)
    try:
        return f"{STATE_ROOT}/net-{os.stat(SELF).st_ino}"  # a namespace's inode is unique among those alive
    except OSError as error:
        from netsetup.errors import KernelRefused

        raise KernelRefused.of(f"read {SELF}", error) from None
