"""One view of one random room by ray casting: RGB, and exact depth along the camera's axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weightsearch.data.synthetic import materials
from weightsearch.data.synthetic.materials import Array, Material

MAX_DEPTH_M = 10.0
CLEARANCE_M = 0.75
"""Of the camera from any surface: in the corner of a view that is 0.56 m along the axis."""
SMALLEST_M, LARGEST_M = (2.8, 2.4, 3.4), (5.0, 2.9, 8.0)
"""Of a room in x, y (up) and z; the diagonal of the largest, 9.9 m, bounds the depth."""
TAN_HALF_VIEW = 0.618
"""Of the longer side of the image: 63 degrees, as a Kinect's."""
FLOOR, CEILING, WALLS, THINGS = 0, 1, 2, 6
"""Surfaces by number: four walls, then the things in the room."""


@dataclass(frozen=True)
class Box:
    """Stands at `centre`, turned by `yaw` about the vertical."""

    centre: Array
    half: Array
    yaw: float

    @property
    def radius(self) -> float:
        return float(np.hypot(self.half[0], self.half[2]))


@dataclass(frozen=True)
class Ball:
    centre: Array
    radius: float


@dataclass(frozen=True)
class Room:
    """From (0, 0, 0) to `size`, the floor at y = 0; one material per surface."""

    size: Array
    stand: Array
    """A place on the floor with the clearance around it."""
    things: tuple[Box | Ball, ...]
    materials: tuple[Material, ...]
    lamp: Array
    daylight: float


@dataclass(frozen=True)
class Hits:
    """What each of n rays meets first: depth (n,), surface number (n,), normal (n, 3) and the
    place on the surface in metres (n, 2)."""

    depth_m: Array
    surface: npt.NDArray[np.intp]
    normal: Array
    place_m: Array

    def put(
        self, nearer: npt.NDArray[np.bool_], depth_m: Array, number: int, normal: Array, at: Array
    ) -> None:
        """Lays a thing over what was met before, where `nearer`; the rest has its rows only."""
        self.depth_m[nearer] = depth_m
        self.surface[nearer] = number
        self.normal[nearer] = normal
        self.place_m[nearer] = at


def draw(
    of_room: np.random.Generator, of_view: np.random.Generator, size: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], Array]:
    """rgb uint8 (h, w, 3) and depth_m float32 (h, w); the room depends on `of_room` only."""
    room = _furnish(of_room)
    origin, turn = _camera(of_view, room)
    rays = _oblique(_rays(size) @ turn.T)
    hits = _room(room, origin, rays)
    for number, thing in enumerate(room.things, THINGS):
        if isinstance(thing, Box):
            _box(thing, number, origin, rays, hits)
        else:
            _ball(thing, number, origin, rays, hits)

    facing = np.abs(np.einsum("ij,ij->i", hits.normal, rays)) / np.linalg.norm(rays, axis=1)
    pixel_m = hits.depth_m * np.float32(2 * TAN_HALF_VIEW / max(size))
    colour = materials.paint(
        room.materials, hits.surface, hits.place_m, pixel_m / np.maximum(facing, np.float32(0.05))
    )
    light = _light(room, origin + hits.depth_m[:, None] * rays, hits)
    grain = of_view.standard_normal(colour.shape, dtype=np.float32) * np.float32(0.01)
    rgb = np.clip(np.sqrt(colour * light[:, None]) + grain, 0, 1)
    return (rgb * 255).astype(np.uint8).reshape(*size, 3), hits.depth_m.reshape(size)


def _furnish(rng: np.random.Generator) -> Room:
    size = rng.uniform(SMALLEST_M, LARGEST_M).astype(np.float32)
    stand = rng.uniform(CLEARANCE_M, size - CLEARANCE_M).astype(np.float32)
    things: list[Box | Ball] = []
    for _ in range(rng.integers(5, 11)):
        thing = _thing(rng, size)
        away = np.hypot(*(thing.centre - stand)[[0, 2]])
        if away > thing.radius + CLEARANCE_M:
            things.append(thing)
    lamp = size * rng.uniform((0.25, 0.85, 0.25), (0.75, 0.95, 0.75))
    return Room(
        size=size,
        stand=stand,
        things=tuple(things),
        materials=materials.choose(rng, len(things)),
        lamp=lamp.astype(np.float32),
        daylight=float(rng.uniform(0.25, 0.5)),
    )


def _thing(rng: np.random.Generator, size: Array) -> Box | Ball:
    """A cupboard or table by a wall, a crate anywhere, or a ball on the floor or in the air."""
    place = rng.uniform(0, size).astype(np.float32)
    kind = rng.random()
    if kind < 0.3:
        radius = float(rng.uniform(0.12, 0.45))
        place = np.clip(place, radius, size - radius)
        place[1] = radius if rng.random() < 0.7 else place[1]
        return Ball(place, radius)
    half = rng.uniform((0.2, 0.15, 0.2), (0.7, 0.5, 0.5)).astype(np.float32)
    yaw = float(rng.uniform(0, np.pi))
    if kind < 0.7:
        yaw = 0.0
        half[1] = rng.uniform(0.3, 1.0)
        axis, side = rng.choice([0, 2]), rng.integers(2)
        place[axis] = half[axis] if side else size[axis] - half[axis]
    place[1] = half[1]
    return Box(place, half, yaw)


