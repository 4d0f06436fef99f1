"""Schedules, averages and frozen encoders: what moves, what is kept, and where a run was cut."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from support.depth_studies import OPTIONS, WEIGHTS, context, depth_spec, whole
from support.lanes import CPU, same, trainer, unscored, with_dropout
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from weightsearch.data.packs import building
from weightsearch.data.packs.building import Pack
from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import score
from weightsearch.depth.network import checkpoint
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import CheckpointError, Interrupted

BATCH = 12  # two steps an epoch
SCHEDULES: list[dict[str, Any]] = [
    {},
    {"warm_up": 0.5},
    {"schedule": "onecycle"},
    {"schedule": "cosine", "warm_up": 0.25},
]
FEW = (4, 11, 12, 16, 21)
"""Of the product, what is run by day: each of what is combined, twice or more where it matters."""


def begun(**train: Any) -> tuple[Trainer, Lane]:
    on = with_dropout(trainer(depth_spec(train={"batch": BATCH, "epochs": 2, **train})))
    return on, on.lane(WEIGHTS, 0, 1e-3)


def restored(on: Trainer, lane: Lane, folder: Path) -> Lane:
    """What another process would go on from."""
    checkpoint.save(folder, "last", lane.tensors(), {"position": lane.position()})
    found = on.lane(WEIGHTS, 0, 1e-3)
    found.restore(checkpoint.load(folder / "last"))
    return found


CASES = [
    pytest.param(*case, marks=[] if k in FEW else pytest.mark.slow)
    for k, case in enumerate(product(SCHEDULES, ("none", "ema"), (0, 1, "all")))
]


@pytest.mark.parametrize(("schedule", "average", "freeze"), CASES)
def test_a_run_cut_within_an_epoch_and_between_two_goes_on_bit_for_bit(
    tmp_path: Path, schedule: dict[str, Any], average: str, freeze: int | str
) -> None:
    more = {} if freeze == "all" else {"encoder_lr": 0.1, "amsgrad": True}
    on, whole = begun(average=average, freeze=freeze, **schedule, **more)
    expected = list(on.run(whole, 2, unscored))
    lane = on.lane(WEIGHTS, 0, 1e-3)
    with pytest.raises(Interrupted):
        list(on.run(lane, 2, unscored, lambda: 0.0))
    assert (lane.epoch, lane.step) == (0, 1)
    second = restored(on, lane, tmp_path)
    epochs = list(on.run(second, 1, unscored))
    assert (second.epoch, second.step) == (1, 0)
    third = restored(on, second, tmp_path)
    epochs += on.run(third, 2, unscored)
    assert same(third, whole)
    assert [(e.number, e.losses) for e in epochs] == [(e.number, e.losses) for e in expected]
    assert ("average" in whole.tensors()) == (average == "ema")


@pytest.mark.parametrize("decay", [0.1, 0.999])
def test_the_average_is_torchs(decay: float) -> None:
    """With 0.1, below its ramp from the first step on, it is get_ema_multi_avg_fn's own."""
    on, lane = begun(average="ema", decay=decay)

    def ramp(averages: Any, latest: Any, count: Any) -> None:
        now = decay if decay == 0.1 else (1 + int(count)) / (10 + int(count))
        get_ema_multi_avg_fn(now)(averages, latest, count)

    on._graph.train()
    network = on._build(0)
    theirs = AveragedModel(network, multi_avg_fn=ramp, use_buffers=True)
    start = {name: value.clone() for name, value in lane.evaluated().items()}
    for step, batch in enumerate([*on.frames.batches(BATCH, 0, 0)] * 2):
        lane.step = step % on.steps
        lane.epoch = step // on.steps
        on._moved([lane], batch)
        checkpoint.copy(lane.model, checkpoint.named_tensors(network), Path())
        theirs.update_parameters(network)
    expected = checkpoint.named_tensors(theirs.module)
    averaged = lane.average.values if lane.average else {}
    assert any(name.endswith("running_var") for name in averaged)
    for name, value in averaged.items():
        torch.testing.assert_close(value, expected[name].detach(), rtol=1e-6, atol=1e-7)
    counts = [n for n in lane.evaluated() if n.endswith("num_batches_tracked")]
    assert all(torch.equal(lane.evaluated()[n], lane.model[n]) for n in counts)
    moved = [n for n in averaged if not torch.equal(averaged[n], lane.model[n].detach())]
    assert len(moved) > len(averaged) / 2
    assert not torch.equal(start["decoder.head.bias"], averaged["decoder.head.bias"])


