"""Every reader gives frames of one form."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.data_layouts import LAYOUTS
from support.data_sets import Csv, Labeled
from support.readers import refused

from weightsearch.data.inspection.report import inspect
from weightsearch.data.readers.registry import READERS, detect, open_source
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.known_names import NAMES
from weightsearch.study.spec_fields import Value

# Every reader


@pytest.fixture(params=sorted(READERS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path | None]:
    made = {
        "nyu_labeled": lambda: Labeled(tmp_path / "set").write().folder,
        "nyu_csv": lambda: Csv(tmp_path / "set").write().root,
        "synthetic": lambda: None,
    }
    reader = request.param
    return reader, made[reader]() if reader in made else LAYOUTS[reader](tmp_path / "set").path


def test_readers_are_those_that_a_study_may_name() -> None:
    assert set(READERS) == set(NAMES["reader"])


def test_a_frame_is_rgb_metres_and_mask_under_a_stable_name(
    place: tuple[str, Path | None],
) -> None:
    reader, path = place
    with closing(open_source(reader, path, {})) as source:
        assert source.reader == reader
        assert {ref.split for ref in source.frames} <= {"train", "test"}
        assert len({ref.name for ref in source.frames}) == len(source.frames)
        for ref in source.frames:
            assert not ref.name.startswith("/")
            assert not ref.name.endswith((".jpg", ".png", ".h5", ".npy"))
        for i in (0, len(source.frames) - 1):
            frame = source.read(i)
            assert (frame.rgb.dtype, frame.depth_m.dtype, frame.valid.dtype) == (
                np.uint8,
                np.float32,
                np.bool_,
            )
            assert frame.rgb.ndim == 3
            assert frame.rgb.shape[2] == 3
            assert frame.depth_m.ndim == 2
            assert frame.valid.shape == frame.depth_m.shape
            assert (frame.depth_m[~frame.valid] == 0).all()
            assert frame.depth_m[frame.valid].min() > 0
            assert frame.depth_m.max() <= source.max_depth_m
            again = source.read(i)
            assert np.array_equal(frame.rgb, again.rgb)


@pytest.mark.parametrize(  # the labelled set's split is by frame
    "place", sorted(READERS.keys() - {"nyu_labeled"}), indirect=True
)
def test_a_group_lies_on_one_side_of_the_split(place: tuple[str, Path | None]) -> None:
    reader, path = place
    with closing(open_source(reader, path, {})) as source:
        sides = {(ref.group, ref.split) for ref in source.frames}
    assert len({group for group, _ in sides}) == len(sides)


def test_the_fingerprint_stays_and_follows_the_options(place: tuple[str, Path | None]) -> None:
    reader, path = place
    other: dict[str, dict[str, Value]] = {
        "nyu_labeled": {"depths": "raw"},
        "nyu_csv": {"half_step": False},
        "synthetic": {"seed": 1},
        "nyu_bts": {"train_root": "sync/"},
        "kitti_eigen": {"split": "train"},
        "diode": {"max_m": 20},
        "sunrgbd": {"depth": "depth"},
        "folder": {"max_m": 20},
    }
    prints = []
    for options in ({}, {}, other.get(reader, {})):
        with closing(open_source(reader, path, options)) as source:
            prints.append(source.fingerprint)
            assert source.options.keys() >= options.keys()
    assert prints[0] == prints[1]
    assert (prints[2] != prints[0]) == (reader in other)


def test_an_unknown_option_is_refused_with_the_nearest(place: tuple[str, Path | None]) -> None:
    reader, path = place
    near = {
        "nyu_labeled": ("depth", "did you mean 'depths'?"),
        "nyu_csv": ("halfstep", "did you mean 'half_step'?"),
        "synthetic": ("sead", "did you mean 'seed'?"),
        "nyu_bts": ("trainroot", "did you mean 'train_root'?"),
        "kitti_eigen": ("depths", "did you mean 'depth'?"),
        "make3d": ("leaveout", "did you mean 'leave_out'?"),
        "diode": ("maxm", "did you mean 'max_m'?"),
        "sunrgbd": ("testlist", "did you mean 'test_list'?"),
        "folder": ("scale", "did you mean 'depth_scale'?"),
    }
    name, said = near.get(reader, ("scale", "it has none."))
    with pytest.raises(ConfigError) as caught:
        open_source(reader, path, {name: 1})
    assert said in str(caught.value)


@pytest.mark.parametrize("place", ["nyu_labeled", "nyu_csv", "synthetic"], indirect=True)
def test_an_option_of_another_type_is_refused(place: tuple[str, Path | None]) -> None:
    reader, path = place
    name = {"nyu_labeled": "depths", "nyu_csv": "half_step", "synthetic": "seed"}[reader]
    with pytest.raises(ConfigError, match=f"'{name}'.*must be of type"):
        open_source(reader, path, {name: 0.5})


def test_an_unknown_reader_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'nyu_csv'"):
        open_source("nyu_cvs", None, {})


def test_the_reader_is_found_out_from_the_place(place: tuple[str, Path | None]) -> None:
    reader, path = place
    assert detect(path) == reader


def test_the_reader_is_found_out_from_a_file(labeled: Labeled, csv: Csv, tmp_path: Path) -> None:
    assert detect(labeled.mat) == "nyu_labeled"
    assert detect(csv.root / "data") == detect(csv.zip()) == "nyu_csv"
    for path in (tmp_path, tmp_path / "absent", csv.root / "data/nyu2_test.csv"):
        with pytest.raises(DataError, match=f"{path}: must be"):
            detect(path)


@pytest.mark.parametrize("reader", sorted(READERS.keys() - {"synthetic"}))
def test_a_reader_of_files_asks_for_their_place(reader: str, tmp_path: Path) -> None:
    assert "add --data PATH of " in refused(reader, None)
    assert "absent" in refused(reader, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "the folder is empty; put the data there, or name" in refused(reader, tmp_path / "empty")


def test_inspect_counts_and_measures(place: tuple[str, Path | None]) -> None:
    reader, path = place
    found = inspect(reader, path, {})
    with closing(open_source(reader, path, {})) as source:
        by_split = {
            split: [ref.name for ref in source.frames if ref.split == split]
            for split in ("train", "test")
            if any(ref.split == split for ref in source.frames)
        }
    assert found["reader"] == reader
    assert found["splits"] == by_split
    assert found["counts"] == {split: len(names) for split, names in by_split.items()}
    assert 0 < found["depth_m"]["min"] < found["depth_m"]["median"] < found["depth_m"]["max"] <= 10
    assert found["valid_share"] == 1
