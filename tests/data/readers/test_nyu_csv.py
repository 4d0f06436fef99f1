"""NYU in the lists of DenseDepth, from a folder or a zip; damaged files get one line."""

from __future__ import annotations

import multiprocessing
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.data_sets import Csv
from support.nyu_sets import real
from support.readers import frames, refused

from weightsearch.data.readers import nyu_csv
from weightsearch.data.readers.picture_depth_pairs import nyu_scene
from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError

# NYU, DenseDepth's lists


def test_csv_reads_the_same_from_folder_inner_folder_and_zip(csv: Csv) -> None:
    outer = frames("nyu_csv", csv.root)
    assert next(iter(outer)) == "data/nyu2_train/block_000_out/0000"
    assert list(outer)[-1] == "data/nyu2_test/00001_colors"
    for path in (csv.root / "data", csv.zip()):
        other = frames("nyu_csv", path)
        assert list(other) == list(outer)
        for name, frame in outer.items():
            assert np.array_equal(frame.rgb, other[name].rgb)
            assert np.array_equal(frame.depth_m, other[name].depth_m)


def test_csv_training_depth_is_decoded_at_the_middle_of_its_step(csv: Csv) -> None:
    csv.steps[0, 0, :3] = (0, 1, 255)
    csv.save(csv.train[0][1], csv.steps[0])
    middle, low = (
        list(frames("nyu_csv", csv.root, half_step=half).values()) for half in (True, False)
    )
    for i, steps in enumerate(csv.steps):
        valid = steps > 0
        expected_m = np.minimum((steps.astype(np.float64) + 0.5) / 25.5, 10) * valid
        assert middle[i].depth_m == pytest.approx(expected_m, abs=1e-6)
        assert low[i].depth_m == pytest.approx(steps / 25.5, abs=1e-6)
        assert np.array_equal(middle[i].valid, valid)
        assert np.array_equal(low[i].valid, valid)
    assert middle[0].depth_m[0, :3] == pytest.approx([0, 1.5 / 25.5, 10])


def test_csv_steps_of_depth_are_rounded_off_within_each_step(csv: Csv) -> None:
    rows, columns = np.mgrid[:60, :80]
    truth_m = 2 + 0.004 * rows + 0.006 * columns
    steps = np.floor(25.5 * truth_m).astype(np.uint8)
    found_m = nyu_csv.smoothed(steps)
    within = 25.5 * found_m.astype(np.float64) - steps
    assert -1e-5 <= within.min() < within.max() <= 1 + 1e-5
    errors = [np.abs(one - truth_m)[8:-8, 8:-8].mean() for one in (found_m, (steps + 0.5) / 25.5)]
    assert errors[0] < 0.3 * errors[1]


def test_csv_smooth_steps_are_asked_for(csv: Csv) -> None:
    plain, other, smooth = (
        open_source("nyu_csv", csv.root, options)
        for options in ({"smooth": False}, {}, {"smooth": True})
    )
    with closing(plain), closing(other), closing(smooth):
        assert plain.fingerprint == other.fingerprint != smooth.fingerprint
        of_step = 25.5 * smooth.read(0).depth_m - csv.steps[0]
        known = csv.steps[0] > 0
        assert (of_step[known] > -1e-4).all()
        assert (of_step[known] < 1 + 1e-4).all()
        assert not np.array_equal(smooth.read(0).depth_m, plain.read(0).depth_m)


def test_csv_test_depth_is_in_millimetres(csv: Csv) -> None:
    csv.mm[0, 0, 0] = 0
    csv.save(csv.test[0][1], csv.mm[0])
    found = frames("nyu_csv", csv.root)
    for k in range(csv.tests):
        frame = found[f"data/nyu2_test/{k:05d}_colors"]
        assert frame.depth_m == pytest.approx(csv.mm[k] / 1000, abs=1e-6)
        assert np.array_equal(frame.valid, csv.mm[k] > 0)


