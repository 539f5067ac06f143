"""The benchmarks produce their figures. No times are asserted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).resolve().parents[2]


def bench(*words: str | Path, program: str = "bench/run.py", timeout: float = 180) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, program, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout
    )


def test_every_bench_has_figures_of_our_server_and_dnsmasq(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    few = ("--quick", "--rounds", "1", "--server", "virt-launcher", "--server", "dnsmasq")
    done = bench("dhcp", "hook", "storm", *few, "--json", file, "--plots", tmp_path)
    assert done.returncode == 0, done.stderr

    written = json.loads(file.read_text())
    assert written["failures"] == []
    benches = written["benches"]
    assert set(benches["dhcp"]) == {"virt-launcher", "dnsmasq", "bare Python"}
    assert set(benches["storm"]) == {"virt-launcher", "dnsmasq"}
    assert len(benches["hook"]) == 5
    for server in ("virt-launcher", "dnsmasq"):
        figures = benches["dhcp"][server]
        assert {"per_second", "one_core_p50_us", "start_ms", "pss_loaded_mib", "cpu_us"} <= set(figures)
        assert all(len(values) == 1 for values in figures.values())
        assert figures["per_second"] > [0]
    assert set(benches["hook"]["virt-launcher prestart"]) >= {"offer_ms", "exit_ms", "teardown_ms"}

    for name in ("dhcp", "hook"):
        ElementTree.parse(tmp_path / f"measurements-{name}.svg")
    assert "| OFFERs/s ÷ dnsmasq's |" in done.stdout

    shown_again = bench("--read", file)
    assert shown_again.stdout == done.stdout


def test_an_unknown_server_is_named() -> None:
    done = bench("--server", "windows")
    assert done.returncode == 2
    assert "'windows'" in done.stderr
    assert "dnsmasq" in done.stderr


@pytest.mark.vm
def test_cold_starts_are_shown_beside_those_of_another_tree() -> None:
    done = bench("--beside", ".", "--rounds", "1", program="bench/start.py")
    assert done.returncode == 0, done.stderr
    title, _, other, ours, ratio = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()
    )
    assert title[1:] == ["bare Python, ms", "`prestart`: exec to first OFFER, ms", "`run`: exec to QEMU's, ms"]
    assert other[0] == "."
    assert re.fullmatch(r"this tree, [0-9a-f]{12}\+?", ours[0])
    assert ratio[0] == f"{ours[0]} ÷ ."
    for bare, prestart, run in (other[1:], ours[1:]):
        assert 0 < milliseconds(bare) < milliseconds(prestart)
        assert milliseconds(bare) < milliseconds(run)


def milliseconds(cell: str) -> float:
    return float(cell.split("**")[1])


def test_an_unknown_commit_is_named() -> None:
    done = bench("--beside", "nowhere", program="bench/start.py")
    assert (done.returncode, done.stderr) == (
        1,
        "bench: nowhere: neither a commit of this repository nor a folder with a .venv\n",
    )
