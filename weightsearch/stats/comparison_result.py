"""What a comparison found, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from weightsearch.runtime.stored_json import known


class Verdict(StrEnum):
    """On the first of two."""

    BETTER = "better"
    WORSE = "worse"
    NOT_DISTINGUISHABLE = "not distinguishable"


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
    p: float | None = None
    """Of such a difference, or a larger one, where there is none; None without an interval."""
    seeds_needed: int | None = None
    """How many seeds would settle a difference of this size, if their spread stays as it is; None
    where it is settled, or where no number of seeds would: then more scenes are needed."""

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Comparison:
        return cls(**known(cls, stored) | {"verdict": Verdict(stored["verdict"])})
