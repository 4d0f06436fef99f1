"""NYU's labelled .mat file: axes, holes, splits; foreign and damaged files get one line."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from support.data_sets import Labeled
from support.nyu_sets import real
from support.readers import frames, refused

from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError

# NYU, labelled .mat


def test_labeled_frames_are_neither_transposed_nor_shifted(labeled: Labeled) -> None:
    for path in (labeled.mat, labeled.folder):
        found = frames("nyu_labeled", path)
        assert list(found) == ["0001", "0002", "0003", "0004", "0005", "0006"]
        for i, frame in enumerate(found.values()):
            assert np.array_equal(frame.rgb, labeled.rgb[i])
            assert np.array_equal(frame.depth_m, labeled.filled_m[i])
            assert frame.valid.all()


def test_labeled_splits_count_from_1(labeled: Labeled) -> None:
    with closing(open_source("nyu_labeled", labeled.mat, {})) as source:
        tests = [ref.name for ref in source.frames if ref.split == "test"]
        assert source.ground_truth == "filled"
    assert tests == ["0002", "0005"]


def test_labeled_raw_depth_has_holes(labeled: Labeled) -> None:
    found = frames("nyu_labeled", labeled.mat, depths="raw")
    for i, frame in enumerate(found.values()):
        assert np.array_equal(frame.valid, labeled.raw_m[i] > 0)
        assert np.array_equal(frame.depth_m, labeled.raw_m[i].astype(np.float32))
    with closing(open_source("nyu_labeled", labeled.mat, {"depths": "raw"})) as source:
        assert source.ground_truth == "raw"


def test_labeled_depth_that_is_no_number_is_not_valid(labeled: Labeled) -> None:
    with h5py.File(labeled.mat, "r+") as file:
        file["depths"][0, 3, :4] = [np.nan, np.inf, -1, 0]
    frame = frames("nyu_labeled", labeled.mat)["0001"]
    assert not frame.valid[:4, 3].any()
    assert (frame.depth_m[:4, 3] == 0).all()
    assert (~frame.valid).sum() == 4


def test_labeled_groups_are_the_scenes_or_else_runs_of_15(tmp_path: Path) -> None:
    named = Labeled(tmp_path / "named").write()
    unnamed = Labeled(
        tmp_path / "unnamed", list(range(1, 31)), [31], scenes=None, size=(4, 6)
    ).write()
    with closing(open_source("nyu_labeled", named.mat, {})) as source:
        groups = [ref.group for ref in source.frames]
    assert groups == ["kitchen_0004"] * 3 + ["office_0001b"] * 3
    with closing(open_source("nyu_labeled", unnamed.mat, {})) as source:
        sizes = Counter(ref.group for ref in source.frames)
    assert list(sizes.values()) == [15, 15, 1]


def test_labeled_splits_may_lie_elsewhere(labeled: Labeled, tmp_path: Path) -> None:
    before = frames("nyu_labeled", labeled.mat)
    elsewhere = (labeled.folder / "splits.mat").rename(tmp_path / "mine.mat")
    assert "option 'splits'" in refused("nyu_labeled", labeled.mat)
    assert frames("nyu_labeled", labeled.mat, splits=str(elsewhere)).keys() == before.keys()


@pytest.mark.parametrize(
    ("train", "got"), [([0, 1], "0"), ([1, 7], "7"), ([1, 1], "1"), ([1, 2], "2")]
)
def test_labeled_splits_out_of_range_or_repeated_are_refused(
    labeled: Labeled, train: list[int], got: str
) -> None:
    splits = {"trainNdxs": np.array(train)[:, None], "testNdxs": np.array([[2]])}
    scipy.io.savemat(labeled.folder / "splits.mat", splits)
    assert f"1..6 and occur once, but {got} does not" in refused("nyu_labeled", labeled.mat)


def test_labeled_test_frames_alone_are_read(labeled: Labeled) -> None:
    """Evaluation needs no training frames."""
    scipy.io.savemat(labeled.folder / "splits.mat", {"testNdxs": np.array([[2], [5]])})
    assert frames("nyu_labeled", labeled.mat).keys() == {"0002", "0005"}
    scipy.io.savemat(labeled.folder / "splits.mat", {"trainNdxs": np.array([[2], [5]])})
    assert "has no list of numbers testNdxs" in refused("nyu_labeled", labeled.mat)


def test_splits_that_swell_are_refused(labeled: Labeled) -> None:
    many = {"trainNdxs": np.zeros(1 << 20), "testNdxs": np.zeros(1)}
    scipy.io.savemat(labeled.folder / "splits.mat", many, do_compression=True)
    assert "a compressed element has more than" in refused("nyu_labeled", labeled.mat)


@pytest.mark.parametrize("content", [b"", b"not a mat file at all, but text", bytes(1000)])
def test_labeled_splits_that_cannot_be_read_are_refused(labeled: Labeled, content: bytes) -> None:
    (labeled.folder / "splits.mat").write_bytes(content)
    assert "must be a MATLAB v5 file" in refused("nyu_labeled", labeled.mat)


def test_a_mat_file_of_the_old_format_is_refused(labeled: Labeled) -> None:
    scipy.io.savemat(labeled.mat, {"depths": np.ones(3)})
    assert "MATLAB v5 file; save it with -v7.3" in refused("nyu_labeled", labeled.mat)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_mat_file_is_refused(labeled: Labeled, share: float) -> None:
    data = labeled.mat.read_bytes()
    labeled.mat.write_bytes(data[: int(share * len(data))])
    refused("nyu_labeled", labeled.mat)


@pytest.mark.parametrize(
    ("name", "array", "law"),
    [
        ("images", np.zeros((6, 3, 32, 24), np.uint16), "must be uint8"),
        ("images", np.zeros((6, 24, 32, 3), np.uint8), "must be uint8 \\(n, 3, w, h\\)"),
        ("images", np.zeros((6, 3, 32), np.uint8), "must hold unsigned integers on 4 axes"),
        ("depths", np.zeros((6, 24, 32), np.float32), "must have shape \\(6, 32, 24\\)"),
        ("depths", np.zeros((5, 32, 24), np.float32), "must have shape \\(6, 32, 24\\)"),
        ("depths", np.zeros((6, 32, 24), np.uint16), "must hold floats"),
        ("scenes", np.zeros((1, 6), np.uint16), "must hold references"),
    ],
)
def test_wrong_shapes_and_types_are_refused(
    labeled: Labeled, name: str, array: np.ndarray, law: str
) -> None:
    labeled.replace(name, data=array)
    with pytest.raises(DataError, match=f"'{name}' {law}"):
        frames("nyu_labeled", labeled.mat)


def test_a_missing_dataset_is_refused(labeled: Labeled) -> None:
    with h5py.File(labeled.mat, "r+") as file:
        del file["rawDepths"]
    assert "'rawDepths' must be in the file" in refused("nyu_labeled", labeled.mat, depths="raw")


def test_millimetres_where_metres_are_promised_are_refused(labeled: Labeled) -> None:
    mm = labeled.filled_m.transpose(0, 2, 1) * 1000
    labeled.replace("depths", data=mm)
    assert "frame 0001: 'depths' must be in metres" in refused("nyu_labeled", labeled.mat)


@pytest.mark.real_data
def test_real_frames_read_the_same_from_a_labelled_mat_file(tmp_path: Path) -> None:
    with closing(open_source("nyu_csv", real("nyu_data"), {})) as source:
        frame = source.read(0)
    made = Labeled(tmp_path / "one", [1], [2], scenes=None, size=(480, 640)).write()
    with h5py.File(made.mat, "r+") as file:
        file["images"][0] = frame.rgb.transpose(2, 1, 0)
        file["depths"][0] = frame.depth_m.T
    found = frames("nyu_labeled", made.mat)["0001"]
    assert np.array_equal(found.rgb, frame.rgb)
    assert np.array_equal(found.depth_m, frame.depth_m)
