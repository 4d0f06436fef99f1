"""Samplers: point k depends on the study and k, on nothing else."""

from __future__ import annotations

import pytest
from support.specs import make_spec

from weightsearch.errors import ConfigError
from weightsearch.study import known_names, planning, search_space
from weightsearch.study.samplers import ADAPTIVE, SAMPLERS
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.spec import StudySpec

PLANNED = ["grid", "random", "qmc"]
CUBE = ["tpe", "gp", "cmaes"]
"""Asked at each claim, on stick-breaking coordinates."""


@pytest.mark.parametrize("kind", PLANNED)
def test_the_first_points_do_not_depend_on_how_many_follow(kind: str) -> None:
    def first(trials: int) -> tuple[object, ...]:
        spec = make_spec(sampler={"kind": kind, "trials": trials}, params={"encoder": ["a", "b"]})
        return planning.plan(spec).points

    assert first(12)[:5] == first(5)


@pytest.mark.parametrize("kind", PLANNED)
def test_points_are_distinct_and_the_seed_moves_them(kind: str) -> None:
    def points(seed: int) -> list[str]:
        spec = make_spec(sampler={"kind": kind, "trials": 9, "seed": seed})
        return [p.key() for p in planning.plan(spec).points if p is not None]

    assert len(set(points(0))) == 9
    assert points(0) == points(0)
    assert points(0) != points(1)


@pytest.mark.parametrize(
    "weights",
    [
        {"grid": "cube", "levels": [0.0, 0.5, 1.0]},
        {"grid": "cube", "levels": [1, 2]},
        {"grid": "simplex", "steps": 4},
        [{"mae": 1.0}, {"mae": 1.0, "ssim": 2.0}],
    ],
)
def test_the_size_of_a_grid_is_known_without_making_it(weights: object) -> None:
    spec = make_spec(loss={"weights": weights}, params={"encoder": ["a", "b"]})
    assert search_space.grid_size(spec) == len(list(search_space.grid(spec)))


def test_a_grid_that_is_too_large_is_refused() -> None:
    eight = [f"term{k}" for k in range(8)]
    levels = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    spec = make_spec(loss={"terms": eight, "weights": {"grid": "cube", "levels": levels}})
    with pytest.raises(ConfigError, match=r"at most 250,000 .* but has 1,679,615; take fewer"):
        planning.plan(spec)


def test_a_grid_is_whole_and_says_what_it_left_out() -> None:
    levels = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    spec = make_spec(
        loss={"weights": {"grid": "cube", "levels": levels}}, params={"encoder": ["a", "b"]}
    )
    planned = planning.plan(spec)
    assert len(planned.points) == 2 * 175
    assert planned.equivalent_left_out == 2 * 40


def test_another_seed_orders_the_same_grid_otherwise() -> None:
    one = planning.plan(make_spec(sampler={"kind": "grid", "seed": 1})).points
    two = planning.plan(make_spec(sampler={"kind": "grid", "seed": 2})).points
    assert one != two
    assert {p.key() for p in one if p} == {p.key() for p in two if p}


def test_random_draws_from_levels_are_grid_points_without_repeats() -> None:
    spec = make_spec(sampler={"kind": "random", "trials": 7, "draw": "levels"})
    drawn = {p.key() for p in planning.plan(spec).points if p}
    assert len(drawn) == 7
    assert drawn <= {p.key() for p in search_space.grid(spec)}


def test_written_out_weights_are_the_plan() -> None:
    spec = make_spec(loss={"weights": [{"mae": 1}, {"ssim": 2}, {"mae": 2}]})
    planned = planning.plan(spec)
    assert {tuple(search_space.decimals(p.weights).values()) for p in planned.points if p} == {
        (1.0, 0.0, 0.0),
        (0.0, 0.0, 1.0),
    }
    assert planned.equivalent_left_out == 1


@pytest.mark.parametrize("kind", CUBE)
def test_an_adaptive_plan_is_empty_places(kind: str) -> None:
    assert planning.plan(make_spec(sampler={"kind": kind, "trials": 4})).points == (None,) * 4


def error(point: search_space.Point) -> float:
    """Lowest on a face: `edge` is not needed."""
    optimum = {"mae": 0.6, "edge": 0.0, "ssim": 0.4}
    return sum((float(w) - optimum[t]) ** 2 for t, w in point.weights.items())


