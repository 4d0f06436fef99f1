"""Finished points in order of merit, with intervals, and which of them the data tells apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weightsearch.report.evidence import configurations
from weightsearch.report.evidence import constant as constants
from weightsearch.report.evidence.configurations import Configuration
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.queries import Done
from weightsearch.study import search_space
from weightsearch.study.objective_contract import NOT_COMPARABLE
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

ALWAYS = ("rmse", "rel", "log10")
"""Metrics that every row has, None where the objective does not yield them."""

NAMED = 20
"""Points that a sentence names."""


@dataclass(frozen=True)
class Yardstick:
    """What the numbers of a ranking are."""

    metric: str
    protocol: str | None
    """None where the study has no data."""
    split: str = "val"

    @property
    def of_depth(self) -> bool:
        """Whether they are errors of depth, measured by a protocol, on images."""
        return self.protocol is not None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def yardstick(spec: StudySpec) -> Yardstick:
    return Yardstick(spec.objective.metric, spec.evaluate.protocol if spec.data else None)


@dataclass(frozen=True)
class RankedPoint:
    """A finished configuration in its place. With one repeat each, the verdict is about these
    images, not about what another seed would give."""

    rank: int
    """From 1."""
    point: str
    """Its id."""
    number: int
    """Its place in the plan."""
    params: Mapping[str, Value]
    weights: Mapping[str, float]
    value: float
    """Of the deciding metric."""
    metrics: Mapping[str, float | None]
    """The deciding one first, then the guards and `ALWAYS`."""
    interval: tuple[float, float] | None
    """Of the deciding metric, over scenes; None without values per image."""
    comparison: Comparison | None
    """With the first, paired; verdicts hold for all rows together (Holm). None of the first, and
    without values per image."""
    against_constant: Verdict | None
    """Against the constant prediction; None where the results know of none."""
    images: int | None
    epoch: int | None
    """The best one, of the first repeat."""
    seconds: float
    """Of all repeats."""
    device: str
    repeats: int = 1
    """Runs that the values are means over."""

    @property
    def encoder(self) -> str:
        """Empty where the study has none."""
        return str(self.params.get("encoder", ""))

    @property
    def against_best(self) -> Verdict | None:
        return self.comparison.verdict if self.comparison else None

    def is_level(self) -> bool:
        """Whether it is the best, comes to the same, or cannot be told from it. Without values per
        image nothing is told."""
        return self.rank == 1 or (self.against_best is not None and self.against_best.is_level())

    def beats_the_constant(self) -> bool:
        """Whether it is shown to; True where nothing is known of one."""
        return self.against_constant in (None, Verdict.BETTER, Verdict.BETTER_WITHIN)

    def to_json(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "point": self.point,
            "number": self.number,
            "encoder": self.params.get("encoder"),
            "params": dict(self.params),
            "weights": dict(self.weights),
            **self.metrics,
            "interval": list(self.interval) if self.interval else None,
            "against_best": self.against_best,
            "comparison": self.comparison.to_json() if self.comparison else None,
            "against_constant": self.against_constant,
            "images": self.images,
            "epoch": self.epoch,
            "repeats": self.repeats,
            "seconds": self.seconds,
            "device": self.device,
        }


def repeated(rows: Sequence[RankedPoint]) -> str:
    """`one seed`, `means over 5 seeds`, `means over up to 5 seeds`."""
    most = max((row.repeats for row in rows), default=1)
    up_to = "up to " * (len({row.repeats for row in rows}) > 1)
    return "one seed" if most == 1 else f"means over {up_to}{most} seeds"


def beside_the_constant(rows: Sequence[RankedPoint]) -> str:
    """Which networks are shown to be better than the constant prediction, and which were never
    compared with it: there are no values per image. Empty of no rows."""
    compared = [row for row in rows if row.against_constant is not None]
    if not compared:
        return "not compared with the networks ranked" if rows else ""
    level = [row for row in compared if not row.beats_the_constant()]
    better = [row for row in compared if row.beats_the_constant()]
    if not level:
        said = "every network ranked is better"
    elif not better:
        said = "no network is shown to be better"
    elif len(better) < len(level):
        said = f"only shown to be better: {_points(better)}"
    else:
        said = f"not shown to be better: {_points(level)}"
    if len(compared) == len(rows):
        return said
    said = said if level else "every network compared is better"
    return f"{said}; not compared: {_points([r for r in rows if r.against_constant is None])}"


def _points(rows: Sequence[RankedPoint]) -> str:
    """`points 3, 8`."""
    named = ", ".join(str(row.number) for row in rows[:NAMED]) + ", ..." * (len(rows) > NAMED)
    return f"point{'s' * (len(rows) > 1)} {named}"


def not_comparable(point: Done) -> str | None:
    """Why its metrics do not compare with those of other points; None where they do."""
    why = point.result.validation.about.get(NOT_COMPARABLE)
    return None if why is None else str(why)


def comparable(done: Sequence[Done]) -> list[Done]:
    """Those that may stand beside each other: the others diverged, or say why they may not."""
    return [point for point in done if not point.diverged() and not_comparable(point) is None]


def ranked(spec: StudySpec, done: Sequence[Done]) -> list[Configuration]:
    """The best first, each by all of its runs; those that diverged or do not compare do not
    count."""
    metric = spec.objective.metric
    candidates = configurations.configurations(spec, comparable(done))
    worst_first = spec.objective.direction == "maximize"
    return sorted(candidates, key=lambda p: p.result.metrics[metric], reverse=worst_first)


def ranking(spec: StudySpec, done: Sequence[Done], first: int | None = None) -> list[RankedPoint]:
    """A row per point, or only for the `first` ones.

    That a row is "worse" than the first says that it is not the best: the first was chosen by the
    same images, and Holm's correction over all rows is what makes that hold (Hsu, Ann. Stat. 12,
    1984). So are the verdicts on the constant prediction corrected: of many networks that are no
    better, one would be called so by chance.
    """
    order = ranked(spec, done)
    tests = _against_first(spec, order) if first is None or first > 1 else {}
    constant = _against_constant(spec, order)
    return [
        _row(spec, place, point, tests.get(point.point.id()), constant.get(point.point.id()))
        for place, point in enumerate(order[:first], start=1)
    ]


def _against_first(spec: StudySpec, order: Sequence[Configuration]) -> dict[str, Comparison]:
    """By id: the paired comparison of each with the first, of those with values per image."""
    if not order:
        return {}
    metric, best, margin = spec.objective.metric, order[0], _margin(spec, order)
    return configurations.together(
        spec,
        {
            one.point.id(): configurations.compared(
                spec, configurations.common(one.runs, best.runs), metric, margin
            )
            for one in order[1:]
        },
    )


def _against_constant(spec: StudySpec, order: Sequence[Configuration]) -> dict[str, Comparison]:
    """By id: each with the constant prediction, of those that can be compared with one."""
    if (told := constants.constant(order)) is None:
        return {}
    margin = _margin(spec, order)
    found = {one.point.id(): told.compared(spec, one.runs, margin) for one in order}
    return configurations.together(spec, found)


def _margin(spec: StudySpec, order: Sequence[Configuration]) -> float | None:
    return spec.answer.delta().of(order[0].result.metrics[spec.objective.metric])


def _row(
    spec: StudySpec,
    place: int,
    point: Configuration,
    first: Comparison | None,
    constant: Comparison | None,
) -> RankedPoint:
    metric, result = spec.objective.metric, point.result
    shown = dict.fromkeys((metric, *spec.objective.guards, *ALWAYS))
    return RankedPoint(
        rank=place,
        point=point.point.id(),
        number=point.number,
        params=point.point.params,
        weights=search_space.decimals(point.point.weights),
        value=result.metrics[metric],
        metrics={name: result.metrics.get(name) for name in shown},
        interval=configurations.of_value(point, metric),
        comparison=first,
        against_constant=constant.verdict if constant else None,
        images=result.images,
        epoch=result.epoch,
        seconds=result.seconds,
        device=result.device,
        repeats=len(point.runs),
    )
