"""What a comparison found, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from weightsearch.runtime.stored_json import known


class Verdict(StrEnum):
    """On the first of two."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    """No difference worth having: whatever there is, it is within the margin."""
    BETTER_WITHIN = "better, within the margin"
    """Real, and too small to matter; the next the other way."""
    WORSE_WITHIN = "worse, within the margin"
    UNDECIDED = "undecided"

    @classmethod
    def of(
        cls, difference: float, shown: bool, equivalent: bool, smaller_is_better: bool
    ) -> Verdict:
        """`shown`: the difference is not 0; `equivalent`: it is within the margin."""
        if not shown:
            return cls.EQUIVALENT if equivalent else cls.UNDECIDED
        if (difference < 0) == smaller_is_better:
            return cls.BETTER_WITHIN if equivalent else cls.BETTER
        return cls.WORSE_WITHIN if equivalent else cls.WORSE

    @classmethod
    def read(cls, stored: str) -> Verdict:
        """A stored word; releases without a margin wrote `not distinguishable`."""
        return cls.UNDECIDED if stored == "not distinguishable" else cls(stored)

    def is_level(self) -> bool:
        """Whether the two come to the same for whoever chooses, or cannot be told apart."""
        return self not in (Verdict.BETTER, Verdict.WORSE)


REVERSED = {
    Verdict.BETTER: Verdict.WORSE,
    Verdict.WORSE: Verdict.BETTER,
    Verdict.BETTER_WITHIN: Verdict.WORSE_WITHIN,
    Verdict.WORSE_WITHIN: Verdict.BETTER_WITHIN,
}


@dataclass(frozen=True)
class Comparison:
    """How `a` differs from `b`: the mean of a - b over images and seeds, with its interval."""

    difference: float
    low: float | None
    high: float | None
    verdict: Verdict
    images: int
    groups: int
    """Scenes; as many as images where each counts as its own."""
    seeds: int
    level: float
    p: float | None = None
    """Of such a difference, or a larger one, where there is none; None without an interval."""
    seeds_needed: int | None = None
    """How many seeds would settle it, if the difference and their spread stay as they are; None
    where it is settled, where there is one only, or where no number of seeds would."""
    margin: float | None = None
    """The difference that would matter, in the metric's unit; None where none was stated."""
    p_equivalent: float | None = None
    """Of a difference as small as this one, or smaller, where it is the margin: the larger one of
    two one-sided tests. None without an interval or a margin."""
    groups_needed: int | None = None
    """How many scenes would settle it, like `seeds_needed`."""

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def is_equivalent(self) -> bool:
        """Two one-sided tests at 1 - level each: at 95 %, the 90 % interval is in the margin."""
        return self.p_equivalent is not None and self.p_equivalent <= 1 - self.level

    def reversed(self) -> Comparison:
        """How `b` differs from `a`."""
        turned = None if self.interval is None else (-self.interval[1], -self.interval[0])
        low, high = turned or (None, None)
        word = REVERSED.get(self.verdict, self.verdict)
        return replace(self, difference=-self.difference, low=low, high=high, verdict=word)

    def settled_by(self, sample: str = "image") -> str:
        """`about 7 seeds or 40 scenes would decide`; empty where nothing is left to decide, or
        where the interval alone would have decided. Without scenes it speaks of images; where a
        sample is none, a scene is a group."""
        if self.verdict != Verdict.UNDECIDED or not self._is_open():
            return ""
        grouped = "scenes" if sample == "image" else "groups"
        samples = f"{sample}s" if self.groups == self.images else grouped
        needed = {"seeds": self.seeds_needed, samples: self.groups_needed}
        ways = [f"{number} {what}" for what, number in needed.items() if number is not None]
        if not ways:
            return f"neither more seeds nor more {samples} alone would decide"
        return f"about {' or '.join(ways)} would decide"

    def _is_open(self) -> bool:
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Comparison:
        return cls(**known(cls, stored) | {"verdict": Verdict.read(stored["verdict"])})
