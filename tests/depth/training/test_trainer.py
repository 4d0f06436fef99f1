"""Training: the same from the same seed, whatever ran before and wherever it was cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.depth_studies import WEIGHTS, depth_spec, training_copy
from torch import Tensor

from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.loss import weighted_sum as losses
from weightsearch.depth.network import checkpoint
from weightsearch.depth.network.precision import native_bf16, pick
from weightsearch.depth.network.prediction import Predict
from weightsearch.depth.training import batches as loader
from weightsearch.depth.training.augmentation import augment
from weightsearch.depth.training.batches import Frames, open_frames
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import DataError, DeviceError, Interrupted, NonFiniteLoss
from weightsearch.study.spec import StudySpec

CPU = torch.device("cpu")
SPEC = depth_spec()
NONE = Scores(
    protocol="none", alignment="none", ground_truth="exact", per_image={}, pooled={}, indices=[],
    pixels=[], names=[], groups=[], skipped=[], missing=[], notes=[],
)  # fmt: skip


def unscored(predict: Predict) -> Scores:
    """Stands for validation where a test has no use for it."""
    assert predict(torch.zeros(1, 3, 48, 64)).isfinite().all()
    return NONE


def frames(spec: StudySpec = SPEC, **options: int) -> Frames:
    assert spec.data is not None
    return open_frames(training_copy(spec), range(24), spec.data, CPU, **options)


def trainer(spec: StudySpec = SPEC) -> Trainer:
    assert spec.model is not None
    return Trainer(spec, spec.model, frames(spec), CPU)


def with_dropout(on: Trainer) -> Trainer:
    """Draws from torch's global generator in each step, as stochastic depth does."""
    on._graph.decoder.entry.register_forward_pre_hook(
        lambda layer, x: torch.nn.functional.dropout(x[0], 0.5, layer.training)
    )
    return on


def trained(on: Trainer, weights: dict[str, float], seed: int = 0, epochs: int = 2) -> Lane:
    lane = on.lane(weights, seed, 1e-3)
    for _ in on.run(lane, epochs, unscored):
        pass
    return lane


def same(a: Lane, b: Lane) -> bool:
    left, right = a.tensors(), b.tensors()
    return left.keys() == right.keys() and all(
        left[part].keys() == right[part].keys()
        and all(torch.equal(left[part][k], right[part][k]) for k in left[part])
        for part in left
    )


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
        on._step(lane, next(on.frames.batches(4, 0, 0)))
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


def test_a_stop_in_validation_keeps_the_whole_epoch() -> None:
    on = trainer()
    lane = on.lane(WEIGHTS, 0, 1e-3)

    def asked_while_validating(predict: Predict) -> Scores:
        given.append(0.0)
        return unscored(predict)

    given: list[float] = []
    with pytest.raises(Interrupted):
        next(on.run(lane, 1, asked_while_validating, lambda: given[0] if given else None))
    assert (lane.epoch, lane.step) == (0, on.steps)


def test_training_lowers_the_loss() -> None:
    on = trainer()
    epochs = list(on.run(on.lane(WEIGHTS, 0, 1e-3), 5, unscored))
    losses = [e.losses["loss"] for e in epochs]
    assert losses[-1] < 0.8 * losses[0]
    weighted = sum(WEIGHTS[t] * epochs[-1].losses[f"loss_{t}"] for t in WEIGHTS)
    assert losses[-1] == pytest.approx(weighted, rel=1e-5)
    assert all(e.seconds > 0 and e.images_per_second > 0 for e in epochs)


def test_shares_say_what_drives_loss_and_gradient() -> None:
    on = trainer()
    weights = {"mae": 0.7, "edge": 0.0, "ssim": 0.3}
    (epoch,) = on.run(on.lane(weights, 0, 1e-3), 1, unscored)
    for term in ("mae", "ssim"):
        part = weights[term] * epoch.losses[f"loss_{term}"] / epoch.losses["loss"]
        assert epoch.losses[f"share_{term}"] == pytest.approx(part, rel=1e-5)
        assert 0 < epoch.losses[f"gradient_share_{term}"] < 1
    for kind in ("share", "gradient_share"):
        assert epoch.losses[f"{kind}_edge"] == 0
        assert sum(epoch.losses[f"{kind}_{t}"] for t in weights) == pytest.approx(1, rel=1e-5)


def test_measuring_shares_does_not_change_training(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = trained(with_dropout(trainer()), WEIGHTS)
    monkeypatch.setattr(losses, "gradient_norms", lambda terms, weights, pred_m, data: 0 * weights)
    assert same(measured, trained(with_dropout(trainer()), WEIGHTS))


def test_the_latency_is_measured_once_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on = with_dropout(trainer())
    lane = trained(on, {"mae": 1.0, "edge": 0.0, "ssim": 0.0})
    before = torch.random.get_rng_state()
    values = {name: value.clone() for name, value in lane.model.items()}
    took_ms = on.latency_ms(lane)
    assert took_ms > 0
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(lane.model[name], value) for name, value in values.items())
    monkeypatch.setattr(on, "_forward", None)
    assert on.latency_ms(lane) == took_ms


