"""The metrics in Prometheus' text format, by its client library (the extra `metrics`)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from launcher.sight.metric_table import TABLE
from launcher.sight.metrics import Value, named, read_values
from netsetup.errors import MissingFeature

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


def require_library() -> None:
    """Raises MissingFeature without prometheus_client; without importing it, which takes 90 ms."""
    if importlib.util.find_spec("prometheus_client") is None:
        raise MissingFeature("metrics need prometheus_client: pip install 'virt-launcher[metrics]'")


class PodCollector:
    """Looks at the current network namespace for each scrape: `prometheus_client.registry.Collector`."""

    def __init__(
        self, state_dir: str | os.PathLike[str] | None, further: Callable[[], Iterator[Value]] | None = None
    ) -> None:
        """`further` gives values that only the caller has."""
        self._state_dir = state_dir
        self._further = further

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        found = named(read_values(self._state_dir))
        if self._further is not None:
            found |= named(self._further())
        for metric in TABLE:
            if metric.name not in found:
                continue
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            samples = family(metric.name, metric.help, labels=metric.labels)
            for labels, value in found[metric.name]:
                samples.add_metric(labels, value)
            yield samples


def registry_of(collector: PodCollector) -> CollectorRegistry:
    """A registry of ours alone: none of what the library measures of its process."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


def text_of(collector: PodCollector) -> str:
    """All metrics as they are now, as `metrics` prints them."""
    from prometheus_client import generate_latest

    return generate_latest(registry_of(collector)).decode()
