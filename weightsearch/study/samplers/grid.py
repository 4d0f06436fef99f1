"""`grid`: every direction of the grid with every choice, each once."""

from __future__ import annotations

import random

from weightsearch.errors import ConfigError
from weightsearch.study import search_space
from weightsearch.study.samplers.contract import Plan
from weightsearch.study.spec import StudySpec

MOST = 250_000
"""Combinations, equivalent ones too, that are made to choose from: 46,655 of them take 3 s."""


def plan(spec: StudySpec) -> Plan:
    """The grid in a seeded order, so that its first N points are spread over it.

    Raises ConfigError for one that is too large to be made.
    """
    size = search_space.grid_size(spec)
    if size > MOST:
        raise ConfigError(
            f"a grid must have at most {MOST:,} combinations of weights and choices, but has"
            f" {size:,}; take fewer levels, or a sampler that makes none: random, tpe or mixture."
        )
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
