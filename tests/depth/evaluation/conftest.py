"""Packs to score on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.packs import frame, write_pack
from support.paths import SHARED_DATA
from support.scored_packs import NYU, SMALL

from weightsearch.data.packs.building import Pack
from weightsearch.data.readers.registry import open_source


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Pack]:
    """Five frames of 24x32 in two rooms, one of them with holes."""
    holes = np.random.default_rng(9).random(SMALL) < 0.5
    frames = {
        f"rooms/{'ab'[i // 3]}/{i:02d}": frame(i, SMALL, holes if i == 2 else None)
        for i in range(5)
    }
    with Pack(write_pack(tmp_path / "small.h5", frames)) as pack:
        yield pack


@pytest.fixture(scope="module")
def nyu_like(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """Three frames of 480x640, filled; colours in blocks, so that files stay small."""
    frames = {f"t/{i}": frame(i, NYU, blur=8) for i in range(3)}
    path = tmp_path_factory.mktemp("nyu") / "nyu.h5"
    with Pack(write_pack(path, frames, ground_truth="filled")) as pack:
        yield pack


# --- real frames, and code written apart from ours ----------------------------------------------


@pytest.fixture(scope="module")
def nyu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """Three real test frames."""
    if not (SHARED_DATA / "nyu_data").is_dir():
        pytest.skip(f"needs the real frames in {SHARED_DATA / 'nyu_data'}")
    with contextlib.closing(open_source("nyu_csv", SHARED_DATA / "nyu_data", {})) as source:
        tests = [i for i, ref in enumerate(source.frames) if ref.split == "test"][:3]
        frames = {source.frames[i].name: source.read(i) for i in tests}
    path = tmp_path_factory.mktemp("real") / "nyu.h5"
    with Pack(write_pack(path, frames, ground_truth="filled")) as pack:
        yield pack
