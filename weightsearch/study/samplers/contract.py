"""What a sampler is given, and what it gives.

Point k of a plan is a pure function of (study, k), so any number of workers and any crash gives the
same set. Only adaptive samplers wait for results: their plan holds empty places, and each is filled
when it is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec


@dataclass(frozen=True)
class Plan:
    """The points of a study in the order in which they are handed out."""

    points: tuple[Point | None, ...]
    """None: a place that is filled at claim time."""
    equivalent_left_out: int
    """Points that would have repeated another's direction."""
    seeds: tuple[int, ...] | None = None
    """One for each point, where they are not all trained with the study's."""


@dataclass(frozen=True)
class Run:
    """A run of a plan: one row of the ledger."""

    place: int
    """Of its configuration in the plan."""
    point: Point | None
    seed: int
    repeat: int = 0
    fold: int | None = None
    stage: int = 0


@dataclass(frozen=True)
class Seen:
    """A point that an adaptive sampler learns from; `value` is None while it runs."""

    point: Point
    value: float | None
    seed: int = 0


def sign(spec: StudySpec) -> int:
    """What a metric is multiplied by, so that lower is better."""
    return 1 if spec.objective.direction == "minimize" else -1


def first_distinct(spec: StudySpec, points: Iterable[Point]) -> Plan:
    """The first `sampler.trials` distinct points; repeats are left out and counted.

    Repeats are drawn where there are few choices, or only one term.
    """
    wanted = spec.sampler.trials
    assert wanted is not None  # study/spec.py refuses a study without it
    unique: dict[str, Point] = {}
    drawn = 0
    for point in islice(points, 20 * wanted):
        drawn += 1
        unique.setdefault(point.key(), point)
        if len(unique) == wanted:
            break
    return Plan(tuple(unique.values()), drawn - len(unique))
