"""Learned weightings in a study: points of the same plan, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.specs import make_spec

from weightsearch.errors import ConfigError
from weightsearch.study import loading, planning, point_text, search_space
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

PATH = {"start": {"mae": 1}, "end": "paper"}
RIVALS = {"weightings": ["cov", "warm-up"], "warm_up": PATH}
GRID = {"weights": {"grid": "simplex", "steps": 3}}
DEPTH: dict[str, Any] = {
    "goal": "test",
    "data": {"source": "synthetic", "size": [64, 96]},
    "model": {"encoder": "densenet121"},
}


def planned(spec: StudySpec) -> tuple[list[Point | None], list[Point | None]]:
    """The points of learned weightings, and the others."""
    points = planning.plan(spec).points
    learned = [p for p in points if p is not None and p.weighting is not None]
    return list(points[: len(learned)]), list(points[len(learned) :])


@pytest.mark.parametrize("kind", ["grid", "random", "qmc", "tpe", "gp", "cmaes", "mixture"])
def test_learned_weightings_come_first_with_every_choice_beside_what_is_drawn(kind: str) -> None:
    tables: dict[str, Any] = {
        "params": {"encoder": ["a", "b"]},
        "sampler": {"kind": kind, "trials": 4},
    }
    learned, drawn = planned(make_spec(loss=GRID | RIVALS, **tables))
    assert [(p.weighting, p.params["encoder"]) for p in learned if p] == [
        *(("cov", "a"), ("cov", "b"), ("warm-up", "a"), ("warm-up", "b"))
    ]
    assert drawn == list(planning.plan(make_spec(loss=GRID, **tables)).points)


def test_a_learned_weighting_is_another_point_than_the_weights_that_stand_for_it() -> None:
    weights = {"weights": ["equal", "paper"]}
    learned, fixed = planned(make_spec(loss=weights | RIVALS))
    points = [p for p in (*learned, *fixed) if p]
    assert len({p.key() for p in points}) == len({p.id() for p in points}) == 4
    by_name = {point_text.described(p): search_space.decimals(p.weights, 3) for p in points}
    equal, paper = ({"mae": 0.334, "edge": 0.333, "ssim": 0.333},
                    {"mae": 0.333, "edge": 0.111, "ssim": 0.556})  # fmt: skip
    assert by_name["cov"] == equal
    assert by_name["warm-up"] == paper
    assert by_name["0.333 mae 0.111 edge 0.556 ssim"] == paper


def test_a_study_may_have_learned_weightings_alone() -> None:
    learned, fixed = planned(make_spec(loss={"weights": [], "weightings": ["cov", "dwa"]}))
    assert [p.weighting for p in learned if p] == ["cov", "dwa"]
    assert not fixed
    with pytest.raises(ConfigError, match="at least one point"):
        planning.plan(make_spec(loss={"weights": []}))


def test_an_adaptive_sampler_learns_nothing_from_what_has_no_direction() -> None:
    spec = make_spec(loss=GRID | RIVALS, sampler={"kind": "tpe", "trials": 20})
    seen = [Seen(search_space.draw(spec, k), float(k)) for k in range(12)]
    learned = [Seen(point, -9.0) for point in search_space.learned(spec)]
    assert planning.ask(spec, 12, [*learned, *seen]) == planning.ask(spec, 12, seen)


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes"])
@pytest.mark.parametrize("results", [0, 12])
def test_an_adaptive_sampler_counts_its_own_places(kind: str, results: int) -> None:
    sampler = {"kind": kind, "trials": 20}
    plain, rivals = (make_spec(loss=loss, sampler=sampler) for loss in (GRID, GRID | RIVALS))
    before = len(list(search_space.learned(rivals)))
    seen = [Seen(search_space.draw(plain, k), float(k)) for k in range(results)]
    places = range(results, results + 3)
    own = [planning.ask(plain, k, seen) for k in places]
    assert [planning.ask(rivals, k + before, seen) for k in places] == own


def test_what_a_weighting_does_is_part_of_a_studys_digest_and_nothing_else_is() -> None:
    plain = make_spec(loss=GRID)
    digests = {
        make_spec(loss=GRID | rivals).digest()
        for rivals in (
            {"weightings": ["cov"]},
            {"weightings": ["dwa"]},
            RIVALS,
            RIVALS | {"warm_up": PATH | {"share": 0.4}},
        )
    }
    assert len(digests | {plain.digest()}) == 5
    assert make_spec(loss=GRID | {"weightings": []}).digest() == plain.digest()
    again = loading.parse(make_spec(loss=GRID | RIVALS).resolved(), "again")
    assert again.digest() in digests


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"weightings": ["uncertanty"]}, "unknown weighting 'uncertanty'; did you mean 'unc"),
        ({"weightings": ["cov", "cov"]}, "`weightings` must be distinct"),
        (
            {"terms": ["mae"], "weightings": ["cov"]},
            "need two, but `terms` is ['mae']; add a term",
        ),
        ({"weightings": ["dwa"]}, "needs train.epochs of at least 3, but got 2; raise it"),
        ({"weightings": ["warm-up"]}, 'add warm_up = { start = { mae = 1 }, end = "equal" }.'),
        ({"warm_up": PATH}, "`warm_up` belongs to the weighting 'warm-up'"),
        (RIVALS | {"warm_up": PATH | {"start": "papr"}}, "unknown weights 'papr'; did you mean"),
        (RIVALS | {"warm_up": PATH | {"start": {"mea": 1}}}, "unknown term 'mea'; did you mean"),
        (RIVALS | {"warm_up": PATH | {"end": {"mae": 0}}}, "at least one weight must be above 0"),
        (RIVALS | {"warm_up": PATH | {"share": 2}}, "loss.warm_up.share: must be "),
        (RIVALS | {"warm_up": PATH | {"end": "densedepth"}}, "belong to data.target 'inverse'"),
        (RIVALS | {"warm_up": {"start": "equal"}}, "loss.warm_up.end: is missing."),
    ],
)
def test_what_does_not_suit_is_refused_in_one_line(loss: dict[str, Any], said: str) -> None:
    given = {"terms": ["mae", "edge", "ssim"], "weights": {"mae": 1}} | loss
    with pytest.raises(ConfigError) as caught:
        loading.parse(DEPTH | {"loss": given, "train": {"epochs": 2}}, "file.toml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("promote", [{"epochs": 3}, None])
def test_dwa_also_needs_three_epochs_of_full_runs(promote: dict[str, Any] | None) -> None:
    loss = {"terms": ["mae", "edge"], "weights": [], "weightings": ["dwa"]}
    tables = DEPTH | {"loss": loss, "train": {"epochs": 3}}
    with pytest.raises(ConfigError, match=r"needs promote\.epochs of at least 3, but got 2; raise"):
        loading.parse(tables | {"promote": {"epochs": 2}}, "file.toml")
    assert loading.parse(tables | {"promote": promote}, "file.toml").loss.weightings == ("dwa",)


def test_a_parameter_is_not_named_as_the_weighting() -> None:
    with pytest.raises(ConfigError, match=r"params\.weighting: the name belongs to loss\."):
        make_spec(params={"weighting": ["a", "b"]})
