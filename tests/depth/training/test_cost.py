"""What training is expected to take: every network is asked, and steps and frames are counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.depth_studies import OPTIONS, WEIGHTS, context, depth_spec, home, training_copy
from support.lanes import trainer

from weightsearch.data.packs import building
from weightsearch.depth import objective
from weightsearch.depth.training import cost
from weightsearch.depth.training.cost import Timed
from weightsearch.depth.training.trainer import Trainer
from weightsearch.study.objective_contract import Estimate
from weightsearch.study.spec import StudySpec

STEPS, VAL = 6, 6  # 24 of 30 frames in batches of 4; 20 % validate
KNOWN = {
    "test_efficientnet": Timed(step_s=2.0, frame_s=0.5, model_bytes=100, optimizer_bytes=200),
    "test_resnet": Timed(step_s=5.0, frame_s=0.25, model_bytes=300, optimizer_bytes=600),
}
BOTH = depth_spec(model={"encoder": list(KNOWN)})


def packed(spec: StudySpec) -> Path:
    training_copy(spec)
    return building.ensure("synthetic", None, OPTIONS, home())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int]]]:
    """The networks that are timed; each takes what `KNOWN` says."""
    found = []

    def timed(spec: StudySpec, *_: object) -> Timed:
        assert spec.model is not None
        assert spec.data is not None
        found.append((str(spec.model.encoder), spec.data.size))
        return KNOWN[str(spec.model.encoder)]

    monkeypatch.setattr(cost, "timed", timed)
    return found


def test_an_epoch_is_its_steps_and_its_validation_of_each_network(
    asked: list[tuple[str, tuple[int, int]]],
) -> None:
    found = cost.estimate(BOTH, "cpu", packed(BOTH))
    assert asked == [("test_efficientnet", (48, 64)), ("test_resnet", (48, 64))]
    assert found == {
        "epoch_s": ((STEPS * 2.0 + VAL * 0.5) + (STEPS * 5.0 + VAL * 0.25)) / 2,
        "point_bytes": 0,
        "full_bytes": (100 + 300) / 2,
        "how": "a step of 4 frames took 2.0 s to 5.0 s with 2 of 2 networks",
    }


def test_epochs_of_a_frozen_encoder_take_less(
    asked: list[tuple[str, tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two epochs of a point, and one of four of a full run."""
    known = replace(KNOWN["test_efficientnet"], frozen_step_s=1.0)
    monkeypatch.setitem(KNOWN, "test_efficientnet", known)
    full = {"protocol": "full", "top": 1, "seeds": [1], "epochs": 4}
    spec = depth_spec(train={"epochs": 2, "freeze": 1}, promote=full)
    found = cost.estimate(spec, "cpu", packed(spec))
    assert found["epoch_s"] == STEPS * (0.5 * 1.0 + 0.5 * 2.0) + VAL * 0.5
    assert found["full_epoch_s"] == STEPS * (0.25 * 1.0 + 0.75 * 2.0) + VAL * 0.5


