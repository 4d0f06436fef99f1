"""What a night measured, and how it compares with its baseline, metric by metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from weightsearch.runtime.stored_json import known
from weightsearch.stats.comparison_result import Verdict


@dataclass(frozen=True)
class CanaryRuns:
    """A canary's runs by seed; one of which the loss was no number has no metrics."""

    point: str = ""
    """Its id."""
    seeds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Per seed each metric."""
    samples: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """Per seed and metric one value per image."""
    groups: Sequence[str] = ()
    """The scene of each image."""

    def to_json(self) -> dict[str, Any]:
        means = {"point": self.point, "seeds": self.seeds}
        return means | ({"samples": self.samples, "groups": self.groups} if self.samples else {})


@dataclass(frozen=True)
class SearchBest:
    """The best point of a night's search."""

    value: float
    weights: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class NightValues:
    """What is kept of a night: of the canaries with every seed done, and of the search."""

    canaries: Mapping[str, CanaryRuns] = field(default_factory=dict)
    search: str | None = None
    """The digest of the search's settings; None where it is not done."""
    best: SearchBest | None = None
    devices: Sequence[str] = ()
    """Kinds: cpu, cuda."""
    hosts: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def means_only(self) -> NightValues:
        """Without the values per image, which stay in the night's studies and in the baseline."""
        bare = {n: replace(runs, samples={}, groups=()) for n, runs in self.canaries.items()}
        return replace(self, canaries=bare)

    def to_json(self) -> dict[str, Any]:
        return {
            "canaries": {name: runs.to_json() for name, runs in self.canaries.items()},
            "search": self.search,
            "best": asdict(self.best) if self.best else None,
            "devices": list(self.devices),
            "hosts": list(self.hosts),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> NightValues:
        best, canaries = stored.get("best"), stored.get("canaries", {})
        return cls(
            **known(cls, stored)
            | {
                "canaries": {n: CanaryRuns(**known(CanaryRuns, c)) for n, c in canaries.items()},
                "best": SearchBest(**known(SearchBest, best)) if best else None,
            }
        )


class Moved(StrEnum):
    """Where a metric went."""

    WORSE = "worse"
    BETTER = "better"
    WITHIN_THE_BAND = "within the band"
    NO_SPREAD = "no spread"
    """The baseline's seeds all gave one value, so there is no band."""


@dataclass(frozen=True)
class Row:
    """One metric of one canary, or of the search's best (`canary` is None)."""

    canary: str | None
    metric: str
    baseline: float
    tonight: float | None
    """None where the loss was no number."""
    difference: float | None
    band: float
    """How far the mean may lie from the baseline's, whatever the seeds."""
    paired_band: float | None
    """How far, where every seed moved by about as much; None of a single run."""
    seeds: int
    worse_seeds: int
    moved: Moved
    limit: float
    """The narrower band: what decides."""
    paired: Sequence[float] | None = None
    """The paired interval over scenes; None without values per image, like the next."""
    scenes: Sequence[tuple[str, float]] = ()
    """Those that moved most, the worst first, and by how much."""
    margin: float | None = None
    """The difference that would matter, in the metric's unit; None where none was stated."""

    @property
    def verdict(self) -> Verdict:
        """On tonight, against the baseline: within the margin is what lies there by the band, too.

        What is undecided is no regression: no more was to be seen with these seeds.
        """
        if self.moved == Moved.NO_SPREAD:
            return Verdict.UNDECIDED
        if self.difference is None:
            return Verdict.WORSE
        inside = self.margin is not None and abs(self.difference) + self.limit < self.margin
        if self.moved == Moved.WITHIN_THE_BAND:
            return Verdict.EQUIVALENT if inside else Verdict.UNDECIDED
        if self.moved == Moved.WORSE:
            return Verdict.WORSE_WITHIN if inside else Verdict.WORSE
        return Verdict.BETTER_WITHIN if inside else Verdict.BETTER

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Row:
        return cls(**known(cls, stored) | {"moved": Moved(stored["moved"])})
