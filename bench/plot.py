"""Results as SVG: a bar for each median, a line from the lowest to the highest round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.dhcp.servers import BARE, FLOOR, FLOOR_C
from bench.dhcp.servers import OURS as OUR_SERVER
from bench.hook.rounds import OURS as OUR_HOOK
from bench.hook.rounds import WARM, WARM_MASQUERADE
from bench.results import Results
from bench.samples import Samples, Spread


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    metric: str
    digits: int = 1


CHARTS = {
    "dhcp": (
        Chart("OFFERs per second, one core", "per_second", 0),
        Chart("CPU per OFFER, µs", "cpu_us"),
        Chart("Latency on one core, p50, µs", "one_core_p50_us"),
        Chart("Latency on one core, p99, µs", "one_core_p99_us"),
        Chart("Start: exec to first OFFER, ms", "start_ms"),
        Chart("Memory after load, no other copy running, MiB", "alone_loaded_mib"),
    ),
    "hook": (
        Chart("exec to first OFFER at the guest's port, ms", "offer_ms"),
        Chart("Teardown, ms", "teardown_ms"),
    ),
}

_OURS = {OUR_SERVER, OUR_HOOK, WARM, WARM_MASQUERADE}
_FLOORS = {FLOOR, FLOOR_C, BARE}
_COLOURS = {"ours": "#2563a8", "floor": "#c9ced6", "peer": "#8a93a0"}
_WIDTH, _NAMES, _NUMBERS, _ROW, _TITLE, _GAP = 460, 170, 70, 22, 30, 24


def write(results: Results, directory: Path) -> None:
    """`measurements-BENCH.svg` for each bench that has charts; raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for bench, charts in CHARTS.items():
        samples = results.benches.get(bench)
        if samples is not None:
            (directory / f"measurements-{bench}.svg").write_text(draw(samples, charts, results.origin.commit))


def draw(samples: Samples, charts: Sequence[Chart], commit: str) -> str:
    """All charts in two columns, as one SVG document."""
    drawn: list[str] = []
    y = _GAP
    for left in range(0, len(charts), 2):
        heights = []
        for column, chart in enumerate(charts[left : left + 2]):
            x = _GAP + column * (_WIDTH + _GAP)
            lines, height = _chart(samples, chart, x, y)
            drawn += lines
            heights.append(height)
        y += max(heights) + _GAP
    width = 2 * _WIDTH + 3 * _GAP
    drawn.append(_text(width - _GAP, y, f"commit {commit}; bar: median, line: lowest to highest round", "end", 11))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + _GAP}" '
            'font-family="system-ui, sans-serif" fill="#1f2933">',
            f'<rect width="{width}" height="{y + _GAP}" fill="#ffffff"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def _chart(samples: Samples, chart: Chart, x: int, y: int) -> tuple[list[str], int]:
    rows = [(s, spread) for s in samples.subjects if (spread := samples.spread(s, chart.metric))]
    lines = [_text(x, y + 14, chart.title, "start", 14, bold=True)]
    longest = max((spread.highest for _, spread in rows), default=1) or 1
    scale = (_WIDTH - _NAMES - _NUMBERS) / longest
    for index, (subject, spread) in enumerate(rows):
        lines += _bar(subject, spread, chart.digits, x, y + _TITLE + index * _ROW, scale)
    return lines, _TITLE + len(rows) * _ROW


def _bar(subject: str, spread: Spread, digits: int, x: int, y: int, scale: float) -> list[str]:
    kind = "ours" if subject in _OURS else "floor" if subject in _FLOORS else "peer"
    start, middle = x + _NAMES, y + _ROW / 2
    low, high = start + spread.lowest * scale, start + spread.highest * scale
    return [
        _text(start - 8, middle + 4, subject, "end", 12, bold=kind == "ours"),
        f'<rect x="{start}" y="{y + 4}" width="{spread.median * scale:.1f}" height="{_ROW - 8}" '
        f'fill="{_COLOURS[kind]}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#1f2933"/>',
        _text(high + 6, middle + 4, f"{spread.median:,.{digits}f}", "start", 12),
    ]


def _text(x: float, y: float, text: str, anchor: str, size: int, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}"{weight}>{escape(text)}</text>'
