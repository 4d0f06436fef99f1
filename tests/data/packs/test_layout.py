"""What a pack holds, and what is no pack."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from support.data_sets import Csv, Labeled
from support.paths import SHARED_DATA
from support.small_packs import ROOMS, files, flip_a_bit, frame, made, python

from weightsearch.data.frames.source import Frame
from weightsearch.data.packs.building import Pack, ensure, training_copy
from weightsearch.data.readers.registry import open_source
from weightsearch.data.synthetic import room_rendering
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value

SHARED = SHARED_DATA


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
            assert np.array_equal(found.depth_m, was.depth_m)
            assert (found.rgb.dtype, found.depth_m.dtype, found.valid.dtype) == (
                was.rgb.dtype,
                was.depth_m.dtype,
                was.valid.dtype,
            )


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), height=st.integers(1, 9), width=st.integers(1, 9))
def test_depth_is_not_rounded(data: st.DataObject, height: int, width: int, tmp_path: Path) -> None:
    depths = st.floats(2**-20, 300, width=32)
    depth_m = data.draw(hnp.arrays(np.float32, (height, width), elements=depths))
    valid = data.draw(hnp.arrays(np.bool_, (height, width)))
    valid[0, 0] = True
    with Pack(made(tmp_path, [frame(depth_m, valid)], max_depth_m=80.0)) as pack:
        found = pack.frame(0)
    assert np.array_equal(found.valid, valid)
    assert np.array_equal(found.depth_m, np.where(valid, depth_m, 0))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("pattern", "per_metre"),
    [("kitti/**/groundtruth/**/*.png", 256), ("nyu_16bit/*_depth.png", 1000)],
)
def test_a_pack_holds_the_steps_of_the_file(pattern: str, per_metre: int, tmp_path: Path) -> None:
    """KITTI's 1/256 m and NYU's millimetres, as the file has them."""
    found = sorted(SHARED.glob(pattern))
    if not found:
        pytest.skip(f"needs the real frames {SHARED / pattern}")
    with Image.open(found[0]) as picture:
        steps = np.asarray(picture).astype(np.float64)[::4]
    depth_m = (steps / per_metre).astype(np.float32)
    with Pack(made(tmp_path, [frame(depth_m, steps > 0)], max_depth_m=80.0)) as pack:
        kept = pack.frame(0).depth_m * np.float64(per_metre)
    assert steps.max() > 2000
    assert np.abs(kept - steps).max() < (0 if per_metre == 256 else 5e-4) + 1e-9


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
        assert pack.frame(3).depth_m == pytest.approx(labeled.raw_m[5], rel=1e-7)


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
            assert np.array_equal(found.depth_m, was.depth_m)
        assert pack.read([2, 0])[0].shape == (2, 6, 8, 3)
        with pytest.raises(ValueError, match="of one size"):
            pack.read([0, 1])
        assert list(pack.batches([0, 2, 1, 3], 8)) == [[0, 2], [1], [3]]
        assert list(pack.batches([0, 2, 0], 2)) == [[0, 2], [0]]
    with Pack(training_copy(tmp_path / "made.h5", (32, 48), tmp_path)) as copy:
        assert set(zip(copy.sizes, copy.depth_sizes, strict=True)) == {((32, 48), (16, 24))}


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_valid_depth_that_is_no_depth_is_refused(wrong: float, tmp_path: Path) -> None:
    depth_m = np.full((3, 4), 2, np.float32)
    depth_m[1, 2] = wrong
    with pytest.raises(DataError, match=rf"frame f0: valid depth must be finite.* is {wrong:g}\."):
        made(tmp_path, [frame(depth_m)])


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    def digest(*frames: Frame, **how: str) -> str:
        with Pack(made(tmp_path, list(frames), **how)) as pack:  # type: ignore[arg-type]
            return pack.digest

    a, b = frame(np.full((4, 5), 2.0)), frame(np.full((4, 5), 3.0))
    assert digest(a, b) == digest(a, b)
    assert len({digest(a, b), digest(b, a), digest(a), digest(a, b, splits="test")}) == 4


def test_processors_that_compute_other_last_bits_agree_on_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kernels of BLAS do: a study's workers, and who continues it, may have another kind."""

    def digests(home: str, options: dict[str, Value]) -> tuple[str, str, str]:
        with Pack(ensure("synthetic", None, options, tmp_path / home)) as pack:
            return pack.digests

    here, other = digests("here", ROOMS), digests("here", ROOMS | {"seed": 1})
    draw = room_rendering.draw

    def drawn_elsewhere(*asked: Any) -> Any:
        rgb, depth_m = draw(*asked)
        return rgb, np.nextafter(depth_m, np.float32(0))

    monkeypatch.setattr(room_rendering, "draw", drawn_elsewhere)
    there = digests("there", ROOMS)
    assert here[0] == there[0] != other[0]
    assert here[1] != there[1]


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
    flip_a_bit(target, 4)
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
from typing import Any
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
            assert np.array_equal(found.depth_m, was.depth_m)
    with Pack(training_copy(tmp_path / "made.h5", (120, 160), tmp_path)) as copy:
        cells = real[0].depth_m.astype(np.float64).reshape(60, 8, 80, 8).mean(axis=(1, 3))
        assert copy.frame(0).depth_m == pytest.approx(cells, rel=1e-6)
