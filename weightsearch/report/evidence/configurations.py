"""Configurations with all of their runs: what repeats come to together.

Repeat r of every configuration has the same seed and the same fold, so configurations are compared
over the repeats that both have. A configuration that has not all of them, because it was dropped
or the budget ran out, is placed by its differences over those that it has: its mean is what it
would be with the repeats of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeVar

from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison
from weightsearch.stats.scene_names import scenes
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.results import Evaluation, Result
from weightsearch.study.spec import StudySpec

Kind = TypeVar("Kind", bound=Done)


@dataclass(frozen=True)
class Configuration(Done):
    """The first run of a configuration, with the `result` of all of them together: means, and per
    sample the mean over the runs that were scored on it, fold after fold."""

    runs: Sequence[Done] = ()
    """In the order of their seeds."""


def configurations(spec: StudySpec, done: Sequence[Done]) -> list[Configuration]:
    """Each configuration once, in the order of `done`, which holds comparable runs only."""
    runs: dict[str, dict[int, Done]] = {}
    for one in done:
        runs.setdefault(one.point.key(), {}).setdefault(one.seed, one)
    metrics = (spec.objective.metric, *spec.objective.guards)
    offsets = {name: _offsets(name, list(runs.values())) for name in metrics}
    return [_together([own[seed] for seed in sorted(own)], offsets) for own in runs.values()]


def _offsets(metric: str, runs: Sequence[Mapping[int, Done]]) -> dict[int, float]:
    """By seed: how much its runs lie above the mean of all seeds, of the configurations that have
    the most runs. Empty where every one has the same seeds."""
    seeds = {tuple(sorted(own)) for own in runs}
    if len(seeds) < 2:
        return {}
    most = max(seeds, key=len)
    whole = [own for own in runs if tuple(sorted(own)) == most]
    values = {
        seed: [own[seed].result.metrics[metric] for own in whole]
        for seed in most
        if all(metric in own[seed].result.metrics for own in whole)
    }
    middle = fmean(v for seed in values for v in values[seed]) if values else 0.0
    return {seed: fmean(found) - middle for seed, found in values.items()}


def _together(runs: Sequence[Done], offsets: Mapping[str, Mapping[int, float]]) -> Configuration:
    first = runs[0]
    result = _mean(runs, offsets) if len(runs) > 1 or any(offsets.values()) else first.result
    return Configuration(**{**vars(first), "result": result}, runs=tuple(runs))


def _mean(runs: Sequence[Done], offsets: Mapping[str, Mapping[int, float]]) -> Result:
    names = set.intersection(*(set(run.result.metrics) for run in runs))
    metrics = {
        name: fmean(
            run.result.metrics[name] - offsets.get(name, {}).get(run.seed, 0.0) for run in runs
        )
        for name in sorted(names)
    }
    samples, groups = _pooled(runs)
    first = runs[0].result
    validation = Evaluation(
        metrics=metrics,
        samples=samples,
        groups=groups,
        images=images(runs),
        about=first.validation.about,
    )
    seconds = sum(run.result.seconds for run in runs)
    return replace(first, validation=validation, seconds=seconds, folder=_best_folder(runs))


def _pooled(runs: Sequence[Done]) -> tuple[dict[str, list[float]], list[str]]:
    """Per sample the mean over the runs of its fold, the folds one after the other; of a metric
    whose samples are as many in each of them."""
    folds: dict[int | None, list[Done]] = {}
    for run in runs:
        folds.setdefault(run.fold, []).append(run)
    names = {
        name
        for name in set.intersection(*(set(run.result.samples) for run in runs))
        if all(len({len(run.result.samples[name]) for run in fold}) == 1 for fold in folds.values())
    }
    samples = {
        name: [
            fmean(values)
            for fold in folds.values()
            for values in zip(*(run.result.samples[name] for run in fold), strict=True)
        ]
        for name in sorted(names)
    }
    groups = [group for fold in folds.values() for group in fold[0].result.groups]
    return samples, groups


def _best_folder(runs: Sequence[Done]) -> str | None:
    return next((run.result.folder for run in runs if run.result.folder), None)


def interval(runs: Sequence[Done], metric: str) -> tuple[float, float] | None:
    """Of the mean over runs, by scenes and repeats; None without values per sample, or with one
    scene."""
    values = [run.result.samples.get(metric, ()) for run in runs]
    if not all(values):
        return None
    return comparison.interval_of_repeats(values, [scenes_of(run, metric) for run in runs])


def of_value(one: Configuration, metric: str) -> tuple[float, float] | None:
    """The interval of a configuration's value: of its runs, moved by what they lie above the mean
    of all seeds where it has not all of them."""
    bounds = interval(one.runs, metric)
    if bounds is None:
        return None
    moved = one.result.metrics[metric] - fmean(run.result.metrics[metric] for run in one.runs)
    low = bounds[0] + moved
    return max(0.0, low) if bounds[0] >= 0 else low, bounds[1] + moved


def images(runs: Sequence[Done]) -> int | None:
    """Different ones that the runs were scored on; None where a run does not say."""
    folds = {run.fold: run.result.images for run in runs}
    counts = [count for count in folds.values() if count is not None]
    return sum(counts) if len(counts) == len(folds) else None


def scenes_of(run: Done, metric: str) -> list[str]:
    return scenes(run.fold, run.result.groups, len(run.result.samples[metric]))


def common(a: Sequence[Done], b: Sequence[Done]) -> list[tuple[Done, Done]]:
    """Runs of two configurations with the same seeds, and so on the same folds."""
    theirs = {run.seed: run for run in b}
    return [(run, theirs[run.seed]) for run in a if run.seed in theirs]


def compared(
    spec: StudySpec,
    pairs: Sequence[tuple[Done, Done]],
    metric: str,
    margin: float | None = None,
    level: float = comparison.LEVEL,
) -> Comparison | None:
    """The first of each pair of runs against the second; None of none, or without values of the
    same samples."""
    first, second = ([pair[k].result.samples.get(metric, ()) for pair in pairs] for k in (0, 1))
    if not pairs or not all(first) or list(map(len, first)) != list(map(len, second)):
        return None
    goal = spec.objective
    smaller = comparison.smaller_is_better(metric, goal.metric, goal.direction == "minimize")
    scenes = [scenes_of(run, metric) for run, _ in pairs]
    return comparison.paired_folds(first, second, scenes, smaller, level, margin)


def together(spec: StudySpec, found: Mapping[str, Comparison | None]) -> dict[str, Comparison]:
    """The comparisons that there are, of the deciding metric and one question, with verdicts that
    hold for all of them together (Holm)."""
    tests = {name: test for name, test in found.items() if test is not None}
    smaller = spec.objective.direction == "minimize"
    return comparison.holm(tests, dict.fromkeys(tests, smaller))


def fixed(done: Sequence[Kind]) -> list[Kind]:
    """Those of fixed weights: a learned weighting has no direction."""
    return [one for one in done if one.point.weighting is None]
