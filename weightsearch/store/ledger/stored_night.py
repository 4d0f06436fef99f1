"""The verdict on a night, as `nights.verdict` keeps it and as commands print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from weightsearch.runtime.stored_json import known
from weightsearch.stats.night_values import NightValues, Row


class NightWord(StrEnum):
    """The verdict in a word."""

    OK = "ok"
    REGRESSION = "regression"
    NOT_JUDGED = "not judged"


class Mover(StrEnum):
    """Whose doing it is: canaries move with the code, the best also with the search."""

    CODE_AND_SEARCH = "code and search"
    CODE = "code"
    SEARCH = "search"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Acceptance:
    """Who made which night the baseline, when and why."""

    id: int
    """The baseline's."""
    night: str
    accepted_by: str
    accepted_at: str
    """ISO 8601."""
    why: str
    previous: int | None
    """The id of the baseline that it replaced."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Acceptance:
        return cls(**known(cls, stored))


@dataclass(frozen=True, kw_only=True)
class NightVerdict:
    """Whether a night is worse than its baseline, in which metrics, and whose doing it is."""

    sweep: str
    night: str
    commit: str
    began_at: str
    """ISO 8601."""
    verdict: NightWord
    answer: str = ""
    """The verdict in one or two sentences."""
    moved: Mover = Mover.NOTHING
    metric: str = ""
    """The deciding one."""
    of_depth: bool = True
    """Else an own objective's: its metric has no unit that is known."""
    level: float
    """At which all comparisons hold together."""
    rows: Sequence[Row] = ()
    reasons: Sequence[str] = ()
    """Why it could not be judged, or not in full."""
    notes: Sequence[str] = ()
    """What else is not as it was."""
    baseline: Acceptance | None = None
    measured: NightValues = field(default_factory=NightValues)
    """Without the values per image."""
    studies: Sequence[str] = ()
    """Names of the night's studies: the canaries', the search's."""
    device_seconds: float | None = None
    """Of all of their attempts; None in a verdict of an earlier release."""
    stored: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The JSON that it was read from, whichever version wrote it: it is printed as it is."""

    def to_json(self) -> dict[str, Any]:
        if self.stored is not None:
            return dict(self.stored)
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "stored"}
        return plain | {
            "rows": [row.to_json() for row in self.rows],
            "baseline": self.baseline.to_json() if self.baseline else None,
            "measured": self.measured.to_json(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> NightVerdict:
        baseline = stored.get("baseline")
        return cls(
            **known(cls, stored)
            | {
                "verdict": NightWord(stored["verdict"]),
                "moved": Mover(stored.get("moved", Mover.NOTHING)),
                "rows": [Row.from_json(row) for row in stored.get("rows", ())],
                "baseline": Acceptance.from_json(baseline) if baseline else None,
                "measured": NightValues.from_json(stored.get("measured", {})),
                "stored": stored,
            }
        )
