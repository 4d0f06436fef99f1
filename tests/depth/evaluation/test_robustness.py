"""Accuracy on worse pictures: what is done to them, and that it is scored as `evaluate` scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import checkpoints as use_factory
from support.depth_studies import OPTIONS
from support.packs import STEP_M, frame, oracle, write_pack

from weightsearch.commands import model
from weightsearch.commands.answers import network_answers
from weightsearch.commands.printing import networks
from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.robustness import CORRUPTIONS, measure, write_csv
from weightsearch.depth.evaluation.scoring import evaluate_checkpoint
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.errors import DataError
from weightsearch.study.data_spec import DataSpec

SIZE = (48, 64)


class Oracle:
    """Reads the depth off the colours, as no network can."""

    data = DataSpec(source="synthetic", size=SIZE)

    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        return oracle(rgb)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    frames = {f"{i % 3}/{i}": frame(i, SIZE, blur=6) for i in range(6)}
    return write_pack(tmp_path / "pack.h5", frames)


@pytest.fixture
def found(packed: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(checkpoints, "network", lambda *_: Oracle())
    return measure(Path("unused"), packed, "full", "test", "cpu")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_stronger_corruption_changes_more_and_the_same_each_time(name: str) -> None:
    rgb = frame(3, (60, 84), blur=7).rgb
    kind = CORRUPTIONS[name]
    changes = []
    for strength in kind.strengths:
        made = kind.apply(rgb, strength, np.random.default_rng(5))
        again = kind.apply(rgb, strength, np.random.default_rng(5))
        assert (made.shape, made.dtype) == (rgb.shape, np.uint8)
        np.testing.assert_array_equal(made, again)
        changes.append(np.abs(made.astype(int) - rgb).mean())
    assert len(changes) == 5
    assert changes[0] > 0.5
    assert changes == sorted(changes)


def test_worse_pictures_are_scored_against_the_same_ground_truth(
    found: dict[str, Any], packed: Path
) -> None:
    """Brightness has a closed form for what reads depth off the red channel."""
    assert found["clean"]["rmse"] == pytest.approx(0, abs=1e-5)
    with Pack(packed) as pack:
        red = [pack.read([i])[0][0, ..., 0].astype(float) for i in range(6)]
    rows = [row for row in found["rows"] if row["corruption"] == "darker"]
    assert [row["strength"] for row in rows] == [1, 2, 3, 4, 5]
    for row in rows:
        errors = [STEP_M * (np.rint(r * row["value"]) - r) for r in red]
        want = np.mean([np.sqrt((e**2).mean()) for e in errors])
        assert row["metrics"]["rmse"] == pytest.approx(want, rel=1e-4)
        assert row["difference"] == pytest.approx(want, rel=1e-3)
        assert row["interval"][0] < want < row["interval"][1]
    assert rows[-1]["verdict"] == "worse"


def test_what_was_measured_is_told_though_its_table_cannot_be_written(
    found: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(network_answers, "robustness", lambda *_: found)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"table\.csv: cannot be written"):
        model.robustness(tmp_path, csv=tmp_path / "file" / "table.csv", as_json=True)
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 30


def test_every_row_says_what_was_done(found: dict[str, Any], tmp_path: Path) -> None:
    assert len(found["rows"]) == 5 * len(CORRUPTIONS) == 30
    assert (found["images"], found["scenes"], found["protocol"]) == (6, 3, "full")
    for row in found["rows"]:
        assert row["value"] == CORRUPTIONS[row["corruption"]].strengths[row["strength"] - 1]
    write_csv(tmp_path / "table.csv", found)
    with (tmp_path / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert (lines[0]["corruption"], len(lines)) == ("clean", 31)
    for line, row in zip(lines[1:], found["rows"], strict=True):
        assert line["corruption"] == row["corruption"]
        assert float(line["rmse"]) == row["metrics"]["rmse"]
        assert [float(line["low"]), float(line["high"])] == row["interval"]


def test_the_clean_row_is_what_evaluate_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the command's answer can be printed, from a real checkpoint, packing what is missing."""
    saved = use_factory.save(tmp_path / "checkpoint", "test_efficientnet", SIZE)
    monkeypatch.setattr(checkpoints, "data_spec", lambda _: DataSpec(
        source="synthetic", size=SIZE, options=OPTIONS,
    ))  # fmt: skip
    found = network_answers.robustness(saved, None, "full", "test", None, {}, None, "cpu", True)
    (packed,) = (tmp_path / "home").rglob("*.h5")
    with Pack(packed) as pack:
        want = evaluate_checkpoint(saved, pack, "full", "test", "cpu")
    assert found["clean"] == want.metrics()
    assert len({row["metrics"]["rmse"] for row in found["rows"]}) > 20
    networks.robust(found)
    assert "jpeg: quality" in capsys.readouterr().out


def test_a_limit_spreads_over_the_split_and_an_empty_split_is_refused(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "network", lambda *_: Oracle())
    told: list[tuple[int, int]] = []
    limited = measure(Path("unused"), packed, "full", "test", "cpu", 2, lambda *at: told.append(at))
    assert limited["images"] == 2
    assert told == [(k, 31) for k in range(1, 32)]
    with pytest.raises(DataError, match="must have frames of split 'train', but has test"):
        measure(Path("unused"), packed, "full", "train", "cpu")
