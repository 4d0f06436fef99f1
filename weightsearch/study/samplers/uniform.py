"""`random`: directions drawn uniformly from the simplex."""

from __future__ import annotations

from itertools import count

from weightsearch.study import search_space
from weightsearch.study.samplers import grid
from weightsearch.study.samplers.contract import Plan, first_distinct
from weightsearch.study.spec import StudySpec


def plan(spec: StudySpec) -> Plan:
    """The first distinct of seeded draws, or of the grid's points in a seeded order."""
    if grid.is_drawn_from(spec):
        return grid.plan(spec)
    return first_distinct(spec, (search_space.draw(spec, k) for k in count()))
