"""What a mixture study says: how far its surface is to be believed, and the region of the best.

A direction is the best only within a margin. The answer is therefore all round directions whose
predicted metric is within the margin of the best prediction, which of the terms may be left out
there, and the simplest of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weightsearch.runtime.safe_text import counted
from weightsearch.stats.response_surface import LEVEL, SKILL, LackOfFit, Surface
from weightsearch.store.ledger.queries import Done
from weightsearch.study import point_text, search_space
from weightsearch.study.samplers import mixture
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec


@dataclass(frozen=True)
class Predicted:
    """A direction with what the surface predicts there."""

    point: str
    """Its id."""
    text: str
    """`0.6 mae + 0.4 ssim, densenet121`."""
    weights: Mapping[str, float]
    params: Mapping[str, Any]
    value: float
    deviation: float
    """One standard deviation of the prediction."""


@dataclass(frozen=True)
class Span:
    """What one term's weight may be within the region."""

    low: float
    high: float

    def can_be_left_out(self) -> bool:
        return self.low == 0


@dataclass(frozen=True)
class BestRegion:
    """Round directions within the margin of the best prediction, with the best's choices."""

    best: Predicted
    simplest: Predicted
    """Of the fewest terms, then of the roundest numbers."""
    directions: int
    of: int
    """How many there are."""
    weights: Mapping[str, Span]


@dataclass(frozen=True)
class MixtureAnswer:
    """The answer of a mixture study so far."""

    metric: str
    margin: str
    """As the study states it."""
    results: int
    configurations: int
    skill: float | None
    """Of leave-one-out predictions against the mean; None of no surface."""
    lack_of_fit: LackOfFit | None
    """None where nothing was repeated."""
    doubt: str | None
    """Why the surface is not to be believed; None where it is."""
    region: BestRegion | None
    """None where the surface is not to be believed."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentences(self) -> list[str]:
        """One line each."""
        found = [
            f"surface of {counted(self.results, 'result')} of"
            f" {counted(self.configurations, 'configuration')}"
        ]
        if self.skill is not None:
            found.append(f"leave-one-out skill {self.skill:.2f} against the mean")
            lack = self.lack_of_fit
            tested = f"p = {lack.p:.2g}" if lack else "not tested (too few repeats or results)"
            found.append(f"lack of fit {tested}")
        lines = ["; ".join(found)]
        if self.region is None:
            return [*lines, f"no region is named: {self.doubt}; what was measured stands"]
        best, simplest = self.region.best, self.region.simplest
        spans = ", ".join(f"{term} {_span(span)}" for term, span in self.region.weights.items())
        return [
            *lines,
            f"within {self.margin} of the best prediction ({best.text}: {self.metric}"
            f" {_value(best)}): {self.region.directions} of"
            f" {counted(self.region.of, 'direction')}; {spans}",
            f"the simplest of them: {simplest.text} ({self.metric} {_value(simplest)} predicted)",
        ]


def _value(found: Predicted) -> str:
    return f"{found.value:.4f} ± {found.deviation:.4f}"


def _span(span: Span) -> str:
    left_out = " (can be left out)" if span.can_be_left_out() else ""
    return f"{span.low:.3g}..{span.high:.3g}{left_out}"


def answer(spec: StudySpec, done: Sequence[Done]) -> MixtureAnswer | None:
    """The answer from results that stand beside each other; None of another sampler's study."""
    if spec.sampler.kind != "mixture":
        return None
    seen = _seen(spec, done)
    surface = mixture.fitted(spec, seen)
    doubt = _doubt(surface)
    return MixtureAnswer(
        metric=spec.objective.metric,
        margin=str(spec.answer.delta()),
        results=len(seen),
        configurations=len({s.point.key() for s in seen}),
        skill=surface.skill if surface else None,
        lack_of_fit=surface.lack_of_fit if surface else None,
        doubt=doubt,
        region=(_region(spec, mixture.region(spec, surface)) if surface and not doubt else None),
    )


def finalists(spec: StudySpec, done: Sequence[Done], ranked: Sequence[Point]) -> list[Point]:
    """Configurations in the order in which they deserve a full run; `ranked` as they are, unless
    this is a mixture study.

    Where its surface is believed: the one of the best prediction; the best measured, as a surface
    errs too; the best prediction that leaves a term out, if it may be within the margin (two
    standard deviations); the simplest within the margin; then the rest, by prediction. Otherwise
    the best measured, the best measured that leaves a term out, and the rest. A face is a claim,
    that a term is not needed, and deserves its test. Learned weightings, of which the surface knows
    nothing, keep their places.
    """
    fixed = [point for point in ranked if point.weighting is None]
    if spec.sampler.kind != "mixture" or not fixed:
        return list(ranked)
    ordered = iter(by_surface(spec, _seen(spec, done), fixed))
    return [next(ordered) if point.weighting is None else point for point in ranked]


def by_surface(spec: StudySpec, seen: Sequence[Seen], ranked: Sequence[Point]) -> list[Point]:
    """Points of fixed weights, the best measured first, in `finalists`' order; at least one."""
    faces = [i for i, point in enumerate(ranked) if 0 in point.weights.values()]
    surface = mixture.fitted(spec, seen)
    if surface is None or not surface.is_believed():
        return [ranked[i] for i in dict.fromkeys([0, *faces[:1], *range(len(ranked))])]
    at = mixture.Inputs.of(spec, ranked)
    means, _ = surface.predict(at.features, at.groups)
    lowest = surface.at_best(at.features, at.groups, deviations=2)
    order = sorted(range(len(ranked)), key=lambda i: means[i])
    limit = means[order[0]] + mixture.margin(spec, means[order[0]])
    inside = [i for i in order if means[i] <= limit]
    simplest = min(inside, key=lambda i: mixture.simplicity(ranked[i]))
    maybe = [i for i in order if i in faces and lowest[i] <= limit]
    return [ranked[i] for i in dict.fromkeys([order[0], 0, *maybe[:1], simplest, *order])]


def _seen(spec: StudySpec, done: Sequence[Done]) -> list[Seen]:
    metric = spec.objective.metric
    fixed = (d for d in done if d.point.weighting is None)
    return [Seen(d.point, d.result.metrics[metric], d.seed) for d in fixed]


def _doubt(surface: Surface | None) -> str | None:
    if surface is None:
        return "there are too few results, or all are equal"
    if surface.skill < SKILL:
        return f"its skill is below {SKILL:g}, as noise alone may show"
    if not surface.is_believed():
        return f"it misses the results by more than repeats differ (p < {LEVEL:g})"
    return None


def _region(spec: StudySpec, found: mixture.Region) -> BestRegion:
    return BestRegion(
        best=_predicted(spec, found.best, *found.predicted),
        simplest=_predicted(spec, found.simplest, *found.simplest_predicted),
        directions=len(found.members),
        of=found.of,
        weights={
            term: Span(float(min(weights)), float(max(weights)))
            for term in spec.loss.terms
            if (weights := [member.weights[term] for member in found.members])
        },
    )


def _predicted(spec: StudySpec, point: Point, value: float, deviation: float) -> Predicted:
    varied = search_space.varied(spec)
    shown = {name: value for name, value in point.params.items() if name in varied}
    return Predicted(
        point=point.id(),
        text=point_text.described(Point(point.weights, shown)),
        weights=search_space.decimals(point.weights),
        params=dict(point.params),
        value=value,
        deviation=deviation,
    )
