"""`cmaes`: covariance matrix adaptation on stick-breaking coordinates, asked at each claim.

Of `cmaes` itself, not through Optuna: Optuna's sampler keeps its state in attributes of the trials,
and a proposal here depends on the committed rows alone. Results are told in the plan's order, a
generation at a time; points that the distribution has not drawn itself teach it like its own
(Hansen, Injecting external solutions into CMA-ES, 2011).
"""

from __future__ import annotations

from collections.abc import Sequence

from weightsearch.study import search_space
from weightsearch.study.samplers import asking_optuna, stick_breaking
from weightsearch.study.samplers.contract import Seen, sign
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

SIGMA = 0.3
"""Of the first generation, around the middle of the unit cube: Hansen's advice is a third."""

plan = asking_optuna.plan


def ask(spec: StudySpec, k: int, seen: Sequence[Seen]) -> Point | None:
    """What to try at place k, given what is known; None where there is nothing to choose."""
    dimensions = len(_coordinates(spec, search_space.draw(spec, 0)))
    if dimensions == 0:
        return None
    import numpy as np
    from cmaes import CMA

    # In one dimension the algorithm is not defined: a second coordinate changes nothing.
    padded = max(2, dimensions)
    search = CMA(
        mean=np.full(padded, 0.5),
        sigma=SIGMA,
        bounds=np.tile([0.0, 1.0], (padded, 1)),
        seed=spec.sampler.seed * 1_000_003 + k,
    )
    told = [
        (np.array([*_coordinates(spec, s.point), 0.5][:padded]), sign(spec) * s.value)
        for s in seen
        if s.value is not None
    ]
    size = search.population_size
    for first in range(0, len(told) - size + 1, size):
        search.tell(told[first : first + size])
    return _point(spec, search.ask().tolist())


def _coordinates(spec: StudySpec, point: Point) -> list[float]:
    """The weights' coordinates, then for each choice the middle of its option's share of [0, 1]."""
    shares = stick_breaking.coordinates(spec.loss.terms, point.weights, spec.sampler.zero)
    options = search_space.choices(spec).items()
    return shares + [
        (values.index(point.params[name]) + 0.5) / len(values)
        for name, values in options
        if len(values) > 1
    ]


def _point(spec: StudySpec, coordinates: Sequence[float]) -> Point:
    shares = len(spec.loss.terms) - 1
    rest = iter(coordinates[shares:])
    params = {
        name: values[min(int(next(rest) * len(values)), len(values) - 1)]
        if len(values) > 1
        else values[0]
        for name, values in search_space.choices(spec).items()
    }
    weights = stick_breaking.direction(spec.loss.terms, coordinates[:shares], spec.sampler.zero)
    return Point(weights, params)
