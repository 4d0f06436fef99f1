"""The margin of a study: the difference in a metric that would make someone change their mind."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

LAW = (
    "must be above 0, in per cent of the best ('1 %') or in the unit of the metric (0.01, or"
    " '0.01 m')"
)
DEFAULT = "1 %"
"""Where a study states none."""
WRITTEN = re.compile(r"\s*([0-9.eE+-]+)\s*(%|m?)\s*")


@dataclass(frozen=True)
class Margin:
    """So much of the best's metric, or so much in the unit of the deciding metric."""

    amount: float
    unit: str = "%"
    """`%`, `m`, or empty where a bare number was given."""

    @classmethod
    def parse(cls, written: str | float) -> Margin:
        """Of `1 %`, `0.01 m` or 0.01; raises ValueError for anything that is not above 0."""
        found = WRITTEN.fullmatch(str(written))
        try:
            amount = float(found.group(1)) if found else math.nan
        except ValueError:
            amount = math.nan
        if isinstance(written, bool) or found is None or not 0 < amount < math.inf:
            raise ValueError(f"{LAW}, but got {written!r}.")
        return cls(amount, found.group(2))

    def of(self, best: float, is_deciding: bool = True) -> float | None:
        """In the metric's unit, where that is the best's value; None of a metric that does not
        decide, where the margin is an amount and speaks of the deciding one only."""
        if self.unit == "%":
            return self.amount / 100 * abs(best)
        return self.amount if is_deciding else None

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}".rstrip()
