"""A pack appears whole or not at all, is built once, and gives back what was read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.data_sets import Csv, Labeled
from support.paths import SHARED_DATA

from weightsearch.data.frames.resize import resize_depth, resize_rgb
from weightsearch.data.frames.source import Frame, FrameRef
from weightsearch.data.packs import layout
from weightsearch.data.packs.building import Pack, ensure, training_copy
from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError
from weightsearch.study.table import Value

SHARED = SHARED_DATA
ROOMS: dict[str, Value] = {"frames": 8, "test_frames": 4, "frames_per_room": 2, "holes": 0.1}


def files(home: Path) -> set[str]:
    return {path.name for path in (home / "packs").glob("*")}


def made(home: Path, frames: list[Frame], splits: str = "train", max_depth_m: float = 10) -> Path:
    """A pack of these frames, each a group of its own."""
    path = home / "made.h5"
    path.parent.mkdir(exist_ok=True, parents=True)
    names = [(FrameRef(f"f{i}", f"g{i}", splits), f) for i, f in enumerate(frames)]  # type: ignore[arg-type]
    about = layout.About("synthetic", {}, "exact", max_depth_m)
    with h5py.File(path, "w") as file:
        layout.write(file, names, len(names), about)
    return path


def frame(depth_m: np.ndarray, valid: np.ndarray | None = None) -> Frame:
    depth_m = np.asarray(depth_m, dtype=np.float32)
    valid = np.ones(depth_m.shape, dtype=np.bool_) if valid is None else valid
    rgb = np.random.default_rng(0).integers(0, 256, (*depth_m.shape, 3), dtype=np.uint8)
    return Frame(rgb, np.where(valid, depth_m, np.float32(0)), valid)


# What a pack holds


@pytest.mark.parametrize("reader", ["nyu_csv", "nyu_labeled", "synthetic"])
def test_a_pack_gives_back_what_the_reader_gave(reader: str, tmp_path: Path) -> None:
    path: Path | None = None
    options: dict[str, Value] = {}
    if reader == "nyu_labeled":
        path, options = Labeled(tmp_path / "set").write().folder, {"depths": "raw"}
    elif reader == "nyu_csv":
        path = Csv(tmp_path / "set").write().root
    else:
        options = ROOMS
    target = ensure(reader, path, options, tmp_path)
    with closing(open_source(reader, path, options)) as source, Pack(target) as pack:
        assert target == tmp_path / "packs" / f"{reader}-{source.fingerprint[:12]}.h5"
        assert pack.path == target
        assert pack.reader == reader
        assert pack.options == source.options
        assert pack.ground_truth == source.ground_truth
        assert pack.max_depth_m == source.max_depth_m
        assert pack.skipped == []
        assert list(zip(pack.names, pack.groups, pack.splits, strict=True)) == [
            (ref.name, ref.group, ref.split) for ref in source.frames
        ]
        assert sorted(pack.indices("train") + pack.indices("test")) == list(range(len(pack)))
        assert pack.origin == pack.digest
        for i in range(len(pack)):
            was, found = source.read(i), pack.frame(i)
            assert was.rgb.shape == (*pack.sizes[0], 3)
            assert np.array_equal(found.rgb, was.rgb)
            assert np.array_equal(found.valid, was.valid)
            assert np.abs(found.depth_m - was.depth_m).max() <= 0.0005 + 1e-6
            assert (found.rgb.dtype, found.depth_m.dtype, found.valid.dtype) == (
                was.rgb.dtype,
                was.depth_m.dtype,
                was.valid.dtype,
            )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), height=st.integers(1, 9), width=st.integers(1, 9), far=st.booleans())
def test_depth_survives_within_half_a_unit(
    data: st.DataObject, height: int, width: int, far: bool, tmp_path: Path
) -> None:
    max_depth_m, unit = (120.0, 1 / 256) if far else (10.0, 0.001)
    depths = st.floats(1 / 64, max_depth_m, width=32)
    depth_m = data.draw(hnp.arrays(np.float32, (height, width), elements=depths))
    valid = data.draw(hnp.arrays(np.bool_, (height, width)))
    valid[0, 0] = True
    with Pack(made(tmp_path, [frame(depth_m, valid)], max_depth_m=max_depth_m)) as pack:
        found = pack.frame(0)
    assert np.array_equal(found.valid, valid)
    assert np.abs(found.depth_m - depth_m)[valid].max() <= unit / 2 + 1e-5
    assert (found.depth_m[~valid] == 0).all()


def test_frames_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    with Pack(ensure("synthetic", None, ROOMS, tmp_path)) as pack:
        for indices in ([], [3], [0, 1, 2], [5, 1, 2, 3, 0, 0, 11], list(range(12))[::-1]):
            rgb, depth_m, valid = pack.read(indices)
            assert rgb.shape == (len(indices), *pack.sizes[0], 3)
            assert depth_m.shape == valid.shape == (len(indices), *pack.depth_sizes[0])
            for k, i in enumerate(indices):
                alone = pack.frame(i)
                assert np.array_equal(rgb[k], alone.rgb)
                assert np.array_equal(depth_m[k], alone.depth_m)
                assert np.array_equal(valid[k], alone.valid)


def test_all_invalid_frames_are_skipped_and_named(tmp_path: Path) -> None:
    labeled = Labeled(tmp_path / "set").write()
    with h5py.File(labeled.mat, "r+") as file:
        file["rawDepths"][3] = 0
        file["rawDepths"][4] = np.nan
    with Pack(ensure("nyu_labeled", labeled.mat, {"depths": "raw"}, tmp_path)) as pack:
        assert pack.skipped == ["0004", "0005"]
        assert pack.names == ["0001", "0002", "0003", "0006"]
        assert pack.frame(3).depth_m == pytest.approx(labeled.raw_m[5], abs=0.0006)


def test_a_data_set_without_any_valid_depth_is_refused(tmp_path: Path) -> None:
    labeled = Labeled(tmp_path / "set").write()
    labeled.replace("rawDepths", data=np.zeros((6, 32, 24), np.float32))
    with pytest.raises(DataError, match="at least one frame must have valid depth"):
        ensure("nyu_labeled", labeled.mat, {"depths": "raw"}, tmp_path)
    assert files(tmp_path) == set()


def test_frames_of_several_sizes_are_kept_as_they_are(tmp_path: Path) -> None:
    """Their depth may be of another size than their RGB, as a laser's grid is."""
    rng = np.random.default_rng(0)
    sizes = [((6, 8), (6, 8)), ((9, 4), (3, 5)), ((6, 8), (6, 8)), ((6, 8), (3, 4))]
    frames = [
        Frame(
            rng.integers(0, 256, (*rgb, 3), dtype=np.uint8),
            (1 + np.arange(depth[0] * depth[1]).reshape(depth)).astype(np.float32) / 10,
            np.ones(depth, np.bool_),
        )
        for rgb, depth in sizes
    ]
    with Pack(made(tmp_path, frames)) as pack:
        assert list(zip(pack.sizes, pack.depth_sizes, strict=True)) == sizes
        for i, was in enumerate(frames):
            found = pack.frame(i)
            assert np.array_equal(found.rgb, was.rgb)
            assert np.allclose(found.depth_m, was.depth_m, atol=0.0005)
        assert pack.read([2, 0])[0].shape == (2, 6, 8, 3)
        with pytest.raises(ValueError, match="of one size"):
            pack.read([0, 1])
        assert list(pack.batches([0, 2, 1, 3], 8)) == [[0, 2], [1], [3]]
        assert list(pack.batches([0, 2, 0], 2)) == [[0, 2], [0]]
    with Pack(training_copy(tmp_path / "made.h5", (32, 48), tmp_path)) as copy:
        assert set(zip(copy.sizes, copy.depth_sizes, strict=True)) == {((32, 48), (16, 24))}