def test_what_is_validated_and_kept_is_the_average(tmp_path: Path) -> None:
    # Maximised, so that the best epoch is not the last one.
    goal = {"metric": "rmse", "direction": "maximize"}
    spec = depth_spec(train={"average": "ema", "batch": BATCH}, objective=goal)
    there = context(spec, tmp_path, final=True, patience=None)
    epochs, test = whole(there)
    saved, last = (checkpoint.load(tmp_path / name) for name in ("best", "last"))
    assert (saved.facts["epoch"], len(epochs)) == (1, 2)
    with Pack(building.ensure("synthetic", None, OPTIONS, there.home)) as native:
        for name, split, expected in (("best", "test", test), ("last", "val", epochs[-1])):
            frames = native.indices("test") if split == "test" else split_frames(native, spec)[1]
            network = checkpoint.network(tmp_path / name, CPU)
            scores = score(network, native, frames, PROTOCOLS["full"], (48, 64), CPU, 4)
            assert expected["rmse"] == pytest.approx(scores.per_image["rmse"], rel=1e-4)
    for name, value in last.tensors["average"].items():
        assert not torch.equal(value, last.tensors["model"][name]) or "encoder" in name
    assert saved.tensors.keys() == {"model"}


def test_a_frozen_encoder_stays_as_it_is_until_its_epochs_are_over() -> None:
    on, lane = begun(freeze=1, weight_decay=0.1, optimizer="adamw")
    start = {name: value.detach().clone() for name, value in lane.model.items()}
    moved = []
    for _ in on.run(lane, 2, unscored):
        assert not on._graph.training  # validation
        moved.append({n for n, v in lane.model.items() if not torch.equal(v, start[n])})
    assert not any(name.startswith("encoder.") for name in moved[0])
    assert any(name.endswith("running_mean") for name in moved[1] if name.startswith("encoder."))
    decoder = {n for n, v in lane.trained().items() if n.startswith("decoder.")}
    assert decoder <= moved[0]
    assert {n for n, v in lane.trained().items() if n.startswith("encoder.")} <= moved[1]


def test_a_frozen_encoder_costs_no_optimizer_state() -> None:
    on, lane = begun(freeze="all", clip_norm=1.0)
    start = {n: v.detach().clone() for n, v in lane.model.items() if n.startswith("encoder.")}
    list(on.run(lane, 2, unscored))
    assert all(torch.equal(lane.model[name], value) for name, value in start.items())
    assert not any(name.startswith("encoder.") for name in lane.tensors()["optimizer"])


def test_the_encoders_lr_is_a_ratio_of_the_others() -> None:
    """The first gradient reaches the head alone, which begins at 0; the second one all."""
    far = {}
    for ratio in (1.0, 0.01):
        on, lane = begun(encoder_lr=ratio)
        start = {n: v.detach().clone() for n, v in lane.trained().items()}
        on._graph.train()
        for lane.step, batch in enumerate(on.frames.batches(BATCH, 0, 0)):
            on._moved([lane], batch)
        moved = {n: float((v.detach() - start[n]).abs().max()) for n, v in lane.trained().items()}
        far[ratio] = [
            max(moved[n] for n in moved if n.startswith(part)) for part in ("encoder.", "decoder.")
        ]
    assert far[1.0][0] > 5e-4
    assert far[0.01][0] == pytest.approx(0.01 * far[1.0][0], rel=0.01)
    assert far[0.01][1] == pytest.approx(far[1.0][1], rel=1e-6)


def test_bf16_trains_with_all_of_it() -> None:
    on, lane = begun(
        precision="bf16", schedule="onecycle", average="ema", freeze=1, encoder_lr=0.1, amsgrad=True
    )
    for epoch in on.run(lane, 2, unscored):
        assert torch.tensor(list(epoch.losses.values())).isfinite().all()
    assert all(v.dtype == torch.float32 for v in lane.trained().values())


def test_a_checkpoint_without_an_average_is_refused(tmp_path: Path) -> None:
    _, lane = begun()
    checkpoint.save(tmp_path, "last", lane.tensors(), {"position": lane.position()})
    _, averaged = begun(average="ema")
    with pytest.raises(CheckpointError, match="lacks"):
        averaged.restore(checkpoint.load(tmp_path / "last"))
