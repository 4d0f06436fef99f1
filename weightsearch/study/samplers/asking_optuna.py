"""One question to a sampler of Optuna: what to try next, given what is known.

The study in memory is built anew for each question, so that the answer depends on the committed
rows and the place alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from weightsearch.study import search_space
from weightsearch.study.samplers import stick_breaking
from weightsearch.study.samplers.contract import Plan, Seen
from weightsearch.study.search_space import Options, Point
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value
from weightsearch.study.tables.number_range import Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

STARTUP = 10
"""Places that are filled at random before there are results to learn from."""


def plan(spec: StudySpec) -> Plan:
    """Empty places only."""
    assert spec.sampler.trials is not None
    return Plan((None,) * spec.sampler.trials, 0)


def ask(
    spec: StudySpec, k: int, seen: Sequence[Seen], make: Callable[[int], BaseSampler]
) -> Point | None:
    """What the sampler that `make` gives for a seed wants tried at place k.

    None before there are results to learn from, and where there is nothing to choose.
    """
    ranges = _ranges(spec)
    if sum(s.value is not None for s in seen) < STARTUP or not ranges:
        return None
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = make(spec.sampler.seed * 1_000_003 + k)
    study = optuna.create_study(sampler=sampler, direction=spec.objective.direction)
    study.add_trials(
        [
            create_trial(
                state=TrialState.RUNNING if s.value is None else TrialState.COMPLETE,
                value=s.value,
                params=_params(spec, s.point),
                distributions=ranges,
            )
            for s in seen
        ]
    )
    return _point(spec, study.ask(ranges).params)


def _names(spec: StudySpec) -> list[str]:
    """Of the coordinates."""
    return [f"share {term}" for term in spec.loss.terms[:-1]]


def distribution(options: Options) -> BaseDistribution:
    """A choice as Optuna knows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(options, Range):
        return CategoricalDistribution(options)
    low, high, log = options.low, options.high, options.log
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _ranges(spec: StudySpec) -> dict[str, BaseDistribution]:
    from optuna.distributions import FloatDistribution

    ranges: dict[str, BaseDistribution] = {n: FloatDistribution(0.0, 1.0) for n in _names(spec)}
    options = search_space.choices(spec).items()
    return ranges | {name: distribution(found) for name, found in options}


def _params(spec: StudySpec, point: Point) -> dict[str, Value]:
    terms, zero = spec.loss.terms, spec.sampler.zero
    shares = stick_breaking.coordinates(terms, point.weights, zero)
    return dict(zip(_names(spec), shares, strict=True)) | dict(point.params)


def _point(spec: StudySpec, params: Mapping[str, Value]) -> Point:
    shares = [float(params[name]) for name in _names(spec)]
    found = {
        name: options.nearest(float(params[name])) if isinstance(options, Range) else params[name]
        for name, options in search_space.choices(spec).items()
    }
    weights = stick_breaking.direction(spec.loss.terms, shares, spec.sampler.zero)
    return Point(weights, found)
