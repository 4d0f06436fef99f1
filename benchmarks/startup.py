"""How soon a worker takes its first step, and how much memory a launch itself takes.

    python benchmarks/startup.py [--encoder efficientnet_b0] [--repetitions 5] [--quick]

A fresh process each time, on one thread, files in the disk's cache. Ours imports what a worker
imports, opens the packed frames, builds the trainer with a lane, and steps. Plain is the least that
anybody's loop does: it imports torch, timm and torchvision, reads its first batch with PIL, builds
timm's encoder with Adam, and steps on its last feature map, without decoder or loss. Medians, in
turns. Then the peak RSS of the process of `weightsearch launch` itself: a small study with
promotion and pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDY = """
goal = "How large is the launcher?"
objective = "rmse"
[data]
source = "synthetic"
size = [48, 64]
val = "blocks:20%"
options = { frames = 30, test_frames = 6, height = 48, width = 64 }
[model]
encoder = "test_efficientnet"
pretrained = false
[loss]
weights = [{ mae = 1.0 }, { mae = 1.0, ssim = 1.0 }]
[train]
batch = 4
epochs = 1
[promote]
top = 1
seeds = [1]
epochs = 1
"""
PEAK = """
import atexit, pathlib, re, sys
told, status = pathlib.Path(sys.argv.pop(1)), pathlib.Path("/proc/self/status")
atexit.register(lambda: told.write_text(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]))
from weightsearch.commands.main import main
main()
"""
"""Not of getrusage, whose peak is at least that of the process that started it."""

Lap = tuple[str, float, float]
"""A part's name, its seconds by the clock, and of CPU time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="efficientnet_b0")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="once, in this process")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.quick:
        asked.encoder, asked.repetitions = "test_efficientnet", 1
    if asked.way:
        print(json.dumps(list(laps(asked.way, asked.encoder, asked.folder, asked.began))))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # for the user that the embedded server runs as
        prepare(Path(folder), *((16, (48, 64)) if asked.quick else (64, (480, 640))))
        found: dict[str, list[list[Lap]]] = {way: [] for way in WAYS}
        for _ in range(asked.repetitions):
            for way in WAYS:
                found[way].append(measured(way, asked, Path(folder)))
        show(found)
        if asked.quick:
            return
        peak = launcher_bytes(Path(folder))
        print(f"\nlauncher: {peak / 1e6:.0f} MB at its peak; load {os.getloadavg()[0]:.1f}")


def show(found: dict[str, list[list[Lap]]]) -> None:
    totals = {}
    print("| way | part | s | CPU s |\n|---|---|---|---|")
    for way, runs in found.items():
        for part in zip(*runs, strict=True):
            clock, cpu = (statistics.median(lap[i] for lap in part) for i in (1, 2))
            print(f"| {way} | {part[0][0]} | {clock:.2f} | {cpu:.2f} |")
        totals[way] = [
            statistics.median(sum(lap[i] for lap in run[:-1]) for run in runs) for i in (1, 2)
        ]
        print(f"| {way} | until the first step is done | {totals[way][0]:.2f} ", end="")
        print(f"| {totals[way][1]:.2f} |")
    ratios = [ours / plain for ours, plain in zip(totals["ours"], totals["plain"], strict=True)]
    print(f"| ratio | until the first step is done | {ratios[0]:.2f} | {ratios[1]:.2f} |")


