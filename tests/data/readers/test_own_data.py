"""A user's own data, in the forms in which people have it, is read or refused as it must be."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.own_data import CASES, ROWS, SHUFFLED, frames, listing, many_faults
from support.readers import refused

from weightsearch.data.readers import split_words
from weightsearch.data.readers.registry import detect, open_source


@pytest.mark.parametrize("name", CASES)
def test_a_set_is_read_or_refused(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    place = case.write(tmp_path)
    assert detect(place) == "folder"
    if case.refused:
        assert case.refused in refused("folder", place, **case.options)
        return
    with closing(open_source("folder", place, case.options)) as source:
        refs = source.frames
        assert [ref.name.removeprefix("rgb/") for ref in refs] == list(case.names)
        assert Counter(ref.split for ref in refs) == case.sides
        if case.groups:
            assert [ref.group for ref in refs] == list(case.groups)
        assert case.said in "\n".join(source.notes)
        assert case.warned in "\n".join(source.warnings)
        assert len(source.warnings) == bool(case.warned)
        assert len(source.notes) == len(set(source.notes))
        for i in range(len(refs)):
            frame = source.read(i)
            assert frame.rgb.shape == (6, 8, 3)
            assert frame.valid.all()
            assert float(frame.depth_m[-1, -1]) in range(1, 10)


def test_frame_k_is_picture_k_and_depth_k(tmp_path: Path) -> None:
    """Whichever way the columns stand."""
    for name in ("plain", "unpadded", "columns behind a hash", "backslashes"):
        place = CASES[name].write(tmp_path / name)
        with closing(open_source("folder", place, {})) as source:
            for i in range(len(source.frames)):
                frame = source.read(i)
                assert frame.rgb[0, 0].tolist() == [i + 1] * 3
                assert frame.depth_m[-1, -1] == i % 9 + 1


def test_runs_of_a_shuffled_list_are_of_neighbours(tmp_path: Path) -> None:
    frames(tmp_path, SHUFFLED)
    rows = [f"rgb/{name}.png,depth/{name}.png" for name in SHUFFLED]
    (tmp_path / "frames.csv").write_text("\n".join(rows))
    with closing(open_source("folder", tmp_path / "frames.csv", {})) as source:
        assert [ref.name for ref in source.frames] == [f"rgb/{name}" for name in SHUFFLED]
        for ref in source.frames:
            assert ref.group == f"train/run_{(int(ref.name[4:]) - 1) // 15:03d}"


def test_all_faults_of_a_listing_are_told_at_once(tmp_path: Path) -> None:
    said = refused("folder", many_faults(tmp_path))
    assert said.count(" has '") == 10
    assert "must name an RGB and a depth file" in said
    assert said.endswith(", ... (13 of 14 lines).")
    some = listing(
        ("rgb,depth,split",), [f"{ROWS[0]},train", f"{ROWS[0]},test", f"{ROWS[1]},maybe"]
    )
    said = refused("folder", some(tmp_path / "some"))
    assert "line 3 has 'rgb/0000.png of line 2'" in said
    assert "a split must be one of" in said
    assert "line 4 has 'maybe'" in said
    assert said.endswith("(2 of 3 lines).")


def test_missing_partners_are_told_at_once(tmp_path: Path) -> None:
    frames(tmp_path)
    for k in range(11):
        (tmp_path / f"depth/{k:04d}.png").unlink()
    (tmp_path / "rgb/0011.png").unlink()
    said = refused("folder", tmp_path)
    assert "each frame must have its RGB picture, but 0011 has none (missing: 1 of 12)" in said
    assert "its depth, but 0000 has none (missing: 11 of 12; also 0001, 0002," in said
    assert "0009, ...)." in said


def test_a_sensor_that_saw_nothing_is_no_mask(tmp_path: Path) -> None:
    """0 and the value that says: not measured."""
    frames(tmp_path)
    np.save(tmp_path / "depth/0003.npy", np.eye(6, 8, dtype=np.uint8) * 255)
    (tmp_path / "depth/0003.png").unlink()
    with closing(open_source("folder", tmp_path, {"invalid": 255.0})) as source:
        assert not source.read(3).valid.any()


@pytest.mark.parametrize("word", split_words.WORDS)
def test_a_word_means_its_split_however_it_is_written(word: str) -> None:
    side = split_words.WORDS[word]
    for form in (word, word.upper(), f" {word.title()} ", f"{word}_set", f"{word} split"):
        assert split_words.side(form) == side
    assert split_words.side(f"{word}x") is None
