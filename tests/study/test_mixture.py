"""`mixture`: the design, and the places after it."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from support.specs import make_spec

from weightsearch.study import planning, search_space
from weightsearch.study.samplers import mixture, mixture_design
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec


def spec_of(terms: int = 3, trials: int = 24, **tables: object) -> StudySpec:
    loss = {
        "terms": [f"t{k}" for k in range(terms)],
        "weights": {"grid": "simplex", "steps": 1},
    }
    return make_spec(loss=loss, sampler={"kind": "mixture", "trials": trials}, **tables)


def value(point: Point) -> float:
    """Lowest, 1.0, on the edge between the first two terms."""
    optimum = [0.8, 0.2, *[0.0] * 6]
    weights = point.weights.values()
    return 1 + 0.3 * sum((float(w) - o) ** 2 for w, o in zip(weights, optimum, strict=False))


def seen_of(spec: StudySpec, places: int) -> list[Seen]:
    """The first places of the study with their values."""
    planned = planning.plan(spec)
    seen: list[Seen] = []
    assert planned.seeds is not None
    for k, (point, seed) in enumerate(
        list(zip(planned.points, planned.seeds, strict=True))[:places]
    ):
        point = point or planning.ask(spec, k, seen)
        assert point is not None
        seen.append(Seen(point, value(point) + 0.01 * seed, seed))
    return seen


@pytest.mark.parametrize("terms", range(2, 9))
def test_a_design_has_every_vertex_and_the_faces(terms: int) -> None:
    design = mixture_design.design(terms)
    assert len(set(design)) == len(design)
    assert len(design) == (5 if terms == 2 else terms * (terms + 1) // 2 + terms + 1)
    assert all(sum(shares) == 1 for shares in design)
    assert {tuple(Fraction(int(i == k)) for i in range(terms)) for k in range(terms)} < set(design)
    assert set(mixture_design.repeats(terms)) <= set(design)
    used = {sum(share > 0 for share in shares) for shares in design}
    assert {1, 2, terms} <= used
    rows = np.array([mixture_design._quadratic(shares) for shares in design])
    assert np.linalg.matrix_rank(rows) == terms * (terms + 1) // 2  # the quadratic can be fitted


def test_a_design_tells_nearly_as_much_as_the_best_exchange_of_its_points() -> None:
    """97 % of the D-efficiency that exchanging points one by one ends with, of six terms."""
    candidates = mixture_design._candidates(6)
    features = np.array([mixture_design._quadratic(shares) for shares in candidates])
    chosen = [candidates.index(shares) for shares in mixture_design.design(6)]

    def information(of: list[int]) -> float:
        return float(np.linalg.slogdet(features[of].T @ features[of])[1])

    best, swapped = information(chosen), chosen
    for place in range(6, len(chosen)):
        for other in set(range(len(candidates))) - set(swapped):
            trial = [*swapped[:place], other, *swapped[place + 1 :]]
            if information(trial) > best:
                best, swapped = information(trial), trial
    assert np.exp((information(chosen) - best) / 21) > 0.95


@pytest.mark.parametrize("terms", [3, 4, 5])
def test_a_plan_has_every_vertex_with_every_choice_and_then_empty_places(terms: int) -> None:
    spec = spec_of(terms, 100, params={"encoder": ["a", "b"], "depth": 4})
    planned = planning.plan(spec)
    assert planned.seeds is not None
    points = [p for p in planned.points if p]
    ones = [p for p in points if 1 in p.weights.values()]
    assert len({p.key() for p in ones}) == 2 * terms
    assert planned.points[len(points) :] == (None,) * (100 - len(points))
    seeds = planned.seeds[: len(points)]
    assert seeds.count(3) == 2 * (terms + 1)  # 0 is the search's; 1 and 2 the promotion's
    assert len({(p.key(), s) for p, s in zip(points, seeds, strict=True)}) == len(points)
    assert planning.plan(spec_of(terms, 7)).points == planning.plan(spec_of(terms, 50)).points[:7]


def _reread(row: Seen) -> Seen:
    """As it comes from the ledger: the same in other objects."""
    weights = search_space.decode(search_space.encode(row.point.weights))
    return Seen(Point(weights, dict(row.point.params)), row.value, row.seed)


def test_a_place_is_a_pure_function_of_the_rows() -> None:
    spec = spec_of()
    seen = seen_of(spec, 16)
    running = [*seen, Seen(search_space.draw(spec, 99), None)]
    places = ((16, seen), (17, running))
    first = [planning.ask(spec, k, rows) for k, rows in places]
    random.seed(1)  # nor on what else a process has drawn, asked or built
    again = [planning.ask(spec_of(), k, [_reread(s) for s in rows]) for k, rows in places[::-1]]
    assert again[::-1] == first
    assert first[0] not in [s.point for s in seen]


def test_places_go_where_the_lowest_point_is_on_its_face() -> None:
    spec = spec_of(trials=22)
    seen = seen_of(spec, 22)
    late = [s.point for s in seen[14:]]
    assert sum(0 in p.weights.values() for p in late) >= 3
    surface = mixture.fitted(spec, seen)
    assert surface is not None
    assert surface.is_believed()
    found = mixture.region(spec, surface)
    assert found.simplest.weights["t2"] == 0
    before = mixture.fitted(spec, seen[:-1])
    assert before is not None
    assert late[-1] == mixture.region(spec, before).simplest  # it is tried last
    assert value(found.best) < 1.002
    assert found.best in found.members
    assert all(value(p) < 1.02 for p in found.members)
    assert len(found.members) < found.of == 235


def test_the_last_place_is_the_last_of_the_plan_beside_learned_weightings() -> None:
    """They stand before the sampler's own places, which it counts."""
    plain = spec_of()
    loss = plain.loss.model_copy(update={"weightings": ("cov", "dwa")})
    spec = plain.model_copy(update={"loss": loss})
    assert len(planning.plan(spec).points) == 26
    seen = seen_of(plain, 23)
    surface = mixture.fitted(spec, seen)
    assert surface is not None
    assert planning.ask(spec, 25, seen) == mixture.region(spec, surface).simplest
    assert planning.ask(spec, 25, seen) == planning.ask(plain, 23, seen)
    assert planning.ask(spec, 23, seen) == planning.ask(plain, 21, seen)