def test_terms_without_weight_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(losses.LOSS_TERMS, "edge")
    on = trainer()
    (epoch,) = on.run(on.lane({"mae": 1.0, "edge": 0.0, "ssim": 0.5}, 0, 1e-3), 1, unscored)
    assert {name for name in epoch.losses if name[:4] == "loss"} == {
        *("loss", "loss_mae", "loss_ssim"),
    }


@pytest.mark.parametrize("target", ["inverse", "log"])
def test_every_term_trains_in_every_target(target: str) -> None:
    terms = list(losses.LOSS_TERMS)
    loss = {"terms": terms, "weights": "equal"}
    on = trainer(depth_spec(data={"target": target}, loss=loss))
    lane = on.lane(dict.fromkeys(terms, 1 / len(terms)), 0, 1e-3)
    epochs = list(on.run(lane, 3, unscored))
    assert epochs[-1].losses["loss"] < epochs[0].losses["loss"]


@pytest.mark.parametrize("target", ["inverse", "log"])
def test_every_target_trains(target: str) -> None:
    on = trainer(depth_spec(data={"target": target}))
    epochs = list(on.run(on.lane(WEIGHTS, 0, 1e-3), 4, unscored))
    assert epochs[-1].losses["loss"] < epochs[0].losses["loss"]


