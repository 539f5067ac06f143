"""Pods made at random of what ip(8) can say: addresses, routes, neighbours, rules and next hops that any CNI might set.

The same seed makes the same pod. Commands that the kernel refuses (a gateway that is not reachable, say) are passed
over; what is left is one pod in which everything fits together.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Sequence
from typing import Self

from lab.namespace import Namespace

NICS = ("eth0", "eth1", "eth2")
SUBNETS4 = ("10.1.0", "10.1.1", "10.2.0")
SUBNETS6 = ("fd01:0:0:1", "fd01:0:0:2")
DESTINATIONS4 = ("default", "10.96.0.0/12", "10.50.0.0/16", "10.50.0.7/32", "192.0.2.0/24")
DESTINATIONS6 = ("::/0", "fd50::/48", "fd50::7/128", "2001:db8::/32")


class IpPod:
    """A pod with interfaces to a node, configured by `ip` commands; a context manager.

    Args:
        lines: the commands, without the word `ip`.
        nics: its interfaces, up unless a command says otherwise.
        title: for messages.
    """

    def __init__(self, lines: Sequence[str], nics: Sequence[str] = NICS[:2], title: str = "a pod") -> None:
        self.pod, self.node = Namespace("pod"), Namespace("node")
        self.lines, self.nics, self.title = lines, nics, title

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pod.close()
        self.node.close()

    def build(self, *, force: bool = False) -> Self:
        """Run the commands; by `force` also those after one that the kernel refuses."""
        for number, nic in enumerate(self.nics):
            mac = f"02:00:00:00:10:{number:02x}"
            self.pod.ip(f"link add {nic} address {mac} type veth peer name node{number} netns {self.node.name}")
            self.pod.ip(f"link set {nic} up")
            self.node.ip(f"link set node{number} up")
        # What is managed must answer: the kernel forgets a managed neighbour that does not.
        self.node.ip("address add 10.0.0.3/24 dev node0", "address add fd00::3/64 dev node0 nodad")
        while any(link["operstate"] != "UP" for link in self.pod.ip_json("link show type veth")):
            time.sleep(0.01)
        if force:
            command = ["ip", "-n", self.pod.name, "-force", "-batch", "-"]
            subprocess.run(command, input="\n".join(self.lines) + "\n", capture_output=True, text=True, timeout=30)
        else:
            self.pod.ip(*self.lines)
        self.pod.settle()
        return self

    def __str__(self) -> str:
        lines = "\n".join(f"  ip {line}" for line in self.lines)
        return f"{self.title} with {', '.join(self.nics)}:\n{lines}"


def random_pod(seed: int, size: int = 70) -> IpPod:
    """A pod of which everything, from the number of its interfaces, is chosen by the seed; `size` commands follow those
    for links and addresses. To be built by force."""
    commands = _Commands(random.Random(seed))
    commands.lines += commands.links() + commands.addresses()
    commands.lines += [commands.anything() for _ in range(size)]
    return IpPod(commands.lines, commands.nics, f"the pod of seed {seed}")


class _Commands:
    """`ip` commands at random."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self.lines: list[str] = []
        self.nics = NICS[: source.choice((1, 2, 2, 3))]

    def anything(self) -> str:
        makers = [self._route4] * 8 + [self._route6] * 6 + [self._neighbour] * 4 + [self._rule]
        return self._random.choice(makers)()

    def _any(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _sometimes(self, text: str, one_in: int = 4) -> str:
        return text if self._random.randrange(one_in) == 0 else ""

    def links(self) -> list[str]:
        lines = []
        for nic in self.nics:
            lines.append(f"link set {nic} mtu {self._any('1500', '1450', '9000')}")
            lines.append(
                f"link set {nic} {self._any('txqueuelen 500', 'allmulticast on', 'group 7', 'alias x', 'promisc on')}"
            )
            lines.append(f"link set {nic} addrgenmode {self._any('eui64', 'none', 'random', 'eui64')}")
        return lines

    def addresses(self) -> list[str]:
        """Enough for subnets with secondaries, and for two interfaces in one subnet."""
        lines = [f"address add 10.1.0.{host}/24 dev eth0" for host in (self._random.randrange(2, 9),)]
        for _ in range(self._random.randrange(2, 9)):
            nic = self._any(*self.nics, "eth0", "lo")
            host = self._random.randrange(2, 30)
            extras = [
                self._sometimes("broadcast +"),
                self._sometimes(f"label {nic}:a"),
                self._sometimes(f"scope {self._any('link', 'host', 'global')}", 5),
                self._sometimes("metric 77", 6),
                self._sometimes("noprefixroute", 6),
                self._sometimes("valid_lft 5000 preferred_lft 4000", 8),
            ]
            address = f"{self._any(*SUBNETS4)}.{host}"
            if self._random.randrange(8) == 0:
                address += f" peer 10.3.0.{host}/32"
            else:
                address += f"/{self._any('24', '24', '16', '32')}"
            lines.append(" ".join(["address add", address, "dev", nic, *filter(None, extras)]))
        for _ in range(self._random.randrange(1, 7)):
            nic = self._any(*self.nics, "eth0")
            extras = [
                self._sometimes("noprefixroute"),
                self._sometimes("home", 8),
                self._sometimes("metric 88", 6),
                self._sometimes("valid_lft 5000 preferred_lft 4000", 8),
            ]
            address = f"{self._any(*SUBNETS6)}::{self._random.randrange(2, 30):x}/{self._any('64', '64', '128')}"
            lines.append(" ".join(["address add", address, "dev", nic, "nodad", *filter(None, extras)]))
        return lines

    def _gateway4(self) -> str:
        return f"{self._any(*SUBNETS4)}.{self._random.randrange(240, 254)}"

    def _gateway6(self) -> str:
        return self._any("fe80::1", "fe80::2", f"{self._any(*SUBNETS6)}::ff")

    def _route4(self) -> str:
        nic = self._any(*self.nics, "eth0", "eth0")
        kind = self._random.randrange(16)
        verb = self._any("add", "append", "append", "prepend")
        destination = self._any(*DESTINATIONS4)
        common = [
            self._sometimes("metric 100"),
            self._sometimes("table 100", 6),
            self._sometimes("proto static"),
            self._sometimes("tos 4", 8),
            self._sometimes(f"src {self._source4()}"),
            self._sometimes("mtu lock 1400", 8),
            self._sometimes("advmss 1200 initcwnd 20", 8),
            self._sometimes("realms 3/4", 8),
            self._sometimes("congctl reno", 8),
            self._sometimes("fastopen_no_cookie 1", 10),
        ]
        onlink = self._sometimes("onlink", 2)
        via = f"via {self._gateway4()} dev {nic} {onlink}"
        if kind == 0:
            return f"nexthop add id {self._random.randrange(1, 4)} {via}"
        if kind == 1:
            common.append(f"nhid {self._random.randrange(1, 4)}")
        elif kind == 2:
            common.append(f"dev {nic} scope link")
        elif kind == 3:
            common.append(f"via inet6 fe80::1 dev {nic}")
        elif kind == 4:
            other = self._any(
                f"via {self._gateway4()} dev {self._any(*self.nics)} onlink", f"via inet6 fe80::1 dev {nic}"
            )
            common.append(f"nexthop via {self._gateway4()} dev {nic} onlink weight 2 nexthop {other}")
        elif kind == 5:
            common.append(f"encap ip id 5 dst {self._gateway4()} {via}")
        elif kind == 6:
            common.append(f"encap seg6 mode encap segs fd77::1 dev {nic}")
        elif kind == 7:
            common.append("dev lo scope host")
        elif kind == 8:
            kinds = self._any("blackhole", "unreachable", "prohibit", "throw", "local", "broadcast", "multicast")
            destination = f"{kinds} {destination}"
            common.append(f"dev {nic}" if kinds in ("local", "broadcast", "multicast") else "")
        else:
            common.append(via)
        return " ".join(["route", verb, destination, *filter(None, common)])

    def _source4(self) -> str:
        """The source of a route: one of the addresses that are to be there."""
        own = [line.split()[2].split("/")[0] for line in self.lines if line.startswith("address add 10.")]
        return self._any(*own)

    def _route6(self) -> str:
        nic = self._any(*self.nics, "eth0", "eth0")
        destination = self._any(*DESTINATIONS6)
        common = [
            self._sometimes("metric 100"),
            self._sometimes("table 100", 6),
            self._sometimes("proto static"),
            self._sometimes("mtu 1400", 8),
            self._sometimes("congctl reno", 8),
            self._sometimes("pref high", 8),
            self._sometimes("expires 5000", 8),
            self._sometimes(f"from {self._any(*SUBNETS6)}::/64", 8),
        ]
        via = f"via {self._gateway6()} dev {nic} {self._sometimes('onlink', 2)}"
        kind = self._random.randrange(10)
        if kind in (0, 3, 4, 5):
            common[0] = self._any(
                "metric 200", "metric 300"
            )  # the kernel lists none that is between equals with gateways
        if kind == 0:
            common.append(f"dev {nic}")
        elif kind == 1:
            common.append(f"nexthop via fe80::8 dev {nic} nexthop via fe80::9 dev {self._any(*self.nics)} weight 3")
        elif kind == 2:
            common.append(f"encap ip6 id 5 dst fd77::1 {via}")
        elif kind == 3:
            common.append(f"encap seg6 mode inline segs fd77::1 dev {nic}")
        elif kind == 4:
            kinds = self._any("blackhole", "unreachable", "prohibit", "local", "anycast", "multicast")
            destination = f"{kinds} {destination}"
            common.append(f"dev {self._any(nic, 'lo')}")
        elif kind == 5:
            common.append("dev lo")
        else:
            common.append(via)
        return " ".join(["route", self._any("add", "append", "append"), destination, *filter(None, common)])

    def _neighbour(self) -> str:
        nic = self._any(*self.nics, "eth0")
        address = self._any(self._gateway4(), self._gateway6())
        if self._random.randrange(5) == 0:
            return f"neigh add proxy {address} dev {nic} {self._sometimes('protocol 17')}"
        mac = f"lladdr 02:00:00:00:00:{self._random.randrange(1, 99):02d}"
        state = self._any("nud permanent", "nud permanent", "nud noarp", "extern_learn")
        extras = f"{self._sometimes('router')} {self._sometimes('protocol 42')}"
        return f"neigh add {address} {mac} dev {nic} {state} {extras}"

    def _rule(self) -> str:
        return f"rule add pref {self._random.randrange(100, 900)} from {self._any(*SUBNETS4)}.0/24 lookup 100"
