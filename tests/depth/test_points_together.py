"""Points that the depth objective trains together come to what each comes to alone."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from support.depth_studies import WEIGHTS, context, depth_spec

from weightsearch.depth import objective, prepared
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import Interrupted, NonFiniteLoss
from weightsearch.study.objective_contract import Context, Run

TIMES = {"seconds", "images_per_second", "latency_ms"}
MAE = {"mae": 1.0, "edge": 0.0, "ssim": 0.0}
POINTS = [(WEIGHTS, {}), (MAE, {"lr": 3e-3}), (WEIGHTS, {"weighting": "cov"})]


def contexts(folder: Path, number: int = 3, **values: Any) -> list[Context]:
    """Of one worker: they share its cache."""
    given = {"epochs": 2, "cache": CACHE} | values
    return [context(SPEC, folder / str(k), **given) for k in range(number)]


def in_turns(runs: list[Run]) -> list[list[dict[str, Any]]]:
    epochs = [list(column) for column in zip(*zip(*runs, strict=True), strict=True)]
    return [[_timeless(epoch) for epoch in of_one] for of_one in epochs]


def _timeless(epoch: Any) -> dict[str, Any]:
    return {name: value for name, value in epoch.items() if name not in TIMES}


SPEC = depth_spec(train={"lr": 1e-3}, loss={"weightings": ["cov"]})
CACHE: dict[str, Any] = {}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """The epochs of each of `POINTS`."""
    folder = tmp_path_factory.mktemp("alone")
    runs = (objective.run(*point, one) for point, one in zip(POINTS, contexts(folder), strict=True))
    return [[_timeless(epoch) for epoch in run] for run in runs]


def test_each_yields_what_it_yields_alone(alone: list[Any], tmp_path: Path) -> None:
    """With other weights, another lr and a learned weighting beside it."""
    assert in_turns(objective.run_together(POINTS, contexts(tmp_path))) == alone


def test_a_stop_saves_all_and_they_go_on_together(
    alone: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    stopped = contexts(tmp_path, grace_s=lambda: given[0] if given else None)
    moved: list[Lane] = []
    move = Trainer._move

    def stops(self: Trainer, lane: Lane, *more: Any) -> None:
        moved.append(lane)
        if len(moved) == 8:  # the second point's third step
            given.append(0.0)
        move(self, lane, *more)

    monkeypatch.setattr(Trainer, "_move", stops)
    for run in objective.run_together(POINTS, stopped):
        with pytest.raises(Interrupted):
            next(run)
    assert len(moved) == 9  # to the end of the step
    assert {lane.step for lane in moved} == {3}
    again = objective.run_together(POINTS, contexts(tmp_path))
    assert in_turns(again) == alone
    assert len(moved) == 9 + 3 * 9


def test_a_later_stage_goes_on_with_all_from_where_the_first_ended(
    alone: list[Any], tmp_path: Path
) -> None:
    """A run that ends at `until` is closed after that epoch, as the worker does."""
    early = objective.run_together(POINTS, contexts(tmp_path, until=1))
    for run, expected in zip(early, alone, strict=True):
        assert _timeless(next(run)) == expected[0]
        run.close()
    assert in_turns(objective.run_together(POINTS, contexts(tmp_path))) == alone


def test_one_that_is_lost_writes_nothing_and_the_others_go_on(
    alone: list[Any], tmp_path: Path
) -> None:
    lost: list[bool] = []
    given = contexts(tmp_path)
    given[1] = contexts(tmp_path, lost=lambda: bool(lost))[1]
    first, second, third = objective.run_together(POINTS, given)
    epochs = [_timeless(next(first))]
    lost.append(True)
    with pytest.raises(Interrupted):
        next(second)
    assert not (tmp_path / "1").exists()
    next(third)
    epochs.append(_timeless(next(first)))
    assert epochs == alone[0]


def test_one_that_diverges_or_loses_patience_leaves_the_others_alone(tmp_path: Path) -> None:
    points = [(MAE, {"lr": 1e-12}), (WEIGHTS, {"lr": 1e30}), (MAE, {})]
    given = contexts(tmp_path, epochs=4)
    given[0] = contexts(tmp_path, epochs=4, patience=1)[0]
    patient, diverges, third = objective.run_together(points, given)
    next(patient)
    with pytest.raises(NonFiniteLoss):
        next(diverges)
    found = [_timeless(next(third))]
    stopped_after = 1 + len(list(patient))
    found += [_timeless(epoch) for epoch in third]
    assert stopped_after < 4
    whole = contexts(tmp_path / "alone", epochs=4)[2]
    assert found == [_timeless(epoch) for epoch in objective.run(MAE, {}, whole)]


def test_what_is_wrong_with_one_point_is_raised_where_its_epoch_is_asked_for(
    alone: list[Any], tmp_path: Path
) -> None:
    points = [POINTS[0], (MAE, {"lr": -1.0})]
    fine, wrong = objective.run_together(points, contexts(tmp_path, 2))
    with pytest.raises(ValueError, match="learning rate"):
        next(wrong)
    assert [_timeless(epoch) for epoch in fine] == alone[0]


def test_memory_stays_as_it_is_over_many_points(tmp_path: Path) -> None:
    gc.collect()
    before = [found for found in gc.get_objects() if isinstance(found, Lane)]  # of other tests
    alive = []
    for k in range(4):
        points = [(WEIGHTS, {}), (MAE, {})]
        runs = objective.run_together(points, contexts(tmp_path / str(k), 2, epochs=1))
        for run in runs:
            list(run)
        del runs, run
        gc.collect()
        alive.append(sum(isinstance(found, torch.Tensor) for found in gc.get_objects()))
    assert len(set(alive[1:])) == 1
    lanes = [found for found in gc.get_objects() if isinstance(found, Lane)]
    assert not [lane for lane in lanes if lane not in before]


def test_points_may_differ_in_what_makes_no_other_trainer() -> None:
    assert set(objective.APART) == {"lr", "weighting"}
    assert set(objective.APART) < {*prepared.SEARCHED, "weighting"}
