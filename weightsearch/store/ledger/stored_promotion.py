"""The verdict of a promotion, as `studies.promoted` keeps it and as commands print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from weightsearch.runtime.stored_json import known
from weightsearch.stats.comparison_result import Comparison
from weightsearch.study.spec_fields import Value


class Promoted(StrEnum):
    """Why the promoted one was chosen."""

    WINNER = "winner"
    """It is better than every other finalist."""
    EQUIVALENT = "equivalent"
    """The simplest of those from which the best differs by less than the margin."""
    UNDECIDED = "undecided"
    """The simplest of those that may be as good as the best, which is not shown."""
    NO_DIFFERENCE = "no difference shown"
    """The last two before there was a margin; only stored ones have it."""
    ONLY_FINALIST = "the only finalist"


@dataclass(frozen=True, kw_only=True)
class FinalistScores:
    """A finalist's means over its full runs, one per seed."""

    point: str
    """Its id."""
    params: Mapping[str, Value]
    weights: Mapping[str, float]
    validation: Mapping[str, float]
    """The deciding metric."""
    validation_images: int | None = None
    validation_interval: Sequence[float] | None = None
    """Over scenes, of the deciding metric; the same of the test."""
    parameters: float | None = None
    """How many the network has."""
    seeds: int
    checkpoints: Sequence[str] = ()
    """A folder for each run that keeps its network."""
    test: Mapping[str, float] | None = None
    """Every metric of the test split; None where the objective has none."""
    test_images: int | None = None
    test_interval: Sequence[float] | None = None

    def to_json(self) -> dict[str, Any]:
        absent = ("test", "test_images", "test_interval") if self.test is None else ()
        return {name: value for name, value in asdict(self).items() if name not in absent}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FinalistScores:
        return cls(**known(cls, stored))


@dataclass(frozen=True)
class FinalistComparison:
    """The paired test of the best against another finalist."""

    point: str
    """The best one's id."""
    against: str
    deciding: Comparison
    """By the deciding metric; better only where no guard is harmed."""
    guards: Mapping[str, Comparison] = field(default_factory=dict)
    harmed: Sequence[str] = ()
    """The guards that are worse."""

    def to_json(self) -> dict[str, Any]:
        guards = {name: guard.to_json() for name, guard in self.guards.items()}
        names = {"point": self.point, "against": self.against}
        return {**names, **self.deciding.to_json(), "guards": guards, "harmed": list(self.harmed)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FinalistComparison:
        guards = stored.get("guards", {})
        return cls(
            point=stored["point"],
            against=stored["against"],
            deciding=Comparison.from_json(stored),
            guards={name: Comparison.from_json(guard) for name, guard in guards.items()},
            harmed=stored.get("harmed", []),
        )


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What a promoted network came from."""

    study: str
    digest: str
    """Of the study's settings."""
    data_digest: str | None = None
    search_points: int
    """Those that were done."""
    coverage: float | None = None
    """Their share of all that were planned."""
    seeds: Sequence[int]
    commit: str | None = None
    versions: Mapping[str, str] | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Lineage:
        return cls(**known(cls, stored))


@dataclass(frozen=True, kw_only=True)
class PromotionVerdict:
    """Which point was promoted, and on what evidence."""

    verdict: Promoted
    point: str
    """Its id."""
    params: Mapping[str, Value]
    weights: Mapping[str, float]
    checkpoint: str | None
    """The folder of its best run; None where the objective has written nothing there."""
    host: str | None = None
    """Where that folder lies."""
    seed: int
    """Of its best run."""
    metric: str
    protocol: str | None
    """Of the test; None where the study has no data."""
    split: str = "test"
    finalists: Sequence[FinalistScores]
    """The best first."""
    comparisons: Sequence[FinalistComparison]
    incomplete: Sequence[str] = ()
    """Ids of the finalists that lack a run."""
    lineage: Lineage
    decided_at: str
    """ISO 8601."""
    settings: Mapping[str, Any] | None = None
    """The study's `promote` table; None in a verdict of an earlier release."""
    previous: Sequence[Mapping[str, Any]] = ()
    """Earlier verdicts, by other settings, as they were stored; the latest first."""
    stored: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The JSON that it was read from, whichever version wrote it: it is printed as it is."""

    @property
    def of_depth(self) -> bool:
        """Whether its metrics are errors of depth, measured by a protocol, on images."""
        return self.protocol is not None

    def history(self, settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What comes before a new verdict by these settings."""
        if self.settings in (None, settings):
            return list(self.previous)
        mine = {name: value for name, value in self.to_json().items() if name != "previous"}
        return [mine, *self.previous]

    def chosen(self) -> FinalistScores:
        """The promoted one's scores."""
        return next(f for f in self.finalists if f.point == self.point)

    def to_json(self) -> dict[str, Any]:
        if self.stored is not None:
            return dict(self.stored)
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "stored"}
        return plain | {
            "finalists": [finalist.to_json() for finalist in self.finalists],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "lineage": asdict(self.lineage),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PromotionVerdict:
        return cls(
            **known(cls, stored)
            | {
                "verdict": Promoted(stored["verdict"]),
                "finalists": [FinalistScores.from_json(f) for f in stored["finalists"]],
                "comparisons": [FinalistComparison.from_json(c) for c in stored["comparisons"]],
                "lineage": Lineage.from_json(stored["lineage"]),
                "stored": stored,
            }
        )
