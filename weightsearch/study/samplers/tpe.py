"""`tpe`: Optuna's tree-structured Parzen estimator, asked at each claim."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from weightsearch.study import search_space
from weightsearch.study.samplers.contract import Plan, Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

STARTUP = 10
"""Places that are filled at random before there are results to learn from."""


def plan(spec: StudySpec) -> Plan:
    """Empty places only."""
    assert spec.sampler.trials is not None
    return Plan((None,) * spec.sampler.trials, 0)


def ask(spec: StudySpec, k: int, seen: Sequence[Seen]) -> Point | None:
    """What to try at place k, given what is known; None where there is no proposal."""
    seen = [s for s in seen if s.point.weighting is None]  # the others have no fixed direction
    if sum(s.value is not None for s in seen) < STARTUP:
        return None
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.trial import TrialState, create_trial

    directions = search_space.are_directions(spec.loss, spec.train)
    options = search_space.choices(spec)
    names = {f"weight {t}": t for t in spec.loss.terms}
    ranges: dict[str, BaseDistribution] = {n: FloatDistribution(0.0, 1.0) for n in names}
    ranges |= {name: CategoricalDistribution(values) for name, values in options.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=spec.sampler.seed * 1_000_003 + k,
            multivariate=True,
            constant_liar=True,
            n_startup_trials=STARTUP,
        )
    study = optuna.create_study(sampler=sampler, direction=spec.objective.direction)
    study.add_trials(
        [
            create_trial(
                state=TrialState.RUNNING if s.value is None else TrialState.COMPLETE,
                value=s.value,
                params={n: float(s.point.weights[t]) for n, t in names.items()}
                | dict(s.point.params),
                distributions=ranges,
            )
            for s in seen
        ]
    )
    asked = study.ask(ranges).params
    weights = {t: search_space.exact(round(asked[n], 4)) for n, t in names.items()}
    if not any(weights.values()):
        return None
    return Point(search_space.canonical(weights, directions), {n: asked[n] for n in options})
