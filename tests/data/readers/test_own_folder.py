"""One's own folders and tables of pictures and depth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import data_layouts as made_by
from support.data_layouts import save
from support.opened_layouts import groups, opened
from support.readers import frames, refused

from weightsearch.errors import ConfigError
from weightsearch.study.spec_fields import Value

# Folders and CSV


def test_a_flat_folder_is_grouped_in_runs(tmp_path: Path) -> None:
    made_by.folder(tmp_path)
    assert Counter(groups("folder", tmp_path).values()) == {
        ("train", "train/run_000"): 15,
        ("train", "train/run_001"): 2,
    }
    assert {split for split, _ in groups("folder", tmp_path, split="test").values()} == {"test"}


def test_a_picture_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    """A phone stores it lying, and notes how it was held."""
    (tmp_path / "train").mkdir()
    lying = Image.new("RGB", (64, 48), "black")
    lying.paste("white", (0, 0, 64, 16))  # at the top; turned to the right, it is at the right
    noted = Image.Exif()
    noted[0x0112] = 6
    lying.save(tmp_path / "train" / "a.jpg", exif=noted)
    save(tmp_path / "train" / "a.png", np.full((64, 48), 1000, np.uint16))
    options = {"rgb": "{split}/{name}.jpg", "depth": "{split}/{name}.png", "depth_scale": 1000.0}
    (frame,) = frames("folder", tmp_path, **options).values()
    assert frame.rgb.shape == (64, 48, 3)
    assert frame.rgb[:, 40:].mean() > 200
    assert frame.rgb[:, :24].mean() < 50


def test_patterns_name_the_split_the_group_and_the_frame(tmp_path: Path) -> None:
    depth = np.array([[0, 100, 250], [900, 65535, 30]], np.uint16)
    for split, scene in (("train", "hall"), ("train", "lab"), ("val", "yard")):
        for k in range(2):
            place = tmp_path / split / scene
            save(place / f"{k}_rgb.png", np.zeros((4, 6), np.uint8))
            save(place / f"{k}_rgb_depth.png", depth)
    options: dict[str, Value] = {
        "rgb": "{split}/{group}/{name}.png",
        "depth": "{split}/{group}/{name}_depth.png",
        "depth_scale": 100.0,
        "invalid": 65535.0,
        "min_m": 0.5,
        "max_m": 8.0,
    }
    assert groups("folder", tmp_path, **options) == {
        f"{split}/{scene}/{k}_rgb": ("test" if split == "val" else split, scene)
        for split, scene in (("train", "hall"), ("train", "lab"), ("val", "yard"))
        for k in range(2)
    }
    frame = frames("folder", tmp_path, **options)["val/yard/1_rgb"]
    assert frame.rgb.shape == (4, 6, 3)
    assert frame.depth_m.tolist() == pytest.approx(np.array([[0, 1, 2.5], [0, 0, 0]]))
    whole = frames("folder", tmp_path, **{**options, "invalid": 0.0, "max_m": 1000.0})
    assert whole["val/yard/1_rgb"].depth_m[1, 1] == pytest.approx(655.35)


def test_a_csv_names_files_splits_and_groups(tmp_path: Path) -> None:
    made = made_by.folder(tmp_path)
    lines = ["depth_m,image,room,part"]
    lines += [f"depth/{k:04d}.npy,rgb/{k:04d}.png,room_{k % 3},{'test' if k % 3 == 2 else 'train'}"
              for k in range(6)]  # fmt: skip
    for k in range(6):
        np.save(tmp_path / f"depth/{k:04d}.npy", made.depth_m[f"rgb/{k:04d}"].astype(np.float64))
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    options: dict[str, Value] = {
        "rgb_column": "image",
        "depth_column": "depth_m",
        "split_column": "part",
        "group_column": "room",
        "depth_scale": 1.0,
    }
    by_file = frames("folder", tmp_path / "mine.csv", **options)
    by_option = frames("folder", tmp_path, list="mine.csv", **options)
    assert by_file.keys() == by_option.keys() == {f"rgb/{k:04d}" for k in range(6)}
    assert by_file["rgb/0003"].depth_m == pytest.approx(made.depth_m["rgb/0003"])
    assert groups("folder", tmp_path / "mine.csv", **options)["rgb/0005"] == ("test", "room_2")
    bare = "\n".join(f"rgb/{k:04d}.png,depth/{k:04d}.png" for k in range(17))
    (tmp_path / "bare.csv").write_text(bare)
    found = groups("folder", tmp_path, depth="depth/{name}.png")
    assert groups("folder", tmp_path / "bare.csv") == found


def test_two_pictures_of_one_frame_are_refused(tmp_path: Path) -> None:
    made = made_by.folder(tmp_path)
    save(tmp_path / "rgb/0003.jpg", made.rgb["rgb/0003"])
    said = refused("folder", tmp_path)
    assert "rgb/0003.jpg and rgb/0003.png are of the same one" in said
    assert frames("folder", tmp_path, rgb="rgb/{name}.png").keys() == made.rgb.keys()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth_scale": 0.0}, "'depth_scale' must be above 0"),
        ({"min_m": 5.0, "max_m": 5.0}, "0 <= min_m < max_m"),
        ({"split": "val"}, "'split' must be 'train' or 'test'"),
        ({"ground_truth": "true"}, "'ground_truth' must be one of raw, filled, exact"),
        ({"rgb": "rgb/*"}, "must be a path below the data set with {name}"),
        ({"rgb": "../{name}"}, "must be a path below the data set with {name}"),
        ({"rgb": "{name}{name}"}, "must be a path below the data set with {name}"),
        ({"rgb": "{group}/{name}"}, "must have the same fields"),
    ],
)
def test_options_out_of_their_range_are_refused(
    tmp_path: Path, options: dict[str, Value], said: str
) -> None:
    made_by.folder(tmp_path)
    with pytest.raises(ConfigError) as caught:
        opened("folder", tmp_path, options)
    assert said in str(caught.value)


def test_a_coloured_picture_of_depth_and_jpeg_are_refused(tmp_path: Path) -> None:
    made = made_by.folder(tmp_path)
    save(tmp_path / "depth/0000.png", made.rgb["rgb/0000"])
    assert "holds no depth" in refused("folder", tmp_path)
    (tmp_path / "a.csv").write_text("rgb/0001.png,depth/0001.jpg\n")
    save(tmp_path / "depth/0001.jpg", np.zeros((12, 16), np.uint8))
    assert "JPEG, for one, changes the values" in refused("folder", tmp_path / "a.csv")
