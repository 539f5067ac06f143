"""What a set-up needs of kernel and container, asked before anything is touched.

`check_prerequisites` asks for the devices and settings of a plan by requests that change nothing, which take a quarter
of a millisecond together. For nftables there is nothing to ask: the first step of each set-up loads its rules in one
transaction, which itself is the test of them, and leaves nothing behind when it fails. The netdev family's table is an
exception, because it needs its devices: what it needs of the kernel is tried first, in a transaction that is broken
off. That takes some 10 ms, for the kernel then waits for a grace period.

After a refusal `missing_features` names all that is missing, not just the first of it. It tries everything piece by
piece in a network namespace that is thrown away, in a process of its own, `python -m netsetup.preflight`. To do that
before every set-up would cost 6 ms, and CAP_SYS_ADMIN.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from netsetup.bindings.restore import unrestorable
from netsetup.discover import PROC_SYS
from netsetup.errors import (
    ADVICE,
    KernelRefused,
    MissingFeature,
    NetworkSetupError,
    NotPermitted,
    RulesetRefused,
    UnsupportedInterface,
)
from netsetup.executor import UNREACHABLE
from netsetup.kernel import tap
from netsetup.kernel.netns import CLONE_NEWNET
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import PROTO_KERNEL, Namespace
from netsetup.model.settings import of_interface
from netsetup.nft import program
from netsetup.nft.ruleset import BRIDGE, INET, NETDEV
from netsetup.plan import Plan
from netsetup.record import Record
from netsetup.steps import CreateBridge, CreateMacvtap, CreateTap, DeleteAddress, LoadTable, SetSysctl, made_by

ELSE: Final = "remove it, or use a binding that leaves the interface as it is (masquerade)"

IMPOSSIBLE_MAC: Final = "01:00:00:00:00:00"
"""A group address. The bridge driver refuses a bridge with it (`br_validate`) before one is made."""

CHAIN: Final = "table {} t {{\n chain c {{\n type {} priority 0;\n {}\n }}\n}}\n"

RULES: Final = {
    BRIDGE: {
        "nftables (nf_tables)": "table ip t {\n}\n",
        "nftables' bridge family (nf_tables, Linux 3.14)": CHAIN.format("bridge", "filter hook input", ""),
        "named counters (nft_objref, Linux 4.10)": (
            "table bridge t {\n counter n { }\n chain c {\n counter name n\n }\n}\n"
        ),
    },
    INET: {
        "NAT in nftables' inet family (nft_chain_nat, Linux 5.2)": CHAIN.format("inet", "nat hook postrouting", ""),
        "destination NAT (nft_nat)": CHAIN.format(
            "inet", "nat hook prerouting", "dnat ip to 10.0.2.2\n dnat ip6 to fd10:0:2::2"
        ),
        "masquerading (nft_masq)": CHAIN.format("inet", "nat hook postrouting", 'oifname "lo" masquerade'),
        "connection tracking (nft_ct, nf_conntrack)": CHAIN.format(
            "inet", "filter hook forward", "ct state established accept\n ct status dnat accept"
        ),
        "address types in rules (nft_fib_inet)": CHAIN.format(
            "inet", "filter hook prerouting", "fib daddr type local accept"
        ),
    },
    NETDEV: {
        "forwarding frames between devices (nft_fwd_netdev, Linux 4.10)": (
            'table netdev t {\n chain c {\n type filter hook ingress device "lo" priority 0;\n fwd to "lo"\n }\n}\n'
        ),
        "nftables' egress hook (nf_tables, Linux 5.16)": (
            'table netdev t {\n chain e {\n type filter hook egress device "lo" priority 0;\n meta mark set 0\n }\n}\n'
        ),
    },
}
"""What each family's table needs of nftables, with the smallest ruleset that uses it."""


def check_prerequisites(netlink: Netlink, plan: Plan) -> None:
    """Ask for what the steps of a first set-up need besides nftables, and change nothing.

    Raises NotPermitted or MissingFeature for the first that cannot be had, KernelRefused for a machine that is short of
    memory or files, and RulesetRefused.
    """
    made = made_by(plan.steps)
    try:
        program.path()
        if any(isinstance(step, LoadTable) and NETDEV in step.families for step in plan.steps):
            program.run("".join(RULES[NETDEV].values()), dry_run=True)
        for step in plan.steps:
            match step:
                case CreateBridge(name):
                    with _requiring(f"create bridge {name}", "no bridge devices (bridge)"):
                        netlink.create_bridge(name, IMPOSSIBLE_MAC, 1500)
                case CreateMacvtap(name, lower):
                    with _requiring(f"create macvtap {name}", "no macvtap devices (macvtap)"):
                        netlink.create_macvtap(name, netlink.link_index(lower), IMPOSSIBLE_MAC, 1500)
                case CreateTap(name):
                    tap.require_driver(name)
                case SetSysctl(key) if not step.devconf:
                    # What a device has that is still to be made, new devices have.
                    _require_setting(step, of_interface(key, "default") if step.link in made else key)
    except (KernelRefused, RulesetRefused) as failure:
        error = explained(failure, plan)
        if isinstance(error, KernelRefused) and error.errno not in ADVICE:
            error = MissingFeature(str(error))
        raise error from None


