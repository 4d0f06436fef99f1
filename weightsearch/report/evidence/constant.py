"""The constant prediction that every network has to beat, as results tell of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison
from weightsearch.store.ledger.queries import Done
from weightsearch.study.objective_contract import CONSTANT
from weightsearch.study.spec import StudySpec


@dataclass(frozen=True)
class Constant:
    """The best prediction that does not look at its input, on the validation samples."""

    says: str
    """`a constant prediction of 2.53 m`."""
    value: float
    """Its deciding metric."""
    samples: Sequence[float]
    """The same of each sample; empty where the metric has none."""
    groups: Sequence[str]

    @property
    def interval(self) -> tuple[float, float] | None:
        return comparison.interval(self.samples, self.groups) if self.samples else None

    def compared(
        self, spec: StudySpec, runs: Sequence[Sequence[float]], margin: float | None
    ) -> Comparison | None:
        """Runs of a network, (seeds, samples), against it; None where samples do not match."""
        if not self.samples or any(len(run) != len(self.samples) for run in runs):
            return None
        smaller = spec.objective.direction == "minimize"
        same = [self.samples] * len(runs)
        return comparison.paired(runs, same, self.groups, smaller, margin=margin)

    def to_json(self) -> dict[str, Any]:
        bounds = self.interval
        return {
            "says": self.says,
            "value": self.value,
            "interval": list(bounds) if bounds else None,
            "images": len(self.samples) or None,
        }


def constant(done: Sequence[Done]) -> Constant | None:
    """What the results say of it; None where none does: the objective does not know of one, or an
    earlier release trained them.

    An own objective may say anything: one whose value is no number is left out, and one whose
    samples are not one number for each of the result's is shown and not compared.
    """
    for point in done:
        told = point.result.validation.about.get(CONSTANT)
        if isinstance(told, Mapping) and _is_number(told.get("value")):
            says = str(told.get("says", "a constant prediction"))
            groups = point.result.groups
            return Constant(says, float(told["value"]), _samples(told, groups), groups)
    return None


def _samples(told: Mapping[str, Any], groups: Sequence[str]) -> list[float]:
    given = told.get("samples")
    if not isinstance(given, list | tuple) or not all(map(_is_number, given)):
        return []
    return [] if groups and len(given) != len(groups) else [float(value) for value in given]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max
