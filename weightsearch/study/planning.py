"""From a sampler's name to the points of a study.

Point k of a plan is a pure function of (study, k), so any number of workers and any crash gives the
same set. Only adaptive samplers wait for results: for them the plan holds empty places, and each is
filled when it is claimed.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from weightsearch.errors import ConfigError, did_you_mean
from weightsearch.study import search_space, weight_presets
from weightsearch.study.nightly_table import CanarySpec
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

STARTUP = 10
"""Places that an adaptive sampler fills at random before it has results to learn from."""


@dataclass(frozen=True)
class Plan:
    """The points of a study in the order in which they are handed out."""

    points: tuple[Point | None, ...]
    """None: a place that is filled at claim time."""
    equivalent_left_out: int
    """Points that would have repeated another's direction."""
    seeds: tuple[int, ...] | None = None
    """One for each point, where they are not all trained with the study's."""


def plan(spec: StudySpec) -> Plan:
    """The points of a study; raises ConfigError where it has none."""
    drawn = SAMPLERS[spec.sampler.kind](spec)
    if not drawn.points:
        raise ConfigError("a study must have at least one point, but its grid is empty.")
    return drawn


def canary(spec: StudySpec, asked: CanarySpec) -> Point:
    """The configuration of a canary.

    Raises ConfigError where it is none that the study could try.
    """
    options, where = search_space.choices(spec), f"canary '{asked.name}'"
    for name, value in asked.params.items():
        if name not in options:
            raise ConfigError(f"{where}: unknown parameter '{name}'; {did_you_mean(name, options)}")
        if value not in options[name]:
            raise ConfigError(
                f"{where}: {name} must be one of the study's, {list(options[name])}, but is"
                f" {value!r}."
            )
    params = {n: values[0] for n, values in options.items() if len(values) == 1} | asked.params
    if lacking := options.keys() - params.keys():
        raise ConfigError(
            f"{where}: its params must say which {' and '.join(sorted(lacking))}, as the study has"
            " several."
        )
    written = weight_presets.tables(asked.weights, spec.loss.terms)
    weights = {term: search_space.exact(float(written.get(term, 0.0))) for term in spec.loss.terms}
    return Point(
        search_space.canonical(weights, search_space.are_directions(spec.loss, spec.train)),
        {name: params[name] for name in options},
    )


def canaries(spec: StudySpec) -> Plan:
    """Every canary of the study with every seed. Raises ConfigError."""
    assert spec.nightly is not None
    found: dict[str, str] = {}
    pairs = []
    for asked in spec.nightly.canaries:
        point = canary(spec, asked)
        if (other := found.setdefault(point.key(), asked.name)) != asked.name:
            raise ConfigError(f"canaries must differ, but '{other}' and '{asked.name}' are one.")
        pairs += [(point, seed) for seed in spec.nightly.seeds]
    return Plan(tuple(p for p, _ in pairs), 0, tuple(seed for _, seed in pairs))


def _grid(spec: StudySpec) -> Plan:
    """The whole grid in a seeded order, so that its first N points are spread over it."""
    candidates = list(search_space.grid(spec))
    unique = {point.key(): point for point in candidates}
    points = list(unique.values())
    random.Random(f"weightsearch grid {spec.sampler.seed}").shuffle(points)
    return Plan(tuple(points[: spec.sampler.trials]), len(candidates) - len(points))


def _random(spec: StudySpec) -> Plan:
    if spec.sampler.draw == "levels" or spec.loss.vectors() or search_space.dimensions(spec) == 0:
        return _grid(spec)
    return _first(spec, (search_space.draw(spec, k) for k in count()))


def _qmc(spec: StudySpec) -> Plan:
    """A scrambled Halton sequence: low discrepancy, and its first N points do not depend on N."""
    if spec.sampler.draw == "levels" or spec.loss.vectors() or search_space.dimensions(spec) == 0:
        return _grid(spec)
    return _first(spec, _halton(spec))


def _halton(spec: StudySpec) -> Iterator[Point]:
    from scipy.stats import qmc  # 0.3 s to import

    sequence = qmc.Halton(search_space.dimensions(spec), scramble=True, rng=spec.sampler.seed)
    while True:
        yield search_space.at(spec, sequence.random(1)[0].tolist())


def _first(spec: StudySpec, points: Iterator[Point]) -> Plan:
    """The first N distinct ones; repeats (few choices, or one term) are left out and counted."""
    wanted = spec.sampler.trials
    assert wanted is not None  # study/spec.py refuses a random study without it
    unique: dict[str, Point] = {}
    drawn = 0
    for point in islice(points, 20 * wanted):
        drawn += 1
        unique.setdefault(point.key(), point)
        if len(unique) == wanted:
            break
    return Plan(tuple(unique.values()), drawn - len(unique))


def _adaptive(spec: StudySpec) -> Plan:
    assert spec.sampler.trials is not None
    return Plan((None,) * spec.sampler.trials, 0)


SAMPLERS: dict[str, Callable[[StudySpec], Plan]] = {
    "grid": _grid,
    "random": _random,
    "qmc": _qmc,
    "tpe": _adaptive,
}


@dataclass(frozen=True)
class Seen:
    """A point that an adaptive sampler learns from; `value` is None while it runs."""

    point: Point
    value: float | None


def ask(spec: StudySpec, k: int, seen: Sequence[Seen]) -> Point | None:
    """What an adaptive sampler wants tried at place k, given what is known.

    Never a configuration that is in `seen`: a repeat is drawn again, at random. None where 1000
    draws found nothing new.
    """
    keys = {s.point.key() for s in seen}
    if sum(s.value is not None for s in seen) >= STARTUP:
        suggested = _suggest(spec, k, seen)
        if suggested is not None and suggested.key() not in keys:
            return suggested
    drawn = (search_space.draw(spec, k, again) for again in range(1000))
    return next((point for point in drawn if point.key() not in keys), None)


def _suggest(spec: StudySpec, k: int, seen: Sequence[Seen]) -> Point | None:
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
