"""Patterns that an error suggests: they fit the files, as somebody who types them finds out."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from support.data_layouts import save
from support.readers import frames, refused

from weightsearch.data.readers.registry import OF_OWN_FILES, detect
from weightsearch.errors import DataError


@pytest.mark.parametrize(
    "names",
    [
        ("color_{k}.jpg", "depth_{k}.png"),
        ("{k}_rgb.jpg", "{k}_depth.png"),
        ("my scene {s}/img{k}.png", "my scene {s}/depth{k}.png"),
        ("{s}/left/{k}.jpg", "{s}/disparity/{k}.png"),
        ("colour/{k}.jpg", "distance/{k}.png"),
        ("images/{k}.jpg", "dep/{k}.png"),
        ("images/{k}.jpg", "truth/{k}.png"),
    ],
)
def test_the_suggested_patterns_can_be_typed(tmp_path: Path, names: tuple[str, str]) -> None:
    for k, scene in ((k, scene) for k in range(4) for scene in "ab"):
        rgb, depth = (tmp_path / name.format(k=k, s=scene) for name in names)
        save(rgb, np.full((4, 6, 3), k, np.uint8))
        save(depth, np.array([[1000, 2000 + k], [500, 800]], np.uint16))
    with pytest.raises(DataError, match=r"must be laid out as one of .*its files fit --reader"):
        detect(tmp_path)
    said = refused("folder", tmp_path)
    words = shlex.split(said.partition("its files fit ")[2].rstrip("."))
    assert words[:2] == ["--reader", "folder"]
    options = dict(word.split("=", 1) for word in words[3::2])
    assert len(frames("folder", tmp_path, **options)) == (8 if "{s}" in names[0] else 4)
    assert detect(tmp_path, options) == "folder"


def test_files_of_which_nobody_knows_what_is_depth_are_named(tmp_path: Path) -> None:
    for name in ("a1.png", "b1.png"):
        save(tmp_path / name, np.full((4, 6), 7, np.uint16))
    assert "its files are called a1.png, b1.png: name --reader" in refused("folder", tmp_path)


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    assert "there is no PNG, JPEG or .npy in it" in refused("folder", tmp_path)


def test_options_of_other_readers_too_imply_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    assert {"rgb", "depth_scale"} <= OF_OWN_FILES
    assert "depth" not in OF_OWN_FILES
    with pytest.raises(DataError, match="must be laid out as one of"):
        detect(tmp_path, {"depth": "depth"})
