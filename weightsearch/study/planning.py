"""From a study to its points: those of its sampler (samplers/), or its canaries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from weightsearch.errors import ConfigError, did_you_mean
from weightsearch.study import point_text, search_space, weight_presets
from weightsearch.study.looks import pilot
from weightsearch.study.looks.pilot import Group
from weightsearch.study.samplers import ADAPTIVE, SAMPLERS
from weightsearch.study.samplers.contract import Plan, Run, Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.nightly_spec import CanarySpec
from weightsearch.study.tables.share_spec import Form


def plan(spec: StudySpec) -> Plan:
    """The points of a study: its learned weightings, then what its sampler draws.

    Raises ConfigError where it has none, or none that [share] could save.
    """
    drawn = SAMPLERS[spec.sampler.kind](spec)
    learned = tuple(search_space.learned(spec))
    points = (*learned, *drawn.points)
    if not points:
        raise ConfigError("a study must have at least one point, but its grid is empty.")
    seeds = drawn.seeds and (spec.train.seed,) * len(learned) + drawn.seeds
    found = replace(drawn, points=points, seeds=seeds)
    for group in groups(spec, found) if spec.share.kind != "none" else ():
        if len(group.keys) <= spec.share.pilot:
            named = f" of {group.name}" if group.name else ""
            raise ConfigError(
                f"share.pilot must be below the configurations{named}, but is {spec.share.pilot} of"
                f" {len(group.keys)}; plan more of them, or leave [share] out."
            )
    return found


def runs(spec: StudySpec, plan: Plan) -> list[Run]:
    """What is run of a plan, in order: every configuration once, then the repeats, so that a budget
    which ends the study leaves each configuration about as many. A plan with seeds of its own has
    its repeats in it. Where looks decide which configurations go on, or how they are trained, they
    plan what comes after the first runs (store/ledger/looks.py)."""
    if plan.seeds is not None:
        return [
            Run(place, point, seed, fold=spec.fold_of(0))
            for place, (point, seed) in enumerate(zip(plan.points, plan.seeds, strict=True))
        ]
    if spec.share.kind != "none":
        known = places(spec, plan)
        return [
            Run(*known[key], spec.seed_of(repeat), repeat, spec.fold_of(repeat), form)
            for key, repeat, form in pilot.first(spec.share, groups(spec, plan))
        ]
    return [
        Run(place, point, spec.seed_of(repeat), repeat, spec.fold_of(repeat))
        for repeat in range(spec.answer.repeats if spec.pruner.kind == "none" else 1)
        for place, point in enumerate(plan.points)
    ]


def most(spec: StudySpec, plan: Plan) -> int:
    """How many runs a study comes to at most, of which a pilot may save a part."""
    if spec.share.kind == "none" or plan.seeds is not None:
        return len(runs(spec, plan))
    forms = [form for _, _, form in pilot.first(spec.share, groups(spec, plan))]
    twice, trunks = forms.count(Form.SCRATCH), forms.count(Form.TRUNK)
    return (len(plan.points) + trunks) * spec.answer.repeats + twice


def groups(spec: StudySpec, plan: Plan) -> list[Group]:
    """The configurations of each combination of choices, which can share a trunk."""
    found: dict[str, list[Point]] = {}
    for point in plan.points:
        assert point is not None  # study/spec.py refuses samplers that choose later
        found.setdefault(json.dumps(point.params, sort_keys=True), []).append(point)
    varied = search_space.varied(spec)
    return [
        Group(
            name=point_text.choices({n: v for n, v in one[0].params.items() if n in varied}),
            keys=tuple(point.key() for point in one),
            trunk=trunk(spec, one[0]).key(),
        )
        for one in found.values()
    ]


def places(spec: StudySpec, plan: Plan) -> dict[str, tuple[int, Point]]:
    """By key: the place of each configuration, and, behind them, of equal weights that are none."""
    known = [point for point in plan.points if point is not None]
    trunks = [trunk(spec, point) for point in known] if spec.share.kind == "trunk" else []
    found: dict[str, tuple[int, Point]] = {}
    for point in (*known, *trunks):
        found.setdefault(point.key(), (len(found), point))
    return found


def trunk(spec: StudySpec, of: Point) -> Point:
    """Equal weights, with the choices of a point: what its run would fork from."""
    equal = search_space.written(spec.loss.terms, dict.fromkeys(spec.loss.terms, 1.0))
    directions = search_space.are_directions(spec.loss, spec.train)
    return Point(search_space.canonical(equal, directions), of.params)


def canary(spec: StudySpec, asked: CanarySpec) -> Point:
    """The configuration of a canary.

    Raises ConfigError where it is none that the study could try.
    """
    options, where = search_space.choices(spec), f"canary '{asked.name}'"
    one = {n: v[0] for n, v in options.items() if isinstance(v, tuple) and len(v) == 1}
    for name, value in asked.params.items():
        if name not in options:
            raise ConfigError(f"{where}: unknown parameter '{name}'; {did_you_mean(name, options)}")
        if not search_space.has(options[name], value):
            raise ConfigError(
                f"{where}: {name} must be one of the study's, {search_space.told(options[name])},"
                f" but is {value!r}."
            )
    params = one | asked.params
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
