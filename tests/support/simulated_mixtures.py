"""Studies over directions whose truth is known, through the real ledger and without training."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import count

from support.promotions import result
from support.specs import make_spec
from weightsearch.launch import promotion, promotion_verdict
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, studies
from weightsearch.store.ledger.studies import Study
from weightsearch.study import planning
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

Truth = Callable[[Mapping[str, float]], float]

NOISE = 0.01
"""Standard deviation from seed to seed; the best is 1.0."""


def spec_of(terms: int, sampler: str, trials: int, seed: int) -> StudySpec:
    return make_spec(
        loss={"terms": [f"t{k}" for k in range(terms)], "weights": {"grid": "simplex", "steps": 1}},
        sampler={"kind": sampler, "trials": trials, "seed": seed},
        train={"seed": 0},
        promote={"top": 3, "seeds": [1, 2, 3], "epochs": 3},
    )


def planted(terms: int, seed: int, left_out: int, power: float) -> Truth:
    """A bowl whose lowest point, 1.0, leaves out that many terms: the squared distance in w^power,
    by 0.3. 0.5 is Hellinger's distance, in which the surface is smooth."""
    source = random.Random(f"planted {terms} {seed} {left_out}")
    kept = source.sample(range(terms), terms - left_out)
    shares = {term: 0.5 + source.random() for term in kept}  # none is almost left out
    optimum = [shares.get(k, 0.0) / sum(shares.values()) for k in range(terms)]

    def truth(weights: Mapping[str, float]) -> float:
        distances = (
            (w**power - o**power) ** 2 for w, o in zip(weights.values(), optimum, strict=True)
        )
        return 1 + 0.3 * sum(distances)

    return truth


def searched(opened: Database, name: str, spec: StudySpec, truth: Truth) -> Study:
    """The study with its search done."""
    study = studies.create(opened.engine, name, spec, planning.plan(spec))
    _run(opened, study, truth)
    return study


def promoted(opened: Database, study: Study, truth: Truth) -> Point:
    """What the study promotes, after full runs of its finalists with fresh seeds."""
    promotion.plan(opened.engine, study)
    _run(opened, study, truth)
    verdict = promotion_verdict.decide(opened.engine, study)
    planned = queries.planned(opened.engine, study, rung=1)
    return next(point for point in planned if point.id() == verdict.point)


def _run(opened: Database, study: Study, truth: Truth) -> None:
    for number in count():
        lease = leases.claim(opened.engine, study.id, f"w{number}", "cpu", 60)
        if lease is None:
            return
        point = lease.point
        if point is None:
            point = planning.ask(study.spec, lease.number, leases.seen(opened.engine, study))
            assert point is not None
            assert leases.fill(opened.engine, lease, point)
        noise = random.Random(f"{study.name} {point.key()} {lease.seed}").gauss(0, NOISE)
        value = truth(_decimal(point.weights)) + noise
        assert leases.finish(opened.engine, lease, result(value, lease.seed))


def _decimal(weights: Mapping[str, Fraction]) -> dict[str, float]:
    return {term: float(weight) for term, weight in weights.items()}
