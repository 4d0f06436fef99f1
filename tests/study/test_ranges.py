"""Numbers searched between two bounds: in every sampler, and whatever reads the choices."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.specs import make_spec

from weightsearch.errors import ConfigError
from weightsearch.study import loading, planning, search_space, trivial_objective
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.nightly_spec import CanarySpec
from weightsearch.study.tables.number_range import Range

LR = {"low": 1e-5, "high": 1e-3, "log": True}
DEPTH = {"low": 2, "high": 9}


def ranged(
    kind: str, trials: int | None = 40, steps: int | None = None, **tables: Any
) -> StudySpec:
    more = {} if steps is None else {"steps": steps}
    train, params = {"lr": LR | more, "epochs": 2}, {"depth": DEPTH | more, "net": ["a", "b"]}
    return make_spec(
        **{"train": train, "params": params, "sampler": {"kind": kind, "trials": trials}} | tables
    )


def planned(spec: StudySpec) -> list[search_space.Point]:
    return [point for point in planning.plan(spec).points if point is not None]


def lies_within(point: search_space.Point) -> bool:
    lr, depth = point.params["lr"], point.params["depth"]
    return isinstance(lr, float) and 1e-5 <= lr <= 1e-3 and depth in range(2, 10)


@pytest.mark.parametrize("kind", ["random", "qmc"])
def test_drawn_numbers_cover_the_range_evenly(kind: str) -> None:
    points = planned(ranged(kind, 120))
    assert len(points) == 120
    assert all(map(lies_within, points))
    logs = sorted(math.log10(float(p.params["lr"])) for p in points)
    assert statistics.fmean(logs) == pytest.approx(-4, abs=0.12)  # a standard error is 0.053
    depths = [p.params["depth"] for p in points]
    assert {type(d) for d in depths} == {int}
    assert min(depths.count(d) for d in range(2, 10)) >= 5  # of 15 expected
    assert planned(ranged(kind, 5)) == points[:5]


def searched(spec: StudySpec, places: int) -> list[Seen]:
    """The metric depends on the numbers alone: lr 1e-4 and depth 7 are best."""
    seen: list[Seen] = []
    for k in range(places):
        point = planning.ask(spec, k, seen)
        assert point is not None
        assert lies_within(point)
        far = abs(math.log10(float(point.params["lr"])) + 4) + abs(int(point.params["depth"]) - 7)
        seen.append(Seen(point, far))
    return seen


@pytest.mark.parametrize(("kind", "places"), [("tpe", 30), ("cmaes", 80)])
def test_an_adaptive_sampler_learns_what_number_is_best(kind: str, places: int) -> None:
    values = [s.value for s in searched(ranged(kind, places), places) if s.value is not None]
    late = places // 4
    assert statistics.fmean(values[-late:]) < 0.7 * statistics.fmean(values[:10])


def test_a_gaussian_process_is_asked_within_the_range() -> None:
    searched(ranged("gp", 12), 11)  # the eleventh place is the first that it fills


def test_a_grid_takes_as_many_levels_as_it_is_told() -> None:
    points = planned(ranged("grid", None, steps=3))
    assert len(points) == 10 * 3 * 3 * 2  # directions, lr, depth, net
    assert {p.params["lr"] for p in points} == {1e-5, 1e-4, 1e-3}
    assert {p.params["depth"] for p in points} == {2, 6, 9}


@pytest.mark.parametrize("kind", ["grid", "mixture"])
def test_what_tries_levels_refuses_a_range_without_them(kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ranged(kind)
    assert str(caught.value) == (
        f"test: sampler '{kind}' tries levels of a number, but train.lr is a range without `steps`;"
        " add steps = N to it, or take random, qmc, tpe, gp or cmaes."
    )


def test_a_mixture_gives_each_level_its_design() -> None:
    spec = make_spec(train={"lr": LR | {"steps": 2}}, sampler={"kind": "mixture", "trials": 40})
    points = planned(spec)
    assert len(points) == 2 * (10 + 4)  # the design and its repeats
    assert {p.params["lr"] for p in points} == {1e-5, 1e-3}
    later = planning.ask(spec, 30, [Seen(p, 1.0) for p in points])
    assert later is not None
    assert later.params["lr"] in {1e-5, 1e-3}


@pytest.mark.parametrize("kind", ["random", "qmc"])
def test_written_weights_are_tried_with_drawn_numbers(kind: str) -> None:
    loss = {"weights": [{"mae": 1}, {"ssim": 1}, {"mae": 1, "edge": 1}]}
    points = planned(ranged(kind, 60, loss=loss))
    assert len(points) == 60
    directions = Counter(tuple(p.weights.values()) for p in points)
    assert len(directions) == 3
    assert min(directions.values()) > 8
    assert len({p.params["lr"] for p in points}) > 50
    at_levels = planned(ranged(kind, 12, 3, loss=loss))
    whole = planned(ranged("grid", None, 3, loss=loss))
    assert {p.key() for p in at_levels} < {p.key() for p in whole}
    with pytest.raises(ConfigError, match=r"range of train\.lr and needs a number of trials"):
        ranged(kind, None, loss=loss)


def test_a_learned_weighting_is_tried_at_the_levels_or_in_the_middle() -> None:
    loss = {"weights": "equal", "weightings": ["cov"]}
    objective = {"run": "weightsearch.study.trivial_objective:run"}
    tables = {"loss": loss, "objective": objective}
    for steps, lrs in ((None, {1e-4}), (3, {1e-5, 1e-4, 1e-3})):
        learned = list(search_space.learned(ranged("random", 4, steps, **tables)))
        assert {point.params["lr"] for point in learned} == lrs


bounds = st.tuples(st.floats(1e-6, 1e6), st.floats(1.001, 1e6)).map(lambda b: (b[0], b[0] * b[1]))


@given(bounds, st.booleans(), st.floats(0, 1))
def test_a_position_gives_a_number_of_the_range_and_back(
    ends: tuple[float, float], log: bool, position: float
) -> None:
    found = Range(low=ends[0], high=ends[1], log=log)
    value = found.at(position)
    assert ends[0] <= value <= ends[1]
    assert found.position(value) == pytest.approx(position, abs=2e-3)
    assert found.nearest(value) == value
    assert (found.at(0.0), found.at(1.0)) == pytest.approx(ends, rel=1e-3)
    assert len(f"{value:.17g}") < 25


@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_every_whole_number_of_a_range_has_its_part(low: int, more: int, log: bool) -> None:
    found = Range(low=low, high=low + more, log=log)
    for value in range(low, low + more + 1):
        assert found.at(found.position(value)) == value
    assert found.levels() == (found.at(0.5),)
    assert Range(low=low, high=low + more, log=log, steps=2).levels() == (low, low + more)


def test_numbers_are_short_to_write() -> None:
    points = planned(ranged("random", 50, params={"x": {"low": 0, "high": 0.5}}, train={"lr": LR}))
    assert max(len(str(p.params["lr"])) for p in points) <= len("1.234e-05")
    assert max(len(str(p.params["x"])) for p in points) <= len("0.12345")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ({"low": 2, "high": 1}, "params.x: `low` must be below `high`, but got 2 and 1."),
        ({"low": 1, "high": 1}, "params.x: `low` must be below `high`, but got 1 and 1."),
        ({"low": 0, "high": 1, "log": True}, "params.x: `low` must be above 0 where `log` is true"),
        ({"low": 0}, "params.x.high: is missing."),
        (
            {"low": 0, "high": 1, "step": 3},
            "params.x: a range has no 'step'; did you mean",
        ),
        ({"low": 0, "high": 1, "steps": 1}, "params.x.steps: must be at least 2"),
        ({"low": "a", "high": 1}, "params.x.low: must be a number, but got 'a'"),
    ],
)
def test_what_is_no_range_is_refused_in_one_line(number: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_spec(params={"x": number}, sampler={"kind": "random", "trials": 3})
    assert str(caught.value).startswith(f"test: {said}")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"test: train\.lr: `low` must be above 0, but got 0\."):
        make_spec(train={"lr": {"low": 0, "high": 1}}, sampler={"kind": "random", "trials": 3})


def test_a_stored_study_is_the_one_that_was_written() -> None:
    spec = ranged("random")
    again = loading.parse(spec.resolved(), "stored")
    assert again == spec
    assert again.digest() == spec.digest() != ranged("random", steps=3).digest()
    assert isinstance(search_space.choices(again)["depth"], Range)
    whole = make_spec(train={"lr": {"low": 1, "high": 3, "steps": 2}})
    assert search_space.choices(whole)["lr"] == (1.0, 3.0)


def test_a_canary_names_a_number_of_the_range() -> None:
    spec = ranged("random")

    def asked(**params: Any) -> CanarySpec:
        return CanarySpec(name="c", weights={"mae": 1}, params={"net": "a", "depth": 3} | params)

    assert planning.canary(spec, asked(lr=2e-4)).params == {"lr": 2e-4, "depth": 3, "net": "a"}
    with pytest.raises(ConfigError, match=r"lr must be one of the study's, 1e-05 to 0\.001, but"):
        planning.canary(spec, asked(lr=2e-3))
    with pytest.raises(ConfigError, match="must say which lr"):
        planning.canary(spec, asked())


def test_readers_of_the_choices_know_what_varies() -> None:
    spec = ranged("random", params={"epoch_s": {"low": 1.0, "high": 3.0}, "net": "a"})
    assert list(search_space.varied(spec)) == ["lr", "epoch_s"]
    assert trivial_objective.estimate(spec, "cpu", Path()) == {"epoch_s": 2.0}
    sized = {"source": "synthetic", "size": [64, 96]}
    wrong = ranged("random", data=sized, params={"size": {"low": 32, "high": 64}})
    with pytest.raises(ConfigError, match=r"params\.size must be a size HxW or a list of them"):
        search_space.sizes(wrong)
