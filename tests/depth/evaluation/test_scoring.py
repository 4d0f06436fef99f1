"""Scores of networks and of folders of files, against closed forms and independent code."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage.transform import resize as skimage_resize
from support.packs import frame, oracle, truth, write_pack
from support.paths import SHARED_DATA
from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.data.frames.resize import resize_rgb
from weightsearch.data.packs.building import Pack
from weightsearch.data.readers.registry import open_source
from weightsearch.depth.evaluation.metrics import METRICS
from weightsearch.depth.evaluation.prediction_files import evaluate_predictions
from weightsearch.depth.evaluation.protocols import PROTOCOLS, size_of
from weightsearch.depth.evaluation.scoring import Scores, score
from weightsearch.depth.files.depth_maps import read_depth, write_npy, write_png
from weightsearch.errors import ConfigError, DataError

SMALL = (24, 32)
NYU = (480, 640)
STATED = {*METRICS, "rmse_pooled"}
OF_NYU = [name for name, p in PROTOCOLS.items() if p.shape in (None, NYU) and p.smallest is None]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Pack]:
    """Five frames of 24x32 in two rooms, one of them with holes."""
    holes = np.random.default_rng(9).random(SMALL) < 0.5
    frames = {
        f"rooms/{'ab'[i // 3]}/{i:02d}": frame(i, SMALL, holes if i == 2 else None)
        for i in range(5)
    }
    with Pack(write_pack(tmp_path / "small.h5", frames)) as pack:
        yield pack


@pytest.fixture(scope="module")
def nyu_like(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """Three frames of 480x640, filled; colours in blocks, so that files stay small."""
    frames = {f"t/{i}": frame(i, NYU, blur=8) for i in range(3)}
    path = tmp_path_factory.mktemp("nyu") / "nyu.h5"
    with Pack(write_pack(path, frames, ground_truth="filled")) as pack:
        yield pack


def scored(predict: object, pack: Pack, protocol: str = "full", batch: int = 2) -> Scores:
    every, known = list(range(len(pack))), PROTOCOLS[protocol]
    size = size_of(known.sees(pack.sizes[0])) if known.sees else pack.sizes[0]
    return score(predict, pack, every, known, size, "cpu", batch)  # type: ignore[arg-type]


# --- networks -----------------------------------------------------------------------------------


def test_a_perfect_network_has_no_error(small: Pack) -> None:
    got = scored(oracle, small)
    want = {name: 1.0 if name.startswith("delta") else 0.0 for name in STATED}
    assert got.metrics() == pytest.approx(want, abs=1e-5)
    assert (got.protocol, got.ground_truth, got.notes) == ("full", "exact", [])


@pytest.mark.parametrize("protocol", OF_NYU)
def test_ten_percent_too_deep(nyu_like: Pack, protocol: str) -> None:
    metrics = scored(lambda rgb: 1.1 * oracle(rgb), nyu_like, protocol).metrics()
    assert metrics["abs_rel"] == pytest.approx(0.1, abs=1e-6)
    assert metrics["log10"] == pytest.approx(math.log10(1.1), abs=1e-6)
    assert metrics["delta1"] == 1
    assert metrics["silog"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8])
def test_the_last_batch_counts_whatever_its_size(small: Pack, batch: int) -> None:
    def predict(rgb: Tensor) -> Tensor:
        return oracle(rgb) + rgb[:, 1:2]

    got, want = scored(predict, small, batch=batch), scored(predict, small, batch=5)
    assert got.names == want.names == small.names
    assert got.groups == small.groups
    for name in METRICS:
        assert got.per_image[name] == pytest.approx(want.per_image[name], rel=1e-12)


def test_rmse_is_the_mean_over_images_and_rmse_pooled_is_not(small: Pack) -> None:
    got = scored(lambda rgb: oracle(rgb) + rgb[:, 1:2] * rgb[:, 2:3].mean((2, 3), True), small)
    squares, pixels = [], []
    for i in range(len(small)):
        rgb = torch.from_numpy(small.frame(i).rgb).permute(2, 0, 1) / 255
        _, valid = truth(small, i)
        error = (rgb[1] * rgb[2].mean())[valid[0]].double()
        squares.append(float((error**2).sum()))
        pixels.append(error.numel())
    each = [math.sqrt(s / n) for s, n in zip(squares, pixels, strict=True)]
    assert got.per_image["rmse"] == pytest.approx(each, rel=1e-5)
    assert got.metrics()["rmse"] == pytest.approx(sum(each) / 5, rel=1e-5)
    assert got.metrics()["rmse_pooled"] == pytest.approx(
        math.sqrt(sum(squares) / sum(pixels)), rel=1e-5
    )
    assert pixels[2] < pixels[0]


def test_names_groups_and_values_are_those_of_the_frames_asked_for(small: Pack) -> None:
    def predict(rgb: Tensor) -> Tensor:
        return oracle(rgb) + rgb[:, 1:2]

    every = scored(predict, small)
    some = score(predict, small, [4, 1, 0], PROTOCOLS["full"], SMALL, "cpu", 2)
    assert some.names == ["rooms/b/04", "rooms/a/01", "rooms/a/00"]
    assert some.groups == ["rooms/b", "rooms/a", "rooms/a"]
    want = [every.per_image["mae"][i] for i in (4, 1, 0)]
    assert some.per_image["mae"] == pytest.approx(want, rel=1e-12)


def test_the_two_rmse_stand_first(small: Pack) -> None:
    metrics = scored(oracle, small).metrics()
    assert list(metrics)[:3] == ["rmse", "rmse_pooled", "abs_rel"]
    assert set(metrics) == STATED


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("protocol", OF_NYU)
def test_a_gpu_gives_the_same_numbers(nyu_like: Pack, protocol: str) -> None:
    def predict(rgb: Tensor) -> Tensor:
        return interpolate(oracle(rgb) + rgb[:, 1:2], scale_factor=0.5, mode="nearest")

    on_gpu = score(predict, nyu_like, [0, 1, 2], PROTOCOLS[protocol], NYU, "cuda", 2)
    assert on_gpu.metrics() == pytest.approx(
        scored(predict, nyu_like, protocol).metrics(), rel=1e-5
    )


def test_the_network_gets_what_training_copies_hold_at_its_own_size(small: Pack) -> None:
    seen: list[Tensor] = []

    def predict(rgb: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        seen.append(rgb)
        return torch.full((len(rgb), 1, 8, 10), 2.0)

    score(predict, small, [3, 1, 0], PROTOCOLS["full"], (16, 20), "cpu", 2)
    assert [tuple(x.shape) for x in seen] == [(2, 3, 16, 20), (1, 3, 16, 20)]
    want = resize_rgb(small.frame(1).rgb, (16, 20))
    assert (seen[0][1].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8).tolist() == (
        want.tolist()
    )
    assert 0 <= min(float(x.min()) for x in seen) < max(float(x.max()) for x in seen) <= 1


def test_densedepth_averages_with_the_mirrored_image_and_the_others_do_not(nyu_like: Pack) -> None:
    ramp_m = torch.linspace(
        -0.5, 0.5, 640
    )  # the network's own bias to one side: mirroring undoes it

    def leaning(rgb: Tensor) -> Tensor:
        return oracle(rgb) + ramp_m

    assert scored(leaning, nyu_like, "densedepth").metrics()["rmse"] == pytest.approx(0, abs=1e-5)
    want = float((ramp_m**2).mean().sqrt())
    assert scored(leaning, nyu_like, "full").metrics()["rmse"] == pytest.approx(want, rel=1e-4)


def test_each_view_is_clipped_before_they_are_averaged(nyu_like: Pack) -> None:
    def one_sided(rgb: Tensor) -> Tensor:
        depth_m = torch.full((len(rgb), 1, 480, 640), -50.0)
        depth_m[..., 320:] = 50.0
        return depth_m

    mae = scored(one_sided, nyu_like, "densedepth").metrics()["mae"]
    rows, columns = slice(20, 460), slice(24, 616)
    gt = torch.cat([truth(nyu_like, i)[0] for i in range(3)])[:, rows, columns].double()
    assert mae == pytest.approx(float((gt - (0.1 + 10) / 2).abs().mean()), rel=1e-6)


def test_images_without_a_pixel_that_counts_are_skipped_and_named(tmp_path: Path) -> None:
    only_a_corner = np.zeros(NYU, dtype=np.bool_)
    only_a_corner[:10, :10] = True  # outside the crop
    frames = {
        "a/0": frame(0, NYU, blur=8),
        "a/1": frame(1, NYU, only_a_corner, blur=8),
        "b/2": frame(2, NYU, blur=8),
    }
    with Pack(write_pack(tmp_path / "p.h5", frames, ground_truth="raw")) as pack:
        got = scored(lambda rgb: 1.1 * oracle(rgb), pack, "bts")
        assert (got.names, got.groups, got.skipped) == (["a/0", "b/2"], ["a", "b"], ["a/1"])
        assert got.metrics()["abs_rel"] == pytest.approx(0.1, abs=1e-6)
        assert got.notes == ["skipped, having no pixel that counts: 1 of 3 images"]
        assert all(len(values) == 2 for values in got.per_image.values())
        with pytest.raises(DataError, match=r"'bts' needs an image .* none of 1 has any"):
            score(oracle, pack, [1], PROTOCOLS["bts"], NYU, "cpu", 1)


@pytest.mark.parametrize(
    ("protocol", "value", "depth_m"),
    [
        ("full", math.nan, 1e-3),
        ("full", math.inf, 10.0),
        ("bts", -3.0, 1e-3),
        ("densedepth", math.nan, 0.1),
        ("densedepth", -3.0, 0.1),
    ],
)
def test_impossible_predictions_count_as_an_end_of_the_range(
    nyu_like: Pack, protocol: str, value: float, depth_m: float
) -> None:
    got = scored(lambda rgb: torch.full((len(rgb), 1, 240, 320), value), nyu_like, protocol)
    want = scored(lambda rgb: torch.full((len(rgb), 1, 240, 320), depth_m), nyu_like, protocol)
    assert got.metrics() == pytest.approx(want.metrics(), rel=1e-6)
    assert any("not finite" in note for note in got.notes) == (not math.isfinite(value))
    assert all(math.isfinite(v) for v in got.metrics().values())


def test_another_kind_of_ground_truth_is_said(nyu_like: Pack, tmp_path: Path) -> None:
    got = scored(oracle, nyu_like, "bts")
    assert got.ground_truth == "filled"
    assert "'bts' is meant for raw ground truth, but this is filled" in got.notes[0]
    assert scored(oracle, nyu_like, "densedepth").notes == []
    assert scored(oracle, nyu_like, "full").notes == []


def test_the_data_decide_how_far_full_reaches(tmp_path: Path) -> None:
    indoors = frame(0, SMALL)
    far = type(indoors)(indoors.rgb, indoors.depth_m * 8, indoors.valid)
    with Pack(write_pack(tmp_path / "out.h5", {"a/0": far}, max_depth_m=80.0)) as pack:
        assert scored(lambda r: 8 * oracle(r), pack).metrics()["mae"] == pytest.approx(0, abs=1e-2)
        assert scored(lambda r: 8 * oracle(r), pack).metrics()["delta1"] == 1


def test_a_crop_protocol_refuses_another_size_before_predicting(small: Pack) -> None:
    def never(rgb: Tensor) -> Tensor:
        raise AssertionError

    with pytest.raises(DataError, match="got 24x32; use protocol 'full'"):
        scored(never, small, "bts")


# --- folders of files ---------------------------------------------------------------------------


def write_all(folder: Path, pack: Pack, factor: float = 1.0, suffix: str = ".npy") -> None:
    write = write_npy if suffix == ".npy" else write_png
    for i, name in enumerate(pack.names):
        write(folder / f"{name}{suffix}", factor * pack.frame(i).depth_m)


def test_files_equal_to_the_ground_truth_have_no_error(small: Pack, tmp_path: Path) -> None:
    write_all(tmp_path / "mine", small)
    got = evaluate_predictions(tmp_path / "mine", small, "full")
    want = {name: 1.0 if name.startswith("delta") else 0.0 for name in STATED}
    assert got.metrics() == pytest.approx(want, abs=1e-12)
    assert (got.names, got.missing, got.notes) == (small.names, [], [])


@pytest.mark.parametrize(("suffix", "within"), [(".npy", 1e-6), (".png", 1e-3)])
def test_files_ten_percent_too_deep(
    small: Pack, tmp_path: Path, suffix: str, within: float
) -> None:
    write_all(tmp_path / "mine", small, 1.1, suffix)
    metrics = evaluate_predictions(tmp_path / "mine", small, "full").metrics()
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
    assert evaluate_predictions(tmp_path, small, "full").metrics()["rmse"] == 0


def test_names_with_dots_are_whole(tmp_path: Path) -> None:
    with Pack(write_pack(tmp_path / "p.h5", {"a/room.1": frame(0, SMALL)})) as pack:
        write_all(tmp_path / "mine", pack)
        assert (tmp_path / "mine/a/room.1.npy").exists()
        assert evaluate_predictions(tmp_path / "mine", pack, "full").metrics()["mae"] == 0


def test_a_missing_prediction_is_an_error_unless_partial(small: Pack, tmp_path: Path) -> None:
    write_all(tmp_path, small)
    for gone in small.names[1:3]:
        (tmp_path / f"{gone}.npy").unlink()
    with pytest.raises(DataError) as got:
        evaluate_predictions(tmp_path, small, "full")
    assert "each of the 5 frames" in str(got.value)
    assert "lacks 2, first rooms/a/01; add them, or give --partial." in str(got.value)
    scores = evaluate_predictions(tmp_path, small, "full", partial=True)
    assert scores.missing == small.names[1:3]
    assert scores.names == [n for n in small.names if n not in scores.missing]
    assert scores.notes == ["left out, having no prediction: 2 of 5 frames"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="lacks 5, first rooms/a/00; add some"):
        evaluate_predictions(tmp_path / "nothing", small, "full", partial=True)


def test_another_size_is_resized_and_said(nyu_like: Pack, tmp_path: Path) -> None:
    for i, name in enumerate(nyu_like.names):
        depth_m = torch.from_numpy(nyu_like.frame(i).depth_m)[None, None]
        half_m = interpolate(depth_m, (240, 320), mode="bilinear", antialias=True)[0, 0]
        write_npy(tmp_path / f"{name}.npy", (half_m if i else depth_m[0, 0]).numpy())
    got = evaluate_predictions(tmp_path, nyu_like, "full")
    assert got.notes == [
        "resized bilinearly: 2 of 3 predictions, first t/1 from 240x320 to 480x640"
    ]
    assert got.per_image["rmse"][0] == 0
    assert 0 < got.per_image["rmse"][1] < 1


def test_files_have_no_mirrored_image_and_that_is_said(nyu_like: Pack, tmp_path: Path) -> None:
    write_all(tmp_path, nyu_like, 1.1)
    got = evaluate_predictions(tmp_path, nyu_like, "densedepth")
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
        (".npy", broken_npy(np.ones(SMALL, np.uint16)), "floating point metres .* uint16"),
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
        evaluate_predictions(tmp_path, small, "full")
    assert str(got.value).startswith(f"{bad}: ")
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("shape", [SMALL, (*SMALL, 3)])
def test_pngs_of_8_bits_are_refused(small: Pack, tmp_path: Path, shape: Sequence[int]) -> None:
    for name in small.names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(shape, 99, np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match=r"a/00.png: must be a 16-bit grey PNG in millimetres"):
        evaluate_predictions(tmp_path, small, "full")


def test_a_truncated_png_is_refused(small: Pack, tmp_path: Path) -> None:
    write_all(tmp_path, small, suffix=".png")
    cut = tmp_path / f"{small.names[0]}.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"a/00.png: must be a whole .png file, but"):
        evaluate_predictions(tmp_path, small, "full")


@pytest.mark.parametrize("name", ["../secret", "/etc/secret", "a/../../secret"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with Pack(write_pack(tmp_path / "p.h5", {name: frame(0, SMALL)})) as pack:
        np.save(tmp_path / "secret.npy", pack.frame(0).depth_m)
        (tmp_path / "mine/a").mkdir(parents=True)
        with pytest.raises(DataError, match="must stay inside the folder"):
            evaluate_predictions(tmp_path / "mine", pack, "full")


def test_a_folder_that_is_not_there_is_said(small: Pack, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: must be a folder of predictions"):
        evaluate_predictions(tmp_path / "absent", small, "full", "test", partial=True)


def test_an_unknown_protocol_or_split_is_named(small: Pack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown protocol 'btss'; did you mean 'bts'"):
        evaluate_predictions(tmp_path, small, "btss")
    with pytest.raises(DataError, match="must have frames of split 'train', but has test"):
        evaluate_predictions(tmp_path, small, "full", split="train")


# --- real frames, and code written apart from ours ----------------------------------------------


@pytest.fixture(scope="module")
def nyu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """Three real test frames."""
    if not (SHARED_DATA / "nyu_data").is_dir():
        pytest.skip(f"needs the real frames in {SHARED_DATA / 'nyu_data'}")
    with contextlib.closing(open_source("nyu_csv", SHARED_DATA / "nyu_data", {})) as source:
        tests = [i for i, ref in enumerate(source.frames) if ref.split == "test"][:3]
        frames = {source.frames[i].name: source.read(i) for i in tests}
    path = tmp_path_factory.mktemp("real") / "nyu.h5"
    with Pack(write_pack(path, frames, ground_truth="filled")) as pack:
        yield pack


def half_size(pack: Pack) -> npt.NDArray[np.float32]:
    """Predictions (3, 240, 320) that are wrong in a smooth way, and out of range in places."""
    rng = np.random.default_rng(0)
    depth_m = np.stack([pack.frame(i).depth_m[::2, ::2] for i in range(3)])
    tilt = np.linspace(0.8, 1.3, 320) * np.linspace(1.1, 0.9, 240)[:, None]
    depth_m = depth_m * tilt + rng.normal(0, 0.1, depth_m.shape)
    depth_m[:, 100:104, 100:104] = -2.0
    depth_m[:, 150:154, 100:104] = 30.0
    return depth_m.astype(np.float32)


def in_order(maps_m: npt.NDArray[np.float32], mirrored_too: bool) -> object:
    """A network that gives these maps one after the other (and each mirrored, after it)."""
    calls: list[int] = []

    def predict(rgb: Tensor) -> Tensor:
        calls.append(len(rgb))
        k, second = divmod(len(calls) - 1, 1 + mirrored_too)
        chosen = torch.from_numpy(maps_m[k : k + 1])[:, None]
        return 1.05 * chosen.flip(-1) if second else chosen

    return predict


@pytest.mark.real_data
def test_densedepth_on_real_frames_equals_a_plain_rewrite(nyu: Pack) -> None:
    half_m = half_size(nyu)
    got = scored(in_order(half_m, True), nyu, "densedepth", batch=1)

    def up(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        clipped = np.clip(depth_m, 0.1, 10).astype(np.float64)
        big = skimage_resize(clipped, NYU, order=1, preserve_range=True, anti_aliasing=True)
        return big[20:460, 24:616]

    pred = np.stack([0.5 * up(m) + 0.5 * np.fliplr(up(1.05 * np.fliplr(m))) for m in half_m])
    gt = np.stack([nyu.frame(i).depth_m[20:460, 24:616] for i in range(3)]).astype(np.float64)
    metrics = got.metrics()
    assert metrics["rmse_pooled"] == pytest.approx(np.sqrt(np.mean((gt - pred) ** 2)), rel=1e-5)
    assert metrics["abs_rel"] == pytest.approx(np.mean(np.abs(gt - pred) / gt), rel=1e-5)
    assert metrics["abs_rel_as_published"] == pytest.approx(
        np.mean(np.abs(gt - pred) / pred), rel=1e-5
    )
    assert metrics["log10"] == pytest.approx(np.mean(np.abs(np.log10(gt / pred))), rel=1e-5)
    assert metrics["rmse"] == pytest.approx(
        np.mean(np.sqrt(np.mean((gt - pred) ** 2, axis=(1, 2)))), rel=1e-5
    )


@pytest.mark.real_data
def test_bts_on_real_frames_equals_a_plain_rewrite(nyu: Pack) -> None:
    half_m = half_size(nyu)
    metrics = scored(in_order(half_m, False), nyu, "bts", batch=1).metrics()
    rows = np.linspace(0, 239, 480)  # aligned corners
    columns = np.linspace(0, 319, 640)
    each: dict[str, list[float]] = {"rmse": [], "abs_rel": [], "silog": [], "delta1": []}
    for i in range(3):
        wide = np.stack([np.interp(columns, np.arange(320), row) for row in half_m[i]])
        p = np.stack([np.interp(rows, np.arange(240), column) for column in wide.T]).T
        p = np.clip(p, 1e-3, 10)
        g = nyu.frame(i).depth_m.astype(np.float64)
        mask = np.zeros(NYU, dtype=bool)
        mask[45:471, 41:601] = True
        mask &= (g > 1e-3) & (g < 10)
        p, g = p[mask], g[mask]
        e = np.log(p) - np.log(g)
        each["rmse"].append(float(np.sqrt(np.mean((g - p) ** 2))))
        each["abs_rel"].append(float(np.mean(np.abs(g - p) / g)))
        each["silog"].append(float(100 * np.sqrt(np.mean(e**2) - np.mean(e) ** 2)))
        each["delta1"].append(float(np.mean(np.maximum(g / p, p / g) < 1.25)))
    for name, values in each.items():
        assert metrics[name] == pytest.approx(np.mean(values), rel=2e-4)
