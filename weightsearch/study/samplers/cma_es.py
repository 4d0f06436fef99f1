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
from weightsearch.study.search_space import Options, Point
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value
from weightsearch.study.tables.number_range import Range

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
    """The weights' coordinates, then of each choice with several options one of [0, 1]: of a list
    the middle of the option's share, of a range the number's position."""
    shares = stick_breaking.coordinates(spec.loss.terms, point.weights, spec.sampler.zero)
    found = search_space.choices(spec).items()
    return shares + [
        _place(options, point.params[name]) for name, options in found if not _is_fixed(options)
    ]


def _is_fixed(options: Options) -> bool:
    return not isinstance(options, Range) and len(options) == 1


def _place(options: Options, value: Value) -> float:
    if isinstance(options, Range):
        return options.position(float(value))
    return (options.index(value) + 0.5) / len(options)


def _option(options: Options, place: float) -> Value:
    if isinstance(options, Range):
        return options.at(place)
    return options[min(int(place * len(options)), len(options) - 1)]


def _point(spec: StudySpec, coordinates: Sequence[float]) -> Point:
    shares = len(spec.loss.terms) - 1
    rest = iter(coordinates[shares:])
    params = {
        name: _option(options, 0.0 if _is_fixed(options) else next(rest))
        for name, options in search_space.choices(spec).items()
    }
    weights = stick_breaking.direction(spec.loss.terms, coordinates[:shares], spec.sampler.zero)
    return Point(weights, params)
