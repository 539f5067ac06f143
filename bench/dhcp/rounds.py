"""Measures one DHCP server in one round: start, latency, throughput, memory, storm."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from statistics import median

from bench.dhcp.servers import Server, bare
from bench.laboratory import PORT, Laboratory, Process, Tools, cpu_ns, pss_mib

WINDOW = 32
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Effort:
    """The amount of load in one round."""

    exchanges: int = 3000
    """DISCOVERs one after the other, for the latency."""
    seconds: float = 1.5
    """Duration of full load, for the throughput."""
    starts: int = 5
    """Starts of which the median is taken: single ones differ by up to a third."""


QUICK = Effort(exchanges=100, seconds=0.1, starts=1)


def measure(server: Server, effort: Effort, tools: Tools) -> dict[str, float]:
    """Figures by metric; raises BenchError when the server does not answer."""
    starts = [_start(server, tools) for _ in range(effort.starts)]
    with Laboratory(tools, pod_interface=False) as laboratory:
        words = server.prepare(laboratory.directory, tools)
        client, its_own = _cpus()
        with laboratory.first_offer(client) as first, laboratory.start(words, its_own) as process:
            first.milliseconds_after(process)
            figures = {"start_ms": median(starts)}
            time.sleep(_SETTLE_SECONDS)
            figures["pss_idle_mib"], figures["alone_idle_mib"] = pss_mib(process.pid)
            figures |= _latency(laboratory, effort)
            figures |= _throughput(laboratory, process, effort)
            figures["pss_loaded_mib"], figures["alone_loaded_mib"] = pss_mib(process.pid)
            return figures


def start_bare_python(beside: Server, effort: Effort, tools: Tools) -> dict[str, float]:
    """Start time of a bare Python that only opens the same socket, and the ratio of a server's start to it."""
    starts = [(_start_bare_python(tools), _start(beside, tools)) for _ in range(effort.starts)]
    return {
        "start_ms": median(bare_start for bare_start, _ in starts),
        "beside_to_bare": median(its_start / bare_start for bare_start, its_start in starts),
    }


def _start_bare_python(tools: Tools) -> float:
    with Laboratory(tools, pod_interface=False) as laboratory:
        with laboratory.start(bare(PORT), _cpus()[1]) as process:
            process.wait()
            return (int(process.output()) - process.started_ns) / 1e6


def _start(server: Server, tools: Tools) -> float:
    with Laboratory(tools, pod_interface=False) as laboratory:
        words = server.prepare(laboratory.directory, tools)
        client, its_own = _cpus()
        with laboratory.first_offer(client) as first, laboratory.start(words, its_own) as process:
            return first.milliseconds_after(process)


def storm(server: Server, effort: Effort, tools: Tools) -> dict[str, float]:
    """Answers to valid DISCOVERs, and their latency, under thousands of broken messages a second."""
    with Laboratory(tools, pod_interface=False) as laboratory:
        words = server.prepare(laboratory.directory, tools)
        client, its_own = _cpus()
        with laboratory.first_offer(client) as first, laboratory.start(words, its_own) as process:
            first.milliseconds_after(process)
            answer = laboratory.load("storm", "--cpu", str(client), "--seconds", str(2 * effort.seconds))
            figures = {
                "bad_per_second": answer["bad_per_second"],
                "answered_percent": 100 * answer["answered"] / answer["asked"],
                "storm_p50_us": answer["p50_us"],
                "storm_p99_us": answer["p99_us"],
            }
            figures["pss_stormed_mib"], figures["alone_stormed_mib"] = pss_mib(process.pid)
            return figures


def _cpus() -> tuple[int, int]:
    """The CPUs of client and server; the same one where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def _latency(laboratory: Laboratory, effort: Effort) -> dict[str, float]:
    client, its_own = _cpus()
    figures: dict[str, float] = {}
    for name, cpu in (("two_cores", client), ("one_core", its_own)):
        if name == "two_cores" and client == its_own:
            continue
        answer = laboratory.load("sequential", "--cpu", str(cpu), "--count", str(effort.exchanges))
        figures |= {f"{name}_p50_us": answer["p50_us"], f"{name}_p99_us": answer["p99_us"]}
        figures[f"{name}_lost"] = answer["lost"]
    return figures


def _throughput(laboratory: Laboratory, process: Process, effort: Effort) -> dict[str, float]:
    options = ["--cpu", str(_cpus()[0]), "--window", str(WINDOW), "--seconds", str(effort.seconds)]
    before = cpu_ns(process.pid)
    answer = laboratory.load("window", *options)
    used = cpu_ns(process.pid) - before
    varied = laboratory.load("window", *options, "--vary")
    return {
        "per_second": answer["per_second"],
        "lost": answer["lost"],
        "cpu_us": used / 1e3 / max(answer["answered"], 1),
        "server_busy_percent": 100 * used / (effort.seconds * 1e9),
        "client_busy_percent": 100 * answer["client_busy"],
        "varied_per_second": varied["per_second"],
    }
