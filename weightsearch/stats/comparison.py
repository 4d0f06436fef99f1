"""The statistics of a comparison: one place for intervals and paired tests.

Images of one scene resemble each other, so scenes (groups) are the sample, not images; where a
configuration was trained with several seeds, seeds are a sample too. The variance of the mean is
that between groups plus that between seeds (their overlap counts twice, on the safe side), with
Satterthwaite's degrees of freedom (Searle, Casella and McCulloch, Variance Components, 1992; a
percentile bootstrap over two or three seeds and a dozen scenes called a difference that was not
there in 10 to 50 % of simulated cases instead of 5 %, `tests/stats/test_comparison.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from weightsearch.stats.comparison_result import Comparison, Verdict

LEVEL = 0.95

MOST_SEEDS = 100
LARGER_IS_BETTER = ("delta1", "delta2", "delta3")
SMALLER_IS_BETTER = ("rmse", "rmse_pooled", "rel", "log10", "sq_rel", "rmse_log", "silog", "mae")
CAUTION = 3.0
"""So many times the seeds' part counts in the degrees of freedom. Three to five seeds that happen
to lie near each other narrow the interval and raise its degrees of freedom at once: without this,
some intervals covered in 91.6 % of simulated cases instead of 95 (`benchmarks/coverage.py`)."""


@dataclass(frozen=True)
class Estimate:
    """A mean over images and seeds, and what its variance is made of."""

    mean: float
    between_groups: float
    groups: int
    equal_groups: float
    """So many groups of one size would say as much (Kish's effective number)."""
    between_seeds: float
    """Of one seed; 0 where there is one only."""
    seeds: int

    def error(self, seeds: int | None = None) -> float:
        """The standard error, with that many seeds of the same spread."""
        return math.sqrt(self.between_groups + self.between_seeds / (seeds or self.seeds))

    def freedom(self, seeds: int | None = None) -> float:
        """Satterthwaite's degrees of freedom, with `CAUTION`."""
        many = seeds or self.seeds
        if many == 2:
            # Two seeds say so little of their spread that the rule errs (simulated: 12 % for 5 %).
            return 1.0
        parts = [(self.between_groups, self.equal_groups - 1)]
        if many > 1:
            parts.append((CAUTION * self.between_seeds / many, many - 1))
        total = sum(part for part, _ in parts)
        return total**2 / sum(part**2 / free for part, free in parts)

    def half_width(self, level: float, seeds: int | None = None) -> float:
        if self.error(seeds) == 0:
            return 0.0
        return float(stdtrit(self.freedom(seeds), (1 + level) / 2)) * self.error(seeds)

    def p(self) -> float:
        """Two-sided, of a mean that is 0."""
        if self.error() == 0:
            return float(self.mean == 0)
        return 2 * float(stdtr(self.freedom(), -abs(self.mean) / self.error()))

    def seeds_needed(self, level: float) -> int | None:
        """See Comparison; None where it is settled already."""
        if self.seeds < 2 or self.mean == 0 or abs(self.mean) > self.half_width(level):
            return None
        more = range(max(3, self.seeds + 1), MOST_SEEDS + 1)
        return next((n for n in more if abs(self.mean) > self.half_width(level, n)), None)


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
    found = _estimate(first - second, groups)
    seeds, images = first.shape
    mean = float((first - second).mean())
    if found is None:
        undecided = Verdict.NOT_DISTINGUISHABLE
        return Comparison(mean, None, None, undecided, images, 1, seeds, level)
    half = found.half_width(level)
    return Comparison(
        difference=mean,
        low=mean - half,
        high=mean + half,
        verdict=_verdict(mean, abs(mean) > half, smaller_is_better),
        images=images,
        groups=found.groups,
        seeds=seeds,
        level=level,
        p=found.p(),
        seeds_needed=found.seeds_needed(level),
    )


def _verdict(mean: float, settled: bool, smaller_is_better: bool) -> Verdict:
    if not settled:
        return Verdict.NOT_DISTINGUISHABLE
    return Verdict.BETTER if (mean < 0) == smaller_is_better else Verdict.WORSE


def smaller_is_better(metric: str, objective: str, minimize: bool) -> bool:
    """The objective's metric goes as its study says; metrics of depth go as they are known to; what
    is not known goes the objective's way."""
    if metric == objective or metric not in (*LARGER_IS_BETTER, *SMALLER_IS_BETTER):
        return minimize
    return metric in SMALLER_IS_BETTER


def holm(found: Mapping[str, Comparison], smaller: Mapping[str, bool]) -> dict[str, Comparison]:
    """The same comparisons with verdicts that hold together: Holm's correction over the metrics.

    `smaller` says of each metric whether smaller is better. Intervals stay those of each alone.
    """
    tested = sorted((c.p, name) for name, c in found.items() if c.p is not None)
    settled: set[str] = set()
    for k, (p, name) in enumerate(tested):
        if p > (1 - found[name].level) / (len(tested) - k):
            break
        settled.add(name)
    return {
        name: replace(c, verdict=_verdict(c.difference, name in settled, smaller[name]))
        for name, c in found.items()
    }


def judge(
    found: Mapping[str, Comparison],
    smaller: Mapping[str, bool],
    primary: str,
) -> tuple[Verdict, list[str]]:
    """The verdict on the primary metric, after Holm's correction, and the guards that are worse.

    Better with a guard that is worse is no improvement: it is "not distinguishable" then, and the
    guards are named.
    """
    corrected = holm(found, smaller)
    harmed = [n for n, c in corrected.items() if n != primary and c.verdict == Verdict.WORSE]
    verdict = corrected[primary].verdict
    if verdict == Verdict.BETTER and harmed:
        verdict = Verdict.NOT_DISTINGUISHABLE
    return verdict, harmed


def _interval(
    values: NDArray[np.float64], groups: Sequence[str], level: float
) -> tuple[float, float] | None:
    """Student's interval of the mean over (seeds, images); None where there are not two groups."""
    found = _estimate(values, groups)
    if found is None:
        return None
    half = found.half_width(level)
    return found.mean - half, found.mean + half


def _estimate(values: NDArray[np.float64], groups: Sequence[str]) -> Estimate | None:
    """Of (seeds, images); None where there are not two groups."""
    names = list(groups) or [str(i) for i in range(values.shape[1])]
    members = {name: k for k, name in enumerate(dict.fromkeys(names))}
    if len(members) < 2:
        return None
    index = np.array([members[name] for name in names])
    mean = float(values.mean())
    # Groups differ in size: the mean is a ratio of sums, and this its linearised variance.
    sums = np.bincount(index, weights=values.mean(axis=0) - mean)
    seeds, equal = len(values), len(names) ** 2 / float((np.bincount(index) ** 2).sum())
    return Estimate(
        mean=mean,
        between_groups=float((sums**2).sum()) * equal / (equal - 1) / len(names) ** 2,
        groups=len(members),
        equal_groups=equal,
        between_seeds=float(values.mean(axis=1).var(ddof=1)) if seeds > 1 else 0.0,
        seeds=seeds,
    )
