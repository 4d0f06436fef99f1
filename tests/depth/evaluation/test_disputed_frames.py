"""Which of two depth maps fits the picture, on frames where that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.packs import write_pack
from torch import Tensor

from weightsearch.data.frames.source import Frame
from weightsearch.data.packs.layout import Pack
from weightsearch.depth.evaluation.disputed_frames import disputed, disputes, fit_to_picture

SIZE = (96, 128)


def frame(seed: int, shift: int) -> Frame:
    """A box before a wall; its depth is `shift` pixels to the right of its picture. Texture of the
    wall gives the picture edges of its own."""
    rng = np.random.default_rng(seed)
    top, left = rng.integers(24, 40), rng.integers(24, 40)
    rgb = np.full((*SIZE, 3), 90, np.uint8)
    rgb[:, ::31] = 160
    depth_m = np.full(SIZE, 5.0, np.float32)
    rgb[top : top + 40, left : left + 40] = 230
    depth_m[top : top + 40, left + shift : left + shift + 40] = 2.0
    valid = np.ones(SIZE, np.bool_)
    valid[:10, :10] = False
    return Frame(rgb, np.where(valid, depth_m, np.float32(0)), valid)


def seen(rgb: Tensor) -> Tensor:
    """What a network that looks at the picture says: bright is near."""
    return torch.where(rgb[:, :1] > 0.8, 2.0, 5.0)


def made(folder: Path, shift: int) -> Path:
    frames = {f"room{i // 2}/{i}": frame(i, shift) for i in range(6)}
    return write_pack(folder / "p.h5", frames, ground_truth="raw")


def test_a_network_that_follows_the_picture_is_preferred_to_shifted_ground_truth(
    tmp_path: Path,
) -> None:
    with Pack(made(tmp_path, 9)) as pack:
        got = disputes(seen, SIZE, pack, pack, "test", tmp_path / "out", 4, "cpu")
    assert got["fits_better"] == "prediction"
    assert got["compared"] == 4
    assert got["difference"]["low"] > 0
    by_disagreement = [one["disagreement"] for one in got["frames"]]
    assert by_disagreement == sorted(by_disagreement, reverse=True)
    for one in got["frames"]:
        assert one["prediction"] > 2 > one["ground_truth"]
        assert 0 < one["disputed"] < 0.7
        with Image.open(one["picture"]) as picture:
            assert picture.width > 5 * SIZE[1]
            assert picture.text["frame"] == one["name"]  # type: ignore[attr-defined]


def test_ground_truth_on_the_picture_is_preferred_to_a_shifted_network(tmp_path: Path) -> None:
    def shifted(rgb: Tensor) -> Tensor:
        return seen(rgb.roll(9, -1))

    with Pack(made(tmp_path, 0)) as pack:
        got = disputes(shifted, SIZE, pack, None, "test", tmp_path / "out", 6, "cpu")
    assert got["fits_better"] == "ground truth"


def test_where_both_agree_nothing_is_disputed(tmp_path: Path) -> None:
    with Pack(made(tmp_path, 0)) as pack:
        got = disputes(seen, SIZE, pack, None, "test", tmp_path / "out", 2, "cpu")
    assert [one["disputed"] for one in got["frames"]] == [0, 0]
    assert got["fits_better"] == "undecided"


def test_edges_at_random_score_about_one_and_flat_depth_has_no_score() -> None:
    rng = np.random.default_rng(0)
    picture = frame(1, 0).rgb
    everywhere = np.ones(SIZE, np.bool_)
    blobs = np.kron(rng.uniform(1, 9, (12, 16)), np.ones((8, 8))).astype(np.float32)
    score = fit_to_picture(blobs, everywhere, picture, everywhere)
    assert score == pytest.approx(1, abs=0.3)
    assert fit_to_picture(np.full(SIZE, 3, np.float32), everywhere, picture, everywhere) is None


def test_unmeasured_pixels_are_not_disputed() -> None:
    one = frame(0, 0)
    off = one.depth_m.copy()
    off[:10, :10] = 9.0
    assert not disputed(off, one).any()
