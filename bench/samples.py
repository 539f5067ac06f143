"""Figures by subject, metric and round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, minimum and maximum of some figures."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Raises ValueError when there are no values."""
        found = list(values)
        if not found:
            raise ValueError("no values")
        return cls(median(found), min(found), max(found))


@dataclass(slots=True)
class Samples:
    """The figures of each subject, metric and round; rounds count from 1."""

    values: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    """By subject, metric and round."""

    def add(self, subject: str, round_: int, figures: Mapping[str, float]) -> None:
        metrics = self.values.setdefault(subject, {})
        for metric, value in figures.items():
            metrics.setdefault(metric, {})[round_] = round(value, 4)  # as it is written down

    @property
    def subjects(self) -> list[str]:
        return list(self.values)

    def spread(self, subject: str, metric: str) -> Spread | None:
        """The spread over all rounds; None when it was not measured."""
        found = self.values.get(subject, {}).get(metric)
        return Spread.of(found.values()) if found else None

    def ratio(self, subject: str, other: str, metric: str, other_metric: str = "") -> Spread | None:
        """The ratio of one subject's figure to another's in the same round; None without a common round."""
        ours = self.values.get(subject, {}).get(metric, {})
        theirs = self.values.get(other, {}).get(other_metric or metric, {})
        common = [ours[r] / theirs[r] for r in ours if theirs.get(r)]
        return Spread.of(common) if common else None

    def as_json(self) -> dict[str, dict[str, list[float]]]:
        """The figures by subject and metric, in the order of the rounds."""
        return {
            subject: {metric: [rounds[r] for r in sorted(rounds)] for metric, rounds in metrics.items()}
            for subject, metrics in self.values.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, list[float]]]) -> Samples:
        samples = cls()
        for subject, metrics in data.items():
            for metric, values in metrics.items():
                for round_, value in enumerate(values, 1):
                    samples.add(subject, round_, {metric: value})
        return samples
