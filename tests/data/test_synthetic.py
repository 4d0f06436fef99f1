"""Synthetic rooms: exact geometry, frame k a function of the options and k, holes on request."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from weightsearch.data.frames.source import Frame
from weightsearch.data.readers.registry import open_source
from weightsearch.data.synthetic import room_rendering
from weightsearch.errors import ConfigError
from weightsearch.study.spec_fields import Value


def frame(i: int, **options: Value) -> Frame:
    with closing(open_source("synthetic", None, options)) as source:
        return source.read(i)


def same(a: Frame, b: Frame) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in ((a.rgb, b.rgb), (a.depth_m, b.depth_m), (a.valid, b.valid))
    )


def test_a_frame_depends_on_the_options_and_its_number_only() -> None:
    with closing(open_source("synthetic", None, {"holes": 0.1})) as source:
        late, early = source.read(17), source.read(3)
        assert same(source.read(17), late)
        assert same(frame(3, holes=0.1), early)
        assert not same(late, early)


def test_another_process_draws_the_same() -> None:
    code = (
        "import hashlib; from weightsearch.data.readers.registry import open_source\n"
        "f = open_source('synthetic', None, {'holes': 0.1}).read(5)\n"
        "print(hashlib.sha256(f.rgb.tobytes() + f.depth_m.tobytes()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_test_rooms_are_others_and_stay_when_there_are_more_training_frames() -> None:
    few = {"frames": 12, "test_frames": 6}
    with closing(open_source("synthetic", None, few)) as source:
        names = [ref.name for ref in source.frames]
        first_room, test_room = source.read(0), source.read(12)
    assert names[0] == "room_0000/00"
    assert names[11:13] == ["room_0001/05", "test_room_0000/00"]
    assert not same(first_room, test_room)
    assert same(test_room, frame(240))
    assert same(first_room, frame(0))


def test_the_views_of_a_room_are_a_group() -> None:
    with closing(open_source("synthetic", None, {"frames": 7, "frames_per_room": 3})) as source:
        groups = [ref.group for ref in source.frames if ref.split == "train"]
    assert groups == ["room_0000"] * 3 + ["room_0001"] * 3 + ["room_0002"]


def test_seeds_draw_other_rooms() -> None:
    assert not same(frame(0, seed=0), frame(0, seed=1))


@pytest.mark.parametrize("size", [(24, 40), (40, 24), (33, 33)])
def test_depth_is_within_half_a_metre_and_ten(size: tuple[int, int]) -> None:
    depths_m = np.stack(
        [frame(k, height=size[0], width=size[1], seed=1).depth_m for k in range(0, 240, 2)]
    )
    assert depths_m.shape[1:] == size
    assert 0.5 <= depths_m.min() < 1.2
    assert 6 < depths_m.max() <= 10


def test_depth_is_along_the_axis_not_along_the_ray() -> None:
    """A wall that faces the camera has one depth everywhere."""
    room = room_rendering.Room(
        size=np.array((4, 2.5, 6), dtype=np.float32),
        stand=np.array((2, 1, 3), dtype=np.float32),
        things=(),
        materials=(),
        lamp=np.array((2, 2, 3), dtype=np.float32),
        daylight=0.3,
    )
    origin = np.array((2, 1.2, 1), dtype=np.float32)
    rays = room_rendering._rays((16, 24))
    hits = room_rendering._room(room, origin, rays)
    points = origin + hits.depth_m[:, None] * rays
    facing = hits.normal[:, 2] == -1
    assert facing.sum() > 100
    assert np.allclose(hits.depth_m[facing], 5)
    floor = hits.normal[:, 1] == 1
    assert np.allclose(points[floor, 1], 0, atol=1e-5)
    assert (points > -1e-4).all()
    assert (points < room.size + 1e-4).all()


def test_boxes_and_balls_are_where_they_are_put() -> None:
    rays = room_rendering._rays((41, 41))
    origin = np.zeros(3, dtype=np.float32)
    centre = np.array((0, 0, 4), dtype=np.float32)
    ball = room_rendering.Ball(centre, 0.5)
    box = room_rendering.Box(centre, np.array((0.5, 0.5, 0.5), dtype=np.float32), np.pi / 4)
    middle = len(rays) // 2
    for thing, draw, nearest_m in (
        (ball, room_rendering._ball, 3.5),
        (box, room_rendering._box, 4 - np.sqrt(0.5)),
    ):
        hits = room_rendering.Hits(
            np.full(len(rays), 9, dtype=np.float32),
            np.zeros(len(rays), dtype=np.intp),
            np.zeros_like(rays),
            np.zeros((len(rays), 2), dtype=np.float32),
        )
        draw(thing, 6, origin, room_rendering._oblique(rays), hits)
        seen = hits.surface == 6
        assert hits.depth_m[middle] == pytest.approx(nearest_m, abs=1e-4)
        assert np.allclose(np.linalg.norm(hits.normal[seen], axis=1), 1, atol=1e-4)
        towards = np.einsum("ij,ij->i", hits.normal[seen], rays[seen])
        assert (towards < 1e-4).all()
        assert (hits.depth_m[~seen] == 9).all()
    points = hits.depth_m[seen, None] * rays[seen]
    assert (np.abs(points[:, 1]) < 0.5 + 1e-4).all()


def test_normals_of_a_turned_box_are_those_of_its_depth() -> None:
    """Depth on a plane obeys n . p = const, so each face gives one constant."""
    rays = room_rendering._rays((41, 41))
    centre = np.array((0.3, -0.2, 4), dtype=np.float32)
    box = room_rendering.Box(centre, np.array((0.8, 0.5, 0.4), dtype=np.float32), 0.6)
    hits = room_rendering.Hits(
        np.full(len(rays), 9, dtype=np.float32),
        np.zeros(len(rays), dtype=np.intp),
        np.zeros_like(rays),
        np.zeros((len(rays), 2), dtype=np.float32),
    )
    room_rendering._box(box, 6, np.zeros(3, dtype=np.float32), room_rendering._oblique(rays), hits)
    seen = hits.surface == 6
    offsets = np.einsum("ij,ij->i", hits.normal, hits.depth_m[:, None] * rays - centre)[seen]
    faces = {round(float(offset), 3) for offset in offsets}
    assert faces <= {0.8, 0.5, 0.4}
    assert len(faces) >= 2


@pytest.mark.parametrize("holes", [0.02, 0.3])
def test_holes_are_the_stated_share_in_blobs(holes: float) -> None:
    whole, holed = frame(4), frame(4, holes=holes)
    assert (~holed.valid).mean() == pytest.approx(holes, abs=1e-4)
    assert np.array_equal(whole.rgb, holed.rgb)
    assert np.array_equal(whole.depth_m[holed.valid], holed.depth_m[holed.valid])
    assert (holed.depth_m[~holed.valid] == 0).all()
    neighbours = ~holed.valid[:, 1:][~holed.valid[:, :-1]]
    assert neighbours.mean() > 0.7


def test_ground_truth_says_whether_there_are_holes() -> None:
    for holes, expected in ((0.0, "exact"), (0.1, "raw")):
        with closing(open_source("synthetic", None, {"holes": holes})) as source:
            assert source.ground_truth == expected


def test_pictures_show_light_and_texture() -> None:
    """Neither black, nor white, nor flat."""
    rgb = np.stack([frame(k).rgb for k in range(0, 240, 12)])
    assert 60 < rgb.mean() < 180
    assert rgb.std(axis=(1, 2)).min() > 5
    assert (rgb == 255).mean() < 0.02


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", 0),
        ("test_frames", -1),
        ("height", 7),
        ("width", 0),
        ("seed", -1),
        ("frames_per_room", 0),
        ("holes", 1.0),
        ("holes", -0.1),
    ],
)
def test_impossible_options_are_refused(name: str, value: Value) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' of reader 'synthetic' must be at least"):
        open_source("synthetic", None, {name: value})


def test_no_test_frames_may_be_asked_for() -> None:
    with closing(open_source("synthetic", None, {"test_frames": 0})) as source:
        assert {ref.split for ref in source.frames} == {"train"}