def test_where_up_is_better_places_go_up() -> None:
    trivial = "weightsearch.study.trivial_objective:run"
    spec = spec_of(objective={"run": trivial, "direction": "maximize"})
    up = [Seen(s.point, -value(s.point), s.seed) for s in seen_of(spec_of(), 14)]
    surface = mixture.fitted(spec, up)
    assert surface is not None
    found = mixture.region(spec, surface)
    assert value(found.best) < 1.01
    assert found.predicted[0] == pytest.approx(-1, abs=0.02)
    assert planning.ask(spec, 14, up) == planning.ask(spec_of(), 14, seen_of(spec_of(), 14))


def test_while_nothing_is_to_be_seen_places_are_drawn() -> None:
    spec = spec_of()
    assert mixture.ask(spec, 0, []) is None
    flat = [Seen(s.point, 1.0, s.seed) for s in seen_of(spec, 14)]
    assert mixture.ask(spec, 14, flat) is None
    assert planning.ask(spec, 14, flat) == search_space.draw(spec, 14)


def test_the_better_choice_is_found_with_its_direction() -> None:
    spec = spec_of(trials=60, params={"encoder": ["a", "b"]})
    planned = planning.plan(spec)
    assert planned.seeds is not None
    seen = [
        Seen(p, value(p) + 0.2 * (p.params["encoder"] == "a"), s)
        for p, s in zip(planned.points, planned.seeds, strict=True)
        if p
    ]
    point = planning.ask(spec, len(seen), seen)
    assert point is not None
    assert point.params == {"encoder": "b"}
    assert value(point) < 1.03