def test_depth_beyond_the_range_is_refused_not_wrapped_around(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"frame f0: depth must lie in 0\.\.66 m"):
        made(tmp_path, [frame(np.full((3, 4), 66))])


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    def digest(*frames: Frame, **how: str) -> str:
        with Pack(made(tmp_path, list(frames), **how)) as pack:  # type: ignore[arg-type]
            return pack.digest

    a, b = frame(np.full((4, 5), 2.0)), frame(np.full((4, 5), 3.0))
    assert digest(a, b) == digest(a, b)
    assert len({digest(a, b), digest(b, a), digest(a), digest(a, b, splits="test")}) == 4


# Once, whole, or not at all


def test_a_pack_is_reused_until_a_file_or_an_option_changes(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "set").write()
    seen: list[tuple[int, int]] = []

    def build(**options: Value) -> Path:
        seen.clear()
        return ensure("nyu_csv", csv.root, options, tmp_path, lambda k, n: seen.append((k, n)))

    first = build()
    assert seen == [(k, 8) for k in range(9)]
    assert build() == first
    assert seen == []
    assert build(half_step=False) != first
    assert len(seen) == 9
    os.utime(csv.root / csv.train[0][1], ns=(0, 0))
    assert build() != first


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_pack_leaves_no_file(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise interruption

    with pytest.raises(interruption):
        ensure("synthetic", None, ROOMS, tmp_path, stop)
    assert files(tmp_path) == set()
    with Pack(ensure("synthetic", None, ROOMS, tmp_path)) as pack:
        assert len(pack) == 12


def test_a_read_error_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "set").write()
    (csv.root / csv.test[1][1]).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"00001_depth\.png"):
        ensure("nyu_csv", csv.root, {}, tmp_path)
    assert files(tmp_path) == set()


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


