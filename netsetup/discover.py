"""Kernel → frozen data. Reads only; nothing here changes anything."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator

from dhcp.lean.frozen import replace
from netsetup.admission import SYSCTLS, pod_interface, require_frames
from netsetup.errors import KernelRefused
from netsetup.kernel.rtnetlink import Netlink
from netsetup.kernel.rtnl_messages import boot_seconds
from netsetup.model.kernel import IFF_LOOPBACK, Link, Namespace
from netsetup.model.pod_interface import PodInterface
from netsetup.model.settings import BRIDGE_NETFILTER, FORWARDING6
from netsetup.nft.tables import Tables, reading_tables
from netsetup.resolver import read_resolver

PROC_SYS = "/proc/sys"
NO_SUCH_SETTING = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EACCES, errno.EPERM}
"""A kernel without IPv6 has not got those of IPv6, an interface may just have gone, some are not for everybody."""


def observe(netlink: Netlink, *, tables: bool = True) -> Namespace:
    """Everything the plan looks at, read in one pass: links, addresses, routes, neighbours, rules, sysctls, our table.

    Without `tables` it takes no capability. Raises NotPermitted, KernelRefused and RulesetRefused.
    """
    with reading_tables() if tables else contextlib.nullcontext(Tables) as tables_read:
        links = netlink.links()
        observed = Namespace(
            links=links,
            addresses=netlink.addresses(),
            routes=netlink.routes(),
            neighbours=netlink.neighbours(),
            rules=netlink.rules(),
            forwarding_entries=netlink.forwarding_entries(),
            sysctls=_sysctls(links),
            now=boot_seconds(),
        )
        read = tables_read()
    return replace(observed, tables=read.digests, copy=read.copy)


def discover_pod_network_interface(name: str = "eth0", resolver_path: str = "/etc/resolv.conf") -> PodInterface:
    """Read an interface of the current network namespace as the CNI left it.

    Raises InterfaceNotFound, UnsupportedInterface, NotPermitted and KernelRefused.
    """
    with Netlink() as netlink:
        observed = observe(netlink)
    pod = pod_interface(observed, name, read_resolver(resolver_path))
    require_frames(observed, pod.link)
    return pod


def _sysctls(links: tuple[Link, ...]) -> tuple[tuple[str, str], ...]:
    names = ["default", *(link.name for link in links if not link.flags & IFF_LOOPBACK)]
    keys = [pattern.format(name) for name in names for pattern in SYSCTLS]
    found = list(_values((*keys, *BRIDGE_NETFILTER)))
    if not any(key.endswith("/force_forwarding") for key, _ in found):
        # Forwarding IPv6 then means to change these, and every interface with them.
        found += _values(FORWARDING6.format(name) for name in ("all", "default", "lo"))
    return tuple(found)


def _values(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        setting = -1
        try:
            setting = os.open(f"{PROC_SYS}/{key}", os.O_RDONLY | os.O_CLOEXEC)  # a third of what a file object takes
            value = os.read(setting, 64)
        except OSError as error:
            if error.errno in NO_SUCH_SETTING:
                continue
            raise KernelRefused.of(f"read sysctl {key.replace('/', '.')}", error) from None
        finally:
            if setting >= 0:
                os.close(setting)
        yield key, value.decode().strip()
