"""Patterns on the surfaces of synthetic rooms, in true size: how large one looks tells depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """Two colours (3,), linear light in 0..1, mixed by a pattern of this period."""

    pattern: str
    dark: Array
    bright: Array
    period_m: float
    phase: Array


def choose(rng: np.random.Generator, things: int) -> tuple[Material, ...]:
    """For the floor, the ceiling, four walls (alike but for one, perhaps) and the things."""
    floor = _material(rng, ("planks", "tiles", "checks"), (0.2, 0.6), 0.25)
    ceiling = _material(rng, ("tiles", "plaster"), (0.4, 0.8), 0.6)
    wall = _material(rng, ("stripes", "bricks", "plaster", "tiles"), (0.15, 0.5), 0.45)
    accent = _material(rng, ("stripes", "bricks", "plaster"), (0.15, 0.5), 0.35)
    walls = [wall] * 4
    walls[rng.integers(4)] = accent
    styles = ("planks", "checks", "stripes", "plaster")
    return (
        floor,
        ceiling,
        *walls,
        *(
            _material(rng, styles, (0.08, 0.25), float(rng.uniform(0.1, 0.6)))
            for _ in range(things)
        ),
    )


def _material(
    rng: np.random.Generator, patterns: Sequence[str], period_m: tuple[float, float], tone: float
) -> Material:
    hue = rng.uniform(-1, 1, 3)
    bright = np.clip(tone * (1 + 0.45 * (hue - hue.mean())) * rng.uniform(0.8, 1.4), 0.02, 0.95)
    return Material(
        pattern=str(rng.choice(patterns)),
        dark=(bright * rng.uniform(0.3, 0.65)).astype(np.float32),
        bright=bright.astype(np.float32),
        period_m=float(rng.uniform(*period_m)),
        phase=rng.uniform(0, 100, 2).astype(np.float32),
    )


def paint(
    materials: Sequence[Material],
    surface: npt.NDArray[np.intp],
    place_m: Array,
    pixel_m: Array,
) -> Array:
    """Colours (n, 3) at n places (n, 2), each seen by a pixel that covers `pixel_m` (n,)."""
    colours = np.empty((len(surface), 3), dtype=np.float32)
    for number, material in enumerate(materials):
        seen = np.flatnonzero(surface == number)
        if not seen.size:
            continue
        scale = np.float32(1 / material.period_m)
        u, v = (place_m[seen] * scale + material.phase).T
        # A pattern finer than a pixel would alias: fade to its mean.
        blur = pixel_m[seen] * scale
        mix = PATTERNS[material.pattern](u, v, blur)
        mix = np.float32(0.6) + (mix - np.float32(0.6)) * np.clip(2 - 4 * blur, 0, 1)
        colours[seen] = material.dark + mix[:, None] * (material.bright - material.dark)
    return colours


def _edge(distance: Array, blur: Array) -> Array:
    """0 below and 1 above a line at 0, as soft as the pixel is large."""
    return np.clip(distance / np.maximum(blur, np.float32(1e-3)) + np.float32(0.5), 0, 1)


def _hash(i: Array, j: Array) -> Array:
    """A random number in 0..1 for each cell."""
    cell = i.astype(np.int64) * 73856093 ^ j.astype(np.int64) * 19349663
    return ((cell * 2654435761 >> 8) & 0xFFFF).astype(np.float32) / np.float32(0xFFFF)


def _joints(u: Array, v: Array, blur: Array, width: float) -> Array:
    """0 on the lines between unit cells, else 1."""
    to_line = np.minimum(0.5 - np.abs(u % 1 - 0.5), 0.5 - np.abs(v % 1 - 0.5))
    return _edge(to_line - np.float32(width), blur)


def _checks(u: Array, v: Array, blur: Array) -> Array:
    across = np.sin(np.pi * u) * np.sin(np.pi * v)
    return _edge(across / np.float32(np.pi), blur)


def _tiles(u: Array, v: Array, blur: Array) -> Array:
    tone = np.float32(0.75) + np.float32(0.25) * _hash(np.floor(u), np.floor(v))
    return tone * _joints(u, v, blur, 0.03)


def _bricks(u: Array, v: Array, blur: Array) -> Array:
    row = np.floor(3 * v)
    along = u + row * np.float32(0.5)
    tone = np.float32(0.5) + np.float32(0.5) * _hash(np.floor(along), row)
    to_line = np.minimum(0.5 - np.abs(along % 1 - 0.5), (0.5 - np.abs(3 * v % 1 - 0.5)) / 3)
    return tone * _edge(to_line - np.float32(0.02), blur)


def _planks(u: Array, v: Array, blur: Array) -> Array:
    plank = np.floor(2 * u)
    along = v / 3 + _hash(plank, plank)
    tone = np.float32(0.45) + np.float32(0.45) * _hash(plank, np.floor(along))
    grain = np.float32(0.1) * np.sin(40 * u + 3 * np.sin(4 * v))
    to_line = np.minimum((0.5 - np.abs(2 * u % 1 - 0.5)) / 2, (0.5 - np.abs(along % 1 - 0.5)) * 3)
    planks: Array = (tone + grain) * _edge(to_line - np.float32(0.015), blur)
    return planks


def _stripes(u: Array, v: Array, blur: Array) -> Array:
    return _edge(np.sin(2 * np.pi * u) / np.float32(2 * np.pi), blur)


def _plaster(u: Array, v: Array, blur: Array) -> Array:
    slow: Array = np.sin(1.7 * u + 2 * np.sin(1.3 * v)) + np.sin(2.3 * v - 1.5 * np.sin(1.9 * u))
    fast: Array = np.sin(5.1 * u - 2 * np.sin(4.3 * v)) * np.sin(6.7 * v + np.sin(5.9 * u))
    return np.float32(0.6) + np.float32(0.15) * slow + np.float32(0.15) * fast


PATTERNS = {
    "bricks": _bricks,
    "checks": _checks,
    "planks": _planks,
    "plaster": _plaster,
    "stripes": _stripes,
    "tiles": _tiles,
}
