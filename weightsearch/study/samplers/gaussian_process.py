"""`gp`: Optuna's Gaussian process with log expected improvement, asked at each claim.

It computes with torch, which only the worker that claims a place imports, and no earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightsearch.study.samplers import asking_optuna
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna.samplers import GPSampler

plan = asking_optuna.plan


def ask(spec: StudySpec, k: int, seen: Sequence[Seen]) -> Point | None:
    """What to try at place k, given what is known; None where there is no proposal."""
    return asking_optuna.ask(spec, k, seen, _sampler)


def _sampler(seed: int) -> GPSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=asking_optuna.STARTUP)
