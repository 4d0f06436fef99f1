"""From a study to its points: those of its sampler (samplers/), or its canaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weightsearch.errors import ConfigError, did_you_mean
from weightsearch.study import search_space, weight_presets
from weightsearch.study.nightly_spec import CanarySpec
from weightsearch.study.samplers import ADAPTIVE, SAMPLERS
from weightsearch.study.samplers.contract import Plan, Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec


def plan(spec: StudySpec) -> Plan:
    """The points of a study: its learned weightings, then what its sampler draws.

    Raises ConfigError where it has none.
    """
    drawn = SAMPLERS[spec.sampler.kind](spec)
    learned = tuple(search_space.learned(spec))
    points = (*learned, *drawn.points)
    if not points:
        raise ConfigError("a study must have at least one point, but its grid is empty.")
    seeds = drawn.seeds and (spec.train.seed,) * len(learned) + drawn.seeds
    return replace(drawn, points=points, seeds=seeds)


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
    given = weight_presets.tables(asked.weights, spec.loss.terms)
    weights = search_space.written(spec.loss.terms, given)
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


def ask(spec: StudySpec, k: int, seen: Sequence[Seen]) -> Point | None:
    """What an adaptive sampler wants tried at place k, given what is known.

    Never a configuration that is in `seen`: a repeat, or no proposal, is replaced by a random draw.
    None where 1000 draws found nothing new. The sampler learns of fixed weights alone, and counts
    its own places: learned weightings stand before them, and have no direction.
    """
    fixed = [s for s in seen if s.point.weighting is None]
    keys = {s.point.key() for s in fixed}
    own = k - sum(1 for _ in search_space.learned(spec))
    suggested = ADAPTIVE[spec.sampler.kind](spec, own, fixed)
    if suggested is not None and suggested.key() not in keys:
        return suggested
    drawn = (search_space.draw(spec, own, again) for again in range(1000))
    return next((point for point in drawn if point.key() not in keys), None)