STEPWISE = """
import json, sys
from pathlib import Path
from weightsearch.data.packs.building import ensure
calls = 0
def progress(done, total):
    global calls
    calls += 1
    if done == 2:
        print("half", flush=True)
        sys.stdin.readline()
path = ensure("synthetic", None, json.loads(sys.argv[2]), Path(sys.argv[1]), progress)
print(calls, path, flush=True)
"""


def test_a_killed_packer_leaves_no_pack_and_the_next_one_builds_it(tmp_path: Path) -> None:
    process = python(STEPWISE, tmp_path, json.dumps(ROOMS))
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not any(name.endswith(".h5") for name in files(tmp_path))
    target = ensure("synthetic", None, ROOMS, tmp_path)
    assert files(tmp_path) == {target.name}


def test_two_processes_at_once_pack_once(tmp_path: Path) -> None:
    first = python(STEPWISE, tmp_path, json.dumps(ROOMS))
    assert first.stdout is not None
    assert first.stdout.readline() == "half\n"  # it holds the lock now
    second = python(STEPWISE, tmp_path, json.dumps(ROOMS))
    assert first.stdin is not None
    first.stdin.write("go on\n")
    first.stdin.flush()
    outputs = [process.communicate("go on\n") for process in (first, second)]
    assert [error for _, error in outputs] == ["", ""]
    (calls, path), (other_calls, other_path) = (out.split()[-2:] for out, _ in outputs)
    assert (int(calls), int(other_calls)) == (13, 0)
    assert path == other_path
    assert files(tmp_path) == {Path(path).name}


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from weightsearch.data.packs.building import ensure
from weightsearch.errors import DataError
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for room in (0, 2_000, 5_000, 100_000, 500_000, hard):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        ensure("synthetic", None, json.loads(sys.argv[2]), Path(sys.argv[1]))
        print("room enough")
    except DataError as error:
        print(error, [path.name for path in Path(sys.argv[1]).glob("packs/*")])
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the file's size fails writes as a full disk does; HDF5 crashes at exit on both."""
    process = python(FULL_DISK, tmp_path, json.dumps(ROOMS))
    out, error = process.communicate()
    assert (process.returncode, error) == (0, "")
    *failed, last = out.splitlines()
    assert len(failed) == 5
    for line in failed:
        assert "must be writable, but File too large; free some space" in line
        assert line.endswith(". []")
    assert last == "room enough"
    assert len(files(tmp_path)) == 1


def test_a_home_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(DataError, match=r"must be writable, but .*WEIGHTSEARCH_HOME"):
        ensure("synthetic", None, ROOMS, tmp_path / "home")


