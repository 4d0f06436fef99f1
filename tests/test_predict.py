"""Predictions for pictures: what is written, and how it agrees with evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pack_factory import frame, write_pack
from PIL import Image
from torch.nn.functional import interpolate

from weightsearch.config import DataSpec, ModelSpec
from weightsearch.data.pack import Pack
from weightsearch.data.resize import resize_rgb
from weightsearch.depth import checkpoint as checkpoints
from weightsearch.depth.depth_files import FARTHEST_M, read_depth, write_png
from weightsearch.depth.evaluate import evaluate_checkpoint, evaluate_predictions
from weightsearch.depth.model import DepthNet
from weightsearch.depth.predict import colour_picture, predict
from weightsearch.errors import CheckpointError, DataError

SIZE = (32, 48)
"""What the network takes."""


def save_network(folder: Path, gain: float = 30.0) -> Path:
    """A checkpoint of a tiny random network; `gain` makes its output vary over the image."""
    torch.manual_seed(0)
    model = ModelSpec(encoder="test_efficientnet", pretrained=False, width=0.5)
    data = DataSpec(source="synthetic", size=SIZE)
    network = DepthNet(model, data)
    with torch.no_grad():
        network.decoder.head.weight.normal_().mul_(gain)
    facts = {"model": model.model_dump(mode="json"), "data": data.model_dump(mode="json")}
    return checkpoints.save(folder, "best", {"model": checkpoints.named_tensors(network)}, facts)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("checkpoint"))


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (60, 100)) -> Path:
    Image.fromarray(frame(seed, size, blur=10).rgb).save(path)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_three_files_of_the_images_own_size(checkpoint: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "kitchen.png")
    (got,) = predict(checkpoint, [image], tmp_path / "out", "cpu")
    assert files_in(tmp_path / "out") == ["kitchen.npy", "kitchen.png", "kitchen_colour.png"]
    assert (got.image, got.npy) == (image, tmp_path / "out/kitchen.npy")
    depth_m = np.load(got.npy)
    assert (depth_m.dtype, depth_m.shape) == (np.float32, (60, 100))
    assert depth_m.std() > 0.1
    assert np.abs(read_depth(got.png) - depth_m).max() <= 0.0005 * 1.01
    assert got.near_m == pytest.approx(np.percentile(depth_m, 1))
    assert got.far_m == pytest.approx(np.percentile(depth_m, 99))
    with Image.open(got.colour) as colour:
        assert colour.size[0] >= 100
        assert colour.size[1] > 60


def test_the_network_sees_the_picture_as_in_training(checkpoint: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    (got,) = predict(checkpoint, [image], tmp_path / "out", "cpu")
    with Image.open(image) as opened:
        small = resize_rgb(np.asarray(opened), SIZE)
    network = checkpoints.network(checkpoint, "cpu")
    with torch.no_grad():
        half_m = network(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)
    want = interpolate(half_m, (60, 100), mode="bilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(np.load(got.npy), want, rtol=1e-5)


def test_a_png_tells_its_unit_and_a_picture_its_scale(checkpoint: Path, tmp_path: Path) -> None:
    (got,) = predict(checkpoint, [picture(tmp_path / "a.png")], tmp_path / "out", "cpu")
    with Image.open(got.png) as png:
        assert png.mode == "I;16"
        assert png.text["unit"] == "mm"  # type: ignore[attr-defined]
        assert float(png.text["metres_per_unit"]) == 0.001  # type: ignore[attr-defined]
    with Image.open(got.colour) as colour:
        text = colour.text  # type: ignore[attr-defined]
        assert float(text["near_m"]) == pytest.approx(got.near_m, abs=0.001)
        assert float(text["far_m"]) == pytest.approx(got.far_m, abs=0.001)


def test_depth_beyond_16_bits_is_written_as_the_farthest(tmp_path: Path) -> None:
    write_png(tmp_path / "d.png", np.array([[70.0, 80.0, 65.0, 0.0]], dtype=np.float32))
    farthest = pytest.approx(FARTHEST_M)
    assert read_depth(tmp_path / "d.png").tolist() == [[farthest, farthest, pytest.approx(65), 0]]


def test_predicting_and_scoring_the_files_equals_scoring_the_checkpoint(
    checkpoint: Path, tmp_path: Path
) -> None:
    frames = {f"{i:02d}": frame(i, (60, 100), blur=10) for i in range(3)}
    with Pack(write_pack(tmp_path / "p.h5", frames)) as pack:
        images = []
        for name, made in frames.items():
            images.append(tmp_path / f"{name}.png")
            Image.fromarray(made.rgb).save(images[-1])
        predict(checkpoint, images, tmp_path / "out", "cpu")
        want = evaluate_checkpoint(checkpoint, pack, "full", "test", "cpu")
        got = evaluate_predictions(tmp_path / "out", pack, "full")
        assert want.names == got.names == pack.names
        assert got.metrics() == pytest.approx(want.metrics(), rel=1e-5)
        for npy in (tmp_path / "out").glob("*.npy"):
            npy.unlink()
        coarse = evaluate_predictions(tmp_path / "out", pack, "full")
        assert coarse.metrics()["rmse"] == pytest.approx(want.metrics()["rmse"], abs=0.0005)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_any_8_bit_mode(checkpoint: Path, tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    with Image.open(picture(tmp_path / "rgb.png")) as rgb:
        rgb.convert(mode).save(path)
    (got,) = predict(checkpoint, [path], tmp_path / "out", "cpu")
    assert np.load(got.npy).shape == (60, 100)


def test_a_photo_on_its_side_is_turned_upright(checkpoint: Path, tmp_path: Path) -> None:
    upright = picture(tmp_path / "upright.png")
    with Image.open(upright) as opened:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown after a quarter turn clockwise
        opened.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    one, other = predict(checkpoint, [upright, tmp_path / "side.png"], tmp_path / "out", "cpu")
    np.testing.assert_array_equal(np.load(one.npy), np.load(other.npy))


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_broken_image_is_named_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, content: bytes | None
) -> None:
    good, bad = picture(tmp_path / "good.png"), picture(tmp_path / "bad.png", seed=1)
    bad.write_bytes(bad.read_bytes()[:-60] if content is None else content)
    with pytest.raises(DataError) as got:
        predict(checkpoint, [good, bad], tmp_path / "out", "cpu")
    assert str(got.value).startswith(f"{bad}: must be a picture, but ")
    assert "\n" not in str(got.value)
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_not_there_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jpg: must be a picture, but No such file"):
        predict(checkpoint, [tmp_path / "none.jpg"], tmp_path / "out", "cpu")


def test_16_bit_pictures_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "depth.png", np.ones((40, 40), dtype=np.float32))
    with pytest.raises(DataError, match=r"8 bits a channel, but its mode is 'I;16'"):
        predict(checkpoint, [tmp_path / "depth.png"], tmp_path / "out", "cpu")


def test_no_file_is_written_over_an_image_or_for_two(checkpoint: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    before = image.read_bytes()
    with pytest.raises(DataError, match=r"a\.png: is an image to predict for"):
        predict(checkpoint, [image], tmp_path, "cpu")
    assert image.read_bytes() == before
    (tmp_path / "other").mkdir()
    for twin in ("other/a.png", "a_colour.png"):
        pair = [image, picture(tmp_path / twin)]
        with pytest.raises(DataError, match=r"would be written for .* and for"):
            predict(checkpoint, pair, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="cannot be written") as got:
        predict(checkpoint, [picture(tmp_path / "a.png")], tmp_path / "out", "cpu")
    assert "\n" not in str(got.value)


def test_a_network_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="must give finite depth"):
        predict(
            save_network(tmp_path / "c", float("nan")),
            [picture(tmp_path / "a.png")],
            tmp_path / "out",
            "cpu",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(60, 100), (300, 20), (1, 1)])
def test_near_is_red_and_far_is_blue_in_image_and_scale(size: tuple[int, int]) -> None:
    depth_m = np.linspace(1, 5, size[0] * size[1], dtype=np.float32).reshape(size)
    made = np.asarray(colour_picture(depth_m, 1.4, 4.6)).astype(int)
    height, width = size
    assert made.shape[0] > height
    assert made.shape[1] >= width
    assert made[0, 0, 0] > made[0, 0, 2]
    if size != (1, 1):
        assert made[height - 1, width - 1, 2] > made[height - 1, width - 1, 0]
    bar = made[height + (made.shape[0] - height) // 2]
    coloured = np.flatnonzero(np.ptp(bar, axis=1) > 40)
    assert bar[coloured[0], 0] > bar[coloured[0], 2]
    assert bar[coloured[-1], 2] > bar[coloured[-1], 0]


def test_flat_depth_has_a_picture_too() -> None:
    made = np.asarray(colour_picture(np.full((20, 200), 2.0, dtype=np.float32), 2.0, 2.0))
    assert (made[:20] == made[0, 0]).all()
