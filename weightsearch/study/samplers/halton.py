"""`qmc`: a scrambled Halton sequence, which covers the simplex more evenly than random draws."""

from __future__ import annotations

from collections.abc import Iterator

from weightsearch.study import search_space
from weightsearch.study.samplers import grid
from weightsearch.study.samplers.contract import Plan, first_distinct
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec


def plan(spec: StudySpec) -> Plan:
    """The first distinct points of the sequence, which do not depend on how many follow."""
    if grid.is_drawn_from(spec):
        return grid.plan(spec)
    return first_distinct(spec, _sequence(spec))


def _sequence(spec: StudySpec) -> Iterator[Point]:
    from scipy.stats import qmc  # 0.3 s to import

    sequence = qmc.Halton(search_space.dimensions(spec), scramble=True, rng=spec.sampler.seed)
    while True:
        yield search_space.at(spec, sequence.random(1)[0].tolist())