@pytest.mark.parametrize(("freeze", "kinds"), [(0, [False]), (1, [False, True]), ("all", [True])])
def test_steps_are_timed_with_and_without_the_encoder(
    freeze: int | str, kinds: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, frozen = depth_spec(train={"freeze": freeze}), []

    def steps_s(self: Trainer, lane: Any) -> Iterator[float]:
        frozen.append(lane.is_frozen())
        yield 9.0 - frozen[-1]

    monkeypatch.setattr(Trainer, "steps_s", steps_s)
    on = trainer(spec)
    lane, step_s = cost._stepped(on)
    frozen_s = cost._frozen_step_s(on, lane)
    assert frozen == kinds
    assert [step_s, frozen_s] == [9.0 - kinds[0], 8.0 if len(kinds) == 2 else None]


@pytest.mark.parametrize(
    ("keep", "point", "full"),
    [
        ({"search": "weights", "full": "weights"}, (100 + 300) / 2, (100 + 300) / 2),
        ({"full": "all"}, 0, ((3 * 100 + 2 * 200) + (3 * 300 + 2 * 600)) / 2),
    ],
)
def test_what_stays_is_what_the_study_keeps(
    keep: dict[str, str], point: float, full: float, asked: list[tuple[str, tuple[int, int]]]
) -> None:
    spec = depth_spec(model={"encoder": ["test_efficientnet", "test_resnet"]}, keep=keep)
    found = cost.estimate(spec, "cpu", packed(spec))
    assert (found["point_bytes"], found["full_bytes"]) == (point, full)


def test_searched_sizes_are_networks_too(asked: list[tuple[str, tuple[int, int]]]) -> None:
    spec = depth_spec(params={"size": ["32x64", "48x64"]})
    found = cost.estimate(spec, "cpu", packed(spec))
    assert asked == [("test_efficientnet", (32, 64)), ("test_efficientnet", (48, 64))]
    assert found["how"] == "a step of 4 frames took 2.0 s with 2 of 2 networks"


def test_networks_that_take_long_are_not_all_timed(
    asked: list[tuple[str, tuple[int, int]]],
) -> None:
    times = iter([0.0, cost.LIMIT_S + 1])
    found = cost.estimate(BOTH, "cpu", packed(BOTH), clock=lambda: next(times))
    assert [encoder for encoder, _ in asked] == ["test_efficientnet"]
    assert found["epoch_s"] == STEPS * 2.0 + VAL * 0.5
    assert found["how"] == "a step of 4 frames took 2.0 s with 1 of 2 networks, taken for all"


@pytest.mark.parametrize(
    ("times", "taken", "expected"),
    [
        ([9.0, 0.1, 0.2, 0.6, 0.1], 1, 9.0),  # slow is not cold
        ([3.0, 1.0, 1.0], 2, 1.0),  # two at least, so that a warm one is among them
        ([0.4, 0.3, 0.1, 0.2, 0.1], 4, 0.2),
    ],
)
def test_the_first_step_warms_up(times: list[float], taken: int, expected: float) -> None:
    coming = iter(times)
    assert cost._warm_s(coming, slow_s=5.0) == expected
    assert len(list(coming)) == len(times) - taken


def test_it_answers_as_the_contract_asks_and_foresees_what_a_full_run_leaves(
    tmp_path: Path,
) -> None:
    spec = depth_spec(model={"encoder": "test_resnet"})
    found = Estimate.of(objective.estimate(spec, "cpu", packed(spec)))
    assert found.epoch_s > 0
    assert found.point_bytes == 0
    list(objective.run(WEIGHTS, {}, context(spec, tmp_path, final=True)))
    left = sum(file.stat().st_size for file in tmp_path.glob("best/*.safetensors"))
    assert found.full_bytes == pytest.approx(left, rel=0.05)  # headers, and rows of losses


def test_where_memory_runs_out_a_step_is_timed_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def steps_s(self: Trainer, lane: Any) -> Iterator[float]:
        tried.append(lane.micro)
        if lane.micro > 1:
            raise torch.OutOfMemoryError
        yield 7.0

    monkeypatch.setattr(Trainer, "steps_s", steps_s)
    lane, seconds = cost._stepped(trainer())
    assert (tried, lane.micro, seconds) == ([4, 2, 1], 1, 7.0)
    monkeypatch.setattr(Trainer, "steps_s", _never)
    with pytest.raises(torch.OutOfMemoryError):
        cost._stepped(trainer())


def _never(self: Trainer, lane: Any) -> Iterator[float]:
    raise torch.OutOfMemoryError
    yield 0.0


def test_timed_steps_are_those_of_training() -> None:
    """Bit for bit what an epoch of `run` trains, before its validation."""
    one, other = trainer(), trainer()
    timed, trained = one.lane(WEIGHTS, 0, 1e-3), other.lane(WEIGHTS, 0, 1e-3)
    assert len(list(one.steps_s(timed))) == STEPS
    other._epoch([trained], lambda: None)
    assert _equal(timed.model, trained.model)


def _equal(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