def searched(spec: StudySpec, places: int, sign: int = 1) -> list[Seen]:
    seen: list[Seen] = []
    for k in range(places):
        point = planning.ask(spec, k, seen)
        assert point is not None
        assert planning.ask(spec, k, seen) == point  # of the committed rows alone
        assert sum(point.weights.values()) == 1
        seen.append(Seen(point, sign * error(point)))
    assert len({s.point.key() for s in seen}) == places
    return seen


@pytest.mark.parametrize(("kind", "places"), [("tpe", 40), ("cmaes", 40), ("gp", 16)])
def test_an_adaptive_sampler_never_repeats_and_finds_the_optimum(kind: str, places: int) -> None:
    spec = make_spec(sampler={"kind": kind, "trials": places})
    found = [error(s.point) for s in searched(spec, places)]
    drawn = [error(search_space.draw(spec, k)) for k in range(400)]
    assert sum(found[10:]) / (places - 10) < 0.75 * sum(drawn) / 400
    assert min(found) < 0.02


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_an_adaptive_sampler_leaves_terms_out_and_chooses_beside_the_weights(kind: str) -> None:
    spec = make_spec(
        sampler={"kind": kind, "trials": 30}, params={"encoder": ["a", "b", "c"], "depth": 4}
    )
    seen = searched(spec, 30)
    assert any(0 in s.point.weights.values() for s in seen[10:])
    assert {s.point.params["encoder"] for s in seen} == {"a", "b", "c"}
    assert {s.point.params["depth"] for s in seen} == {4}


def test_cma_es_goes_up_where_up_is_better_and_takes_two_terms() -> None:
    spec = make_spec(
        objective={"run": "weightsearch.study.trivial_objective:run", "direction": "maximize"},
        loss={"terms": ["mae", "ssim"], "weights": {"grid": "simplex", "steps": 1}},
        sampler={"kind": "cmaes", "trials": 40},
    )
    seen: list[Seen] = []
    for k in range(40):
        point = planning.ask(spec, k, seen)
        assert point is not None
        seen.append(Seen(point, -((float(point.weights["mae"]) - 0.8) ** 2)))
    late = [float(s.point.weights["mae"]) for s in seen[30:]]
    assert sum(late) / 10 == pytest.approx(0.8, abs=0.1)


def test_an_adaptive_sampler_knows_what_others_are_at() -> None:
    spec = make_spec(sampler={"kind": "tpe", "trials": 5})
    first = planning.ask(spec, 0, [])
    assert first is not None
    assert planning.ask(spec, 0, [Seen(first, None)]) != first


@pytest.mark.parametrize("kind", CUBE)
def test_an_adaptive_sampler_says_when_nothing_new_is_left(kind: str) -> None:
    spec = make_spec(
        loss={"terms": ["mae"], "weights": {"grid": "simplex", "steps": 1}},
        sampler={"kind": kind, "trials": 2},
    )
    only = planning.ask(spec, 0, [])
    assert only is not None
    assert planning.ask(spec, 1, [Seen(only, 1.0)]) is None
    assert planning.ask(spec, 1, [Seen(only, 1.0)] * 10) is None  # no longer at random


@pytest.mark.parametrize("kind", ["random", "qmc"])
def test_a_study_with_nothing_to_choose_is_one_point(kind: str) -> None:
    spec = make_spec(
        loss={"terms": ["mae"], "weights": {"grid": "simplex", "steps": 1}},
        sampler={"kind": kind, "trials": 3},
    )
    assert len(planning.plan(spec).points) == 1


def test_every_sampler_makes_a_plan() -> None:
    for kind in SAMPLERS:
        assert len(planning.plan(make_spec(sampler={"kind": kind, "trials": 3})).points) == 3


def test_samplers_that_choose_the_weights_are_those_that_are_asked() -> None:
    assert set(known_names.CHOOSING) == set(ADAPTIVE)


@pytest.mark.parametrize("kind", ["random", "qmc"])
def test_planned_points_lie_on_faces_too(kind: str) -> None:
    for zero, least in ((0, 0), (0.5, 20)):
        spec = make_spec(sampler={"kind": kind, "trials": 60, "zero": zero})
        on_faces = sum(0 in p.weights.values() for p in planning.plan(spec).points if p)
        assert on_faces >= least
        assert bool(on_faces) == bool(zero)
