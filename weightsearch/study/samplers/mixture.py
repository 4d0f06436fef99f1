"""`mixture`: a designed experiment over the simplex, then points of expected improvement.

The plan is a design with every vertex and the faces, and repeats of its vertices and centroid with
another seed, which say how much is noise. Each place after it is chosen when it is claimed: where a
surface through the results so far expects the greatest improvement, among round directions on every
face and inside, and draws between them. The last place goes to the simplest direction that is
within the margin of the best. While the surface is not to be believed, places are drawn at random.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsearch.study import search_space
from weightsearch.study.samplers import mixture_design
from weightsearch.study.samplers.contract import Plan, Seen, sign
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

if TYPE_CHECKING:
    import numpy as np

    from weightsearch.stats.response_surface import Rows, Surface

DRAWS = 500
"""Directions between the round ones that are weighed for a place."""
APART = 0.54
"""Puts two combinations of choices 0.76 apart, as the middle of an edge is from its ends, so that
they share what they have in common."""


def plan(spec: StudySpec) -> Plan:
    """The design with every choice, its repeats where the study asks for none, then empty places;
    the first `trials` of them."""
    trials, terms = spec.sampler.trials, spec.loss.terms
    assert trials is not None
    seeds = (spec.train.seed, _second(spec))
    # Else every configuration is repeated, or compared with others over the seeds of the study.
    own_repeats = spec.answer.repeats == 1 and spec.pruner.kind == "none"
    designs = ((mixture_design.design, seeds[0]), (mixture_design.repeats, seeds[1]))
    rows: list[tuple[Point | None, int]] = [
        (Point(dict(zip(terms, shares, strict=True)), params), seed)
        for design, seed in designs[: 2 if own_repeats else 1]
        for shares in design(len(terms))
        for params in combinations(spec)
    ]
    rows += [(None, spec.train.seed)] * (trials - len(rows))
    own = tuple(seed for _, seed in rows[:trials])
    return Plan(tuple(p for p, _ in rows[:trials]), 0, own if len(set(own)) > 1 else None)


def _second(spec: StudySpec) -> int:
    """The seed of the repeats: fresh to the study, and to its promotion."""
    used = {spec.train.seed, *(spec.promote.seeds if spec.promote else ())}
    return next(seed for seed in itertools.count() if seed not in used)


def ask(spec: StudySpec, k: int, seen: Sequence[Seen]) -> Point | None:
    """What to try at place k, given what is known; None where there is no proposal."""
    surface = fitted(spec, seen)
    if surface is None or not surface.is_believed():
        return None
    tried = {s.point.key() for s in seen}
    if k + 1 == spec.sampler.trials:
        simplest = region(spec, surface).simplest
        if simplest.key() not in tried:
            return simplest
    running = Inputs.of(spec, [s.point for s in seen if s.value is None])
    believed = surface.believing(running.features, running.groups)
    draws = [search_space.draw(spec, k, again).weights for again in range(DRAWS)]
    points = [*round_points(spec), *crossed(spec, [tuple(d.values()) for d in draws])]
    at = Inputs.of(spec, points)
    gains = believed.expected_improvement(at.features, at.groups)
    order = sorted(range(len(points)), key=lambda i: -gains[i])
    return next((points[i] for i in order if points[i].key() not in tried), None)


def fitted(spec: StudySpec, seen: Sequence[Seen]) -> Surface | None:
    """The surface through what is finished, lower being better; None before there is enough."""
    import numpy as np

    from weightsearch.stats import response_surface

    done = [(s, s.value) for s in seen if s.value is not None]
    if not done:
        return None
    places = Inputs.of(spec, [s.point for s, _ in done])
    keys = [s.point.key() for s, _ in done]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    rows: Rows = response_surface.Rows(
        inputs=places.features,
        values=np.array([sign(spec) * value for _, value in done]),
        groups=places.groups,
        configurations=np.array([numbers[key] for key in keys]),
        seeds=np.array([s.seed for s, _ in done]),
    )
    return response_surface.fit(rows)


def combinations(spec: StudySpec) -> list[dict[str, Value]]:
    """Every combination of what is chosen beside the weights."""
    options = search_space.levels(spec)
    return [dict(zip(options, p, strict=True)) for p in itertools.product(*options.values())]


def crossed(spec: StudySpec, directions: Sequence[mixture_design.Shares]) -> list[Point]:
    """Each direction with every combination of choices."""
    return [
        Point(dict(zip(spec.loss.terms, shares, strict=True)), params)
        for params in combinations(spec)
        for shares in directions
    ]


def round_points(spec: StudySpec) -> list[Point]:
    """The round directions with every combination of choices."""
    return crossed(spec, mixture_design.round_directions(len(spec.loss.terms)))


def margin(spec: StudySpec, best: float) -> float:
    """The difference from the best value that would change nobody's mind."""
    found = spec.answer.delta().of(float(best))
    assert found is not None  # of the deciding metric there is always one
    return found


def simplicity(point: Point) -> tuple[int, int]:
    """Fewer terms first, then rounder numbers."""
    weights = point.weights.values()
    return sum(w > 0 for w in weights), max(w.denominator for w in weights)


@dataclass(frozen=True)
class Inputs:
    """Points as a surface takes them."""

    features: np.ndarray
    """(points, terms + combinations): sqrt(w), and a column for each combination."""
    groups: np.ndarray
    """(points,): which combination."""

    @staticmethod
    def of(spec: StudySpec, points: Sequence[Point]) -> Inputs:
        import numpy as np

        terms, known = spec.loss.terms, combinations(spec)
        weights = [[float(point.weights[term]) for term in terms] for point in points]
        groups = np.array([known.index(dict(point.params)) for point in points], dtype=int)
        roots = np.sqrt(np.reshape(weights, (len(points), len(terms))))
        return Inputs(np.hstack([roots, APART * np.eye(len(known))[groups]]), groups)


@dataclass(frozen=True)
class Region:
    """Round directions whose predicted metric is within the margin of the best prediction."""

    best: Point
    predicted: tuple[float, float]
    """Of the best: the metric, and one standard deviation of the prediction."""
    members: Sequence[Point]
    """With the best's choices; the best among them."""
    of: int
    """How many there are with those choices."""
    simplest: Point
    """Of the fewest terms, then of the roundest numbers, then of the best prediction."""
    simplest_predicted: tuple[float, float]


def region(spec: StudySpec, surface: Surface) -> Region:
    """The region of a surface."""
    points = round_points(spec)
    means, deviations = surface.predict(*vars(Inputs.of(spec, points)).values())
    lowest = int(means.argmin())
    limit = means[lowest] + margin(spec, means[lowest])
    same = [i for i, point in enumerate(points) if point.params == points[lowest].params]
    members = [i for i in same if means[i] <= limit]

    def predicted(i: int) -> tuple[float, float]:
        return sign(spec) * float(means[i]), float(deviations[i])

    simplest = min(members, key=lambda i: (simplicity(points[i]), float(means[i])))
    return Region(
        best=points[lowest],
        predicted=predicted(lowest),
        members=[points[i] for i in members],
        of=len(same),
        simplest=points[simplest],
        simplest_predicted=predicted(simplest),
    )
