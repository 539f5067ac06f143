"""Does what an error or a finding says is to be done, word for word."""

from __future__ import annotations

import re
from collections.abc import Callable

from lab.agent import Agent
from lab.doctor import Report, examine
from lab.pod import Pod

ROUNDS = 3
"""Advice for one fault may show the next one behind it."""


def commands_in(text: str) -> list[list[str]]:
    """The commands of ip(8) that a text names for the pod; those for the node are its owner's to run."""
    return [found.split() for found in re.findall(r"`(ip [^`]+)`", text) if "on the node" not in text]


def follow_findings(pod: Pod, agent: Agent, report: Report, prestart: Callable[[], object]) -> Report:
    """Follow all advice of `doctor` that can be followed in the pod; what it reports then.

    Raises:
        AssertionError: a hop whose advice was followed is still wrong.
    """
    __tracebackhide__ = True
    followed: set[str] = set()
    for _ in range(ROUNDS):
        todo = {
            hop: text for hop, text in report.wrong.items() if "virt-launcher prestart" in text or commands_in(text)
        }
        if not todo:
            break
        followed |= set(todo)
        for command in [command for text in todo.values() for command in commands_in(text)]:
            pod.pod.run(command)
        if any("virt-launcher prestart" in text for text in todo.values()):
            prestart()
        report = examine(agent)
    assert not followed & set(report.wrong), report.text
    return report
