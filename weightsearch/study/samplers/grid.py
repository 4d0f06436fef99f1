"""`grid`: every direction of the grid with every choice, each once."""

from __future__ import annotations

import random

from weightsearch.study import search_space
from weightsearch.study.samplers.contract import Plan
from weightsearch.study.spec import StudySpec


def plan(spec: StudySpec) -> Plan:
    """The grid in a seeded order, so that its first N points are spread over it."""
    candidates = list(search_space.grid(spec))
    unique = {point.key(): point for point in candidates}
    points = list(unique.values())
    random.Random(f"weightsearch grid {spec.sampler.seed}").shuffle(points)
    return Plan(tuple(points[: spec.sampler.trials]), len(candidates) - len(points))


def is_drawn_from(spec: StudySpec) -> bool:
    """Whether a sampler that draws must draw from the grid's own points: there are no others."""
    if search_space.on_levels(spec):
        return not search_space.has_ranges(spec)
    return search_space.dimensions(spec) == 0
