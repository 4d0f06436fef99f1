"""Depth for anybody's pictures: in metres, in millimetres, and to look at."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from weightsearch.depth.files.depth_colours import COLOUR_SCALE, colour_map, colour_picture
from weightsearch.depth.files.depth_maps import (
    Depth,
    mirrored_file,
    read_depth,
    write_npy,
    write_picture,
    write_png,
)
from weightsearch.depth.files.input_pictures import Input, Rgb, gather, read_rgb
from weightsearch.depth.inference import model, video
from weightsearch.depth.inference.point_cloud import Camera, write_ply
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.prediction import depth_maps
from weightsearch.errors import CheckpointError, ConfigError, DataError


@dataclass(frozen=True)
class PredictSettings:
    """What is asked for beside the depth itself."""

    mirror: bool = False
    """Averages with the prediction for the mirrored picture: a little better, twice the time."""
    views: bool = False
    """Writes the prediction for the mirrored picture, turned back, beside the plain one, for
    protocols that average the two in their own way. Not together with `mirror`."""
    points: bool = False
    """Writes NAME.ply too."""
    camera: Camera = field(default_factory=Camera)
    every: int | None = None
    """Of a video, the files of each frame whose number is a multiple of this, in a folder NAME."""


@dataclass(frozen=True)
class Prediction:
    """The files written for one image."""

    image: Path
    npy: Path
    """float32 metres, of the image's height and width."""
    png: Path
    """16-bit millimetres."""
    colour: Path
    """To look at, with the colour scale below the image."""
    near_m: float
    far_m: float
    """The ends of the colour scale: the 1st and 99th percentile of depth."""
    mirrored: Path | None = None
    """As `npy`, of the mirrored picture, where it was asked for."""
    ply: Path | None = None
    """Coloured points, where they were asked for."""
    camera: str | None = None
    """The intrinsics of the points, and which of them were assumed."""


@dataclass(frozen=True)
class VideoPrediction:
    """The files written for one video."""

    video: Path
    colour: Path
    """Depth in colours, of the video's size and with its times."""
    near_m: float
    far_m: float
    """The ends of the colour scale: the range that the network was trained on, for all frames."""
    frames: int
    kept: list[Prediction]
    """The frames whose files were asked for."""


def predict(
    checkpoint: Path,
    given: Sequence[Path],
    out: Path,
    device: torch.device | str,
    how: PredictSettings | None = None,
) -> list[Prediction | VideoPrediction]:
    """Writes NAME.npy, NAME.png and NAME_colour.png into `out` for each image, and NAME_depth.mp4
    for each video. NAME is its file name without suffix; for what lies in a folder that is given,
    its path in that folder.

    An image is turned upright, as its EXIF data say, and stretched to the size that the network was
    trained at, as in training and evaluation; its depth has its own upright size. Every image, and
    the first frame of every video, is decoded before the first file is written. Raises DataError
    for what cannot be read or a file that would be written over another, CheckpointError for a
    checkpoint that is of no use, ConfigError for settings that exclude each other.
    """
    how = how or PredictSettings()
    if how.mirror and how.views:
        raise ConfigError("--mirror averages what --views writes apart; give one of them.")
    inputs = gather(given)
    _refuse_overwriting(inputs, out, how)
    for one in inputs:
        video.check(one.path) if one.is_video else read_rgb(one.path)
    network = model.load(checkpoint, device).network

    def views(rgb: Rgb, path: Path) -> list[Depth]:
        found = _views(network, rgb, device, how)
        if not all(np.isfinite(one).all() for one in found):
            raise CheckpointError(
                f"{checkpoint}: must give finite depth, but does not for {path}; it did not train."
            )
        return found

    return [
        _video(views, one, out, network, how)
        if one.is_video
        else _picture(views, read_rgb(one.path), one.path, out / one.name, how)
        for one in inputs
    ]


