"""The order in which a mixture study's configurations deserve a full run."""

from __future__ import annotations

from support.specs import make_spec

from weightsearch.report.evidence.mixture_answer import finalists
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.results import Evaluation, Result
from weightsearch.store.tables.states import Outcome
from weightsearch.study import planning, search_space
from weightsearch.study.search_space import Point

SPEC = make_spec(
    loss={"weights": {"grid": "simplex", "steps": 1}, "weightings": ["cov", "dwa"]},
    sampler={"kind": "mixture", "trials": 14},
    train={"epochs": 3},
)


def value(point: Point) -> float:
    """Lowest on the edge between the first two terms."""
    optimum = (0.8, 0.2, 0.0)
    weights = point.weights.values()
    return 1 + 0.3 * sum((float(w) - o) ** 2 for w, o in zip(weights, optimum, strict=True))


def run(number: int, point: Point, rmse: float) -> Done:
    found = Evaluation({"rmse": rmse}, {}, [], None, {})
    return Done(number, number, 0, point, Result(Outcome.DONE, found))


def test_learned_weightings_keep_their_places_among_finalists() -> None:
    learned = list(search_space.learned(SPEC))
    planned = [p for p in planning.plan(SPEC).points if p and p.weighting is None]
    fixed = list({point.key(): point for point in planned}.values())
    done = [run(k, point, value(point)) for k, point in enumerate(fixed)]
    wrong = sorted(fixed, key=value, reverse=True)  # as if measured so
    alone = finalists(SPEC, done, wrong)
    assert alone != wrong  # the surface has its say
    assert value(alone[0]) == min(map(value, fixed))
    assert alone[1] == wrong[0]  # and so has what was measured
    done += [run(50 + k, point, 0.5) for k, point in enumerate(learned)]
    ranked = [learned[0], *wrong[:2], learned[1], *wrong[2:]]
    assert finalists(SPEC, done, ranked) == [learned[0], *alone[:2], learned[1], *alone[2:]]
    assert finalists(SPEC, done, learned) == learned
    assert finalists(SPEC, done, []) == []
