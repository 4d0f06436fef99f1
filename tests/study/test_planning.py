"""Samplers: point k depends on the study and k, on nothing else."""

from __future__ import annotations

import pytest
from support.specs import make_spec

from weightsearch.study import planning, search_space
from weightsearch.study.samplers import SAMPLERS
from weightsearch.study.samplers.contract import Seen

PLANNED = ["grid", "random", "qmc"]


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


def test_an_adaptive_plan_is_empty_places() -> None:
    assert planning.plan(make_spec(sampler={"kind": "tpe", "trials": 4})).points == (None,) * 4


def test_an_adaptive_sampler_never_repeats_and_finds_the_optimum() -> None:
    spec = make_spec(sampler={"kind": "tpe", "trials": 40})

    def error(point: search_space.Point) -> float:
        optimum = {"mae": 0.6, "edge": 0.1, "ssim": 0.3}
        return sum((float(w) - optimum[t]) ** 2 for t, w in point.weights.items())

    seen: list[Seen] = []
    for k in range(40):
        point = planning.ask(spec, k, seen)
        assert point is not None
        assert sum(point.weights.values()) == 1
        seen.append(Seen(point, error(point)))
    assert len({s.point.key() for s in seen}) == 40
    drawn = sorted(error(search_space.draw(spec, k)) for k in range(40))
    values = [s.value for s in seen if s.value is not None]
    assert sum(values[10:]) / 30 < sum(drawn) / 40 / 2  # on average far better than chance
    assert min(values) < 0.02


def test_an_adaptive_sampler_knows_what_others_are_at() -> None:
    spec = make_spec(sampler={"kind": "tpe", "trials": 5})
    first = planning.ask(spec, 0, [])
    assert first is not None
    assert planning.ask(spec, 0, [Seen(first, None)]) != first


def test_an_adaptive_sampler_says_when_nothing_new_is_left() -> None:
    spec = make_spec(
        loss={"terms": ["mae"], "weights": {"grid": "simplex", "steps": 1}},
        sampler={"kind": "tpe", "trials": 2},
    )
    only = planning.ask(spec, 0, [])
    assert only is not None
    assert planning.ask(spec, 1, [Seen(only, 1.0)]) is None


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
