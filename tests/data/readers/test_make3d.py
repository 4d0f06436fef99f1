"""Make3D."""

from __future__ import annotations

from pathlib import Path

from support import data_layouts as made_by
from support.opened_layouts import groups
from support.readers import frames, refused

# Make3D


def test_make3d_groups_are_places_and_days(tmp_path: Path) -> None:
    made_by.make3d(tmp_path)
    assert groups("make3d", tmp_path) == {
        "Train400Img/img-math1-p-015t000": ("train", "math1"),
        "Train400Img/img-math1-p-046t000": ("train", "math1"),
        "Train400Img/img-op1-p-015t000": ("train", "op1"),
        "Test134/img-060705-17.10.14-p-254t000": ("test", "060705"),
    }


def test_make3d_a_picture_that_is_cut_short_can_be_left_out(tmp_path: Path) -> None:
    made_by.make3d(tmp_path)
    name = "Train400Img/img-op1-p-015t000"
    picture = tmp_path / f"{name}.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    assert f"{name}.jpg: must be a PNG or JPEG image" in refused("make3d", tmp_path)
    assert name not in frames("make3d", tmp_path, leave_out=name)
    assert "must name frames" in refused("make3d", tmp_path, leave_out="op1")