def _views(
    network: DepthNet, rgb: Rgb, device: torch.device | str, how: PredictSettings
) -> list[Depth]:
    """Metres (h, w) of rgb (h, w, 3), and of the mirrored picture where that is asked for."""
    maps = depth_maps(network, rgb[None], network.data.size, device, how.mirror or how.views)
    if how.mirror:
        maps = [torch.stack(maps).mean(0)]
    return [one[0, 0].cpu().numpy() for one in maps]


ViewsOf = Callable[[Rgb, Path], list[Depth]]


def _picture(views: ViewsOf, rgb: Rgb, image: Path, name: Path, how: PredictSettings) -> Prediction:
    depth_m, *of_mirrored = views(rgb, image)
    near_m, far_m = (float(d) for d in np.percentile(depth_m, (1, 99)))
    npy, png, colour, ply, mirrored = _files(name)
    write_npy(npy, depth_m)
    for one in of_mirrored:
        write_npy(mirrored, one)
    write_png(png, depth_m)
    scale = {"colour_scale": COLOUR_SCALE, "near_m": f"{near_m:.3f}", "far_m": f"{far_m:.3f}"}
    write_picture(colour, colour_picture(depth_m, near_m, far_m), scale)
    made = Prediction(
        image, npy, png, colour, near_m, far_m, mirrored=mirrored if of_mirrored else None
    )
    if not how.points:
        return made
    write_ply(ply, depth_m, rgb, how.camera)
    height, width = depth_m.shape
    return dataclasses.replace(made, ply=ply, camera=how.camera.told(height, width))


def _video(
    views: ViewsOf, one: Input, out: Path, network: DepthNet, how: PredictSettings
) -> VideoPrediction:
    near_m, far_m = network.data.min_depth_m, network.data.max_depth_m
    folder, kept = out / one.name, []

    def paint(number: int, rgb: Rgb) -> Rgb:
        if how.every is not None and number % how.every == 0:
            made = _picture(views, rgb, one.path, folder / f"{number:06d}", how)
            kept.append(made)
            depth_m = read_depth(made.npy)
        else:
            depth_m = views(rgb, one.path)[0]
        return colour_map((depth_m - near_m) / (far_m - near_m))

    colour = _video_file(folder)
    told = f"depth, colour scale {COLOUR_SCALE} from {near_m:g} to {far_m:g} m"
    frames = video.convert(one.path, colour, paint, told)
    return VideoPrediction(one.path, colour, near_m, far_m, frames, kept)


def _files(name: Path) -> tuple[Path, Path, Path, Path, Path]:
    """.npy, .png, the coloured picture, .ply, and the .npy of the mirrored picture."""
    npy, png, colour, ply = (
        name.with_name(name.name + end) for end in (".npy", ".png", "_colour.png", ".ply")
    )
    return npy, png, colour, ply, mirrored_file(name)


def _video_file(name: Path) -> Path:
    return name.with_name(f"{name.name}_depth.mp4")


def _refuse_overwriting(inputs: Sequence[Input], out: Path, how: PredictSettings) -> None:
    given = {os.path.realpath(one.path) for one in inputs}
    writers: dict[Path, Path] = {}
    for one in inputs:
        name = out / one.name
        *files, ply, mirrored = _files(name)
        files += [ply] * how.points + [mirrored] * how.views
        if mirrored.exists() and not how.views and not one.is_video:
            raise DataError(
                f"{mirrored}: is there from another prediction, and would be taken for this one's;"
                " give --views, or choose another --out."
            )
        for file in (_video_file(name), name) if one.is_video else files:
            if os.path.realpath(file) in given:
                raise DataError(f"{file}: is an image to predict for; choose another --out.")
            other = writers.setdefault(file, one.path)
            if other is not one.path:
                raise DataError(
                    f"{file}: would be written for {other} and for {one.path}; rename one, or"
                    " write them into two folders."
                )
