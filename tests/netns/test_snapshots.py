"""Compares what discovery reads in each CNI's pod, and what the VM gets, with the files in `tests/snapshots`.

`pytest tests/netns/test_snapshots.py --update-snapshots` writes them anew; the difference is to be read before it is
committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import MakePod
from lab.readout import readout
from lab.shape import shape_names

from netsetup.discover import discover_pod_network_interface

pytestmark = pytest.mark.root

SNAPSHOTS = Path(__file__).parent.parent / "snapshots"


@pytest.mark.parametrize("name", shape_names())
def test_what_is_read_and_told(make_pod: MakePod, name: str, pytestconfig: pytest.Config) -> None:
    pod = make_pod(name)
    with Agent(pod) as agent:
        planned = agent.prestart("--dry-run")
    with pod.pod.entered():
        read = discover_pod_network_interface(pod.interface, str(pod.pod.configuration / "resolv.conf"))
    (network,), (config, *_) = planned["networks"], (*planned["configs"], None)
    text = f"{name}: {pod.shape.source}\n\n{readout(read, network, config)}"
    file = SNAPSHOTS / f"{name}.txt"
    if pytestconfig.getoption("--update-snapshots"):
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


def test_no_snapshot_is_left_over() -> None:
    assert sorted(path.stem for path in SNAPSHOTS.glob("*.txt")) == shape_names()
