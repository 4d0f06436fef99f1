"""Predictions in files: found, read, refused."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from support.packs import frame, write_pack
from support.scored_packs import SMALL, STATED
from torch.nn.functional import interpolate

from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.prediction_files import Files, evaluate_predictions
from weightsearch.depth.files.depth_maps import read_depth, write_npy, write_png
from weightsearch.errors import ConfigError, DataError

# --- folders of files ---------------------------------------------------------------------------


def write_all(folder: Path, pack: Pack, factor: float = 1.0, suffix: str = ".npy") -> None:
    write = write_npy if suffix == ".npy" else write_png
    for i, name in enumerate(pack.names):
        write(folder / f"{name}{suffix}", factor * pack.frame(i).depth_m)


def test_files_equal_to_the_ground_truth_have_no_error(small: Pack, tmp_path: Path) -> None:
    write_all(tmp_path / "mine", small)
    got = evaluate_predictions(Files(tmp_path / "mine"), small, "full")
    want = {name: 1.0 if name.startswith("delta") else 0.0 for name in STATED}
    assert got.metrics() == pytest.approx(want, abs=1e-12)
    assert (got.names, got.missing, got.notes) == (small.names, [], [])


@pytest.mark.parametrize(("suffix", "within"), [(".npy", 1e-6), (".png", 1e-3)])
def test_files_ten_percent_too_deep(
    small: Pack, tmp_path: Path, suffix: str, within: float
) -> None:
    write_all(tmp_path / "mine", small, 1.1, suffix)
    metrics = evaluate_predictions(Files(tmp_path / "mine"), small, "full").metrics()
    assert metrics["abs_rel"] == pytest.approx(0.1, abs=within)
    assert metrics["delta1"] == 1


def test_pngs_are_within_half_a_millimetre(tmp_path: Path) -> None:
    depth_m = np.random.default_rng(0).uniform(0.001, 65.5, (40, 50)).astype(np.float32)
    write_png(tmp_path / "d.png", depth_m)
    assert np.abs(read_depth(tmp_path / "d.png") - depth_m).max() <= 0.0005 * 1.01


def test_npy_files_of_any_floating_point_are_read(tmp_path: Path) -> None:
    depth_m = np.arange(6, dtype=np.float64).reshape(2, 3)
    for dtype in ("<f2", "<f4", ">f4", "<f8"):
        np.save(tmp_path / "d.npy", np.asfortranarray(depth_m.astype(dtype)))
        got = read_depth(tmp_path / "d.npy")
        assert got.dtype == np.float32
        assert got.tolist() == depth_m.tolist()
    np.save(tmp_path / "d.npy", np.array([[1e300, math.nan]]))
    assert str(read_depth(tmp_path / "d.npy").tolist()) == "[[inf, nan]]"


def test_an_npy_goes_before_a_png_of_the_same_name(small: Pack, tmp_path: Path) -> None:
    write_all(tmp_path, small, 1.0, ".npy")
    write_all(tmp_path, small, 2.0, ".png")
    assert evaluate_predictions(Files(tmp_path), small, "full").metrics()["rmse"] == 0


def test_names_with_dots_are_whole(tmp_path: Path) -> None:
    with Pack(write_pack(tmp_path / "p.h5", {"a/room.1": frame(0, SMALL)})) as pack:
        write_all(tmp_path / "mine", pack)
        assert (tmp_path / "mine/a/room.1.npy").exists()
        assert evaluate_predictions(Files(tmp_path / "mine"), pack, "full").metrics()["mae"] == 0


def test_a_missing_prediction_is_an_error_unless_partial(small: Pack, tmp_path: Path) -> None:
    write_all(tmp_path, small)
    for gone in small.names[1:3]:
        (tmp_path / f"{gone}.npy").unlink()
    with pytest.raises(DataError) as got:
        evaluate_predictions(Files(tmp_path), small, "full")
    assert "each of the 5 frames" in str(got.value)
    assert "lacks 2, first rooms/a/01; add them, or give --partial." in str(got.value)
    scores = evaluate_predictions(Files(tmp_path, partial=True), small, "full")
    assert scores.missing == small.names[1:3]
    assert scores.names == [n for n in small.names if n not in scores.missing]
    assert scores.notes == ["left out, having no prediction: 2 of 5 frames"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="lacks 5, first rooms/a/00; add some"):
        evaluate_predictions(Files(tmp_path / "nothing", partial=True), small, "full")


def test_another_size_is_resized_and_said(nyu_like: Pack, tmp_path: Path) -> None:
    for i, name in enumerate(nyu_like.names):
        depth_m = torch.from_numpy(nyu_like.frame(i).depth_m)[None, None]
        half_m = interpolate(depth_m, (240, 320), mode="bilinear", antialias=True)[0, 0]
        write_npy(tmp_path / f"{name}.npy", (half_m if i else depth_m[0, 0]).numpy())
    got = evaluate_predictions(Files(tmp_path), nyu_like, "full")
    assert got.notes == [
        "resized bilinearly: 2 of 3 predictions, first t/1 from 240x320 to 480x640"
    ]
    assert got.per_image["rmse"][0] == 0
    assert 0 < got.per_image["rmse"][1] < 1


def test_files_have_no_mirrored_image_and_that_is_said(nyu_like: Pack, tmp_path: Path) -> None:
    write_all(tmp_path, nyu_like, 1.1)
    got = evaluate_predictions(Files(tmp_path), nyu_like, "densedepth")
    assert [n for n in got.notes if "mirrored" in n] == got.notes != []
    assert got.metrics()["abs_rel"] == pytest.approx(0.1, abs=1e-6)
    assert got.metrics()["abs_rel_as_published"] == pytest.approx(0.1 / 1.1, abs=1e-6)
    assert set(got.metrics()) == STATED | {"abs_rel_as_published"}


def broken_npy(array: npt.NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        (".npy", b"", "it is not one"),
        (".npy", b"PK\x03\x04 a zip", "it is not one"),
        (".npy", broken_npy(np.ones(SMALL, np.float32))[:900], "mmap length is greater"),
        (".npy", broken_npy(np.ones(SMALL, np.float32))[:9], "."),
        (".npy", broken_npy(np.ones(SMALL, np.uint16)), "floating point, but is uint16 .* --unit"),
        (".npy", broken_npy(np.ones((1, *SMALL), np.float32)), r"shape \(1, 24, 32\)"),
        (".npy", broken_npy(np.ones((0, 3), np.float32)), r"shape \(0, 3\)"),
        (".npy", broken_npy(np.array([[{}]], dtype=object)), "objects"),
        (".png", b"\x89PNG\r\n\x1a\n", "must be a whole .png file"),
        (".png", b"GIF89a", "must be a whole .png file"),
    ],
)
def test_a_file_that_is_no_depth_map_is_refused_by_name(
    small: Pack, tmp_path: Path, suffix: str, content: bytes, reason: str
) -> None:
    write_all(tmp_path, small)
    bad = tmp_path / f"{small.names[3]}{suffix}"
    bad.with_suffix(".npy").unlink()
    bad.write_bytes(content)
    with pytest.raises(DataError, match=reason) as got:
        evaluate_predictions(Files(tmp_path), small, "full")
    assert str(got.value).startswith(f"{bad}: ")
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("shape", [SMALL, (*SMALL, 3)])
def test_pngs_of_8_bits_are_refused(small: Pack, tmp_path: Path, shape: Sequence[int]) -> None:
    for name in small.names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(shape, 99, np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match=r"a/00.png: must be a 16-bit grey PNG, but"):
        evaluate_predictions(Files(tmp_path), small, "full")


def test_a_truncated_png_is_refused(small: Pack, tmp_path: Path) -> None:
    write_all(tmp_path, small, suffix=".png")
    cut = tmp_path / f"{small.names[0]}.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"a/00.png: must be a whole .png file, but"):
        evaluate_predictions(Files(tmp_path), small, "full")


@pytest.mark.parametrize("name", ["../secret", "/etc/secret", "a/../../secret"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with Pack(write_pack(tmp_path / "p.h5", {name: frame(0, SMALL)})) as pack:
        np.save(tmp_path / "secret.npy", pack.frame(0).depth_m)
        (tmp_path / "mine/a").mkdir(parents=True)
        with pytest.raises(DataError, match="must stay inside the folder"):
            evaluate_predictions(Files(tmp_path / "mine"), pack, "full")


def test_a_folder_that_is_not_there_is_said(small: Pack, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: must be a folder of predictions"):
        evaluate_predictions(Files(tmp_path / "absent", partial=True), small, "full")


def test_an_unknown_protocol_or_split_is_named(small: Pack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown protocol 'btss'; did you mean 'bts'"):
        evaluate_predictions(Files(tmp_path), small, "btss")
    with pytest.raises(DataError, match="must have frames of split 'train', but has test"):
        evaluate_predictions(Files(tmp_path), small, "full", split="train")
