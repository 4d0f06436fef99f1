"""`data inspect` names each mistake that users make, and none where there is none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data_layouts import save
from support.paths import SHARED_DATA
from support.processes import Cli

from weightsearch.data.frames.source import Frame, FrameRef
from weightsearch.data.inspection import depth_units, leaks, registration
from weightsearch.data.inspection.report import inspect
from weightsearch.data.readers.registry import detect, open_source
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value

ROOMS = 12


@pytest.fixture(scope="module")
def rooms() -> list[Frame]:
    """One view each of other rooms, 96x128, with exact depth."""
    options: dict[str, Value] = {"frames": ROOMS, "test_frames": 0, "frames_per_room": 1}
    with closing(open_source("synthetic", None, options)) as source:
        return [source.read(i) for i in range(ROOMS)]


def write(root: Path, frames: Sequence[Frame], depth: Sequence[np.ndarray]) -> Path:
    """A flat folder of these pictures, with these depth files."""
    for k, (frame, values) in enumerate(zip(frames, depth, strict=True)):
        save(root / f"rgb/{k:04d}.png", frame.rgb)
        if values.dtype.kind == "f":
            (root / "depth").mkdir(exist_ok=True)
            np.save(root / f"depth/{k:04d}.npy", values)
        else:
            save(root / f"depth/{k:04d}.png", values)
    return root


def mm(frames: Sequence[Frame]) -> list[np.ndarray]:
    return [np.rint(1000 * frame.depth_m).astype(np.uint16) for frame in frames]


def warnings(root: Path, **options: Value) -> list[str]:
    found: list[str] = inspect("folder", root, options)["warnings"]
    assert all("\n" not in line for line in found)
    return found


# What is planted is named


def test_nothing_is_named_where_nothing_is_wrong(rooms: list[Frame], tmp_path: Path) -> None:
    found = inspect("folder", write(tmp_path, rooms, mm(rooms)), {}, val="blocks:50%")
    # One run of 15 is no two groups to split.
    assert found["warnings"] == [line for line in found["warnings"] if "validation split" in line]
    assert (found["shift"]["dx"], found["shift"]["dy"]) == (0, 0)
    assert not found["notes"]


def test_millimetres_read_as_metres(rooms: list[Frame], tmp_path: Path) -> None:
    said = warnings(write(tmp_path, rooms, mm(rooms)), depth_scale=1.0)
    assert any("look like millimetres read as metres (by 1000" in line for line in said)
    assert any("lies outside min_m..max_m" in line for line in said)
    assert any("no valid depth at all" in line for line in said)


def test_other_wrong_units(rooms: list[Frame], tmp_path: Path) -> None:
    metres = [frame.depth_m for frame in rooms]
    write(tmp_path, rooms, metres)
    assert not any("look like" in line for line in warnings(tmp_path, depth_scale=1.0))
    for scale, name in ((1000.0, "metres read as millimetres"), (0.01, "centimetres read as m")):
        said = warnings(tmp_path, depth_scale=scale)
        assert any(f"look like {name}" in line for line in said)


def test_eight_bits_read_as_centimetres(rooms: list[Frame], tmp_path: Path) -> None:
    eight = [np.clip(25.5 * frame.depth_m, 1, 255).astype(np.uint8) for frame in rooms]
    write(tmp_path, rooms, eight)
    said = warnings(tmp_path, depth_scale=100.0)
    (line,) = [line for line in said if "8-bit" in line]
    assert "255 stands for 2.55 m: it was read as centimetres" in line
    other = warnings(tmp_path, depth_scale=1000.0)
    assert any("no plausible range" in line for line in other)
    assert not any("look like" in line for line in other)  # of the median, which knows less
    right = inspect("folder", tmp_path, {"depth_scale": 25.5})
    assert not any("8-bit" in line for line in right["warnings"])
    (note,) = right["notes"]
    assert "39.22 mm apart" in note


def test_a_frame_without_valid_depth(rooms: list[Frame], tmp_path: Path) -> None:
    depth = mm(rooms)
    depth[7] = np.zeros_like(depth[7])
    write(tmp_path, rooms, depth)
    said = warnings(tmp_path)
    assert f"1 of {ROOMS} frames looked at have no valid depth at all, first rgb/0007" in said[0]
    found = inspect("folder", tmp_path, {}, sample=3)
    assert found["sampled"] == 3
    assert not any("no valid depth" in line for line in found["warnings"])
    assert inspect("folder", tmp_path, {}, sample=0)["least_valid"] == (0, "rgb/0007")


def test_missing_files_are_counted(rooms: list[Frame], tmp_path: Path) -> None:
    write(tmp_path, rooms, mm(rooms))
    for k in (3, 5):
        (tmp_path / f"depth/{k:04d}.png").unlink()
    with pytest.raises(DataError, match=r"0003 has none \(missing: 2 of 12; also 0005\)"):
        inspect("folder", tmp_path, {})


@pytest.mark.parametrize(("dx", "dy"), [(6, 0), (-4, 3)])
def test_depth_that_is_shifted(rooms: list[Frame], tmp_path: Path, dx: int, dy: int) -> None:
    write(tmp_path, rooms, [np.roll(values, (dy, dx), (0, 1)) for values in mm(rooms)])
    (line,) = [line for line in warnings(tmp_path) if "pixels to the right" in line]
    assert line.startswith(
        f"depth lies {dx} pixels to the right of its RGB pictures and {dy} below"
    )


def test_depth_that_is_mirrored(rooms: list[Frame], tmp_path: Path) -> None:
    write(tmp_path, rooms, [values[:, ::-1].copy() for values in mm(rooms)])
    assert any("best mirrored left to right" in line for line in warnings(tmp_path))


def pan(frames: Sequence[Frame], number: int) -> list[Frame]:
    """A video of each frame: a window that moves by one pixel."""
    return [
        Frame(f.rgb[:, k : k + 100], f.depth_m[:, k : k + 100], f.valid[:, k : k + 100])
        for f in frames
        for k in range(number)
    ]


def test_a_split_by_frame_leaks(rooms: list[Frame], tmp_path: Path) -> None:
    video = pan(rooms[:4], 8)
    write(tmp_path, video, mm(video))
    sides = np.random.default_rng(0).permutation(["train"] * 24 + ["test"] * 8)
    lines = ["rgb,depth,split,group"]
    lines += [f"rgb/{k:04d}.png,depth/{k:04d}.png,{sides[k]}," for k in range(32)]
    (tmp_path / "split.csv").write_text("\n".join(lines))
    said = warnings(tmp_path / "split.csv")
    assert any(re.match("test and .* hold near-identical frames", line) for line in said)
    lines = [f"{line}room_{k // 8}" if k >= 0 else line for k, line in enumerate(lines, -1)]
    (tmp_path / "split.csv").write_text("\n".join(lines))
    said = warnings(tmp_path / "split.csv")
    assert any(re.match("[34] of 4 groups lie in both train and test", line) for line in said)
    by_room = [line.replace(",test,", ",train,") for line in lines[:25]]
    by_room += [line.replace(",train,", ",test,") for line in lines[25:]]
    (tmp_path / "split.csv").write_text("\n".join(by_room))
    assert inspect("folder", tmp_path / "split.csv", {}, val="blocks:33%")["warnings"] == []


def test_runs_that_cut_a_video_are_named(rooms: list[Frame], tmp_path: Path) -> None:
    """Without scenes, validation takes runs of 15, and a video goes on at their ends."""
    video = pan(rooms[:1], 28)
    write(tmp_path, [*video, *rooms[1:]], mm([*video, *rooms[1:]]))
    found = inspect("folder", tmp_path, {}, val="blocks:50%")
    assert any("train and validation hold near-identical" in line for line in found["warnings"])


# The parts


def test_the_split_has_a_digest_of_its_sorted_names(rooms: list[Frame], tmp_path: Path) -> None:
    video = pan(rooms, 2)
    write(tmp_path, video, mm(video))
    sides = inspect("folder", tmp_path, {}, val="blocks:30%")["validation"]["sides"]
    assert {side["frames"] for side in sides.values()} == {15, 9}
    for side in sides.values():
        there = range(15) if side["frames"] == 15 else range(15, 24)  # the two runs
        names = "".join(f"rgb/{k:04d}\n" for k in there)
        assert side["digest"] == hashlib.sha256(names.encode()).hexdigest()


def test_sides_are_those_that_training_takes() -> None:
    from weightsearch.data.frames.split import validation

    refs = [FrameRef(f"{k}", f"scene_{k // 3}", "train") for k in range(30)]
    refs += [FrameRef("t", "other", "test")]
    side, why = leaks.sides(refs, "blocks:20%", 3)
    _, held = validation([ref.group for ref in refs[:30]], "blocks:20%", 3)
    assert why is None
    assert [i for i, name in enumerate(side) if name == "validation"] == held
    assert side[30] == "test"


def test_neighbours_by_number_lie_next_to_each_other_whatever_their_split() -> None:
    names = ["train/rgb/9", "test/rgb/10", "train/rgb/11", "train/rgb/2"]
    refs = [FrameRef(name, "g", "train") for name in names]
    found = leaks.neighbours(refs, ["train", "test", "train", "train"])
    assert sorted(map(sorted, found)) == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    ("step_m", "found"), [(0.01, 2.55), (10 / 255, 10.0), (1.0, 255.0), (0.001, 0.255)]
)
def test_steps_of_eight_bits_are_measured(step_m: float, found: float) -> None:
    values = np.random.default_rng(0).integers(10, 250, 5000)
    steps = depth_units.steps((values * step_m).astype(np.float32))
    assert steps is not None
    assert steps.full_scale_m == pytest.approx(found, rel=1e-4)
    shifted = depth_units.steps(((values + 0.5) * step_m).astype(np.float32))
    assert shifted is not None
    assert shifted.full_scale_m == pytest.approx(found, rel=1e-4)


def test_sixteen_bits_have_no_steps_of_eight() -> None:
    rng = np.random.default_rng(0)
    assert depth_units.steps(rng.integers(500, 9000, 5000).astype(np.float32) / 1000) is None
    near = rng.integers(1000, 1200, 5000).astype(np.float32) / 1000  # few levels, far from 0
    assert depth_units.steps(near) is None
    assert depth_units.steps(np.ones(100, np.float32)) is None


def test_sparse_and_flat_depth_is_not_judged(rooms: list[Frame]) -> None:
    frame = rooms[0]
    sparse = np.random.default_rng(0).random(frame.valid.shape) < 0.04
    assert registration.surfaces(Frame(frame.rgb, frame.depth_m * sparse, sparse)) is None
    flat = np.ones_like(frame.depth_m)
    assert registration.surfaces(Frame(frame.rgb, flat, frame.valid)) is None
    assert registration.shift([]) is None


def test_the_contact_sheet_shows_each_frame_in_three_pictures(
    rooms: list[Frame], tmp_path: Path, cli: Cli
) -> None:
    depth = mm(rooms[:3])
    depth[1][:48] = 0
    write(tmp_path / "set", rooms[:3], depth)
    path = tmp_path / "out/sheet.png"
    said = cli("data", "inspect", tmp_path / "set", "--picture", path)
    assert said.returncode == 0, said.stderr
    assert "83.3 % of the pixels valid" in said.stdout
    assert "not seen: a validation split must leave" in " ".join(said.stdout.split())
    sheet = np.asarray(Image.open(path)).astype(int)
    row = sheet.shape[0] // 3
    assert sheet.shape == (3 * row + (sheet.shape[0] - 3 * row), 3 * 246 + 6, 3)
    left, middle, right = (slice(6 + 246 * k, 246 * (k + 1)) for k in range(3))
    top, bottom = slice(row + 40, row + 90), slice(2 * row - 60, 2 * row - 20)
    assert (sheet[top, middle] == 0).all()  # no depth there
    assert (sheet[top, right] == 40).all()
    assert (sheet[bottom, right] == 235).all()
    assert np.ptp(sheet[bottom, middle], axis=2).mean() > 50  # in colours
    small = np.asarray(Image.fromarray(rooms[1].rgb).resize((240, 180), Image.Resampling.BOX))
    assert np.abs(sheet[row + 30 : row + 150, left] - small[5:125]).mean() < 25


def test_the_command_says_it_as_json_too(rooms: list[Frame], tmp_path: Path, cli: Cli) -> None:
    write(tmp_path / "set", rooms, mm(rooms))
    said = cli("data", "inspect", tmp_path / "set", "--option", "depth_scale=1", "--json")
    found: dict[str, Any] = json.loads(said.stdout)
    assert found["depth_m"] is None
    assert found["sizes"] == [{"rgb": [96, 128], "depth": [96, 128], "frames": ROOMS}]
    assert any("millimetres read as metres" in line for line in found["warnings"])


# Real frames


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["nyu_data", "kitti", "make3d"])
def test_nothing_is_named_on_real_data(name: str) -> None:
    path = SHARED_DATA / name
    if not path.is_dir():
        pytest.skip(f"needs {name} in ../shared/data")
    found = inspect(detect(path), path, {})
    assert found["warnings"] == []
    if name == "nyu_data":
        assert [note.split(":")[0] for note in found["notes"]] == ["train", "test"]
        assert all("39.22 mm apart" in note for note in found["notes"])
        assert (found["shift"]["dx"], found["shift"]["dy"]) == (0, 0)
    if name == "kitti":
        assert found["shift"] is None
        assert 0.03 < found["valid_share"] < 0.04


@pytest.mark.real_data
def test_a_shift_of_real_depth_is_found_to_the_pixel() -> None:
    path = SHARED_DATA / "nyu_data"
    if not path.is_dir():
        pytest.skip("needs nyu_data in ../shared/data")
    with closing(open_source("nyu_csv", path, {})) as source:
        frames = [source.read(i) for i in range(5, 800, 80)]
    moved = [Frame(f.rgb, np.roll(f.depth_m, (-6, 10), (0, 1)), f.valid) for f in frames]
    found = registration.shift([s for s in map(registration.surfaces, moved) if s])
    assert found is not None
    assert (found.dx, found.dy, found.mirror, found.is_off) == (10, -6, "", True)
