"""Results as tables in Markdown, and the targets beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.dhcp.servers import BARE, DNSMASQ, FLOOR, FLOOR_C, OURS
from bench.hook import rounds as hook
from bench.results import Results
from bench.samples import Samples, Spread

_NOT_PEERS = (OURS, FLOOR, FLOOR_C, BARE)


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    metric: str
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    bench: str
    columns: tuple[Column, ...]


TABLES = (
    Table(
        "Latency, DISCOVER to OFFER, µs",
        "dhcp",
        (
            Column("one core p50", "one_core_p50_us"),
            Column("one core p99", "one_core_p99_us"),
            Column("two cores p50", "two_cores_p50_us"),
            Column("two cores p99", "two_cores_p99_us"),
        ),
    ),
    Table(
        "Throughput, 32 DISCOVERs under way, server and client on a core each",
        "dhcp",
        (
            Column("OFFERs/s", "per_second", 0),
            Column("CPU µs per OFFER", "cpu_us"),
            Column("server busy, %", "server_busy_percent", 0),
            Column("client busy, %", "client_busy_percent", 0),
            Column("lost", "lost", 0),
            Column("OFFERs/s, no two requests alike", "varied_per_second", 0),
        ),
    ),
    Table(
        "Start, exec to first OFFER, and memory",
        "dhcp",
        (
            Column("start, ms", "start_ms"),
            Column("PSS idle, MiB", "pss_idle_mib"),
            Column("PSS after load", "pss_loaded_mib"),
            Column("alone, idle", "alone_idle_mib"),
            Column("alone, after load", "alone_loaded_mib"),
        ),
    ),
    Table(
        "Storm: a good DISCOVER every 10 ms among broken messages",
        "storm",
        (
            Column("broken/s", "bad_per_second", 0),
            Column("good ones answered, %", "answered_percent", 1),
            Column("p50, µs", "storm_p50_us"),
            Column("p99, µs", "storm_p99_us"),
            Column("PSS after, MiB", "pss_stormed_mib"),
            Column("alone, after", "alone_stormed_mib"),
        ),
    ),
    Table(
        "The hook, ms",
        "hook",
        (
            Column("exec to first OFFER", "offer_ms"),
            Column("exec to exit", "exit_ms"),
            Column("run again", "again_ms"),
            Column("inside the process", "hook_ms"),
            Column("teardown", "teardown_ms"),
            Column("server's PSS, MiB", "pss_mib"),
            Column("server alone", "alone_mib"),
        ),
    ),
)

RATIOS = (
    Column("OFFERs/s", "per_second", 2),
    Column("CPU per OFFER", "cpu_us", 2),
    Column("one core p50", "one_core_p50_us", 2),
    Column("one core p99", "one_core_p99_us", 2),
    Column("two cores p50", "two_cores_p50_us", 2),
    Column("two cores p99", "two_cores_p99_us", 2),
    Column("start", "start_ms", 2),
    Column("memory, alone, after load", "alone_loaded_mib", 2),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A measured figure and its limit, a minimum or a maximum."""

    text: str
    measured: Spread | None
    limit: float
    at_least: bool = False
    digits: int = 1

    @property
    def met(self) -> bool | None:
        """None when it was not measured."""
        if self.measured is None:
            return None
        return self.measured.median >= self.limit if self.at_least else self.measured.median <= self.limit


