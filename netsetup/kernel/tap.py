"""Tap devices, which are made by ioctl(2) (Documentation/networking/tuntap.rst)."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable

from netsetup.errors import KernelRefused, NotPermitted
from netsetup.model.owner import Owner

DEVICE = "/dev/net/tun"

# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOWNER = 0x400454CC
TUNSETGROUP = 0x400454CE
TUNGETFEATURES = 0x800454CF
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR, IFF_TUN_EXCL = 0x0002, 0x0100, 0x1000, 0x4000, 0x8000


def create_tap(name: str, queues: int, owner: Owner | None, mark: Callable[[], None]) -> None:
    """Make a persistent tap device; with more than one queue its opener must ask for as many (IFF_MULTI_QUEUE).

    Who has no CAP_NET_ADMIN attaches to it only as the owner, by default this process's user and group: a tap without
    one is open to every process of the pod.

    `mark` is called while the kernel would still remove the device with this process, and must set the alias by which
    it is recognised as ours: a kill at any moment leaves no device, or a marked one. Raises NotPermitted and
    KernelRefused.
    """
    descriptor = _open(name)
    try:
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL | (IFF_MULTI_QUEUE if queues > 1 else 0)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        mark()
        fcntl.ioctl(descriptor, TUNSETOWNER, owner.uid if owner else os.geteuid())
        fcntl.ioctl(descriptor, TUNSETGROUP, owner.gid if owner else os.getegid())
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
    except PermissionError:
        raise NotPermitted(f"create tap {name}") from None
    except OSError as error:
        raise KernelRefused(f"create tap {name}", error.errno or errno.EIO) from None
    finally:
        os.close(descriptor)


def require_driver(name: str) -> None:
    """Query the driver of tap devices without making one. Raises as `create_tap` does."""
    descriptor = _open(name)
    try:
        fcntl.ioctl(descriptor, TUNGETFEATURES, bytes(4))
    except OSError as error:
        raise KernelRefused(f"create tap {name}", error.errno or errno.EIO, f"{DEVICE} is another device") from None
    finally:
        os.close(descriptor)


def _open(name: str) -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KernelRefused(
            f"create tap {name}", errno.ENOENT, f"{DEVICE} is missing; give the container that device"
        ) from None
    except PermissionError:
        raise NotPermitted(f"create tap {name}: open {DEVICE}", "read and write access to that device") from None
    except OSError as error:
        raise KernelRefused.of(f"create tap {name}: open {DEVICE}", error) from None