def _camera(rng: np.random.Generator, room: Room) -> tuple[Array, Array]:
    """Origin (3,) and rotation (3, 3), whose columns are the camera's x, y and z axes."""
    low = np.array((CLEARANCE_M, 0.8, CLEARANCE_M), dtype=np.float32)
    high = room.size - low
    high[1] = 1.6
    candidates = rng.uniform(low, high, (8, 3)).astype(np.float32)
    free = [c for c in candidates if _is_free(c, room)][:3]
    free = free or [np.array((room.stand[0], candidates[0, 1], room.stand[2]), dtype=np.float32)]
    # Near the edge, looking across the room: the view is wide and the depth varied.
    origin = max(free, key=lambda c: float(np.hypot(*(c - room.size / 2)[[0, 2]])))
    across = room.size * rng.uniform(0.2, 0.8, 3) - origin
    far = room.size / 2 - origin
    yaw = np.arctan2(across[0] + far[0], across[2] + far[2])
    pitch, roll = rng.uniform((-0.35, -0.04), (0.1, 0.04))
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    about_x = np.array(((1, 0, 0), (0, cp, sp), (0, -sp, cp)))
    about_z = np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1)))
    return origin, (about_y @ about_x @ about_z).astype(np.float32)


def _is_free(origin: Array, room: Room) -> bool:
    return all(
        np.hypot(*(origin - thing.centre)[[0, 2]]) > thing.radius + CLEARANCE_M
        for thing in room.things
    )


def _rays(size: tuple[int, int]) -> Array:
    """Directions (h * w, 3) in the camera's frame, with z = 1.

    So a ray's parameter is the depth along the axis, not the distance.
    """
    y, x = (
        (np.arange(n, dtype=np.float32) + np.float32(0.5 - n / 2))
        * np.float32(2 * TAN_HALF_VIEW / max(size))
        for n in size
    )
    rays = np.ones((*size, 3), dtype=np.float32)
    rays[..., 0] = x
    rays[..., 1] = -y[:, None]
    return rays.reshape(-1, 3)


def _oblique(rays: Array) -> Array:
    """The rays, none of them exactly along a plane, so that they can be divided by."""
    return np.where(rays == 0, np.float32(1e-9), rays)


def _room(room: Room, origin: Array, rays: Array) -> Hits:
    """The walls, floor and ceiling, seen from inside."""
    exits = (np.where(rays > 0, room.size, np.float32(0)) - origin) / rays
    axis = exits.argmin(axis=1)
    rows = np.arange(len(rays))
    depth_m = exits[rows, axis]
    ahead = rays[rows, axis] > 0
    normal = np.zeros_like(rays)
    normal[rows, axis] = np.where(ahead, np.float32(-1), np.float32(1))
    surface = np.where(axis == 1, np.where(ahead, CEILING, FLOOR), WALLS + axis + ahead)
    points = origin + depth_m[:, None] * rays
    return Hits(depth_m, surface.astype(np.intp), normal, _flat(points, axis))


def _flat(points: Array, axis: npt.NDArray[np.intp]) -> Array:
    """Two coordinates on a plane across `axis`; the second is the height on upright ones."""
    first = np.where(axis == 0, points[:, 2], points[:, 0])
    second = np.where(axis == 1, points[:, 2], points[:, 1])
    return np.stack((first, second), axis=1)


def _box(box: Box, number: int, origin: Array, rays: Array, hits: Hits) -> None:
    cos, sin = np.float32(np.cos(box.yaw)), np.float32(np.sin(box.yaw))
    turn = np.array(((cos, 0, -sin), (0, 1, 0), (sin, 0, cos)), dtype=np.float32)
    start, ways = turn @ (origin - box.centre), _oblique(rays @ turn.T)
    middle, reach = -start / ways, box.half / np.abs(ways)
    entries = middle - reach
    depth_m = entries.max(axis=1)
    nearer = (depth_m < (middle + reach).min(axis=1)) & (depth_m > 0) & (depth_m < hits.depth_m)
    axis = entries[nearer].argmax(axis=1)
    rows = np.arange(len(axis))
    normal = np.zeros((len(axis), 3), dtype=np.float32)
    normal[rows, axis] = -np.sign(ways[nearer][rows, axis])
    at = start + depth_m[nearer, None] * ways[nearer]
    hits.put(nearer, depth_m[nearer], number, normal @ turn, _flat(at, axis))


def _ball(ball: Ball, number: int, origin: Array, rays: Array, hits: Hits) -> None:
    offset = origin - ball.centre
    a = np.einsum("ij,ij->i", rays, rays)
    b = rays @ offset
    root = b * b - a * (offset @ offset - np.float32(ball.radius**2))
    depth_m = (-b - np.sqrt(np.maximum(root, 0))) / a
    nearer = (root > 0) & (depth_m > 0) & (depth_m < hits.depth_m)
    normal = (offset + depth_m[nearer, None] * rays[nearer]) / np.float32(ball.radius)
    around = np.arctan2(normal[:, 0], normal[:, 2])
    up = np.arcsin(np.clip(normal[:, 1], -1, 1))
    at = np.stack((around, up), axis=1) * np.float32(ball.radius)
    hits.put(nearer, depth_m[nearer], number, normal, at)


def _light(room: Room, points: Array, hits: Hits) -> Array:
    """Lamp, daylight, dark corners, and less light from farther away, all in (n,)."""
    to_lamp = room.lamp - points
    square = np.einsum("ij,ij->i", to_lamp, to_lamp)
    slant = np.maximum(np.einsum("ij,ij->i", to_lamp, hits.normal), 0) / np.sqrt(square)
    lamp: Array = slant / (1 + square / np.float32(7))
    gaps = np.minimum(points, room.size - points) + np.abs(hits.normal)
    corners: Array = np.prod(1 - np.float32(0.3) * np.exp(gaps * np.float32(-5)), axis=1)
    return (np.float32(room.daylight) + lamp) * corners / (1 + np.float32(0.05) * hits.depth_m)
