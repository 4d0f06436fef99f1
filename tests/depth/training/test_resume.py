"""A trial depends on nothing before it, nor on where it was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.depth_studies import OPTIONS, WEIGHTS, depth_spec
from support.lanes import same, trained, trainer, unscored, with_dropout

from weightsearch.depth.network import checkpoint
from weightsearch.errors import ConfigError, Interrupted


def test_a_trial_does_not_depend_on_those_before_it() -> None:
    shared = trainer()
    trained(shared, {"mae": 1.0, "edge": 0.0, "ssim": 0.0}, seed=7)
    after = trained(shared, WEIGHTS)
    alone = trained(trainer(), WEIGHTS)
    assert same(after, alone)
    assert not same(after, trained(shared, WEIGHTS, seed=1))


@pytest.mark.parametrize(
    ("optimizer", "stop"), [("adam", 1), ("adam", 6), ("adamw", 4), ("sgd", 4)]
)
def test_a_resumed_lane_is_bit_for_bit_the_uninterrupted_one(
    tmp_path: Path, optimizer: str, stop: int
) -> None:
    spec = depth_spec(train={"optimizer": optimizer})
    alone = with_dropout(trainer(spec))
    whole = alone.lane(WEIGHTS, 0, 1e-3)
    expected = list(alone.run(whole, 2, unscored))
    calls: list[None] = []

    def grace_s() -> float | None:
        calls.append(None)
        return 0.0 if len(calls) >= stop else None

    first = with_dropout(trainer(spec))
    lane = first.lane(WEIGHTS, 0, 1e-3)
    with pytest.raises(Interrupted):
        list(first.run(lane, 2, unscored, grace_s))
    assert (lane.epoch, lane.step) == (0, stop)
    checkpoint.save(tmp_path, "last", lane.tensors(), {"position": lane.position()})
    second = with_dropout(trainer(spec))
    rest = second.lane(WEIGHTS, 0, 1e-3)
    rest.restore(checkpoint.load(tmp_path / "last"))
    epochs = list(second.run(rest, 2, unscored))
    assert same(rest, whole)
    assert [(e.number, e.losses) for e in epochs] == [(e.number, e.losses) for e in expected]


def test_a_smaller_micro_batch_takes_the_same_step() -> None:
    """Where batch normalisation does not look at the batch, nothing else does either."""
    lanes = []
    for shrink in (0, 1, 2):
        on = trainer(depth_spec(train={"precision": "fp32"}))
        for layer in on._graph.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum, layer.track_running_stats = 0.0, True
                layer.train = lambda mode=True, layer=layer: layer  # type: ignore[method-assign]
                layer.training = False
        lane = on.lane(WEIGHTS, 0, 1e-3, shrink)
        assert lane.micro == 4 >> shrink
        on._moved([lane], next(on.frames.batches(4, 0, 0)))
        lanes.append(lane)
    for lane in lanes[1:]:
        torch.testing.assert_close(lane.rows[0], lanes[0].rows[0], rtol=1e-5, atol=1e-6)
        moments = (one.tensors()["optimizer"] for one in (lane, lanes[0]))
        torch.testing.assert_close(*moments, rtol=1e-3, atol=1e-6)


def test_running_means_move_once_a_step_however_often_a_part_is_computed() -> None:
    on = trainer()
    shrunk, plain = (on.lane(WEIGHTS, 0, 1e-3, 1) for _ in range(2))
    batch = next(on.frames.batches(4, 0, 0))
    on._graph.train()
    rgb = batch.rgb / 255
    on._in_parts(shrunk, rgb).sum().backward()
    with torch.no_grad():
        for part in rgb.split(2):
            on._forward(plain, part, on.bf16)
    moved = [name for name in plain.model if name.endswith(("running_mean", "running_var"))]
    assert moved
    for name in moved:
        assert torch.equal(shrunk.model[name], plain.model[name])


def test_an_epoch_that_fits_into_the_grace_is_finished() -> None:
    on = trainer()
    lane = on.lane(WEIGHTS, 0, 1e-3)
    assert next(on.run(lane, 2, unscored, lambda: 3600.0)).number == 1
    assert (lane.epoch, lane.step) == (1, 0)


def test_what_ran_out_of_memory_compares_unless_normalisation_saw_less() -> None:
    """Where it looks at the batch, three splits of one gave losses of 1.99, 3.02 and 1.81."""
    looks, does_not = (trainer(depth_spec(name)) for name in ("test_resnet", "test_convnext"))
    for shrink, comparable in ((0, True), (1, False), (2, False)):
        assert looks.is_comparable(looks.lane(WEIGHTS, 0, 1e-3, shrink)) == comparable
    losses = []
    for shrink in (0, 1, 2):
        lane = does_not.lane(WEIGHTS, 0, 1e-3, shrink)
        assert does_not.is_comparable(lane)
        does_not._moved([lane], next(does_not.frames.batches(4, 0, 0)))
        losses.append(lane.rows[0].tolist())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_normalisation_of_maps_of_one_pixel_gets_two_images_or_a_word() -> None:
    small = {"size": [32, 32], "options": OPTIONS | {"height": 32, "width": 32}}
    spec = depth_spec("test_resnet", data=small, train={"batch": 5})
    on = trainer(spec)
    assert [on.lane(WEIGHTS, 0, 1e-3, shrink).micro for shrink in range(4)] == [5, 2, 2, 2]
    lane = on.lane(WEIGHTS, 0, 1e-3, 3)
    on._graph.train()
    on._moved([lane], next(on.frames.batches(5, 0, 0)))  # parts of 3 and 2, none of 1
    assert lane.rows[0].isfinite().all()
    with pytest.raises(ConfigError, match=r"two images of 32x32 .* but gets 1; raise train\.batch"):
        trainer(depth_spec("test_resnet", data=small, train={"batch": 1}))
    assert trainer(depth_spec("test_resnet", train={"batch": 1})).steps == 24  # maps of 2x2
