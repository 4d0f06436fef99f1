"""Lanes of learned weightings: where they were cut cannot be seen, and what they report."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from support.depth_studies import WEIGHTS, depth_spec
from support.lanes import same, trainer, unscored, with_dropout

from weightsearch.depth.loss.weightings import WEIGHTINGS, Learned
from weightsearch.depth.network import checkpoint
from weightsearch.depth.training.epoch_record import Epoch
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import CheckpointError, Interrupted

EPOCHS = 3
PATH = {"start": {"mae": 1.0}, "end": "paper", "share": 0.5}
SPEC = depth_spec(
    loss={"weightings": list(WEIGHTINGS), "warm_up": PATH},
    train={"epochs": EPOCHS, "batch": 12, "weight_decay": 0.1, "optimizer": "adamw"},
)


@functools.cache
def shared() -> Trainer:
    """A trial depends on nothing before it: test_resume.py."""
    return with_dropout(trainer(SPEC))


def begun(name: str) -> tuple[Trainer, Lane]:
    on = shared()
    return on, on.lane(WEIGHTS, 0, 1e-3, 0, Learned(name, EPOCHS))


@functools.cache
def ended(name: str) -> tuple[Lane, list[Epoch]]:
    on, lane = begun(name)
    return lane, list(on.run(lane, EPOCHS, unscored))


@pytest.mark.parametrize("name", [*WEIGHTINGS, "dwa between epochs"])
def test_a_resumed_weighting_is_bit_for_bit_the_uninterrupted_one(
    tmp_path: Path, name: str
) -> None:
    name, _, between_epochs = name.partition(" ")
    whole, expected = ended(name)
    on, lane = begun(name)
    run = on.run(lane, EPOCHS, unscored)
    before = [next(run), next(run)]
    if not between_epochs:
        with pytest.raises(Interrupted):
            next(on.run(lane, EPOCHS, unscored, lambda: 0.0))
    assert (lane.epoch, lane.step) == (2, 0 if between_epochs else 1)
    checkpoint.save(tmp_path, "last", lane.tensors(), {"position": lane.position()})
    on, rest = begun(name)
    rest.restore(checkpoint.load(tmp_path / "last"))
    epochs = [*before, *on.run(rest, EPOCHS, unscored)]
    assert same(rest, whole)
    assert [e.losses for e in epochs] == [e.losses for e in expected]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_each_epoch_reports_weights_that_sum_to_one(name: str) -> None:
    _, epochs = ended(name)
    for epoch in epochs:
        weights = [epoch.losses[f"weight_{term}"] for term in WEIGHTS]
        assert sum(weights) == pytest.approx(1, rel=1e-5)
        assert sum(epoch.losses[f"share_{t}"] for t in WEIGHTS) == pytest.approx(1, rel=1e-5)
    first, last = ([e.losses[f"weight_{t}"] for t in WEIGHTS] for e in (epochs[0], epochs[-1]))
    assert first != last


def test_fixed_weights_report_none() -> None:
    on = shared()
    (epoch,) = on.run(on.lane(WEIGHTS, 0, 1e-3), 1, unscored)
    assert not [name for name in epoch.losses if name.startswith("weight_")]


def test_after_its_share_of_the_epochs_a_warm_up_trains_its_end() -> None:
    on, lane = begun("warm-up")
    fixed = on.lane({"mae": 0.6, "edge": 0.2, "ssim": 1.0}, 0, 1e-3)
    list(on.run(lane, EPOCHS, unscored))
    assert lane.weighting is not None
    weights = lane.weighting.rows[-1]
    torch.testing.assert_close(weights, fixed.weights / fixed.weights.sum())


def test_variances_are_trained_without_weight_decay() -> None:
    """With it, a first step of Adam at lr 1e-3 would be 1e-3 + 1e-4 |s| long, s = 2 here."""
    on, lane = begun("uncertainty")
    assert lane.weighting is not None
    state = lane.weighting.state["log_variance"]
    with torch.no_grad():
        state.fill_(2.0)
    on._moved([lane], next(on.frames.batches(12, 0, 0)))
    moved = (state.detach() - 2.0).abs()
    torch.testing.assert_close(moved, torch.full((3,), 1e-3), rtol=2e-3, atol=0)
    decays = [group["weight_decay"] for group in lane.optimizer.param_groups]
    assert decays == [0.1, 0.0]


def test_a_checkpoint_of_another_weighting_is_refused(tmp_path: Path) -> None:
    _, lane = begun("dwa")
    checkpoint.save(tmp_path, "last", lane.tensors(), {"position": lane.position()})
    _, other = begun("cov")
    with pytest.raises(CheckpointError, match="must fit the model"):
        other.restore(checkpoint.load(tmp_path / "last"))
