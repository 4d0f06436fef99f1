"""A number that is searched between two bounds, where others are searched in a list."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from weightsearch.errors import did_you_mean
from weightsearch.study.spec_fields import Part, Value

PARTS = 10_000
"""A range is searched in steps of a ten-thousandth of it or less, a wide one of logarithms in
numbers of four digits: short to write, finer than any run resolves."""
WIDE = 2
"""From this ratio of its bounds on a range of logarithms is wide."""

LEVELS = ("grid", "mixture")
"""Samplers that try levels of a number."""


class Range(Part):
    """Numbers from `low` to `high`, both included; whole ones where both are whole."""

    low: int | float
    """The least number."""
    high: int | float
    """The largest."""
    log: bool = False
    """Whether logarithms are uniform rather than the numbers."""
    steps: Annotated[int, Field(ge=2)] | None = None
    """How many levels `grid` and `mixture` try; others too, of points on the grid's weights."""

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, but got {self.low:g} and {self.high:g}.")
        if self.log and self.low <= 0:
            raise ValueError(
                f"`low` must be above 0 where `log` is true, but got {self.low:g}; raise it, or"
                " leave `log` out."
            )
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, position: float) -> int | float:
        """The number at a position in [0, 1], along which draws are uniform."""
        low, high = self._ends()
        found = low + position * (high - low)
        return self.nearest(math.exp(found) if self.log else found)

    def position(self, value: float) -> float:
        """Where `at` gives this number: of a whole one, the middle of its part."""
        low, high = self._ends()
        found = ((math.log(value) if self.log else value) - low) / (high - low)
        return min(1.0, max(0.0, found))

    def nearest(self, value: float) -> int | float:
        """What the range has nearest to a number."""
        if self.whole:
            return int(min(self.high, max(self.low, round(value))))
        if not self.low < value < self.high:
            return float(min(self.high, max(self.low, value)))
        digits = math.ceil(math.log10(PARTS / (self.high - self.low)))
        if self.log and self.high >= WIDE * self.low:
            digits = 3 - math.floor(math.log10(value))
        return float(min(self.high, max(self.low, round(value, digits))))

    def levels(self) -> tuple[Value, ...]:
        """`steps` of them, evenly from `low` to `high`; without it the middle alone."""
        if self.steps is None:
            return (self.at(0.5),)
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        places = [low + (high - low) * k / (self.steps - 1) for k in range(self.steps)]
        return tuple(dict.fromkeys(self.nearest(math.exp(p) if self.log else p) for p in places))

    def told(self) -> str:
        """`1e-05 to 0.001`."""
        return f"{self.low:g} to {self.high:g}"

    def _ends(self) -> tuple[float, float]:
        """Of the positions; a whole number has a part as wide as any other."""
        half = 0.5 if self.whole else 0.0
        low, high = self.low - half, self.high + half
        return (math.log(low), math.log(high)) if self.log else (low, high)


def read(value: Any) -> Any:
    """A table as a Range, so that a mistake is reported for it and not for each other form."""
    if not isinstance(value, dict):
        return value
    for key in value:
        if key not in Range.model_fields:
            raise ValueError(f"a range has no '{key}'; {did_you_mean(key, Range.model_fields)}")
    return Range.model_validate(value)


Searched = Annotated[
    Value | Annotated[tuple[Value, ...], Field(min_length=1)] | Range, BeforeValidator(read)
]
"""A value is fixed, a list or a range searched."""


def check(ranges: Mapping[str, Range], sampler: str, trials: int | None) -> None:
    """Raises ValueError where the sampler cannot search these (by the setting's name)."""
    for setting, found in ranges.items():
        if found.steps is not None:
            continue
        if sampler in LEVELS:
            raise ValueError(
                f"sampler '{sampler}' tries levels of a number, but {setting} is a range without"
                " `steps`; add steps = N to it, or take random, qmc, tpe, gp or cmaes."
            )
        if trials is None:
            raise ValueError(
                f"sampler '{sampler}' draws from the range of {setting} and needs a number of"
                " trials; set sampler.trials or give --trials."
            )
