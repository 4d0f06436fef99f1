"""A range that leaves out much of the ground truth is told: a reader's, and a study's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.data_layouts import LAYOUTS, save
from support.depth_studies import depth_spec
from support.packs import write_pack
from support.paths import SHARED_DATA

from weightsearch.data.frames.source import Frame
from weightsearch.data.inspection.report import inspect
from weightsearch.data.packs import building, depth_range
from weightsearch.data.packs.layout import Pack
from weightsearch.data.readers.registry import READERS, open_source
from weightsearch.study import known_names
from weightsearch.study.data_spec import DataSpec


def of_ramp(left_out: int = 0) -> Frame:
    """100 pixels of 0.25, 0.5, .., 25 m."""
    depth_m = (np.arange(1, 101, dtype=np.float32) / 4).reshape(10, 10)
    return Frame(np.zeros((10, 10, 3), np.uint8), depth_m, depth_m > 0, left_out)


@pytest.mark.parametrize(
    ("near_m", "far_m", "share"), [(0.2, 25.1, 0.0), (0.1, 10.1, 0.6), (0.9, 24.1, 0.07)]
)
def test_the_share_outside_a_range_is_counted(
    tmp_path: Path, near_m: float, far_m: float, share: float
) -> None:
    with Pack(write_pack(tmp_path / "a.h5", {"a/0": of_ramp(), "a/1": of_ramp()})) as pack:
        assert depth_range.outside(pack, [0, 1], near_m, far_m) == pytest.approx(share)
        data = DataSpec(source="folder", size=(32, 32), min_depth_m=near_m, max_depth_m=far_m)
        said = list(depth_range.told(pack, [0, 1], data))
        assert len(said) == (share > 0.05)
        assert all(f"{100 * share:.3g} % of the ground truth" in line for line in said)


@pytest.mark.parametrize(("left_out", "said"), [(5, 0), (6, 1), (100, 1)])
def test_a_pack_remembers_what_its_reader_left_out(
    tmp_path: Path, left_out: int, said: int
) -> None:
    path = write_pack(tmp_path / "a.h5", {"a/0": of_ramp(left_out)})
    with Pack(path) as pack:
        assert pack.left_out == pytest.approx(left_out / (100 + left_out))
        data = DataSpec(source="folder", size=(32, 32), max_depth_m=30.0)
        lines = list(depth_range.told(pack, [0], data))
        assert len(lines) == said
        assert all("outside the range of made" in line for line in lines)


READ: dict[str, Mapping[str, Any]] = {
    "kitti_eigen": {"share": 1 - 80 / 255},
    "nyu_bts": {"share": 1 - 10 / 65},
    "folder": {"share": 1 - 10 / 65},
}


@pytest.mark.parametrize("reader", READ)
def test_inspect_tells_what_a_readers_range_leaves_out(reader: str, tmp_path: Path) -> None:
    made = LAYOUTS[reader](tmp_path)
    for path in tmp_path.rglob("*.png"):
        if any(part in path.as_posix() for part in ("/proj_depth/", "sync_depth", "/depth/")):
            shape = next(iter(made.depth_m.values())).shape
            save(path, np.linspace(1, 65280, shape[0] * shape[1]).astype(np.uint16).reshape(shape))
    if reader == "kitti_eigen":  # its days differ in size
        rgb = next(iter(made.rgb.values()))
        for path in tmp_path.rglob("image_02/data/*.png"):
            save(path, rgb)
    found = inspect(reader, tmp_path, {})
    (line,) = [line for line in found["warnings"] if "outside" in line]
    assert float(line.split(" %")[0]) == pytest.approx(100 * READ[reader]["share"], abs=0.6)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((reader, {}) for reader in READERS),
    ("diode", {"place": "indoors"}),
    ("diode", {"max_m": 20.0}),
    ("folder", {"max_m": 80.0}),
]


@pytest.mark.parametrize(("reader", "options"), VARIANTS)
def test_a_study_that_does_not_say_trains_on_the_readers_range(
    reader: str, options: dict[str, Any], tmp_path: Path
) -> None:
    data = DataSpec.model_validate({"source": reader, "size": [32, 32], "options": options})
    assert set(known_names.FARTHEST_M) == set(READERS)
    if reader in LAYOUTS:
        with closing(open_source(reader, LAYOUTS[reader](tmp_path).path, options)) as source:
            assert data.max_depth_m == source.max_depth_m
    else:  # NYU in its two other layouts, and rooms
        assert data.max_depth_m == 10
    assert DataSpec.model_validate(data.model_dump() | {"max_depth_m": 7.0}).max_depth_m == 7


def test_a_launch_tells_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from weightsearch.launch import preparation

    spec = depth_spec(data={"max_depth_m": 2.0})
    request = SimpleNamespace(quiet=True, data=None, home=tmp_path)
    with caplog.at_level(logging.WARNING):
        preparation.pack(spec, request)  # type: ignore[arg-type]
    assert "of the ground truth lies outside 0.1 to 2 m and is not trained on" in caplog.text


@pytest.mark.real_data
def test_kitti_to_10_m_is_told_and_its_default_is_80(tmp_path: Path) -> None:
    if not (SHARED_DATA / "kitti").is_dir():
        pytest.skip("needs kitti in ../shared/data")
    packed = building.ensure("kitti_eigen", SHARED_DATA / "kitti", {}, tmp_path)
    with Pack(packed) as pack:
        frames = pack.indices("test")
        near = DataSpec(source="kitti_eigen", size=(160, 512), max_depth_m=10.0)
        (line,) = depth_range.told(pack, frames, near)
        assert line.startswith("26.2 % of the ground truth lies outside 0.1 to 10 m")
        plain = DataSpec.model_validate({"source": "kitti_eigen", "size": [160, 512]})
        assert list(depth_range.told(pack, frames, plain)) == []
