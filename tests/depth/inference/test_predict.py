"""Predictions for pictures: what is written, and how it agrees with evaluation."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support.packs import frame, write_pack
from support.saved_network import SIZE, save_network
from torch.nn.functional import interpolate

from weightsearch.data.frames.resize import resize_rgb
from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.prediction_files import Files, evaluate_predictions
from weightsearch.depth.evaluation.scoring import evaluate_checkpoint
from weightsearch.depth.files.depth_colours import colour_picture
from weightsearch.depth.files.depth_maps import FARTHEST_M, read_depth, write_png
from weightsearch.depth.inference.point_cloud import Camera, write_ply
from weightsearch.depth.inference.predict import PredictSettings, predict
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.errors import CheckpointError, ConfigError, DataError


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


def test_pngs_alone_score_within_their_millimetres(checkpoint: Path, tmp_path: Path) -> None:
    frames = {f"{i:02d}": frame(i, (60, 100), blur=10) for i in range(3)}
    with Pack(write_pack(tmp_path / "p.h5", frames)) as pack:
        images = []
        for name, made in frames.items():
            images.append(tmp_path / f"{name}.png")
            Image.fromarray(made.rgb).save(images[-1])
        predict(checkpoint, images, tmp_path / "out", "cpu")
        want = evaluate_checkpoint(checkpoint, pack, "full", "test", "cpu")
        for npy in (tmp_path / "out").glob("*.npy"):
            npy.unlink()
        coarse = evaluate_predictions(Files(tmp_path / "out"), pack, "full")
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


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({"gain": np.nan}, "must be of finite numbers"),
        ({"variance": -1.0}, "must give finite depth"),
    ],
)
def test_a_network_that_gives_no_numbers_is_refused(
    tmp_path: Path, spoilt: dict[str, float], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        predict(
            save_network(tmp_path / "c", **spoilt),
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


def test_the_mirrored_prediction_is_turned_back_before_it_is_averaged(
    checkpoint: Path, tmp_path: Path
) -> None:
    image = picture(tmp_path / "a.png")
    with Image.open(image) as opened:
        opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "b.png")
    both = [image, tmp_path / "b.png"]
    one, other = (np.load(p.npy) for p in predict(checkpoint, both, tmp_path / "plain", "cpu"))
    (got,) = predict(checkpoint, [image], tmp_path / "out", "cpu", PredictSettings(mirror=True))
    assert np.abs(one - other[:, ::-1]).max() > 0.01
    np.testing.assert_allclose(np.load(got.npy), (one + other[:, ::-1]) / 2, rtol=1e-5)


def test_folders_are_read_to_their_depth_and_mirrored_in_the_output(
    checkpoint: Path, tmp_path: Path
) -> None:
    pictures = ("a10.png", "a2.png", "deep/a.png", ".hidden/c.png", "__MACOSX/a2.png", "._a2.png")
    for name in (f"in/{name}" for name in pictures):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / name)
    (tmp_path / "in/deep/notes.txt").write_text("no picture")
    made = predict(checkpoint, [tmp_path / "in"], tmp_path / "out", "cpu")
    assert [p.npy for p in made] == [
        tmp_path / "out" / name for name in ("a2.npy", "a10.npy", "deep/a.npy")
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must hold pictures or videos, but has no file"):
        predict(checkpoint, [tmp_path / "empty"], tmp_path / "other", "cpu")


def read_ply(path: Path) -> tuple[list[str], np.ndarray]:
    """Header lines, and (n, 6): x, y, z, red, green, blue; written from the format's definition."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    points = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    return lines, np.hstack([points["xyz"].astype(float), points["rgb"].astype(float)])


def test_points_of_a_known_plane_lie_in_it_with_their_colours(tmp_path: Path) -> None:
    """A slanted plane, seen by a camera whose four numbers differ, in a picture that is no square:
    an exchange of axes or numbers would move the points out of the plane, or colours elsewhere."""
    normal, distance = np.array([0.2, -0.5, 1.0]), 3.0
    height, width, fx, fy, cx, cy = 5, 9, 11.0, 7.0, 3.5, 1.25
    v, u = np.mgrid[:height, :width].astype(float)
    rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], axis=-1)
    depth_m = (distance / (rays @ normal)).astype(np.float32)
    rgb = np.stack([u * 20, v * 40, u + v], axis=-1).astype(np.uint8)
    write_ply(tmp_path / "p.ply", depth_m, rgb, Camera(fx, fy, cx, cy))
    lines, points = read_ply(tmp_path / "p.ply")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "element vertex 45" in lines
    assert [line.split()[-1] for line in lines if line.startswith("property")] == [
        *"xyz", "red", "green", "blue",
    ]  # fmt: skip
    np.testing.assert_allclose(points[:, :3] @ normal, distance, rtol=1e-5)
    np.testing.assert_allclose(points[:, 0] / points[:, 2] * fx + cx, u.ravel(), atol=1e-4)
    np.testing.assert_allclose(points[:, 1] / points[:, 2] * fy + cy, v.ravel(), atol=1e-4)
    np.testing.assert_array_equal(points[:, 3:], rgb.reshape(-1, 3))