def targets(results: Results) -> list[Target]:
    """The project's performance targets that this run has measured."""
    dhcp = results.benches.get("dhcp", Samples())
    hooks = results.benches.get("hook", Samples())
    found = [
        Target("OFFERs/s on one core", dhcp.spread(OURS, "per_second"), 90_000, True, 0),
        Target("OFFERs/s ÷ dnsmasq's", dhcp.ratio(OURS, DNSMASQ, "per_second"), 2.5, True, 2),
        Target("OFFERs/s ÷ Python floor's", dhcp.ratio(OURS, FLOOR, "per_second"), 0.7, True, 2),
        Target("one core p50 ÷ Python floor's", dhcp.ratio(OURS, FLOOR, "one_core_p50_us"), 1.3, digits=2),
        Target("one core p99 ÷ the best peer's", _against_best(dhcp, "one_core_p99_us"), 1, digits=2),
        Target("two cores p99 ÷ the best peer's", _against_best(dhcp, "two_cores_p99_us"), 1, digits=2),
        Target("start ÷ a bare Python's", dhcp.spread(BARE, "beside_to_bare"), 1.9, digits=2),
        Target("PSS after load, MiB", dhcp.spread(OURS, "pss_loaded_mib"), 8),
        Target("the same with no other Python running, MiB", dhcp.spread(OURS, "alone_loaded_mib"), 8),
        Target("hook in a warm process, ms", hooks.spread(hook.WARM, "hook_ms"), 17),
        Target(
            "the same by masquerade ÷ by bridge", hooks.ratio(hook.WARM_MASQUERADE, hook.WARM, "hook_ms"), 1.5, digits=2
        ),
        Target("cold prestart, exec to first OFFER, ms", hooks.spread(hook.OURS, "offer_ms"), 65),
    ]
    return [target for target in found if target.measured is not None]


def markdown(results: Results) -> str:
    """All tables of a run that have figures, in Markdown."""
    o = results.origin
    versions = "".join(f", {package} {version}" for package, version in o.versions.items())
    lines = [
        f"Commit {o.commit}, {o.date}: {o.cores} cores, Linux {o.kernel}, Python {o.python}{versions}."
        f" {results.rounds} rounds, alternating; cells are **median** (lowest–highest)."
        + (f" During {results.disturbed} of the measurements others used the machine." if results.disturbed else ""),
    ]
    for table in TABLES:
        samples = results.benches.get(table.bench)
        if samples is not None:
            lines += ["", f"### {table.title}", "", *_spreads(table, samples)]
    dhcp = results.benches.get("dhcp")
    if dhcp is not None and any(dhcp.ratio(OURS, other, "per_second") for other in dhcp.subjects if other != OURS):
        lines += ["", f"### {OURS} ÷ the other, median of the rounds", "", *_ratios(dhcp)]
    if found := targets(results):
        lines += ["", "### Targets", "", *_targets(found)]
    lines += ["", *(f"Not measured: {name}; install the Debian package {p}." for name, p in results.missing.items())]
    lines += [f"Failed: {failure}" for failure in results.failures]
    return "\n".join(lines).rstrip() + "\n"


def _spreads(table: Table, samples: Samples) -> list[str]:
    rows = [
        [subject, *(_cell(samples.spread(subject, column.metric), column.digits) for column in table.columns)]
        for subject in samples.subjects
    ]
    # columns without any figure are left out
    used = [0, *(i for i in range(1, len(table.columns) + 1) if any(row[i] for row in rows))]
    head = ["", *(column.title for column in table.columns)]
    return _grid([head[i] for i in used], [[row[i] for i in used] for row in rows if any(row[1:])])


def _ratios(samples: Samples) -> list[str]:
    rows = []
    for other in samples.subjects:
        found = [samples.ratio(OURS, other, column.metric) for column in RATIOS]
        if other != OURS and found[0]:
            rows.append([other, *("" if r is None else f"{r.median:.2f}" for r in found)])
    return _grid(["", *(column.title for column in RATIOS)], rows)


def _targets(found: Sequence[Target]) -> list[str]:
    rows = [
        [
            target.text,
            f"{'≥' if target.at_least else '≤'} {target.limit:,g}",
            _cell(target.measured, target.digits),
            "yes" if target.met else "no",
        ]
        for target in found
    ]
    return _grid(["", "target", "measured", "met"], rows)


def _against_best(samples: Samples, metric: str) -> Spread | None:
    """The ratio of our figure to that of the peer with the lowest median."""
    peers = [(spread.median, name) for name in samples.subjects if (spread := samples.spread(name, metric))]
    peers = [(median, name) for median, name in peers if name not in _NOT_PEERS]
    return samples.ratio(OURS, min(peers)[1], metric) if peers else None


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return ""
    low, middle, high = (f"{v:,.{digits}f}" for v in (spread.lowest, spread.median, spread.highest))
    return f"**{middle}**" if low == high else f"**{middle}** ({low}–{high})"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
