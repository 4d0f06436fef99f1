"""Training: the same from the same seed, whatever ran before and wherever it was cut."""

from __future__ import annotations

import re

import pytest
import torch
from support.depth_studies import WEIGHTS, depth_spec, training_copy
from support.lanes import CPU, NONE, same, trained, trainer, unscored, with_dropout

from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.loss import weighted_sum
from weightsearch.depth.network.precision import native_bf16, pick
from weightsearch.depth.network.prediction import Predict
from weightsearch.depth.training import trainer as trainer_module
from weightsearch.depth.training.batches import open_frames
from weightsearch.depth.training.trainer import Trainer
from weightsearch.errors import DeviceError, Interrupted, NonFiniteLoss


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
    monkeypatch.setattr(
        weighted_sum, "gradient_norms", lambda terms, weights, pred_m, data: 0 * weights
    )
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
    monkeypatch.setattr(trainer_module, "forward", None)
    assert on.latency_ms(lane) == took_ms


def test_terms_without_weight_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(weighted_sum.LOSS_TERMS, "edge")
    on = trainer()
    (epoch,) = on.run(on.lane({"mae": 1.0, "edge": 0.0, "ssim": 0.5}, 0, 1e-3), 1, unscored)
    assert {name for name in epoch.losses if name[:4] == "loss"} == {
        *("loss", "loss_mae", "loss_ssim"),
    }


@pytest.mark.parametrize("target", ["inverse", "log"])
def test_every_term_trains_in_every_target(target: str) -> None:
    terms = list(weighted_sum.LOSS_TERMS)
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
