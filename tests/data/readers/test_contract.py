"""Every reader gives frames of one form; foreign and damaged files get one line."""

from __future__ import annotations

import multiprocessing
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from support.data_layouts import LAYOUTS
from support.data_sets import Csv, Labeled
from support.paths import SHARED_DATA
from support.readers import frames, refused

from weightsearch.data.inspection.report import inspect
from weightsearch.data.readers.picture_depth_pairs import nyu_scene
from weightsearch.data.readers.registry import READERS, detect, open_source
from weightsearch.data.untrusted import matlab_files
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.known_names import NAMES
from weightsearch.study.table import Value

SHARED = SHARED_DATA


def real(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs {name} in ../shared/data")
    return SHARED / name


@pytest.fixture
def labeled(tmp_path: Path) -> Labeled:
    return Labeled(tmp_path / "labeled").write()


@pytest.fixture
def csv(tmp_path: Path) -> Csv:
    return Csv(tmp_path / "nyu_data").write()


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
    assert "--data" in refused(reader, None)
    assert "absent" in refused(reader, tmp_path / "absent")


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


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_numbers_of_a_matlab_file_are_those_that_scipy_reads(
    kind: str, compressed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "some.mat"
    arrays = {
        "trainNdxs": np.arange(1, 100, dtype=kind)[:, None],
        "testNdxs": np.array([[7]], dtype=kind),
        "a": np.arange(6, dtype=kind).reshape(2, 3),
    }
    others = {"text": "splits", "cell": np.array([1, "b"], dtype=object), "c": np.array([1j])}
    scipy.io.savemat(path, {**others, **arrays, "s": {"x": 1}}, do_compression=compressed)
    found = matlab_files.numbers(path.read_bytes())
    assert found.keys() == arrays.keys()
    for name, array in scipy.io.loadmat(path, variable_names=list(arrays)).items():
        if name in arrays:
            assert found[name].tolist() == array.ravel(order="F").tolist()


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


def test_csv_missing_list_is_refused(csv: Csv) -> None:
    (csv.root / "data/nyu2_test.csv").unlink()
    assert "nyu2_test.csv" in refused("nyu_csv", csv.root)
    assert "nyu2_test.csv" in refused("nyu_csv", csv.zip())
    (csv.root / "data/nyu2_train.csv").unlink()
    assert "nyu2_train.csv" in refused("nyu_csv", csv.root)
    assert "nyu2_train.csv" in refused("nyu_csv", csv.zip())


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


def test_csv_frame_that_is_listed_twice_is_refused(csv: Csv) -> None:
    csv.list("train", [*csv.train, csv.train[0]])
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
