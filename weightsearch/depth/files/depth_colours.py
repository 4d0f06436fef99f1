"""Depth as a picture for people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from plotly.colors import sample_colorscale

from weightsearch.depth.files.depth_maps import (
    Depth,
)
from weightsearch.depth.files.input_pictures import Rgb

COLOUR_SCALE = "turbo_r"
"""plotly's name: near is red, far is blue."""


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
