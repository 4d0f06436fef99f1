"""Ground truth with holes, and of single points: what terms compare there, and what they refuse."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.depth_studies import WEIGHTS, depth_spec, home
from support.lanes import CPU, NONE, frames, trainer, unscored
from support.paths import SHARED_DATA
from torch import Tensor

from weightsearch.data.packs import building
from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.loss.terms import LOSS_TERMS, share
from weightsearch.depth.network.prediction import Predict
from weightsearch.depth.training.batches import Frames, open_frames
from weightsearch.depth.training.trainer import Trainer
from weightsearch.errors import DataError

SPEC = depth_spec(loss={"terms": list(LOSS_TERMS), "weights": "equal"})


def with_valid(valid: Tensor) -> Trainer:
    """On frames of which those looked at are valid there."""
    assert SPEC.model is not None
    return Trainer(SPEC, SPEC.model, replace(frames(SPEC), valid=valid), CPU)


def test_each_epoch_says_of_what_share_its_terms_were_computed() -> None:
    on = trainer()
    (epoch,) = on.run(on.lane(WEIGHTS | {"edge": 0.0}, 0, 1e-3), 1, unscored)
    batches = list(on.frames.batches(4, 0, 0))
    for term in ("mae", "ssim"):
        shares = [share(term, batch.depth_m > 0).item() for batch in batches]
        assert epoch.losses[f"counted_{term}"] == pytest.approx(sum(shares) / len(shares))
    assert 0.9 < epoch.losses["counted_mae"] < 1  # 5 % of the pixels are holes
    assert epoch.losses["counted_ssim"] == 1  # but no window is empty
    assert "counted_edge" not in epoch.losses


@pytest.mark.parametrize("term", LOSS_TERMS)
def test_a_term_with_nothing_to_compare_is_refused(term: str) -> None:
    on = with_valid(torch.zeros(3, 1, 24, 32, dtype=torch.bool))
    weights = dict.fromkeys(LOSS_TERMS, 0.0) | {term: 1.0}
    with pytest.raises(
        DataError, match=rf"'{term}' must have \w+.* none of 3 training frames"
    ) as e:
        on.lane(weights, 0, 1e-3)
    assert "\n" not in str(e.value)


def test_single_points_have_no_pairs_but_pixels_and_windows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    places = torch.arange(24)[:, None] % 2 + torch.arange(32) % 2
    on = with_valid((places == 0).expand(1, 1, 24, 32))
    none = dict.fromkeys(LOSS_TERMS, 0.0)
    assert on.lane(none | {"mae": 0.5, "ssim": 0.5}, 0, 1e-3).terms == ("mae", "ssim")
    with pytest.raises(DataError, match="'edge' must have pairs of neighbours with valid depth"):
        on.lane(none | {"edge": 0.5, "ssim": 0.5}, 0, 1e-3)
    with caplog.at_level(logging.WARNING):
        on = with_valid((torch.arange(24 * 32).view(1, 1, 24, 32) % 400) < 2)
        on.lane(none | {"edge": 1.0}, 0, 1e-3)
    assert "term 'edge' compares 0.14 % of its pairs of neighbours only" in caplog.text


@pytest.fixture(scope="module")
def kitti() -> Frames:
    """The ten frames at 160x512: a laser's points, of which a training copy keeps 44 %."""
    path = SHARED_DATA / "kitti"
    if not path.is_dir():
        pytest.skip(f"there is no {path}")
    native = building.ensure("kitti_eigen", path, KITTI["options"], home())
    copy = building.training_copy(native, (160, 512), home())
    data = depth_spec(data=KITTI).data
    assert data is not None
    return open_frames(copy, range(10), data, CPU)


KITTI: dict[str, Any] = {
    "source": "kitti_eigen",
    "size": [160, 512],
    "options": {"split": "train"},
    "min_depth_m": 1.0,
    "max_depth_m": 80.0,
}


@pytest.mark.real_data
def test_on_kitti_one_epoch_is_better_than_a_constant(kitti: Frames) -> None:
    """An untrained network predicts the median everywhere. Ten frames, in five steps: what is asked
    is that SSIM alone pulls, and the right way."""
    assert share("ssim", kitti.valid) > 0.6  # of wholly valid windows it is 0.006
    spec = depth_spec(data=KITTI, train={"batch": 2, "lr": 1e-3, "precision": "fp32"})
    assert spec.model is not None
    on = Trainer(spec, spec.model, kitti, CPU)
    batch = kitti.read(range(10))

    def rel(predict: Predict) -> float:
        pred_m, valid = predict(batch.rgb / 255), batch.depth_m > 0
        return ((pred_m - batch.depth_m).abs() / batch.depth_m)[valid].mean().item()

    def validate(predict: Predict) -> Scores:
        found.append(rel(predict))
        return NONE

    lane = on.lane({"mae": 0.0, "edge": 0.0, "ssim": 1.0}, 0, 1e-3)
    found = [rel(on.predictor(lane))]
    (epoch,) = on.run(lane, 1, validate)
    assert epoch.losses["counted_ssim"] > 0.6
    assert all(value.isfinite().all() for value in lane.model.values())
    assert found[1] < found[0]
