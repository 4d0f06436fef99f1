"""Depth for anybody's pictures: in metres, in millimetres, and to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from plotly.colors import sample_colorscale
from torch.nn.functional import interpolate

from weightsearch.data import pictures
from weightsearch.depth import checkpoint as checkpoints
from weightsearch.depth.depth_files import Depth, write_npy, write_picture, write_png
from weightsearch.depth.evaluate import network_input
from weightsearch.depth.model import DepthNet
from weightsearch.errors import CheckpointError, DataError

Rgb = npt.NDArray[np.uint8]
"""(h, w, 3)."""

# A JPEG with several pictures (MPO) is one of JPEG.
KINDS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
MAX_PIXELS = 1 << 26

COLOUR_SCALE = "turbo_r"
"""plotly's name: near is red, far is blue."""


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


def predict(
    checkpoint: Path, images: Sequence[Path], out: Path, device: torch.device | str
) -> list[Prediction]:
    """Writes NAME.npy, NAME.png and NAME_colour.png into `out` for each image, where NAME is its
    file name without suffix.

    An image is turned upright, as its EXIF data say, and stretched to the size that the network was
    trained at; its depth has its own upright size. Every image is decoded before the first file is
    written. Raises DataError for an image that cannot be read or a file that would be written over
    another, CheckpointError for a checkpoint that is of no use.
    """
    _refuse_overwriting(images, out)
    for image in images:
        read_rgb(image)
    network = checkpoints.network(checkpoint, device)
    return [_predict_one(network, checkpoint, image, out, device) for image in images]


def read_rgb(path: Path) -> Rgb:
    """The picture (h, w, 3), upright; raises DataError where it cannot be decoded."""
    with pictures.opened(path, KINDS, str(path), "a picture", MAX_PIXELS) as picture:
        if picture.mode[0] in "IF":
            raise DataError(
                f"{path}: must be a picture with 8 bits a channel, but its mode is"
                f" '{picture.mode}'."
            )
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _predict_one(
    network: DepthNet, checkpoint: Path, image: Path, out: Path, device: torch.device | str
) -> Prediction:
    rgb = read_rgb(image)
    with torch.no_grad():
        small_m = network(network_input(rgb[None], network.data.size, device))
        depth_m = interpolate(small_m, rgb.shape[:2], mode="bilinear")[0, 0].cpu().numpy()
    if not np.isfinite(depth_m).all():
        raise CheckpointError(
            f"{checkpoint}: must give finite depth, but does not for {image}; it did not train."
        )
    near_m, far_m = (float(d) for d in np.percentile(depth_m, (1, 99)))
    npy, png, colour = _files(image, out)
    write_npy(npy, depth_m)
    write_png(png, depth_m)
    scale = {"colour_scale": COLOUR_SCALE, "near_m": f"{near_m:.3f}", "far_m": f"{far_m:.3f}"}
    write_picture(colour, colour_picture(depth_m, near_m, far_m), scale)
    return Prediction(image, npy, png, colour, near_m, far_m)


def colour_picture(depth_m: Depth, near_m: float, far_m: float) -> Image.Image:
    """Depth in colours, near in red, and below it the scale with its ends in metres."""
    height, width = depth_m.shape
    letters = max(12, height // 24)
    font = ImageFont.load_default(letters)
    labels = f"{near_m:.2f} m", f"{far_m:.2f} m"
    left, right = (int(font.getlength(label)) for label in labels)
    gap, strip = letters // 2, 2 * letters
    canvas_width = max(width, left + right + 4 * gap + strip)  # a bar no shorter than it is high
    canvas = Image.new("RGB", (canvas_width, height + strip), "white")
    share = (depth_m - near_m) / max(far_m - near_m, 1e-6)
    canvas.paste(Image.fromarray(colour_map(share)))
    ends = 2 * gap + left, canvas_width - 2 * gap - right
    bar = np.tile(np.linspace(0, 1, ends[1] - ends[0]), (strip - 2 * gap, 1))
    canvas.paste(Image.fromarray(colour_map(bar)), (ends[0], height + gap))
    draw = ImageDraw.Draw(canvas)
    middle = height + strip / 2
    draw.text((gap, middle), labels[0], fill="black", font=font, anchor="lm")
    draw.text((canvas_width - gap, middle), labels[1], fill="black", font=font, anchor="rm")
    return canvas


def colour_map(share: npt.NDArray[np.floating]) -> Rgb:
    """Colours (h, w, 3) of (h, w): 0 is near, 1 is far."""
    scale = sample_colorscale(COLOUR_SCALE, list(np.linspace(0, 1, 256)), colortype="tuple")
    table = np.round(np.array(scale) * 255).astype(np.uint8)
    colours: Rgb = table[np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)]
    return colours


def _files(image: Path, out: Path) -> tuple[Path, Path, Path]:
    stem = image.stem
    return out / f"{stem}.npy", out / f"{stem}.png", out / f"{stem}_colour.png"


def _refuse_overwriting(images: Sequence[Path], out: Path) -> None:
    inputs = {os.path.realpath(image) for image in images}
    writers: dict[Path, Path] = {}
    for image in images:
        for file in _files(image, out):
            if os.path.realpath(file) in inputs:
                raise DataError(f"{file}: is an image to predict for; choose another --out.")
            other = writers.setdefault(file, image)
            if other is not image:
                raise DataError(
                    f"{file}: would be written for {other} and for {image}; rename one, or write"
                    " them into two folders."
                )