def test_parts_of_a_room_are_one_group_in_every_layout_of_nyu(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "nyu_data", size=(4, 6)).write()
    names = ("kitchen_0028a_out", "kitchen_0028b_out", "study_0004_out")
    for k, name in enumerate(names):
        (csv.root / f"data/nyu2_train/block_{k:03d}_out").rename(
            csv.root / f"data/nyu2_train/{name}"
        )
    listed = csv.root / "data" / "nyu2_train.csv"
    text = listed.read_text()
    for k, name in enumerate(names):
        text = text.replace(f"block_{k:03d}_out", name)
    listed.write_text(text)
    with closing(open_source("nyu_csv", csv.root, {})) as source:
        groups = Counter(ref.group for ref in source.frames if ref.split == "train")
    assert groups == {"kitchen_0028": 4, "study_0004": 2}
    assert {nyu_scene(f"study_0004{part}") for part in ("", "a", "b_out")} == {"study_0004"}


def test_csv_groups_are_folders_and_runs_of_test_frames(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "nyu_data", tests=17, size=(4, 6)).write()
    with closing(open_source("nyu_csv", csv.root, {})) as source:
        sizes = Counter((ref.split, ref.group) for ref in source.frames)
    assert sizes == {
        ("train", "block_000_out"): 2,
        ("train", "block_001_out"): 2,
        ("train", "block_002_out"): 2,
        ("test", "test_run_000"): 15,
        ("test", "test_run_001"): 2,
    }


def test_csv_with_windows_line_ends_is_the_same(csv: Csv, tmp_path: Path) -> None:
    other = Csv(tmp_path / "crlf", newline="\r\n").write()
    assert list(frames("nyu_csv", other.root)) == list(frames("nyu_csv", csv.root))


def test_csv_wrong_bit_depth_is_refused_with_the_file(csv: Csv) -> None:
    csv.save(csv.train[0][1], csv.mm[0])
    assert "0000.png: must be 8-bit grey" in refused("nyu_csv", csv.root)
    csv.save(csv.train[0][1], csv.steps[0])
    csv.save(csv.test[0][1], csv.steps[0])
    assert "00000_depth.png: must be 16-bit grey" in refused("nyu_csv", csv.root)


def test_csv_grey_where_colour_is_promised_is_refused(csv: Csv) -> None:
    csv.save(csv.train[0][0], csv.steps[0])
    assert "0000.jpg: must be 8-bit RGB" in refused("nyu_csv", csv.root)


def test_csv_missing_file_is_refused_before_anything_is_read(csv: Csv) -> None:
    (csv.root / csv.train[1][1]).unlink()
    for path in (csv.root, csv.zip()):
        with pytest.raises(DataError, match=r"block_000_out/0001\.png: is listed.*1 of 16"):
            open_source("nyu_csv", path, {})


@pytest.mark.parametrize(("split", "count"), [("train", 6), ("test", 2)])
def test_csv_one_list_will_do(csv: Csv, split: str, count: int) -> None:
    """Evaluation needs no training frames."""
    other = {"train": "test", "test": "train"}[split]
    (csv.root / f"data/nyu2_{other}.csv").unlink()
    for path in (csv.root, csv.root / "data", csv.zip()):
        with closing(open_source("nyu_csv", path, {})) as source:
            assert [ref.split for ref in source.frames] == [split] * count
            assert source.notes == (
                f"there is no nyu2_{other}.csv, so there are no {other} frames.",
            )
            assert source.read(count - 1).valid.any()


def test_csv_without_any_list_is_refused(csv: Csv) -> None:
    for split in ("train", "test"):
        (csv.root / f"data/nyu2_{split}.csv").unlink()
    assert "nyu2_train.csv or data/nyu2_test.csv" in refused("nyu_csv", csv.root)
    assert "must hold nyu2_train.csv or nyu2_test.csv" in refused("nyu_csv", csv.zip())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8])
def test_csv_damaged_image_is_refused_with_the_file(csv: Csv, share: float) -> None:
    path = csv.root / csv.test[1][1]
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "00001_depth.png: must be a PNG or JPEG image" in refused("nyu_csv", csv.root)
    path.write_bytes(b"<html>404</html>")
    assert "00001_depth.png: must be a PNG or JPEG image" in refused("nyu_csv", csv.zip())


def test_csv_depth_of_another_size_than_its_image_is_refused(csv: Csv) -> None:
    csv.save(csv.train[2][1], csv.steps[0].T)
    assert "0000.png: must have its RGB image's size (24, 32), but has (32, 24)" in refused(
        "nyu_csv", csv.root
    )