def prepare(folder: Path, frames: int, size: tuple[int, int]) -> None:
    """Pictures and their pack. Imports torch, as the processes that are measured do."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from loader import pictures

    from weightsearch.data.packs import building

    data = pictures(folder / "nyu_data", frames, size)
    pack = building.ensure("nyu_csv", data, {}, folder / "home")
    building.training_copy(pack, (120, 160), folder / "home")


def measured(way: str, asked: argparse.Namespace, folder: Path) -> list[Lap]:
    """In a process of its own; where it is to be quick, in this one, which has imported all."""
    if asked.quick:
        return list(laps(way, asked.encoder, folder, time.monotonic(), time.process_time()))
    options = ["--way", way, "--encoder", asked.encoder, "--folder", str(folder)]
    command = [sys.executable, __file__, *options, "--began", str(time.monotonic())]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: list[Lap] = json.loads(ended.stdout)
    return found


def laps(way: str, encoder: str, folder: Path, clock: float, cpu: float = 0.0) -> Iterator[Lap]:
    """From `time.monotonic()` and `time.process_time()` at the start."""
    for part in WAYS[way](encoder, folder):
        now = time.monotonic(), time.process_time()
        yield part, now[0] - clock, now[1] - cpu
        clock, cpu = now


def ours(encoder: str, folder: Path) -> Iterator[str]:
    """Ends of its parts."""
    yield "start of Python"
    from weightsearch.depth import objective

    objective.import_networks()

    import torch

    from weightsearch.commands import worker  # noqa: F401
    from weightsearch.data.packs import building
    from weightsearch.depth.evaluation import constant_prediction, scoring  # noqa: F401
    from weightsearch.depth.training import batches, saving  # noqa: F401
    from weightsearch.depth.training.trainer import Trainer
    from weightsearch.store import optuna_mirror  # noqa: F401
    from weightsearch.study.loading import parse
    from weightsearch.worker import loop  # noqa: F401

    yield "imports"
    tables: dict[str, Any] = {"goal": "How soon?", "objective": "rmse"}
    tables |= {"data": {"source": "nyu_csv", "size": [120, 160]}}
    tables |= {"model": {"encoder": encoder, "pretrained": False}, "train": {"batch": 8}}
    spec = parse(tables | {"loss": {"weights": [{"mae": 0.6, "edge": 0.2, "ssim": 1.0}]}}, "here")
    assert spec.data is not None
    assert spec.model is not None
    pack = building.ensure("nyu_csv", folder / "nyu_data", {}, folder / "home")
    copy = building.training_copy(pack, spec.data.size, folder / "home")
    cpu = torch.device("cpu")
    with building.Pack(pack) as native:
        frames = batches.open_frames(copy, native.indices("train"), spec.data, cpu)
    yield "data"
    trainer = Trainer(spec, spec.model, frames, cpu)
    lane = trainer.lane({"mae": 0.6, "edge": 0.2, "ssim": 1.0}, 0, spec.train.lr)
    yield "network"
    steps = trainer.steps_s(lane)
    next(steps)
    yield "first step"
    next(steps)
    yield "second step"


def plain(encoder: str, folder: Path) -> Iterator[str]:
    """Ends of its parts."""
    yield "start of Python"
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader  # noqa: F401
    from torchvision.transforms import v2

    yield "imports"
    resized = v2.Compose([v2.Resize((120, 160)), v2.ToImage(), v2.ToDtype(torch.float32, True)])
    files = sorted(folder.glob("nyu_data/data/nyu2_train/*/*.jpg"))[:8]
    rgb = torch.stack([resized(Image.open(file)) for file in files])
    yield "data"
    net = timm.create_model(encoder, features_only=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    yield "network"
    for part in ("first step", "second step"):
        optimizer.zero_grad()
        net(rgb)[-1].mean().backward()
        optimizer.step()
        yield part


WAYS = {"ours": ours, "plain": plain}


def launcher_bytes(folder: Path) -> int:
    """The peak RSS of the process of a launch, without those that it starts."""
    study, told, home = folder / "small.toml", folder / "peak", folder / "home"
    study.write_text(STUDY)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WEIGHTSEARCH_HOME": str(home)}
    command = [sys.executable, "-P", "-c", PEAK, str(told), "launch", str(study), "--workers", "1"]
    subprocess.run([*command, "--quiet"], env=environment, stdout=subprocess.DEVNULL, check=True)
    return int(told.read_text()) << 10


if __name__ == "__main__":
    main()
