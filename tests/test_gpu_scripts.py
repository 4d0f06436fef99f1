"""What is carried to a GPU machine, and the order that is kept there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from PIL import Image
from support.paths import ROOT

STEPS = ["1-doctor", "2-correctness", "3-solo-steps", "4-lanes", "5-sweep", "6-roofline"]


@pytest.fixture
def gpu_carry(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_carry

    yield gpu_carry
    del sys.modules["gpu_carry"]


@pytest.mark.parametrize(
    ("reference", "timms"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_var", "bn2.running_var"),
        ("_fc.bias", "classifier.bias"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.2._expand_conv.weight", "blocks.1.1.conv_pw.weight"),
        ("_blocks.3._bn0.weight", "blocks.2.0.bn1.weight"),
        ("_blocks.15._bn2.num_batches_tracked", "blocks.6.0.bn3.num_batches_tracked"),
    ],
)
def test_weights_are_named_as_timm_names_them(
    gpu_carry: ModuleType, reference: str, timms: str
) -> None:
    assert gpu_carry.timm_name(reference) == timms
    with torch.device("meta"):
        assert timms in timm.create_model("tf_efficientnet_lite0").state_dict()


def test_floats_are_carried_as_float16_and_counts_as_they_are(gpu_carry: ModuleType) -> None:
    state = {"_bn0.weight": torch.ones(2), "_bn0.num_batches_tracked": torch.tensor(7)}
    made = gpu_carry.renamed(state)
    assert made["bn1.weight"].dtype == torch.float16
    assert made["bn1.num_batches_tracked"].dtype == torch.int64


def test_frames_are_carried_until_the_room_is_used_up(
    gpu_carry: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "in" / "data"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (640, 480), (9, 9, 9)).save(folder / f"{number}.jpg")
        Image.new("L", (640, 480), 9).save(folder / f"{number}.png")
    listed = "".join(f"data/{n}.jpg,data/{n}.png\n" for n in range(3))
    (folder / "nyu2_train.csv").write_text(listed)
    (folder / "nyu2_test.csv").write_text("")
    one = len(gpu_carry.smaller(folder / "0.jpg")) + len(gpu_carry.smaller(folder / "0.png"))
    gpu_carry.frames(tmp_path / "in", tmp_path / "out", (1 << 16) + 2 * one + 100)
    lines = (tmp_path / "out" / "data" / "nyu2_train.csv").read_text().splitlines()
    assert lines == ["data/0.jpg,data/0.png", "data/1.jpg,data/1.png"]
    with Image.open(tmp_path / "out" / "data" / "1.png") as depth:
        assert depth.size == (320, 240)
        assert depth.getextrema() == (9, 9)


def test_no_step_stops_the_next(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["bash", ROOT / "benchmarks" / "gpu.sh", "--quick", tmp_path / "results"],
        env=os.environ | {"PYTHON": "false"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    told = (tmp_path / "results" / "summary.txt").read_text()
    assert told == ran.stdout
    lines = [line.partition(": ") for line in told.splitlines()]
    assert [name for name, _, _ in lines] == STEPS
    assert lines[3][2] == "skipped (not built)"
    assert all(how.startswith("failed") for name, _, how in lines if name != "4-lanes")
    left = {file.name for file in (tmp_path / "results").iterdir()}
    assert left == {"summary.txt", *(f"{name}.txt" for name in STEPS if name != "4-lanes")}