def test_csv_line_that_is_there_twice_counts_once(csv: Csv) -> None:
    csv.list("train", [*csv.train, csv.train[0]])
    with closing(open_source("nyu_csv", csv.root, {})) as source:
        assert len(source.frames) == 8
        assert source.warnings == ("nyu2_train.csv: 1 repeats of earlier lines left out: line 7.",)


def test_csv_frame_with_two_depths_or_splits_is_refused(csv: Csv) -> None:
    csv.list("train", [*csv.train, (csv.train[0][0], csv.train[1][1])])
    assert "block_000_out/0000 is 2 times" in refused("nyu_csv", csv.root)
    csv.list("train", [*csv.train, (csv.test[0][0], csv.train[0][1])])
    assert "nyu2_test/00000_colors is 2 times" in refused("nyu_csv", csv.root)


def test_csv_empty_lists_are_refused(csv: Csv) -> None:
    csv.list("train", [])
    csv.list("test", [])
    assert "at least one frame" in refused("nyu_csv", csv.root)


def test_a_damaged_zip_is_refused(csv: Csv) -> None:
    path = csv.zip()
    data = bytearray(path.read_bytes())
    middle = data.index(b"nyu2_test/00000_colors.png") + 200
    data[middle : middle + 50] = bytes(50)
    path.write_bytes(data)
    assert "00000_colors.png: cannot be read" in refused("nyu_csv", path)
    path.write_bytes(data[: len(data) // 2])
    assert "must be a zip file" in refused("nyu_csv", path)


def test_a_zip_is_read_by_threads_and_forks_at_once(csv: Csv) -> None:
    path = csv.zip()
    expected = [frame.depth_m.sum() for frame in frames("nyu_csv", path).values()]
    with closing(open_source("nyu_csv", path, {})) as source:

        def total(i: int) -> float:
            return float(source.read(i % len(expected)).depth_m.sum())

        def totals(queue: multiprocessing.SimpleQueue[list[float]]) -> None:
            with ThreadPoolExecutor(4) as pool:
                queue.put(list(pool.map(total, range(4 * len(expected)))))

        fork = multiprocessing.get_context("fork")
        queues = [fork.SimpleQueue() for _ in range(2)]
        children = [fork.Process(target=totals, args=(queue,)) for queue in queues]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads: not used here
            for child in children:
                child.start()
        own: multiprocessing.SimpleQueue[list[float]] = fork.SimpleQueue()
        totals(own)
        for queue in (own, *queues):
            assert queue.get() == expected * 4
        for child in children:
            child.join()
            assert child.exitcode == 0


# Real frames


@pytest.mark.real_data
def test_the_real_lists_hold_795_and_327_frames_in_blocks_of_15() -> None:
    with closing(open_source("nyu_csv", real("nyu_data"), {})) as source:
        assert Counter(ref.split for ref in source.frames) == {"train": 795, "test": 327}
        blocks = Counter(ref.group for ref in source.frames if ref.split == "train")
        assert len(blocks) == 53
        assert set(blocks.values()) == {15}
        for i in (0, 794, 795, 1121):
            frame = source.read(i)
            assert frame.rgb.shape == (480, 640, 3)
            assert frame.valid.all()
            assert 0.5 < frame.depth_m.min() < frame.depth_m.max() <= 10


@pytest.mark.real_data
def test_the_middle_of_the_step_is_nearer_to_the_truth_than_its_start() -> None:
    """Against the same frames at full precision: half a step is 19.6 mm, rounding adds 2."""
    exact = real("nyu_16bit")
    errors: dict[bool, list[float]] = {True: [], False: []}
    for half_step, means in errors.items():
        with closing(open_source("nyu_csv", real("nyu_data"), {"half_step": half_step})) as source:
            index = {ref.name: i for i, ref in enumerate(source.frames)}
            for name in ("0003", "0004", "0005", "0006"):
                depth_m = source.read(index[f"data/nyu2_train/block_000_out/{name}"]).depth_m
                truth_m = np.asarray(Image.open(exact / f"{name}_depth.png")) / 1000
                error_m = depth_m - truth_m
                assert np.abs(error_m).max() < (0.023 if half_step else 0.042)
                means.append(float(error_m.mean()))
    assert np.abs(errors[True]).max() < 0.003
    assert np.max(errors[False]) < -0.016
