"""The best constant prediction, by each metric, on the pixels that a protocol counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.small_packs import frame, made

from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.constant_prediction import best_constant, told
from weightsearch.depth.evaluation.protocols import PROTOCOLS

FULL = PROTOCOLS["full"]
SKEWED = np.concatenate([np.linspace(1, 2, 60), np.linspace(2, 10, 40)]).reshape(10, 10)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Two frames of skewed depth: its median is 1.8 m, its mean 3.3 m; a third of holes only."""
    holes = np.zeros((10, 10), dtype=np.bool_)
    holes[0, 0] = True
    far = np.full((10, 10), 9.0)
    return made(tmp_path, [frame(SKEWED), frame(SKEWED[::-1]), frame(far, holes)])


@pytest.mark.parametrize(
    ("metric", "near_m"),
    [("rmse", SKEWED.mean()), ("rmse_pooled", SKEWED.mean()), ("mae", np.median(SKEWED))],
)
def test_it_is_the_mean_for_rmse_and_the_median_for_mae(
    pack: Path, metric: str, near_m: float
) -> None:
    with Pack(pack) as opened:
        depth_m, scores = best_constant(opened, [0, 1], FULL, metric, smaller=True)
    assert depth_m == pytest.approx(near_m, abs=0.15)
    off = np.abs(SKEWED - depth_m)
    expected = off.mean() if metric == "mae" else np.sqrt((off**2).mean())
    assert scores.metrics()[metric] == pytest.approx(expected, rel=1e-6)
    assert list(scores.per_image) == [metric.removesuffix("_pooled")]  # and no other was computed


@pytest.mark.parametrize(("metric", "smaller"), [("abs_rel", True), ("delta1", False)])
def test_no_other_constant_is_better(pack: Path, metric: str, smaller: bool) -> None:
    def value(constant_m: float) -> float:
        if metric == "abs_rel":
            return float((np.abs(SKEWED - constant_m) / SKEWED).mean())
        ratio = np.maximum(SKEWED / constant_m, constant_m / SKEWED)
        return -float((ratio < 1.25).mean())

    with Pack(pack) as opened:
        depth_m, scores = best_constant(opened, [0, 1], FULL, metric, smaller)
    best = min(map(value, np.linspace(1, 10, 500)))
    assert value(depth_m) <= best + 0.02
    assert abs(scores.metrics()[metric]) == pytest.approx(abs(value(depth_m)), abs=1e-6)


def test_it_is_scored_image_by_image_on_the_pixels_that_count(pack: Path) -> None:
    with Pack(pack) as opened:
        depth_m, scores = best_constant(opened, [0, 1, 2], FULL, "rmse", smaller=True)
        said = told(depth_m, scores, "rmse")
    assert scores.pixels == [100, 100, 1]
    assert said["samples"] == scores.per_image["rmse"]
    assert said["value"] == pytest.approx(np.mean(said["samples"]))
    assert said["says"] == f"a constant prediction of {depth_m:.3g} m"
    assert "samples" not in told(depth_m, scores, "rmse_pooled")
