"""The statistics of a comparison: one place for intervals and paired tests.

Images of one scene resemble each other, so scenes (groups) are resampled, not images; where a
configuration was trained with several seeds, seeds are resampled too (percentile bootstrap; Efron
and Tibshirani, An Introduction to the Bootstrap, chapters 8 and 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 5000
LEVEL = 0.95

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Comparison:
    """How `a` differs from `b`: the mean of a - b over images and seeds, with its interval."""

    difference: float
    low: float | None
    high: float | None
    verdict: Verdict
    images: int
    groups: int
    seeds: int
    level: float


def interval(
    values: Sequence[float], groups: Sequence[str] = (), level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval of the mean of per-image values; None where there are not two groups.

    Without groups every image counts as its own.
    """
    return _resampled(np.asarray([values]), groups, level)


def paired(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    groups: Sequence[str] = (),
    smaller_is_better: bool = True,
    level: float = LEVEL,
) -> Comparison:
    """Compares per-image values, (seeds, images) each, of the same images and the same seeds.

    The verdict is on `a`. Without an interval (fewer than two groups) nothing can be told apart.
    Raises ValueError where the two are not of one shape.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"both must be (seeds, images) of one shape, but got {first.shape}, {second.shape}."
        )
    differences = first - second
    bounds = _resampled(differences, groups, level)
    mean = float(differences.mean())
    verdict: Verdict = "not distinguishable"
    if bounds is not None and (bounds[1] < 0 or bounds[0] > 0):
        verdict = "better" if (mean < 0) == smaller_is_better else "worse"
    low, high = bounds if bounds is not None else (None, None)
    seeds, images = differences.shape
    return Comparison(mean, low, high, verdict, images, len(set(groups)) or images, seeds, level)


def _resampled(
    values: NDArray[np.float64], groups: Sequence[str], level: float
) -> tuple[float, float] | None:
    """The percentile interval of the mean over (seeds, images), both resampled, images by group."""
    names = list(groups) or [str(i) for i in range(values.shape[1])]
    members = {name: k for k, name in enumerate(dict.fromkeys(names))}
    if len(members) < 2:
        return None
    index = np.array([members[name] for name in names])
    sizes = np.bincount(index)
    sums = np.stack([np.bincount(index, weights=row) for row in values])
    rng = np.random.default_rng(0)
    seeds, many = sums.shape
    drawn_groups = rng.multinomial(many, np.full(many, 1 / many), size=RESAMPLES)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    totals = ((drawn_seeds @ sums) * drawn_groups).sum(axis=1)
    means = totals / (seeds * (drawn_groups @ sizes))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
