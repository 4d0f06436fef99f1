"""A contact sheet: of each frame its RGB, its depth in colours and its valid pixels, in rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from plotly.colors import sample_colorscale

from weightsearch.data.frames.resize import resize_depth
from weightsearch.data.frames.source import Frame
from weightsearch.errors import DataError
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.safe_text import presentable

WIDTH = 240
HEIGHT = 240
"""At most; portrait pictures become narrower."""
GAP = 6
LETTERS = 13
ROWS = 32
"""Of a sheet: more frames than that are not looked at by anybody."""
SCALE = "turbo_r"
"""Near is red, as in the pictures of `predict`."""

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Strip:
    """One row: a caption and three pictures of at most WIDTH by HEIGHT."""

    caption: str
    pictures: tuple[Image.Image, ...]


def strip(name: str, frame: Frame) -> Strip:
    """The row of a frame; each is coloured over its own 1st to 99th percentile of depth."""
    values = frame.depth_m[frame.valid]
    near, far = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    box = _box(frame)
    # Shrunk before it is coloured, so that the points of a laser stay visible.
    depth_m, known = resize_depth(frame.depth_m, frame.valid, box[::-1])
    share = np.clip((depth_m - near) / max(float(far - near), 1e-6), 0, 1)
    colours = _table()[np.rint(share * 255).astype(np.uint8)]
    colours[~known] = 0
    valid = np.where(frame.valid, np.uint8(235), np.uint8(40))
    range_m = f"{near:.2f} to {far:.2f} m" if values.size else "no valid depth"
    rgb_size, size = ("x".join(map(str, a.shape[:2])) for a in (frame.rgb, frame.valid))
    sizes = size if size == rgb_size else f"{rgb_size}, depth {size}"
    return Strip(
        presentable(f"{name}  {sizes}  {range_m}  {100 * frame.valid.mean():.3g} % valid"),
        (_small(frame.rgb, box), Image.fromarray(colours), _small(valid, box)),
    )


def write(path: Path, strips: Sequence[Strip]) -> None:
    """Writes the rows as a PNG; raises DataError where the file cannot be written."""
    font = ImageFont.load_default(LETTERS)
    heights = [LETTERS + 2 * GAP + max(p.height for p in row.pictures) for row in strips]
    sheet = Image.new("RGB", (3 * (WIDTH + GAP) + GAP, sum(heights) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for row, height in zip(strips, heights, strict=True):
        draw.text((GAP, top), row.caption, fill="black", font=font)
        for column, picture in enumerate(row.pictures):
            sheet.paste(picture, (GAP + column * (WIDTH + GAP), top + LETTERS + GAP))
        top += height
    content = io.BytesIO()
    sheet.save(content, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from None


def _box(frame: Frame) -> tuple[int, int]:
    """Width and height of a row's pictures: the shape of the RGB picture, within the limits."""
    height, width = frame.rgb.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _small(picture: Rgb, box: tuple[int, int]) -> Image.Image:
    return Image.fromarray(picture).resize(box, Image.Resampling.BOX)


def _table() -> Rgb:
    scale = sample_colorscale(SCALE, list(np.linspace(0, 1, 256)), colortype="tuple")
    return np.round(np.array(scale) * 255).astype(np.uint8)
