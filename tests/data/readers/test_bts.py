"""NYU as BTS lists it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import data_layouts as made_by
from support.opened_layouts import groups
from support.readers import frames, refused

from weightsearch.study.spec_fields import Value

# BTS


@pytest.mark.parametrize("lists", [True, False])
def test_bts_trees_read_with_and_without_their_lists(tmp_path: Path, lists: bool) -> None:
    made_by.nyu_bts(tmp_path, lists=lists)
    assert groups("nyu_bts", tmp_path) == {
        "sync/kitchen_0028a/rgb_00001": ("train", "kitchen_0028"),
        "sync/kitchen_0028b/rgb_00045": ("train", "kitchen_0028"),
        "sync/office_0003/rgb_00007": ("train", "office_0003"),
        "official_splits/test/bathroom/rgb_00045": ("test", "test/bathroom/run_000"),
        "official_splits/test/bathroom/rgb_00046": ("test", "test/bathroom/run_000"),
        "official_splits/test/office/rgb_00503": ("test", "test/office/run_000"),
    }


def test_bts_lists_may_lie_elsewhere(tmp_path: Path) -> None:
    made = made_by.nyu_bts(tmp_path / "nyu")
    options: dict[str, Value] = {}
    for split in ("train", "test"):
        path = made.path / f"nyudepthv2_{split}_files_with_gt.txt"
        path.rename(tmp_path / f"{split}.txt")
        options[f"{split}_list"] = str(tmp_path / f"{split}.txt")
    assert frames("nyu_bts", made.path, **options).keys() == made.rgb.keys()
    (tmp_path / "test.txt").unlink()
    assert "must be a list" in refused("nyu_bts", made.path, **options)


@pytest.mark.parametrize(
    "line",
    ["a/rgb_1.jpg", "a/rgb_1.jpg a/../../d.png 518", "a.jpg b.png wide", "a b c d", "/ b.png 1"],
)
def test_bts_lines_that_are_none_are_refused_with_their_number(tmp_path: Path, line: str) -> None:
    made_by.nyu_bts(tmp_path)
    path = tmp_path / "nyudepthv2_train_files_with_gt.txt"
    path.write_text(f"{path.read_text()}{line}\n")
    assert f"{path}:4: must be 'RGB DEPTH'" in refused("nyu_bts", tmp_path)
