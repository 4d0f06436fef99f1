"""Lanes that are trained together come to what each comes to alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.depth_studies import WEIGHTS, context, depth_spec
from support.lanes import NONE, same, trained, trainer, unscored, with_dropout

from weightsearch.depth import objective
from weightsearch.depth.network import checkpoint
from weightsearch.depth.training import lane_count
from weightsearch.depth.training.batches import Batch, Frames
from weightsearch.depth.training.epoch_record import Epoch
from weightsearch.depth.training.recorded_steps import RECORDS, Compute
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import Interrupted, NonFiniteLoss

MAE = {"mae": 1.0, "edge": 0.0, "ssim": 0.0}
ALL = (WEIGHTS, MAE, {"mae": 0.2, "edge": 0.0, "ssim": 0.8})


@pytest.fixture(scope="module")
def on() -> Trainer:
    return trainer()


@pytest.fixture(scope="module")
def alone(on: Trainer) -> list[Lane]:
    """Each of `ALL` after two epochs."""
    return [trained(on, weights) for weights in ALL]


def begun(on: Trainer, weights: Sequence[dict[str, float]], lr: float = 1e-3) -> list[Lane]:
    return [on.lane(each, 0, lr) for each in weights]


def runs(on: Trainer, lanes: list[Lane], epochs: int = 2) -> list[Iterator[Epoch]]:
    return [on.run(lane, epochs, unscored, beside=lanes) for lane in lanes]


def in_turns(of: Sequence[Iterator[Epoch]]) -> list[list[Epoch]]:
    """An epoch of each, until all are at their end."""
    return [list(column) for column in zip(*zip(*of, strict=True), strict=True)]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_lanes_come_bit_for_bit_to_what_each_comes_to_alone(optimizer: str) -> None:
    spec = depth_spec(train={"optimizer": optimizer, "clip_norm": 1.0})
    on, alone = with_dropout(trainer(spec)), with_dropout(trainer(spec))
    lanes = begun(on, ALL[:2])
    together = in_turns(runs(on, lanes, epochs=1))
    for weights, lane, epochs in zip(ALL[:2], lanes, together, strict=True):
        solo = alone.lane(weights, 0, 1e-3)
        expected = list(alone.run(solo, 1, unscored))
        assert same(lane, solo)
        assert [e.losses for e in epochs] == [e.losses for e in expected]


WAYS = [
    {"average": "ema", "decay": 0.9},
    {"schedule": "onecycle"},
    {"schedule": "cosine", "warm_up": 0.25, "encoder_lr": 0.1},
    {"freeze": 1},
    {"optimizer": "sgd", "schedule": "onecycle"},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way)))
@pytest.mark.parametrize("records", [False, True])
def test_however_they_are_trained_lanes_come_to_what_each_comes_to_alone(
    way: dict[str, Any], records: bool
) -> None:
    """Recorded is only what steps alike but for its lr."""
    recorded.clear()
    spec = depth_spec(train=way)
    on, alone = trainer(spec), trainer(spec)
    on.recorder.record = again if records else None
    lanes = begun(on, ALL[:2])
    together = in_turns(runs(on, lanes))
    for weights, lane, epochs in zip(ALL[:2], lanes, together, strict=True):
        solo = alone.lane(weights, 0, 1e-3)
        expected = list(alone.run(solo, 2, unscored))
        assert same(lane, solo)
        assert [e.losses for e in epochs] == [e.losses for e in expected]
    alike = way.get("schedule") == "cosine" or "optimizer" in way  # SGD has no beta1
    assert bool(recorded) == (records and alike)


def test_data_are_read_and_augmented_once_for_all(
    on: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, augmented = [], []
    augment = on._augmented

    def counted(lane: Lane, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        augmented.append((lane.epoch, lane.step))
        return augment(lane, batch)

    def batches(self: Frames, *place: int) -> Iterator[Batch]:
        for batch in one_by_one(self, *place):
            read.append(batch)
            yield batch

    one_by_one = Frames.batches
    monkeypatch.setattr(Frames, "batches", batches)
    monkeypatch.setattr(on, "_augmented", counted)
    in_turns(runs(on, begun(on, ALL), epochs=1))
    assert augmented == [(0, step) for step in range(on.steps)]
    assert len(read) == on.steps


def test_one_that_diverges_leaves_the_others_alone() -> None:
    on = trainer(depth_spec(train={"optimizer": "sgd", "precision": "fp32"}))
    fine, diverges, other = begun(on, [WEIGHTS]) + begun(on, [MAE], 1e20) + begun(on, [MAE])
    together = [fine, diverges, other]
    first, second, third = runs(on, together)
    next(first)
    with pytest.raises(NonFiniteLoss, match="in epoch 1, step"):
        next(second)
    together.remove(diverges)
    next(third)
    for lane, weights in ((fine, WEIGHTS), (other, MAE)):
        assert same(lane, trained(on, weights, epochs=1))


def test_one_that_leaves_in_between_leaves_the_others_alone(on: Trainer, alone: list[Lane]) -> None:
    lanes = begun(on, ALL)
    first, second, third = runs(on, lanes)
    for run in (first, second, third):
        next(run)
    lanes.pop(0)
    in_turns([second, third])
    assert all(map(same, lanes, alone[1:]))


def test_interrupted_lanes_go_on_together_wherever_each_stands(
    on: Trainer, alone: list[Lane], tmp_path: Path
) -> None:
    """Two stop in the middle of an epoch, a third has that epoch behind it."""
    lanes = begun(on, ALL)
    stops = iter([None, None, 0.0])
    run = on.run(lanes[0], 2, unscored, lambda: next(stops), lanes[:2])
    with pytest.raises(Interrupted):
        next(run)
    next(on.run(lanes[2], 2, unscored))
    places = [(lane.epoch, lane.step) for lane in lanes]
    assert places == [(0, 3), (0, 3), (1, 0)]
    for number, lane in enumerate(lanes):
        told = {"position": lane.position()}
        checkpoint.save(tmp_path, f"last{number}", lane.tensors(), told)
    resumed = begun(on, ALL)
    for number, lane in enumerate(resumed):
        lane.restore(checkpoint.load(tmp_path / f"last{number}"))
    first, second, third = runs(on, resumed)
    for run in (first, second):  # whoever is behind comes first
        next(run)
    in_turns([first, second, third])
    assert all(map(same, resumed, alone))


def test_a_lane_joins_another_at_its_own_step(on: Trainer, alone: list[Lane]) -> None:
    ahead, behind = begun(on, ALL[:2])
    stops = iter([None, 0.0])
    with pytest.raises(Interrupted):
        next(on.run(ahead, 2, unscored, lambda: next(stops)))
    assert (ahead.step, behind.step) == (2, 0)
    in_turns(runs(on, [ahead, behind]))
    assert same(ahead, alone[0])
    assert same(behind, alone[1])


def again(compute: Compute) -> Compute:
    """Stands for a CUDA graph on a CPU: the same again, from and into the same tensors."""
    recorded.append(1)
    return compute


recorded: list[int] = []


def test_recorded_steps_come_to_what_each_lane_comes_to_alone(alone: list[Lane]) -> None:
    on = trainer()
    on.recorder.record = again
    recorded.clear()
    lanes = begun(on, ALL)
    first, second, third = runs(on, lanes)
    for run in (first, second, third):
        next(run)
    assert recorded == [1]
    left = lanes.pop(0)
    first.close()  # type: ignore[attr-defined]  # a generator
    in_turns([second, third])
    assert recorded == [1, 1]  # for the two that are left
    assert on.recorder.recorded is None
    assert all(map(same, lanes, alone[1:]))
    assert same(left, trained(on, ALL[0], epochs=1))


def test_a_recorded_step_takes_its_lr_from_where_it_was_recorded() -> None:
    """As a CUDA graph does: that of a schedule must be put there before each replay."""
    on = trainer(depth_spec(train={"schedule": "cosine"}))
    lanes = begun(on, ALL[:2])
    groups = [group for lane in lanes for group in lane.optimizer.param_groups]
    seen: list[float] = []

    def graph(compute: Compute) -> Compute:
        lrs = [group["lr"] for group in groups]

        def replay() -> list[torch.Tensor]:
            before = [group["lr"] for group in groups]
            for group, lr in zip(groups, lrs, strict=True):
                group["lr"] = lr
            rows = compute()
            assert all(group["lr"] is lr for group, lr in zip(groups, lrs, strict=True))
            seen.append(lrs[0].item())
            for group, lr in zip(groups, before, strict=True):
                group["lr"] = lr
            return rows

        return replay

    on.recorder.record = graph
    in_turns(runs(on, lanes))
    assert len(set(seen)) == len(seen) > 2  # each step's own
    for weights, lane in zip(ALL[:2], lanes, strict=True):
        alone = trained(on, weights).model  # whose lr is no float32; another lr is 1e-3 apart
        torch.testing.assert_close(lane.model, alone, rtol=1e-4, atol=1e-4)


def test_what_draws_as_it_trains_or_has_parts_takes_turns() -> None:
    recorded.clear()
    for on, shrink in ((with_dropout(trainer()), 0), (trainer(), 1)):
        on.recorder.record = again
        lanes = [on.lane(weights, 0, 1e-3, shrink) for weights in ALL[:2]]
        for run in runs(on, lanes):
            next(run)
    assert recorded == []


def test_a_step_that_cannot_be_recorded_is_a_warning(
    alone: list[Lane], caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(compute: Compute) -> Compute:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    on = trainer()
    on.recorder.record = refuses
    lanes = begun(on, ALL[:2])
    in_turns(runs(on, lanes))
    assert caplog.messages == [
        "a step cannot be recorded here, and lanes take turns: operation not permitted when stream"
        " is capturing"
    ]
    assert all(map(same, lanes, alone[:2]))


@pytest.mark.parametrize(
    ("steps_s", "most"),
    [
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.0}, 8),  # bound by starting kernels
        ({1: 1.0, 2: 1.2, 4: 2.0, 8: 4.0}, 4),  # full with four
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, 1),  # in turns: no slower than alone, no faster
        ({1: 1.0, 2: 3.0, 4: 7.0, 8: 15.0}, 1),
        ({1: 1.0, 2: 1.1}, 2),  # four do not fit
    ],
)
def test_as_many_lanes_as_measure_fastest(steps_s: dict[int, float], most: int) -> None:
    def step_s(count: int) -> float:
        if count not in steps_s:
            raise torch.OutOfMemoryError
        return steps_s[count]

    assert lane_count.fastest(step_s, lambda: True) == most


@pytest.mark.parametrize("known_after", [0, 1, 2])
def test_no_more_lanes_are_timed_once_they_are_known_to_take_turns(known_after: int) -> None:
    timed: list[int] = []

    def step_s(count: int) -> float:
        timed.append(count)
        return 1.0  # by chance, more lanes seem faster

    assert lane_count.fastest(step_s, lambda: len(timed) < known_after) == 1
    assert timed == [1, 2][:known_after]


def test_points_whose_steps_are_never_recorded_are_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECORDS, "cpu", again)
    monkeypatch.setattr(lane_count, "step_s", lambda trainer, count: 1.0)  # all but free
    found = {}
    for average in ("none", "ema"):
        there = context(depth_spec(train={"average": average}), tmp_path)
        found[average] = objective.fastest_lanes(WEIGHTS, {}, there)
    assert found == {"none": 8, "ema": 1}


def test_timing_lanes_leaves_nothing_behind(on: Trainer) -> None:
    before = _lanes_alive()
    assert lane_count.step_s(on, 2) > 0
    assert _lanes_alive() == before


def _lanes_alive() -> int:
    gc.collect()
    return sum(isinstance(found, Lane) for found in gc.get_objects())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_step_of_a_gpu_is_that_of_each_lane_alone() -> None:
    spec = depth_spec(train={"precision": "fp32", "batch": 2})
    on = trainer(spec, torch.device("cuda"))
    lanes = begun(on, ALL)
    in_turns([on.run(lane, 1, lambda _: NONE, beside=lanes) for lane in lanes])
    assert on.recorder.record is not None  # it could be recorded
    for lane, weights in zip(lanes, ALL, strict=True):
        solo = on.lane(weights, 0, 1e-3)
        next(on.run(solo, 1, lambda _: NONE))
        torch.testing.assert_close(lane.rows, solo.rows, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(lane.model, solo.model, rtol=1e-4, atol=1e-4)


def test_a_failure_of_its_own_is_raised_in_its_own_run(
    on: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = begun(on, ALL)
    move = on._move

    def fails(lane: Lane, *given: torch.Tensor) -> None:
        if lane is lanes[1] and lane.step == 2:
            raise KeyError("odd")
        move(lane, *given)

    monkeypatch.setattr(on, "_move", fails)
    first, second, third = runs(on, lanes)
    assert next(first).number == 1
    with pytest.raises(KeyError, match="odd"):
        next(second)
    assert next(third).number == 1


def test_memory_that_runs_out_ends_the_step_of_all(
    on: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which lane asked for too much says nothing: it was the last drop."""
    lanes = begun(on, ALL)

    def runs_out(lane: Lane, *given: torch.Tensor) -> None:
        if lane is lanes[1]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(on, "_move", runs_out)
    with pytest.raises(torch.OutOfMemoryError):
        next(runs(on, lanes)[0])
    assert [lane.failure for lane in lanes] == [None] * 3
