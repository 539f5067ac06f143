"""Evidence about one network, and the form of the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from launcher.doctor.targets import Family
from netsetup.admission import is_ethernet
from netsetup.bindings.binding import Hops
from netsetup.model.kernel import Link, Namespace
from netsetup.model.vm_network import VMNetwork
from netsetup.steps import Step

RUN_PRESTART = "run `virt-launcher prestart` again, with the arguments it had: it puts this right and nothing else"


class Hop(StrEnum):
    """The places where something can be wrong, in the order in which they are reported."""

    RECORD = "record"
    POD_NIC = "pod NIC"
    BRIDGE_PORT = "bridge port"
    BRIDGE = "bridge"
    TABLE = "nftables table"
    GUEST_PORT = "guest port"
    SERVER = "DHCP server"
    GUEST = "guest"
    AGENT = "guest agent"
    POD_NETWORK = "pod network"
    GATEWAY = "gateway"
    NODE = "node"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result, and one object of its JSON form."""

    hop: str
    ok: bool | None
    """None when it is neither: not looked at, because of a fault that is named elsewhere, or a warning."""
    finding: str
    advice: str = ""
    """What to do; empty when there is nothing."""


def is_well(checks: Sequence[Check]) -> bool:
    """Whether nothing is wrong."""
    return not any(check.ok is False for check in checks)


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """The result as text, a line a check."""
    words = {True: "ok", False: "WRONG", None: "-"}
    width = max(len(check.hop) for check in checks)
    for check in checks:
        advice = f" → {check.advice}" if check.advice else ""
        yield f"{words[check.ok]:5} {check.hop:{width}}  {check.finding}{advice}"


@dataclass(frozen=True, slots=True)
class PortReport:
    """What the DHCP server counted on one guest port."""

    answered: Mapping[str, int] = field(default_factory=dict)
    """By the name of the answer."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """By cause, as `dhcp.decision.Decision` has it."""


@dataclass(frozen=True, slots=True)
class Offer6:
    """What the DHCP server would offer the VM over IPv6 now."""

    address: str = ""
    """By DHCPv6; empty where it offers none."""
    router: str = ""
    """The link-local address of the default router that it advertises, likewise."""


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The DHCP server's report."""

    pid: int = 0
    problem: str = ""
    """Why there is no report, when there is none."""
    ports: Mapping[str, PortReport] = field(default_factory=dict)
    offers6: Mapping[str, Offer6] = field(default_factory=dict)
    """By guest port, of those that are served IPv6."""

    @property
    def name(self) -> str:
        """The server's process, which may be in another PID namespace."""
        return f"process {self.pid or 'whose pid is unknown here'}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was observed of one network."""

    network: VMNetwork
    hops: Hops
    """Its binding's text for each device when nothing is wrong."""
    observed: Namespace
    steps: tuple[Step, ...]
    """What `prestart` would do to this network's devices."""
    conflict: str
    """Why `prestart` could do nothing, when it could not."""
    table: str
    """What is wrong with the nftables table; empty when nothing is."""
    server: ServerReport
    has_listener: bool
    """Whether a packet socket is bound to the guest port as it is now."""
    families: tuple[Family, ...]
    """With the answers received in each."""

    @property
    def nic(self) -> Link | None:
        return self.observed.link(self.network.pod.name)

    @property
    def bridge(self) -> Link | None:
        return self.observed.link(self.network.bridge)

    @property
    def port(self) -> Link | None:
        return self.observed.link(self.network.guest_port)

    @property
    def has_frames(self) -> bool:
        """Whether the pod interface has frames, in which alone questions can be asked."""
        return self.nic is None or is_ethernet(self.nic)

    @property
    def report(self) -> PortReport:
        """What the server counted on the guest port."""
        return self.server.ports.get(self.network.guest_port, PortReport())

    @property
    def is_served(self) -> bool:
        """Whether the VM has an address that DHCP must hand out."""
        return any(family.address for family in self.families)


def trouble_of(link: Link | None, name: str) -> str:
    """Why no frame passes an interface; empty when frames do."""
    if link is None:
        return f"{name} is gone"
    if not link.up:
        return f"{name} is down"
    return "" if link.carrier else f"{name} has no carrier"


def ok(hop: Hop, finding: str) -> Check:
    """What is right."""
    return Check(hop.value, True, finding)


def wrong(hop: Hop, finding: str, advice: str) -> Check:
    """What is wrong, and what to do."""
    return Check(hop.value, False, finding, advice)


def unseen(hop: Hop, because: str) -> Check:
    """What could not be looked at, because of a fault that is named elsewhere."""
    return Check(hop.value, None, f"not looked at, because {because}")


def warning(hop: Hop, finding: str) -> Check:
    """What the VM goes without, and why; that is no fault of the path."""
    return Check(hop.value, None, finding)
