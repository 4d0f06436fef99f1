"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightsearch.runtime.atomic_file import staged, write_atomically


def test_a_staged_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    place = tmp_path / "model.onnx"
    write_atomically(place, b"the previous one", mode=0o600)
    with staged(place) as file:
        assert (file.parent, file.read_bytes()) == (tmp_path, b"")
        file.write_bytes(b"new")
        assert place.read_bytes() == b"the previous one"
    assert place.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [place]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "model.onnx"
    write_atomically(place, b"the previous one")
    with pytest.raises(IsADirectoryError), staged(place) as file:  # noqa: PT012
        file.write_bytes(b"half of")
        tmp_path.read_bytes()
    assert place.read_bytes() == b"the previous one"
    assert list(tmp_path.iterdir()) == [place]


def test_an_error_names_the_place_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as nameless:
        write_atomically(Path(), b"new")
    assert nameless.value.filename == "."
    for place, error in (("folder", IsADirectoryError), ("none/model.onnx", FileNotFoundError)):
        with pytest.raises(error) as raised:
            write_atomically(tmp_path / place, b"new")
        assert raised.value.filename == str(tmp_path / place)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_mode_is_that_of_the_file_from_the_start(tmp_path: Path) -> None:
    with staged(tmp_path / "secret", mode=0o600) as file:
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
