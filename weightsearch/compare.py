"""The statistics of a comparison: one place for intervals and paired tests.

Images of one scene resemble each other, so scenes (groups) are the sample, not images; where a
configuration was trained with several seeds, seeds are a sample too. The variance of the mean is
that between groups plus that between seeds (their overlap counts twice, on the safe side), with
Satterthwaite's degrees of freedom (Searle, Casella and McCulloch, Variance Components, 1992; a
percentile bootstrap over two or three seeds and a dozen scenes called a difference that was not
there in 10 to 50 % of simulated cases instead of 5 %, `tests/test_compare.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

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
    return _interval(np.asarray([values]), groups, level)


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
    bounds = _interval(differences, groups, level)
    mean = float(differences.mean())
    verdict: Verdict = "not distinguishable"
    if bounds is not None and (bounds[1] < 0 or bounds[0] > 0):
        verdict = "better" if (mean < 0) == smaller_is_better else "worse"
    low, high = bounds if bounds is not None else (None, None)
    seeds, images = differences.shape
    return Comparison(mean, low, high, verdict, images, len(set(groups)) or images, seeds, level)


def _interval(
    values: NDArray[np.float64], groups: Sequence[str], level: float
) -> tuple[float, float] | None:
    """Student's interval of the mean over (seeds, images); None where there are not two groups."""
    names = list(groups) or [str(i) for i in range(values.shape[1])]
    members = {name: k for k, name in enumerate(dict.fromkeys(names))}
    if len(members) < 2:
        return None
    index = np.array([members[name] for name in names])
    mean = float(values.mean())
    # Groups differ in size: the mean is a ratio of sums, and this its linearised variance.
    sums = np.bincount(index, weights=values.mean(axis=0) - mean)
    many = len(members)
    parts = [(float((sums**2).sum()) * many / (many - 1) / len(names) ** 2, many - 1)]
    seeds = len(values)
    if seeds > 1:
        parts.append((float(values.mean(axis=1).var(ddof=1)) / seeds, seeds - 1))
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return mean, mean
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    if seeds == 2:
        # Two seeds say so little of their spread that the rule errs (simulated: 12 % for 5 %).
        freedom = 1.0
    half = float(stdtrit(freedom, (1 + level) / 2)) * variance**0.5
    return mean - half, mean + half
