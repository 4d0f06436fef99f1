"""Whether a night is worse than its baseline: the statistics of `weightsearch nightly`.

A canary is trained with the same n seeds every night. The same code on the same machine repeats its
values to the last bit, which is evidence of nothing; after a harmless change (another order of
additions, another card) they are new draws, more or less like the old ones. A metric is worse
where its mean has left one of two bands, which both come from replicates over seeds:

- t sqrt(2 / n) s, where s is the spread of the baseline's seeds. It holds when tonight's runs have
  nothing in common with the baseline's. Tonight's spread has no part in it: a fault that scatters
  the runs must not widen it.
- t s_d / sqrt(n), where s_d is the spread of the paired differences, seed by seed: a fault that
  makes every seed worse by about as much is found though it is smaller. Never narrower than
  sqrt(2 / n) s, one standard error of the difference between two sets of new seeds: less than that
  is not worth a night's alarm, and other hardware shifts everything by a little.

t is Student's quantile with n - 1 degrees of freedom. All of a night's tests together keep the
level (Bonferroni; whether any of them rejects is the same under Holm, and the first band stays
where it is from night to night). Only worse raises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean as mean

import numpy as np
from scipy.special import stdtrit

from weightsearch.stats.night_values import Moved, NightValues, Row

LEVEL = 0.98
"""Of a whole night, one-sided."""


def compare(
    baseline: NightValues, tonight: NightValues, metrics: Mapping[str, bool], level: float = LEVEL
) -> list[Row]:
    """A row per canary of tonight and metric, then one for the search's best.

    `metrics` says of each whether smaller is better; the first is the objective's.
    """
    # As many as there can be, so that a night that is cut short has the same band.
    tests = 2 * len(baseline.canaries) * len(metrics) + (baseline.best is not None)
    rows = []
    for name, now in tonight.canaries.items():
        before = baseline.canaries[name]
        t = _quantile(len(before.seeds), tests, level)
        for metric, smaller in metrics.items():
            old = [run[metric] for run in before.seeds.values()]
            new = [now.seeds[seed].get(metric) for seed in before.seeds]
            rows.append(_canary(name, metric, old, new, smaller, t))
    if baseline.best and tonight.best:
        metric, smaller = next(iter(metrics.items()))
        t = _quantile(min(len(canary.seeds) for canary in baseline.canaries.values()), tests, level)
        rows.append(_best(baseline, baseline.best.value, tonight.best.value, metric, smaller, t))
    return rows


def _quantile(seeds: int, tests: int, level: float) -> float:
    return float(stdtrit(seeds - 1, 1 - (1 - level) / tests))


def _canary(
    name: str,
    metric: str,
    old: Sequence[float],
    new: Sequence[float | None],
    smaller: bool,
    t: float,
) -> Row:
    """A canary's runs, seed by seed, old and new."""
    seeds, spread, error = len(old), _spread(old), math.sqrt(2 / len(old))
    width = t * error * spread
    behind = sum(b is None or (b > a if smaller else b < a) for a, b in zip(old, new, strict=True))
    numbers = [value for value in new if value is not None]
    if len(numbers) < seeds:
        return Row(
            name, metric, mean(old), None, None, width, None, seeds, behind, Moved.WORSE, width
        )
    apart = [b - a for a, b in zip(old, numbers, strict=True)]
    paired = max(t * _spread(apart) / math.sqrt(seeds), error * spread)
    difference, limit = mean(apart), min(width, paired)
    return Row(
        canary=name,
        metric=metric,
        baseline=mean(old),
        tonight=mean(numbers),
        difference=difference,
        band=width,
        paired_band=paired,
        seeds=seeds,
        worse_seeds=behind,
        moved=_moved(difference, limit, smaller),
        limit=limit,
    )


def _best(
    baseline: NightValues, old: float, new: float, metric: str, smaller: bool, t: float
) -> Row:
    """One run each: a single run varies as the canaries' do, on average."""
    spreads = [
        _spread([run[metric] for run in canary.seeds.values()])
        for canary in baseline.canaries.values()
    ]
    width = t * math.sqrt(2 * mean(s**2 for s in spreads))
    moved = _moved(new - old, width, smaller)
    behind = int(new > old if smaller else new < old)
    return Row(None, metric, old, new, new - old, width, None, 1, behind, moved, width)


def _spread(values: Sequence[float]) -> float:
    """Their standard deviation; exactly 0 where all are one."""
    return 0.0 if min(values) == max(values) else float(np.std(values, ddof=1))


def _moved(difference: float, width: float, smaller: bool) -> Moved:
    if width == 0:
        return Moved.NO_SPREAD
    if abs(difference) <= width:
        return Moved.WITHIN_THE_BAND
    return Moved.WORSE if (difference > 0) == smaller else Moved.BETTER


def scenes(
    before: Sequence[Sequence[float]],
    now: Sequence[Sequence[float]],
    groups: Sequence[str],
    smaller: bool,
) -> list[tuple[str, float]]:
    """How much each scene moved, (seeds, images) against (seeds, images), the worst first."""
    by_scene: dict[str, list[float]] = {}
    for old, new in zip(before, now, strict=True):
        for a, b, group in zip(old, new, groups, strict=True):
            by_scene.setdefault(group, []).append(b - a)
    moved = [(group, mean(values)) for group, values in by_scene.items()]
    return sorted(moved, key=lambda row: row[1], reverse=smaller)