def check_restorable(netlink: Netlink, observed: Namespace, record: Record, plan: Plan) -> None:
    """Ask whether the kernel would take back what the plan has it drop, and change nothing.

    Raises UnsupportedInterface for a route or an address that it would not, and NotPermitted.
    """
    emptied = {step.link for step in plan.steps if isinstance(step, DeleteAddress)}
    emptied |= {step.link for step in plan.steps if isinstance(step, SetSysctl) and step.key.endswith("/disable_ipv6")}
    pods = [network.pod for network in record.networks.values() if network.pod.name in emptied]
    for problem in unrestorable(pods):
        raise UnsupportedInterface(f"{problem}, which could not be put back; {ELSE}")
    for pod in pods:
        routes = [r for r in observed.routes_of(pod.link.index) if r.proto != PROTO_KERNEL and len(r.interfaces) == 1]
        for route, code in netlink.offer_routes(routes):
            if code in (errno.EPERM, errno.EACCES):
                raise NotPermitted(f"add route {route.text}")
            refused = KernelRefused(f"add route {route.text}", code)
            if code in ADVICE:
                raise refused
            if code not in (errno.EEXIST, *UNREACHABLE):
                raise UnsupportedInterface(f"{pod.name}: the kernel would not take its route back: {refused}; {ELSE}")


def explained(failure: NetworkSetupError, plan: Plan) -> NetworkSetupError:
    """A MissingFeature in its place when the kernel has refused something because it has not got it."""
    if isinstance(failure, KernelRefused) and failure.errno in ADVICE:
        return failure  # that is about the machine, whatever was asked for
    if isinstance(failure, RulesetRefused | KernelRefused):
        missing = missing_features(
            {family for step in plan.steps if isinstance(step, LoadTable) for family in step.families}
        )
        if missing:
            return MissingFeature(f"this kernel lacks {', '.join(missing)}: {failure}")
    return failure


@contextlib.contextmanager
def _requiring(what: str, missing: str) -> Iterator[None]:
    """For a request that makes no device, because its MAC is none. Raises KernelRefused for want of that kind."""
    try:
        yield
    except KernelRefused as refused:
        if refused.errno == errno.EOPNOTSUPP:
            raise KernelRefused(what, errno.EOPNOTSUPP, missing) from None
        if refused.errno != errno.EADDRNOTAVAIL:
            raise


def _require_setting(step: SetSysctl, key: str) -> None:
    if os.access(f"{PROC_SYS}/{key}", os.W_OK, effective_ids=True):
        return
    if os.path.exists(f"{PROC_SYS}/{key}"):
        raise NotPermitted(str(step), "CAP_NET_ADMIN and a writable /proc/sys")
    raise KernelRefused(str(step), errno.ENOENT, "no such setting")


def missing_features(families: Iterable[str]) -> tuple[str, ...]:
    """The features that this kernel lacks; `families` are those of the nftables tables that are needed.

    Without permission to make a namespace, of nftables alone.
    """
    import subprocess

    # never out of the folder that we happen to be in
    command = [sys.executable, "-P", "-m", "netsetup.preflight", *sorted(families)]
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.splitlines())


def main(arguments: list[str]) -> None:
    """Print what is missing, a feature a line; `arguments` are the families of nftables tables besides bridge."""
    import ctypes

    rules = [rule for family, needed in RULES.items() if family in (BRIDGE, *arguments) for rule in needed.items()]
    alone = ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0
    for name, text in rules:
        if not _loads(text):
            print(name)
    for name, works in DEVICES.items() if alone else ():
        if not works():
            print(name)


def _loads(text: str) -> bool:
    """Whether the kernel would take these rules. It is asked by a transaction that is broken off at its end."""
    import subprocess

    command = ["nft", "--check", "-f", "-"]
    return subprocess.run(command, check=False, input=text, text=True, capture_output=True).returncode == 0


def _makes_bridge() -> bool:
    with Netlink() as netlink:
        try:
            netlink.create_bridge("preflight", "02:00:00:00:00:00", 1500)
        except NetworkSetupError:
            return False
    return True


def _makes_tap() -> bool:
    try:
        tap.create_tap("preflight-tap", 1, None, lambda: None)
    except NetworkSetupError:
        return False
    return True


DEVICES: Final[dict[str, Callable[[], bool]]] = {
    "bridge devices (bridge)": _makes_bridge,
    "tap devices (tun, /dev/net/tun)": _makes_tap,
    "the sysctl route_localnet (Linux 3.6)": lambda: os.path.exists(f"{PROC_SYS}/net/ipv4/conf/lo/route_localnet"),
}


if __name__ == "__main__":
    main(sys.argv[1:])
