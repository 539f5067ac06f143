"""What of the kernel a set-up needs, tried piece by piece in a network namespace that is thrown away.

It runs as a process of its own, `python -m netsetup.preflight`, and only to explain a set-up that the kernel refused.
The first step of each set-up loads all of its nftables rules in one transaction, which itself is the test of them: it
leaves nothing behind when it fails. A trial before that would cost a namespace each time, and need CAP_SYS_ADMIN.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Final

from netsetup.netns import CLONE_NEWNET

CHAIN: Final = "table {} t {{\n chain c {{\n type {} priority 0;\n {}\n }}\n}}\n"

RULES: Final = {
    "nftables (nf_tables)": "table ip t {\n}\n",
    "nftables' bridge family (nf_tables, Linux 3.14)": CHAIN.format("bridge", "filter hook input", ""),
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
}
"""What is needed of nftables, each with the smallest ruleset that uses it."""

BRIDGING: Final = (0, 1)
"""The members of `RULES` that the bridge binding needs too."""


def missing_features(masquerade: bool) -> tuple[str, ...]:
    """The features that this kernel has not got; none, too, where the trial itself is not permitted."""
    command = [sys.executable, "-m", "netsetup.preflight", *(["masquerade"] if masquerade else [])]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.splitlines())


def main(arguments: list[str]) -> None:
    """Print what is missing, a feature a line."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        return  # without CAP_SYS_ADMIN there is no namespace to try anything in
    rules = list(RULES.items())
    if "masquerade" not in arguments:
        rules = [rules[number] for number in BRIDGING]
    for name, text in rules:
        if not _loads(text):
            print(name)
    for name, works in DEVICES.items():
        if not works():
            print(name)


def _loads(text: str) -> bool:
    table = " ".join(text.split()[:3])  # "table inet t"
    command = ["nft", "-f", "-"]
    done = subprocess.run(command, check=False, input=f"{text}delete {table}\n", text=True, capture_output=True)
    return done.returncode == 0


def _makes_bridge() -> bool:
    from netsetup.model import NetworkSetupError
    from netsetup.netlink import Netlink

    with Netlink() as netlink:
        try:
            netlink.create_bridge("preflight", "02:00:00:00:00:00", 1500)
        except NetworkSetupError:
            return False
    return True


def _makes_tap() -> bool:
    from netsetup.model import NetworkSetupError
    from netsetup.tap import create_tap

    try:
        create_tap("preflight-tap", 1, lambda: None)
    except NetworkSetupError:
        return False
    return True


DEVICES: Final[dict[str, Callable[[], bool]]] = {
    "bridge devices (bridge)": _makes_bridge,
    "tap devices (tun, /dev/net/tun)": _makes_tap,
    "the sysctl route_localnet (Linux 3.6)": lambda: os.path.exists("/proc/sys/net/ipv4/conf/lo/route_localnet"),
}


if __name__ == "__main__":
    main(sys.argv[1:])