def test_a_common_factor_of_the_weights_changes_nothing_under_adam() -> None:
    spec = depth_spec(train={"precision": "fp32"})
    on = trainer(spec)
    losses = []
    for factor in (1.0, 8.0):
        lane = on.lane({t: factor * w for t, w in WEIGHTS.items()}, 0, 1e-3)
        losses.append([e.losses["loss_mae"] for e in on.run(lane, 2, unscored)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_loss_that_is_no_number_names_term_place_and_frame() -> None:
    spec = depth_spec(train={"optimizer": "sgd", "precision": "fp32"})
    on = trainer(spec)
    lane = on.lane(WEIGHTS, 0, 1e20)
    with pytest.raises(NonFiniteLoss) as caught:
        list(on.run(lane, 3, unscored))
    found = re.fullmatch(
        r"term '(mae|edge|ssim)' is (nan|inf) in epoch 1, step (\d), first in frame '(.+)'\.",
        str(caught.value),
    )
    assert found is not None, caught.value
    chunk = on.frames.order(4, 0, 0)[int(found[3]) - 1]
    assert found[4] in [on.frames.names[i] for i in chunk]


def test_weights_broken_by_the_last_step_are_found_in_validation() -> None:
    on = trainer()
    lane = on.lane(WEIGHTS, 0, 1e-3)
    with torch.no_grad():
        lane.model["decoder.head.bias"].fill_(torch.nan)
    with pytest.raises(NonFiniteLoss, match="no number after epoch 1"):
        on.predictor(lane)(torch.zeros(1, 3, 48, 64))


def test_a_clipped_step_is_no_longer_than_the_clip() -> None:
    spec = depth_spec(train={"optimizer": "sgd", "clip_norm": 0.01, "batch": 24, "augment": []})
    on = trainer(spec)
    lane = on.lane(WEIGHTS, 0, 1.0)
    before = {k: v.detach().clone() for k, v in lane.trained().items()}
    next(on.run(lane, 1, unscored))
    moved = torch.stack([(v - before[k]).norm() for k, v in lane.trained().items()]).norm()
    assert moved.item() == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_precisions_train(precision: str) -> None:
    on = trainer(depth_spec(train={"precision": precision}))
    assert on.bf16 == (precision == "bf16")
    lane = trained(on, WEIGHTS, epochs=1)
    assert all(v.isfinite().all() for v in lane.model.values())
    assert all(v.dtype == torch.float32 for v in lane.trained().values())


@pytest.mark.parametrize(
    ("decoder", "width"),
    [("densedepth_norm", 1), ("densedepth_residual", 1), ("unet_attention", 0.25), ("nn", 1)],
)
def test_other_decoders_learn(decoder: str, width: float) -> None:
    model = {"decoder": decoder, "width": width}
    on = trainer(depth_spec(model=model, train={"precision": "bf16"}))
    epochs = list(on.run(on.lane(WEIGHTS, 0, 3e-3), 4, unscored))
    assert epochs[-1].losses["loss"] < 0.95 * epochs[0].losses["loss"]


def test_automatic_precision_follows_the_device() -> None:
    assert trainer().bf16 == native_bf16(CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(DeviceError, match="'cuda:0' needs a GPU"):
        pick("cuda:0")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_as_the_cpu_does() -> None:
    spec = depth_spec(train={"precision": "fp32"})
    assert spec.data is not None
    assert spec.model is not None
    losses = []
    for device in (CPU, pick("cuda:0")):
        held = open_frames(training_copy(spec), range(24), spec.data, device)
        on = Trainer(spec, spec.model, held, device)
        epochs = list(on.run(on.lane(WEIGHTS, 0, 1e-3), 2, lambda _: NONE))
        losses.append([e.losses["loss"] for e in epochs])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


# The loader.


def batches(found: Frames, epoch: int = 0, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in found.batches(5, 3, epoch, start):
        yield batch.rgb, batch.depth_m


def test_batches_from_disk_are_those_from_memory() -> None:
    held, read = frames(), frames(memory_bytes=1000)
    assert held.held
    assert not read.held
    assert held.names == read.names
    for epoch in (0, 1):
        for a, b in zip(batches(held, epoch), batches(read, epoch), strict=True):
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])


def test_an_epoch_left_in_the_middle_does_not_hold_up_the_next() -> None:
    read = frames(memory_bytes=1000)
    begun = batches(read)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert len(list(batches(read))) == read.steps(5)


def test_an_epoch_can_be_entered_in_the_middle() -> None:
    found = frames()
    rest = list(batches(found))[2:]
    for a, b in zip(rest, batches(found, start=2), strict=True):
        assert torch.equal(a[1], b[1])


@given(st.integers(1, 40), st.integers(-5, 10**6), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_the_order_holds_each_frame_at_most_once(batch: int, seed: int, epoch: int) -> None:
    found = Frames([str(i) for i in range(30)], 1.0, lambda _: None, True)  # type: ignore[arg-type,return-value]
    order = found.order(batch, seed, epoch)
    places = [p for chunk in order for p in chunk]
    assert len(order) == found.steps(batch)
    assert len(set(places)) == len(places) == min(30, batch * len(order))
    assert {len(chunk) for chunk in order} == {min(batch, 30)}
    assert order == found.order(batch, seed, epoch)
    assert order != found.order(batch, seed, epoch + 1)


def test_depths_out_of_range_are_not_learned_from() -> None:
    spec = depth_spec(data={"min_depth_m": 2.0, "max_depth_m": 4.0})
    assert spec.data is not None
    found = open_frames(training_copy(spec), range(24), spec.data, CPU)
    depth_m = torch.cat([d for _, d in batches(found)])
    learned = depth_m[depth_m > 0]
    assert learned.min() >= 2
    assert learned.max() <= 4
    assert found.typical_m == pytest.approx(float(learned.median()), rel=0.1)
    with Pack(training_copy(spec)) as copy:
        _, whole_m, valid = copy.read(range(24))
    inside = valid & (whole_m >= 2) & (whole_m <= 4)
    assert np.isin(learned.numpy(), whole_m[inside]).all()


def test_frames_without_a_usable_depth_are_refused() -> None:
    spec = depth_spec(data={"min_depth_m": 50.0, "max_depth_m": 80.0})
    assert spec.data is not None
    with pytest.raises(DataError, match="must hold depths of 50 to 80 m"):
        open_frames(training_copy(spec), range(24), spec.data, CPU)


# Augmentation.


def images(count: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (count, 3, 6, 8), dtype=torch.uint8, generator=generator)
    return rgb, torch.rand(count, 1, 3, 4, generator=generator)


def drawn(kinds: tuple[str, ...], seed: int = 5) -> tuple[Tensor, Tensor]:
    return augment(*images(), kinds, torch.Generator().manual_seed(seed))


def test_mirroring_turns_image_and_depth_together() -> None:
    (rgb, depth_m), (new_rgb, new_depth_m) = images(), drawn(("mirror",))
    turned = (new_rgb == rgb.flip(-1)).flatten(1).all(1)
    kept = (new_rgb == rgb).flatten(1).all(1)
    assert (turned ^ kept).all()
    assert 16 < turned.sum() < 48
    assert torch.equal(new_depth_m[turned], depth_m.flip(-1)[turned])
    assert torch.equal(new_depth_m[kept], depth_m[kept])


def test_channels_change_places_and_nothing_else() -> None:
    (rgb, depth_m), (new_rgb, new_depth_m) = images(), drawn(("channels",))
    assert torch.equal(depth_m, new_depth_m)
    assert torch.equal(rgb.sort(1).values, new_rgb.sort(1).values)
    changed = (new_rgb != rgb).flatten(1).any(1)
    assert 14 < changed.sum() < 44  # half, less the one order of six that is the old one


def test_augmentation_depends_on_its_generator_only() -> None:
    both = drawn(("mirror", "channels"))
    torch.manual_seed(99)
    torch.rand(10)
    assert torch.equal(drawn(("mirror", "channels"))[0], both[0])
    assert not torch.equal(drawn(("mirror", "channels"), seed=6)[0], both[0])
    assert torch.equal(drawn(("mirror",))[1], both[1])  # leaving one out does not change the other
    assert torch.equal(drawn(())[0], images()[0])


def test_streams_of_neighbouring_places_differ() -> None:
    places = [(s, e, i) for s in range(3) for e in range(3) for i in range(3)]
    assert len({loader.stream(*p) for p in places} | {loader.stream(0, 0)}) == len(places) + 1
