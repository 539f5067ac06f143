"""Runs `virt-launcher doctor` in a pod and compares its report with the expected findings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

from lab.agent import Agent

HOPS = [
    "pod NIC",
    "bridge port",
    "bridge",
    "nftables table",
    "guest port",
    "DHCP server",
    "guest",
    "pod network",
    "gateway",
    "node",
]
BEYOND_THE_NIC = {"pod network", "gateway", "node"}
BY_FAMILY = {"guest", *BEYOND_THE_NIC}
"""Hops of which each IP family of the VM has a line of its own."""


def hops_of(*, ipv4: bool = True, ipv6: bool, binding: str = "bridge") -> list[str]:
    """The hops of a pod without a finding, in their order; the server has another line for IPv6."""
    lines: list[str] = []
    for hop in HOPS:
        if hop == "bridge port" and binding == "fwd":
            continue
        lines += [hop] * (ipv4 + ipv6 if hop in BY_FAMILY else 1 + (ipv6 and hop == "DHCP server"))
    return lines


@dataclass(frozen=True)
class Report:
    """The output of `doctor --output json`."""

    exit_code: int
    hops: list[str]
    wrong: dict[str, str]
    """Finding and advice by hop."""
    unseen: set[str]
    """Hops that were not checked."""
    text: str

    def assert_names(self, wrong: Mapping[str, str], unseen: Set[str] = frozenset()) -> None:
        """Assert that exactly these hops are wrong, each with its pattern in the finding, and these unchecked."""
        __tracebackhide__ = True
        assert set(self.wrong) == set(wrong), self.text
        assert self.unseen == unseen, self.text
        for hop, pattern in wrong.items():
            assert re.search(pattern, self.wrong[hop]), self.text
        assert self.exit_code == (1 if wrong else 0)


def examine(agent: Agent) -> Report:
    completed = agent.run("doctor", "--output", "json")
    assert completed.stderr == ""
    checks = json.loads(completed.stdout)["checks"]
    assert all(set(check) == {"hop", "ok", "finding", "advice"} for check in checks)
    assert all(check["finding"] and bool(check["advice"]) == (check["ok"] is False) for check in checks)
    wrong: dict[str, str] = {}
    for check in checks:
        if check["ok"] is False:
            wrong[check["hop"]] = f"{wrong.get(check['hop'], '')}{check['finding']} → {check['advice']}\n"
    return Report(
        completed.returncode,
        [check["hop"] for check in checks],
        wrong,
        {check["hop"] for check in checks if check["ok"] is None},
        json.dumps(checks, indent=1, ensure_ascii=False),
    )