# Opening what is no pack


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def other_format(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        about = json.loads(file["about"][0]) | {"format": 1}
        del file["about"]
        file["about"] = np.array([json.dumps(about).encode()])


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["depths"] = np.ones((2, 3, 4))


def shorter(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["rgb_0"].resize(3, axis=0)


def linked(path: Path) -> None:
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["rgb_0"] = np.zeros((12, 96, 128, 3), np.uint8)
    with h5py.File(path, "r+") as file:
        del file["rgb_0"]
        file["rgb_0"] = h5py.ExternalLink("other.h5", "rgb_0")


DAMAGES: list[Callable[[Path], object]] = [
    cut,
    other_format,
    foreign,
    shorter,
    linked,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("no pack"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_pack_is_refused_and_built_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    target = ensure("synthetic", None, ROOMS, tmp_path)
    damage(target)
    with pytest.raises(DataError, match="pack it again: weightsearch data pack") as caught:
        Pack(target)
    assert "\n" not in str(caught.value)
    with Pack(ensure("synthetic", None, ROOMS, tmp_path)) as pack:
        assert len(pack) == 12


def test_a_missing_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; pack it again"):
        Pack(tmp_path / "absent.h5")


def test_a_flipped_bit_in_a_frame_is_refused_not_trained_on(tmp_path: Path) -> None:
    target = ensure("synthetic", None, ROOMS, tmp_path)
    with h5py.File(target) as file:
        chunk = file["rgb_0"].id.get_chunk_info(4)
    data = bytearray(target.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    target.write_bytes(data)
    with Pack(target) as pack:
        pack.frame(3)
        with pytest.raises(DataError, match="room_0002/00 cannot be read"):
            pack.frame(4)


def test_a_mutated_pack_is_read_or_refused(tmp_path: Path) -> None:
    """In a process of its own: HDF5 must not crash it."""
    code = """
import sys
from collections import Counter
from pathlib import Path
import numpy as np
from weightsearch.data.packs.layout import Pack
from weightsearch.errors import DataError
path, data = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()
rng = np.random.default_rng(0)
outcomes = Counter()
for _ in range(150):
    mutated = bytearray(data)
    for at in rng.integers(rng.choice([6000, len(data)]), size=rng.integers(1, 12)):
        mutated[at] = rng.integers(256)
    path.write_bytes(mutated)
    try:
        with Pack(path) as pack:
            pack.read(range(len(pack)))
        outcomes["read"] += 1
    except DataError:
        outcomes["refused"] += 1
print(*sorted(outcomes))
"""
    process = python(code, made(tmp_path, [frame(np.full((5, 6), k + 1.0)) for k in range(3)]))
    assert process.communicate() == ("read refused\n", "")
    assert process.returncode == 0


# Training copies


def test_a_training_copy_has_no_test_frame(tmp_path: Path) -> None:
    pack = ensure("synthetic", None, ROOMS, tmp_path)
    path = training_copy(pack, (48, 64), tmp_path)
    assert path == tmp_path / "packs" / f"{pack.stem}-48x64.h5"
    with Pack(pack) as full, Pack(path) as copy:
        assert full.indices("test")
        assert copy.names == [full.names[i] for i in full.indices("train")]
        assert copy.groups == [full.groups[i] for i in full.indices("train")]
        assert Counter(copy.splits) == {"train": 8}
        assert copy.origin == full.digest != copy.digest
        assert (copy.sizes[0], copy.depth_sizes[0]) == ((48, 64), (24, 32))
        assert (copy.reader, copy.options) == (full.reader, full.options)
        assert (copy.ground_truth, copy.max_depth_m) == (full.ground_truth, full.max_depth_m)
        for name in full.names:
            if name.startswith("test"):
                assert name.encode() not in path.read_bytes()


@pytest.mark.parametrize("size", [(33, 47), (32, 48), (96, 128), (120, 150)])
def test_depth_of_a_training_copy_has_half_its_size_rounded_up(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    pack = ensure("synthetic", None, ROOMS, tmp_path)
    with Pack(training_copy(pack, size, tmp_path)) as copy:
        found = copy.frame(0)
    assert found.rgb.shape == (*size, 3)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert found.depth_m.shape == found.valid.shape == half


def test_a_training_copy_averages_whole_cells(tmp_path: Path) -> None:
    pack = ensure("synthetic", None, {**ROOMS, "holes": 0.0}, tmp_path)
    with Pack(pack) as full, Pack(training_copy(pack, (48, 64), tmp_path)) as copy:
        for i in (0, 7):
            cells = full.frame(i).depth_m.astype(np.float64).reshape(24, 4, 32, 4)
            assert copy.frame(i).depth_m == pytest.approx(cells.mean(axis=(1, 3)), abs=0.00051)
            assert copy.frame(i).valid.all()


def test_a_training_copy_of_the_native_size_keeps_the_pictures(tmp_path: Path) -> None:
    pack = ensure("synthetic", None, ROOMS, tmp_path)
    with Pack(pack) as full, Pack(training_copy(pack, (96, 128), tmp_path)) as copy:
        assert np.array_equal(copy.frame(0).rgb, full.frame(0).rgb)


def test_a_training_copy_is_reused_until_its_pack_changes(tmp_path: Path) -> None:
    seen: list[int] = []

    def copy(pack: Path) -> Path:
        seen.clear()
        return training_copy(pack, (8, 8), tmp_path, lambda done, total: seen.append(total))

    pack = made(tmp_path, [frame(np.full((8, 8), 2.0))])
    copy(pack)
    assert seen == [1, 1]
    copy(pack)
    assert seen == []
    made(tmp_path, [frame(np.full((8, 8), 3.0))])
    with Pack(copy(pack)) as found:
        assert found.frame(0).depth_m == pytest.approx(3)
    assert seen == [1, 1]


def test_a_pack_without_training_frames_has_no_training_copy(tmp_path: Path) -> None:
    pack = made(tmp_path, [frame(np.full((8, 8), 2.0))], splits="test")
    with pytest.raises(DataError, match="none of 0"):
        training_copy(pack, (4, 4), tmp_path)


@settings(max_examples=60)
@given(data=st.data(), height=st.integers(4, 20), width=st.integers(4, 20))
def test_depth_under_the_mask_has_no_influence(
    data: st.DataObject, height: int, width: int
) -> None:
    seed = data.draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    size = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    depth_m = rng.uniform(0.5, 10, (height, width)).astype(np.float32)
    valid = rng.random((height, width)) < data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    mean_m, kept = resize_depth(depth_m, valid, size)
    for garbage in (np.nan, np.inf, -1e30, 0.0):
        other_m, other = resize_depth(np.where(valid, depth_m, np.float32(garbage)), valid, size)
        assert np.array_equal(other, kept)
        assert np.array_equal(other_m, mean_m)
    assert kept.any() == valid.any()
    assert (mean_m[~kept] == 0).all()
    if valid.any():
        low, high = depth_m[valid].min(), depth_m[valid].max()
        assert low - 1e-4 <= mean_m[kept].min() <= mean_m[kept].max() <= high + 1e-4


def test_a_cell_is_the_mean_of_its_valid_pixels() -> None:
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(0.5, 10, (12, 18)).astype(np.float32)
    valid = rng.random((12, 18)) < 0.3
    mean_m, kept = resize_depth(depth_m, valid, (4, 6))
    for y in range(4):
        for x in range(6):
            cell = np.s_[3 * y : 3 * y + 3, 3 * x : 3 * x + 3]
            inside = depth_m[cell][valid[cell]]
            assert kept[y, x] == bool(inside.size)
            assert mean_m[y, x] == pytest.approx(inside.mean() if inside.size else 0, rel=1e-5)


@pytest.mark.parametrize(
    "sides", [(376, 224), (1224, 240), (352, 176), (1216, 608), (29, 22), (7, 9), (5, 11)]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_no_measured_pixel_is_lost(sides: tuple[int, int], axis: int) -> None:
    """KITTI's size among them: 6 of 376 rows, 15 of 1224 columns fell between Pillow's boxes."""
    full, small = (sides[0], 3), (sides[1], 2)  # narrow: rows and columns are cut independently
    if axis:
        full, small = full[::-1], small[::-1]
    for place in range(sides[0]):
        valid = np.zeros(full, dtype=bool)
        valid[(place, 0) if axis == 0 else (0, place)] = True
        mean_m, kept = resize_depth(np.full(full, 2.5, dtype=np.float32), valid, small)
        assert kept.any(), place
        assert np.array_equal(mean_m[kept], np.full(kept.sum(), 2.5, dtype=np.float32))


def test_pictures_shrink_without_aliasing() -> None:
    """Stripes of one pixel become grey; picking pixels would keep them black or white."""
    stripes = np.zeros((40, 60, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = resize_rgb(stripes, (10, 15))
    assert small.shape == (10, 15, 3)
    assert np.abs(small.astype(int) - 128).max() < 20


# Real frames


@pytest.mark.real_data
def test_a_real_frame_survives_the_pack(tmp_path: Path) -> None:
    root = SHARED / "nyu_data"
    if not root.is_dir():
        pytest.skip("needs nyu_data in ../shared/data")
    with closing(open_source("nyu_csv", root, {})) as source:
        real = [source.read(0), source.read(800)]
    with Pack(made(tmp_path, real)) as pack:
        for i, was in enumerate(real):
            found = pack.frame(i)
            assert np.array_equal(found.rgb, was.rgb)
            assert np.abs(found.depth_m - was.depth_m).max() <= 0.0005 + 1e-6
    with Pack(training_copy(tmp_path / "made.h5", (120, 160), tmp_path)) as copy:
        cells = real[0].depth_m.astype(np.float64).reshape(60, 8, 80, 8).mean(axis=(1, 3))
        assert copy.frame(0).depth_m == pytest.approx(cells, abs=0.0011)
