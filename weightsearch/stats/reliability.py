"""How far repeats agree on an order: the share of the variance that lies between configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import fdtri

LEVEL = 0.95


@dataclass(frozen=True)
class Reliability:
    """0: the order is chance; 1: every repeat gives the same one."""

    of_one: float
    """Of a ranking by one repeat."""
    low: float
    high: float
    """Its 95 % interval."""
    of_mean: float
    """Of the ranking by the mean of all repeats."""
    configurations: int
    repeats: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"reliability (how far seeds agree on the order, 0 to 1): {self.of_one:.2f} by one seed"
            f" (95 % interval {self.low:.2f} to {self.high:.2f}), {self.of_mean:.2f} by the mean of"
            f" {self.repeats} ({self.configurations} configurations)"
        )


def reliability(values: Sequence[Sequence[float]]) -> Reliability | None:
    """Of (configurations, repeats), repeat r of each under the same seed; None where there are not
    two of both.

    ICC(3,1) and ICC(3,k) of Shrout and Fleiss (Psychological Bulletin 86, 1979), not below 0: what
    a seed does to all configurations alike does not count, because comparisons are paired.
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or min(table.shape) < 2:
        return None
    many, k = table.shape
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    between = float(k * ((rows - table.mean()) ** 2).sum()) / (many - 1)
    error = float(((table - rows - columns + table.mean()) ** 2).sum()) / ((many - 1) * (k - 1))
    if between <= 0:
        return Reliability(0.0, 0.0, 0.0, 0.0, many, k)
    tiny = 1e-12 * between  # rounding: repeats that agree to the last digit
    ratio = between / max(error, tiny)
    free, tail = (many - 1, (many - 1) * (k - 1)), 1 - (1 - LEVEL) / 2
    low, high = ratio / fdtri(*free, tail), ratio * fdtri(*reversed(free), tail)

    def of_one(f: float) -> float:
        return float(max(0.0, (f - 1) / (f + k - 1)))

    return Reliability(
        of_one=of_one(ratio),
        low=of_one(float(low)),
        high=of_one(float(high)),
        of_mean=max(0.0, 1 - 1 / ratio),
        configurations=many,
        repeats=k,
    )
