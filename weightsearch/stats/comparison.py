"""The statistics of a comparison: one place for intervals, paired tests and verdicts.

The verdict is read off two intervals of the paired difference and the margin, the difference that
would matter: better or worse where the 95 % interval excludes 0, equivalent where the 90 % interval
lies within the margin (two one-sided tests), both where both hold, else undecided. How the
intervals come about: `mean_estimate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.stats.mean_estimate import Estimate, estimate, estimate_repeats

LEVEL = 0.95

LARGER_IS_BETTER = ("delta1", "delta2", "delta3")
SMALLER_IS_BETTER = ("rmse", "rmse_pooled", "rel", "log10", "sq_rel", "rmse_log", "silog", "mae")


def interval(
    values: Sequence[float], groups: Sequence[str] = (), level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval of the mean of per-image values; None where there are not two groups.

    Without groups every image counts as its own. Of values that are never negative, as errors are,
    it begins at 0 at the least.
    """
    return _bounds(estimate(np.asarray([values]), groups), min(values, default=0) >= 0, level)


def interval_of_repeats(
    repeats: Sequence[Sequence[float]], groups: Sequence[Sequence[str]], level: float = LEVEL
) -> tuple[float, float] | None:
    """The same of the mean over repeats, each of its own images with their groups."""
    found = estimate_repeats([np.asarray(values, float) for values in repeats], groups)
    return _bounds(found, all(min(values) >= 0 for values in repeats), level)


def _bounds(found: Estimate | None, of_errors: bool, level: float) -> tuple[float, float] | None:
    if found is None:
        return None
    half = found.half_width(1 - level)
    low = found.mean - half
    return max(0.0, low) if of_errors else low, found.mean + half


def paired(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    groups: Sequence[str] = (),
    smaller_is_better: bool = True,
    level: float = LEVEL,
    margin: float | None = None,
) -> Comparison:
    """Compares per-image values, (seeds, images) each, of the same images and the same seeds.

    The verdict is on `a`; without a margin nothing is equivalent. Without an interval (fewer than
    two groups) nothing is decided. Raises ValueError where the two are not of one shape.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"both must be (seeds, images) of one shape, but got {first.shape}, {second.shape}."
        )
    names = [groups] * len(first)
    return paired_folds(list(first), list(second), names, smaller_is_better, level, margin)


def paired_folds(
    a: Sequence[Sequence[float] | NDArray[np.float64]],
    b: Sequence[Sequence[float] | NDArray[np.float64]],
    groups: Sequence[Sequence[str]],
    smaller_is_better: bool = True,
    level: float = LEVEL,
    margin: float | None = None,
) -> Comparison:
    """Like `paired`, of repeats that may have other images each: repeat r of both has the same
    seed, and the same images with the groups of r. The difference is the mean of the repeats'.

    Raises ValueError where a repeat of the two is not of one length.
    """
    if any(len(x) != len(y) for x, y in zip(a, b, strict=True)):
        raise ValueError("a repeat of both must be of the same images, but their numbers differ.")
    differences = [np.subtract(x, y) for x, y in zip(a, b, strict=True)]
    found, seeds = estimate_repeats(differences, groups), len(differences)
    of_folds = {frozenset(names): len(d) for names, d in zip(groups, differences, strict=True)}
    images, mean = sum(of_folds.values()), float(np.mean([d.mean() for d in differences]))
    if found is None:
        undecided = Verdict.UNDECIDED
        return Comparison(mean, None, None, undecided, images, 1, seeds, level, margin=margin)
    half, alpha = found.half_width(1 - level), 1 - level
    compared = Comparison(
        difference=mean,
        low=mean - half,
        high=mean + half,
        verdict=Verdict.UNDECIDED,
        images=images,
        groups=found.groups,
        seeds=seeds,
        level=level,
        p=found.p(),
        seeds_needed=found.seeds_needed(alpha, margin),
        margin=margin,
        p_equivalent=None if margin is None else found.p_equivalent(margin),
        groups_needed=found.groups_needed(alpha, margin),
    )
    return _judged(compared, abs(mean) > half, smaller_is_better)


def _judged(found: Comparison, shown: bool, smaller_is_better: bool) -> Comparison:
    word = Verdict.of(found.difference, shown, found.is_equivalent, smaller_is_better)
    return replace(found, verdict=word)


def smaller_is_better(metric: str, objective: str, minimize: bool) -> bool:
    """The objective's metric goes as its study says; metrics of depth go as they are known to; what
    is not known goes the objective's way."""
    if metric == objective or metric not in (*LARGER_IS_BETTER, *SMALLER_IS_BETTER):
        return minimize
    return metric in SMALLER_IS_BETTER


def holm(found: Mapping[str, Comparison], smaller: Mapping[str, bool]) -> dict[str, Comparison]:
    """The same comparisons with verdicts that hold together: Holm's correction over what was asked
    (metrics, or configurations) of "better" and "worse"; "equivalent" is each one's own.

    `smaller` says of each whether smaller is better. Intervals stay those of each alone.
    """
    tested = sorted((c.p, name) for name, c in found.items() if c.p is not None)
    settled: set[str] = set()
    for k, (p, name) in enumerate(tested):
        if p > (1 - found[name].level) / (len(tested) - k):
            break
        settled.add(name)
    return {name: _judged(c, name in settled, smaller[name]) for name, c in found.items()}


def judge(
    found: Mapping[str, Comparison],
    smaller: Mapping[str, bool],
    primary: str,
) -> tuple[Verdict, list[str]]:
    """The verdict on the primary metric, after Holm's correction, and the guards that are worse.

    Better with a guard that is worse is no improvement: it is undecided then, and the guards are
    named. A guard that is worse within its margin does no harm.
    """
    corrected = holm(found, smaller)
    harmed = [n for n, c in corrected.items() if n != primary and c.verdict == Verdict.WORSE]
    verdict = corrected[primary].verdict
    if verdict == Verdict.BETTER and harmed:
        verdict = Verdict.UNDECIDED
    return verdict, harmed