def test_a_camera_that_nobody_described_is_assumed_and_told(
    checkpoint: Path, tmp_path: Path
) -> None:
    image = picture(tmp_path / "a.png")
    (got,) = predict(checkpoint, [image], tmp_path / "out", "cpu", PredictSettings(points=True))
    assert got.camera == (
        "fx 86.60 (assumed), fy 86.60 (assumed), cx 49.50 (assumed), cy 29.50 (assumed): 60 degrees"
        " across the width"
    )
    lines, points = read_ply(got.ply)
    assert f"comment camera in pixels: {got.camera}" in lines
    edge = points[[0, 99], 0] / points[[0, 99], 2]  # the outermost pixels' centres
    assert np.degrees(np.ptp(np.arctan(edge))) == pytest.approx(60 * 99 / 100, abs=0.2)
    np.testing.assert_array_equal(points[:, 2].reshape(60, 100), np.load(got.npy))
    with pytest.raises(ConfigError, match="--fy needs --fx"):
        Camera(fy=500.0)
    with pytest.raises(ConfigError, match="--fx must be above 0 pixels, but got -1"):
        Camera(fx=-1.0)


def write_video(path: Path, frames: list[np.ndarray], rate: int = 10) -> Path:
    with av.open(path, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=rate, options={"crf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for rgb in frames:
            made.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        made.mux(stream.encode())
    return path


@pytest.mark.parametrize("size", [(48, 64), (47, 65)])
def test_a_video_becomes_one_of_its_size_and_times(
    checkpoint: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    frames = [frame(i, size, blur=8).rgb for i in range(5)]
    source = write_video(tmp_path / "walk.mp4", frames)
    how = PredictSettings(every=2, points=True)
    (got,) = predict(checkpoint, [source], tmp_path / "out", "cpu", how)
    assert got.frames == 5
    assert files_in(tmp_path / "out") == ["walk", "walk_depth.mp4"]
    assert [p.npy.name for p in got.kept] == ["000000.npy", "000002.npy", "000004.npy"]
    assert (tmp_path / "out/walk/000002.ply").is_file()
    with av.open(got.colour) as made, av.open(source) as before:
        times = [f.time for f in before.decode(video=0)]
        shown = list(made.decode(video=0))
        assert [f.time for f in shown] == pytest.approx(times, abs=1e-3)
        assert (shown[0].height, shown[0].width) == size
        assert "from 0.1 to 10 m" in made.metadata["comment"]
    decoded = next(av.open(source).decode(video=0)).to_ndarray(format="rgb24")
    Image.fromarray(decoded).save(tmp_path / "first.png")
    (still,) = predict(checkpoint, [tmp_path / "first.png"], tmp_path / "still", "cpu")
    np.testing.assert_array_equal(np.load(got.kept[0].npy), np.load(still.npy))
    want = colour_picture(np.load(still.npy), 0.1, 10.0).crop((0, 0, size[1], size[0]))
    colours = shown[0].to_ndarray(format="rgb24").astype(int)
    assert np.ptp(np.asarray(want), axis=(0, 1)).max() > 100
    assert np.abs(colours - np.asarray(want)).mean() < 15  # lossy


@pytest.mark.parametrize("content", [b"", b"not a video", None])
def test_a_broken_video_is_named_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, content: bytes | None
) -> None:
    bad = write_video(tmp_path / "bad.mp4", [frame(0, (48, 64), blur=8).rgb] * 3)
    bad.write_bytes(bad.read_bytes()[:-500] if content is None else content)
    with pytest.raises(DataError, match=r"bad\.mp4: must be a video .*, but ") as got:
        predict(checkpoint, [picture(tmp_path / "a.png"), bad], tmp_path / "out", "cpu")
    assert "\n" not in str(got.value)
    assert not (tmp_path / "out").exists()


def test_a_playlist_that_calls_itself_a_video_reads_no_other_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    write_video(tmp_path / "secret.mp4", [frame(0, (48, 64), blur=8).rgb] * 3)
    for name, text in (
        ("list.mp4", f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.mp4\n"),
        ("list.mkv", f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="must be a video"):
            predict(checkpoint, [tmp_path / name], tmp_path / "out", "cpu")
