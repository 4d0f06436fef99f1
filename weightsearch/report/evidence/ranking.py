"""Finished points in order of merit, with intervals, and which of them the data tells apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weightsearch.report.evidence.mixture_answer import MixtureAnswer
from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Verdict
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.study import search_space
from weightsearch.study.objective_contract import NOT_COMPARABLE
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

ALWAYS = ("rmse", "rel", "log10")
"""Metrics that every row has, None where the objective does not yield them."""


@dataclass(frozen=True)
class Yardstick:
    """What the numbers of a ranking are."""

    metric: str
    protocol: str | None
    """None where the study has no data."""
    split: str = "val"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def yardstick(spec: StudySpec) -> Yardstick:
    return Yardstick(spec.objective.metric, spec.evaluate.protocol if spec.data else None)


@dataclass(frozen=True)
class RankedPoint:
    """A finished point in its place. One seed each: the verdict is about these images, not about
    what another seed would give."""

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
    against_best: Verdict | None
    """None of the first, and without values per image."""
    images: int | None
    epoch: int | None
    """The best one."""
    seconds: float
    device: str

    @property
    def encoder(self) -> str:
        """Empty where the study has none."""
        return str(self.params.get("encoder", ""))

    def is_equal(self) -> bool:
        """Whether it is the best or cannot be told from it. Ties are told by a paired test where
        there are values per image; without, nothing is."""
        return self.rank == 1 or self.against_best not in (None, Verdict.WORSE)

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
            "images": self.images,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "device": self.device,
        }


@dataclass(frozen=True)
class Ranking:
    """A study's answer: its points, the best first, and what was promoted."""

    study: str
    yardstick: Yardstick
    rows: Sequence[RankedPoint]
    guards: Sequence[str]
    promoted: PromotionVerdict | None
    mixture: MixtureAnswer | None = None
    """Of a mixture study."""

    def to_json(self) -> dict[str, Any]:
        return {
            "study": self.study,
            **self.yardstick.to_json(),
            "ranking": [row.to_json() for row in self.rows],
            "guards": list(self.guards),
            "promoted": self.promoted.to_json() if self.promoted else None,
        } | ({"mixture": self.mixture.to_json()} if self.mixture else {})


def not_comparable(point: Done) -> str | None:
    """Why its metrics do not compare with those of other points; None where they do."""
    why = point.result.validation.about.get(NOT_COMPARABLE)
    return None if why is None else str(why)


def comparable(done: Sequence[Done]) -> list[Done]:
    """Those that may stand beside each other: the others diverged, or say why they may not."""
    return [point for point in done if not point.diverged() and not_comparable(point) is None]


def ranked(spec: StudySpec, done: Sequence[Done]) -> list[Done]:
    """The best first; points that diverged or do not compare are no candidates, nor are repeats of
    a configuration with another seed, which says how much is noise."""
    metric = spec.objective.metric
    first: dict[str, Done] = {}
    for one in comparable(done):
        first.setdefault(one.point.key(), one)
    candidates = list(first.values())
    worst_first = spec.objective.direction == "maximize"
    return sorted(candidates, key=lambda p: p.result.metrics[metric], reverse=worst_first)


def ranking(spec: StudySpec, done: Sequence[Done], first: int | None = None) -> list[RankedPoint]:
    """A row per point, or only for the `first` ones."""
    order = ranked(spec, done)
    return [
        _row(spec, place, point, order[0]) for place, point in enumerate(order[:first], start=1)
    ]


def _row(spec: StudySpec, place: int, point: Done, best: Done) -> RankedPoint:
    metric, result = spec.objective.metric, point.result
    values = result.samples.get(metric)
    against = None
    if place > 1 and values:
        smaller = spec.objective.direction == "minimize"
        ours, theirs = [values], [best.result.samples[metric]]
        against = comparison.paired(ours, theirs, result.groups, smaller).verdict
    shown = dict.fromkeys((metric, *spec.objective.guards, *ALWAYS))
    return RankedPoint(
        rank=place,
        point=point.point.id(),
        number=point.number,
        params=point.point.params,
        weights=search_space.decimals(point.point.weights),
        value=result.metrics[metric],
        metrics={name: result.metrics.get(name) for name in shown},
        interval=comparison.interval(values, result.groups) if values else None,
        against_best=against,
        images=result.images,
        epoch=result.epoch,
        seconds=result.seconds,
        device=result.device,
    )
