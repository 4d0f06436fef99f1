"""Scores of networks and of folders of files, against closed forms and independent code."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.transform import resize as skimage_resize
from support.packs import frame, oracle, truth, write_pack
from support.scored_packs import NYU, SMALL, STATED
from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.data.frames.resize import resize_rgb
from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.metrics import METRICS
from weightsearch.depth.evaluation.prediction_files import Files, evaluate_predictions
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import Scores, score
from weightsearch.depth.files.depth_maps import mirrored_file, write_npy
from weightsearch.errors import DataError

OF_NYU = [name for name, p in PROTOCOLS.items() if p.shape in (None, NYU) and p.smallest is None]


def scored(predict: object, pack: Pack, protocol: str = "full", batch: int = 2) -> Scores:
    every, known = list(range(len(pack))), PROTOCOLS[protocol]
    return score(predict, pack, every, known, pack.sizes[0], "cpu", batch)  # type: ignore[arg-type]


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


def half_size(pack: Pack) -> npt.NDArray[np.float32]:
    """Predictions (3, 240, 320) that are wrong in a smooth way, and out of range in places."""
    rng = np.random.default_rng(0)
    depth_m = np.stack([pack.frame(i).depth_m[::2, ::2] for i in range(3)])
    tilt = np.linspace(0.8, 1.3, 320) * np.linspace(1.1, 0.9, 240)[:, None]
    depth_m = depth_m * tilt + rng.normal(0, 0.1, depth_m.shape)
    depth_m[:, 100:104, 100:104] = -2.0
    depth_m[:, 150:154, 100:104] = 30.0
    return depth_m.astype(np.float32)


def written(folder: Path, pack: Pack, maps_m: npt.NDArray[np.float32]) -> Files:
    """These maps as predictions of the frames, and 1.05 times as deep of the mirrored ones."""
    for name, depth_m in zip(pack.names, maps_m, strict=True):
        write_npy(folder / f"{name}.npy", depth_m)
        write_npy(mirrored_file(folder / name), np.float32(1.05) * depth_m)
    return Files(folder)


@pytest.mark.real_data
def test_densedepth_on_real_frames_equals_a_plain_rewrite(nyu: Pack, tmp_path: Path) -> None:
    half_m = half_size(nyu)
    got = evaluate_predictions(written(tmp_path, nyu, half_m), nyu, "densedepth")

    def up(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        clipped = np.clip(depth_m, 0.1, 10).astype(np.float64)
        big = skimage_resize(clipped, NYU, order=1, preserve_range=True, anti_aliasing=True)
        return big[20:460, 24:616]

    pred = np.stack([0.5 * up(m) + 0.5 * up(np.float32(1.05) * m) for m in half_m])
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
def test_bts_on_real_frames_equals_a_plain_rewrite(nyu: Pack, tmp_path: Path) -> None:
    half_m = half_size(nyu)
    metrics = evaluate_predictions(written(tmp_path, nyu, half_m), nyu, "bts").metrics()
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
