"""What a look is given and what it gives: frozen values, which a ledger can store as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from weightsearch.runtime.stored_json import known


@dataclass(frozen=True)
class Row:
    """A committed row: one run of a configuration, up to the end of a stage."""

    key: str
    """Of the configuration."""
    repeat: int
    stage: int
    """0 is the first; the last is the whole run."""
    value: float | None
    """The deciding metric; None of a run that diverged."""
    samples: Sequence[float] | None = None
    """The deciding metric of each image, where the objective gives it."""
    groups: Sequence[str] = ()
    """The scene of each image; empty: each counts as its own."""

    @property
    def is_valued(self) -> bool:
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True)
class Next:
    """A row that a look asks for."""

    key: str
    repeat: int
    stage: int
    audit: bool = False
    """Of a configuration that was dropped; it is trained on to see whether that was right."""


class Why(StrEnum):
    """Why a configuration does not go on."""

    WORSE = "worse than the leader by more than the margin"
    BEHIND = "behind at a rung"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def is_judged(self) -> bool:
        """Whether its results were compared, and so can be audited."""
        return self in (Why.WORSE, Why.BEHIND)


@dataclass(frozen=True)
class Drop:
    """A configuration that does not go on."""

    key: str
    why: Why
    against: str | None = None
    """The leader it was compared with."""
    difference: float | None = None
    """Its metric less the leader's."""
    low: float | None = None
    """The interval of the difference at the level of the decision; None where there is none."""
    high: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How far shared and scratch runs of a pilot order its configurations alike."""

    group: str
    """Its choices; empty of all groups together."""
    n: int
    """Configurations that have both runs."""
    tau: float | None
    """Kendall's tau-b; None where nothing can be ordered."""


@dataclass(frozen=True)
class Pilot:
    """What a pilot said, and so whether the rest is trained in the shared form."""

    shared: bool
    agreements: tuple[Agreement, ...]
    failed: tuple[str, ...] = ()
    """Keys of configurations that were given up in one form: they do not count."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Pilot:
        facts = known(cls, stored)
        facts["agreements"] = tuple(
            Agreement(**known(Agreement, one)) for one in facts["agreements"]
        )
        return cls(**facts | {"failed": tuple(facts.get("failed", ()))})


@dataclass(frozen=True)
class Decision:
    """What one look decided."""

    look: int
    """0 is the first."""
    leader: str | None
    """The best so far of those that are left; None where none has a value."""
    next: tuple[Next, ...] = ()
    """What is to be trained before the next look, or to the end where there is none."""
    dropped: tuple[Drop, ...] = ()
    """At this look; what is dropped stays so."""
    stopped: str | None = None
    """Why nothing more is trained; None where the study goes on."""
    level: float = 0.0
    """Of each test of this look, one-sided; 0 where nothing was tested."""
    pilot: Pilot | None = None
    """Of the look of a study with [share] at which it was judged."""

    def to_json(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "pilot" or v is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Decision:
        facts = known(cls, stored)
        facts["next"] = tuple(Next(**known(Next, n)) for n in facts.get("next", ()))
        facts["dropped"] = tuple(
            Drop(**known(Drop, d) | {"why": Why(d["why"])}) for d in facts.get("dropped", ())
        )
        if facts.get("pilot") is not None:
            facts["pilot"] = Pilot.from_json(facts["pilot"])
        return cls(**facts)
