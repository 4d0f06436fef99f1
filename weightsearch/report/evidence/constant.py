"""The constant prediction that every network has to beat, as results tell of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from weightsearch.report.evidence.configurations import Configuration
from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison
from weightsearch.stats.scene_names import scenes
from weightsearch.store.ledger.queries import Done
from weightsearch.study.objective_contract import CONSTANT
from weightsearch.study.spec import StudySpec


@dataclass(frozen=True)
class Constant:
    """The best prediction that does not look at its input, on the validation samples; where they
    are divided, that of each fold."""

    says: str
    """`a constant prediction of 2.53 m`."""
    value: float
    """Its deciding metric; the mean over folds."""
    samples: Mapping[int | None, Sequence[float]]
    """By fold: the same of each sample; without those of which the metric has none."""
    scenes: Mapping[int | None, Sequence[str]]
    """By fold: of each sample."""

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.samples:
            return None
        scenes = [self.scenes[fold] for fold in self.samples]
        return comparison.interval_of_repeats(list(self.samples.values()), scenes)

    def compared(
        self, spec: StudySpec, runs: Sequence[Done], margin: float | None
    ) -> Comparison | None:
        """Runs of a network against it; None where samples do not match."""
        metric = spec.objective.metric
        theirs = [run.result.samples.get(metric, ()) for run in runs]
        ours = [self.samples.get(run.fold, ()) for run in runs]
        if not all(ours) or any(len(a) != len(b) for a, b in zip(theirs, ours, strict=True)):
            return None
        smaller = spec.objective.direction == "minimize"
        scenes = [self.scenes[run.fold] for run in runs]
        return comparison.paired_folds(theirs, ours, scenes, smaller, margin=margin)

    def to_json(self) -> dict[str, Any]:
        bounds = self.interval
        return {
            "says": self.says,
            "value": self.value,
            "interval": list(bounds) if bounds else None,
            "images": sum(map(len, self.samples.values())) or None,
        }


def constant(order: Sequence[Configuration]) -> Constant | None:
    """What the results say of it; None where none does: the objective does not know of one, or an
    earlier release trained them.

    An own objective may say anything: one whose value is no number is left out, and one whose
    samples are not one number for each of the result's is shown and not compared.
    """
    folds: dict[int | None, tuple[Done, Mapping[str, Any]]] = {}
    for run in (run for one in order for run in one.runs):
        told = run.result.validation.about.get(CONSTANT)
        if isinstance(told, Mapping) and _is_number(told.get("value")):
            folds.setdefault(run.fold, (run, told))
    if not folds:
        return None
    said = [str(told.get("says", "a constant prediction")) for _, told in folds.values()]
    samples = {fold: _samples(told, run.result.groups) for fold, (run, told) in folds.items()}
    return Constant(
        says=said[0] if len(set(said)) == 1 else "the best constant prediction of each fold",
        value=fmean(float(told["value"]) for _, told in folds.values()),
        samples={fold: values for fold, values in samples.items() if values},
        scenes={
            fold: scenes(fold, run.result.groups, len(samples[fold]))
            for fold, (run, _) in folds.items()
        },
    )


def _samples(told: Mapping[str, Any], groups: Sequence[str]) -> list[float]:
    given = told.get("samples")
    if not isinstance(given, list | tuple) or not all(map(_is_number, given)):
        return []
    return [] if groups and len(given) != len(groups) else [float(value) for value in given]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max
