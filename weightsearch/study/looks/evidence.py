"""How far two configurations are apart, and how sure that is after so many repeats.

Per-image values say how scenes vary; how far seeds are apart is taken from all configurations that
are compared, because two or three repeats of one pair do not tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison
from weightsearch.stats.mean_estimate import Estimate, estimate_repeats
from weightsearch.study.looks.decision import Row

MAD_TO_SD = 1.4826
MAD_EFFICIENCY = 0.37
"""Of a normal distribution (Rousseeuw and Croux, J. American Statistical Association 88, 1993)."""


@dataclass(frozen=True)
class Spread:
    """How much one repeat of a difference of two configurations varies from seed to seed."""

    variance: float
    freedom: float

    @staticmethod
    def of(values: NDArray[np.float64]) -> Spread | None:
        """Of (configurations, repeats); None of one configuration.

        Of several repeats: what is left of the variance after the means of configurations and
        repeats (randomised blocks). Of one repeat: the spread of the configurations themselves,
        which holds that of seeds and so is at least as large; of their median absolute deviation,
        so that what is hopeless is still found to be, or that of the better half where it is
        larger: many that have failed alike say nothing of the others. Lower values are better.
        """
        many, repeats = values.shape
        if many < 2:
            return None
        if repeats == 1:
            order = np.sort(values[:, 0])
            deviation = MAD_TO_SD * max(
                float(np.median(np.abs(some - np.median(some))))
                for some in (order, order[: (many + 1) // 2])
            )
            return Spread(2 * deviation**2, MAD_EFFICIENCY * (many - 1))
        left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        freedom = (many - 1) * (repeats - 1)
        return Spread(2 * float((left**2).sum()) / freedom, freedom)


def differences(a: Sequence[Row], b: Sequence[Row]) -> list[NDArray[np.float64]] | None:
    """Per image of each repeat, of rows in the same order; None where they are not numbers
    of the same images."""
    found = []
    for ours, theirs in zip(a, b, strict=True):
        if ours.samples is None or theirs.samples is None:
            return None
        if len(ours.samples) != len(theirs.samples) or not len(ours.samples):
            return None
        found.append(np.subtract(ours.samples, theirs.samples))
    return found if all(np.isfinite(d).all() for d in found) else None


def estimated(a: Sequence[Row], b: Sequence[Row], spread: Spread | None) -> Estimate | None:
    """The mean of a - b over scenes and seeds; without a spread over scenes alone. None where there
    is nothing to say how sure it is."""
    per_image = differences(a, b)
    found = None
    if per_image is not None:
        found = estimate_repeats(per_image, [row.groups for row in a])
    if found is None and spread is not None:
        mean = float(np.mean([value(x) - value(y) for x, y in zip(a, b, strict=True)]))
        found = Estimate(mean, 0.0, 1, 2.0, 0.0, 0.0, len(a))
    if found is None or spread is None:
        return found
    return found.pooled(spread.variance, spread.freedom)


def value(row: Row) -> float:
    """Of a row that has one."""
    assert row.value is not None
    return row.value


def compared(a: Sequence[Row], b: Sequence[Row], smaller: bool) -> Comparison:
    """The verdict of a against b, of these two alone; without values per image over repeats."""
    per_image = differences(a, b)
    if per_image is None:
        ours, theirs = ([[value(row) for row in rows]] for rows in (a, b))
        return comparison.paired(ours, theirs, smaller_is_better=smaller)
    zero = [np.zeros(len(d)) for d in per_image]
    return comparison.paired_folds(per_image, zero, [row.groups for row in a], smaller)


def mean(rows: Sequence[Row]) -> float:
    """Of the repeats' values."""
    return math.fsum(value(row) for row in rows) / len(rows)
