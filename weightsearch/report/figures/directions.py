"""The directions of the weights that one encoder was tried with, each by its best point: what the
maps are drawn of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weightsearch.report.evidence import configurations
from weightsearch.report.evidence import records as recorded
from weightsearch.report.evidence.configurations import Configuration, Kind, fixed
from weightsearch.report.evidence.constant import constant
from weightsearch.report.evidence.records import Records, encoder
from weightsearch.report.figures.style import Values, tabled, text
from weightsearch.runtime.safe_text import counted
from weightsearch.store.ledger.queries import Done
from weightsearch.study import search_space
from weightsearch.study.point_text import described

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """Of one encoder and metric."""

    records: Records
    metric: str
    points: Sequence[Configuration]
    """The best first, one for each direction."""
    level: Sequence[Configuration]
    """The best, and those that are equivalent or undecided against it (paired, per image)."""
    sunk: Sequence[bool]
    """Which of `points` are no better than a constant prediction, where that is known."""
    tried: int
    """Points of all directions."""

    @property
    def values(self) -> Array:
        """(n,)"""
        return np.array([done.result.metrics[self.metric] for done in self.points])

    @property
    def shares(self) -> Array:
        """(n, terms): the weights as shares of their sum."""
        return shares(self.points)

    @property
    def hover(self) -> list[str]:
        said = text(self.records.label(self.metric))
        return [
            f"point {done.number}: {text(described(done.point))}<br>{said} {value:.4g}"
            for done, value in zip(self.points, self.values, strict=True)
        ]

    def told(self) -> str:
        """The best, and what the marks mean."""
        rest = len(self.level) - 1
        verb = "are" if rest != 1 else "is"
        return (
            f"Best: {self.values[0]:.4g} at {described(self.points[0].point)}; {rest or 'no'} other"
            f" point{'s' * (rest != 1)} {verb} level with it. {self._shown()},"
            f" {self.records.measured()}, {self.records.seeds()}."
            + (f" Crosses, {sum(self.sunk)}: no better than a constant." if any(self.sunk) else "")
        )

    def _shown(self) -> str:
        """How many points, and of what each is the best."""
        if len(self.points) == self.tried:
            return f"n = {counted(self.tried, 'point')}"
        rest = others(self.records)
        over = f" over {rest}" if rest else ""
        return (
            f"n = {counted(len(self.points), 'direction')}, each by the best of its points{over}"
            f" ({counted(self.tried, 'point')})"
        )

    def table(self) -> Values:
        level = {one.point.key() for one in self.level}
        rows = (
            (
                described(one.point),
                *map(float, recorded.directions(one.point)),
                float(value),
                self._word(one.point.key() in level, sunk),
            )
            for one, value, sunk in zip(self.points, self.values, self.sunk, strict=True)
        )
        heads = "point", *self.records.terms, self.records.label(self.metric), "beside the best"
        return tabled(heads, rows)

    def _word(self, is_level: bool, is_sunk: bool) -> str:
        word = "level" if is_level else "worse"
        return f"{word}; no better than a constant" if is_sunk else word


def tried(records: Records, name: str, metric: str) -> Directions | None:
    """None where the encoder has no result of fixed weights."""
    found = [
        done
        for done in fixed(records.configurations)
        if encoder(done.point) == name and metric in done.result.metrics
    ]
    if not found:
        return None
    smaller = records.smaller_is_better(metric)
    points = best_of_each(found, metric, smaller)
    points.sort(key=lambda done: done.result.metrics[metric], reverse=not smaller)
    level = [points[0], *_equals(records, metric, points[0], points)]
    return Directions(records, metric, points, level, _sunk(records, metric, points), len(found))


def shares(points: Sequence[Done]) -> Array:
    """(n, terms)"""
    return np.array([[float(w) for w in recorded.directions(d.point)] for d in points])


def _sunk(records: Records, metric: str, points: Sequence[Done]) -> list[bool]:
    """Which networks are no better than the constant prediction, where that is known."""
    known = constant(records.configurations) if metric == records.metric else None
    if known is None:
        return [False] * len(points)
    sign = 1 if records.smaller else -1
    return [sign * done.result.metrics[metric] >= sign * known.value for done in points]


def best_of_each(points: Sequence[Kind], metric: str, smaller: bool) -> list[Kind]:
    """Of each direction the point with the best metric, whatever else was searched: a rate at which
    nothing learns says nothing of the weights. In the order in which directions first came."""
    best: dict[object, Kind] = {}
    for done in points:
        held = best.setdefault(recorded.directions(done.point), done)
        value, other = done.result.metrics[metric], held.result.metrics[metric]
        if value < other if smaller else value > other:
            best[recorded.directions(done.point)] = done
    return list(best.values())


def others(records: Records) -> str:
    """What is searched beside encoder and weights, by name."""
    known = ("encoder", search_space.WEIGHTING)
    return ", ".join(text(name) for name in records.searched if name not in known)


def _equals(
    records: Records, metric: str, best: Configuration, points: Sequence[Configuration]
) -> list[Configuration]:
    """Those that are not worse than the best, or worse within the margin."""
    is_deciding = metric == records.metric
    margin = records.spec.answer.delta().of(best.result.metrics[metric], is_deciding)
    found = []
    for one in points:
        pairs = configurations.common(one.runs, best.runs)
        test = configurations.compared(records.spec, pairs, metric, margin)
        if one is not best and test is not None and test.verdict.is_level():
            found.append(one)
    return found


def pairs(points: Sequence[Done]) -> list[tuple[Done, Done]]:
    """Points of one configuration whose weights differ by a common factor alone."""
    groups: dict[object, list[Done]] = {}
    for done in points:
        key = (recorded.directions(done.point), tuple(sorted(done.point.params.items())))
        groups.setdefault(key, []).append(done)
    return [pair for same in groups.values() for pair in itertools.combinations(same, 2)]
