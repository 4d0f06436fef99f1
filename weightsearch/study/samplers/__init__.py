"""How the points of a study are chosen: one file per sampler, and the dict that names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weightsearch.study.samplers import (
    cma_es,
    gaussian_process,
    grid,
    halton,
    mixture,
    tpe,
    uniform,
)
from weightsearch.study.samplers.contract import Plan, Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

SAMPLERS: dict[str, Callable[[StudySpec], Plan]] = {
    "grid": grid.plan,
    "random": uniform.plan,
    "qmc": halton.plan,
    "tpe": tpe.plan,
    "gp": gaussian_process.plan,
    "cmaes": cma_es.plan,
    "mixture": mixture.plan,
}
"""Plans the points. Point k must be a pure function of the study and k."""

ADAPTIVE: dict[str, Callable[[StudySpec, int, Sequence[Seen]], Point | None]] = {
    "tpe": tpe.ask,
    "gp": gaussian_process.ask,
    "cmaes": cma_es.ask,
    "mixture": mixture.ask,
}
"""Fills place k when it is claimed, for samplers whose plan has empty places."""
