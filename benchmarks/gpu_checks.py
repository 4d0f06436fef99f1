"""Single steps of `gpu.sh`; each prints its results as they come.

python benchmarks/gpu_checks.py correctness|sweep|roofline [--device cuda] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from weightsearch.data.packs import building
from weightsearch.depth.network import checkpoint
from weightsearch.depth.network.precision import pick
from weightsearch.depth.training.batches import open_frames
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.study.loading import parse
from weightsearch.study.spec import StudySpec

WEIGHTS = {"mae": 0.6, "edge": 0.2, "ssim": 1.0}
CLOSE = 1e-2
"""Of a step's loss on a GPU, whose convolutions are in TF32 (10 bits), relative to the CPU's."""
STEPS_COMPARED = 4  # the first says little: a network that is not trained predicts one depth

STUDY = """
goal      = "Does a small sweep run on one GPU?"
objective = "rmse"
[data]
source = "{source}"
size   = [{height}, {width}]
val    = "blocks:20%"
options = {options}
[model]
encoder    = "{encoder}"
pretrained = {pretrained}
[loss]
weights = [{{ mae = 1.0 }}, {{ mae = 0.6, edge = 0.2, ssim = 1.0 }}, {{ ssim = 1.0 }}]
[train]
lr     = 3e-4
batch  = {batch}
epochs = {epochs}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, help="NYU as gpu_carry.py made it")
    parser.add_argument("--quick", action="store_true")
    return STEPS[(asked := parser.parse_args()).step](asked)


def correctness(asked: argparse.Namespace) -> int:
    """Steps on the device against the CPU's; a run that was saved half-way against a whole one.

    On a CPU both must agree bit for bit.
    """
    with tempfile.TemporaryDirectory() as folder:
        spec = small(asked.quick)
        device = pick(asked.device)
        cpu = trained(spec, Path(folder), torch.device("cpu"), STEPS_COMPARED)
        whole = trained(spec, Path(folder), device, STEPS_COMPARED)
        losses = [lane.rows[:STEPS_COMPARED, -2].cpu() for lane in (cpu, whole)]
        apart = ((losses[0] - losses[1]).abs() / losses[0]).max().item()
        print(f"losses on the CPU: {losses[0].tolist()}\nand on {device}: {losses[1].tolist()}")
        print(f"apart by at most {apart:.1e}", flush=True)
        resumed = trained(spec, Path(folder), device, STEPS_COMPARED, saved_after=2)
    differ = [n for n, value in whole.model.items() if not torch.equal(value, resumed.model[n])]
    print(f"resumed after 2 steps: {len(differ)} of {len(whole.model)} tensors differ")
    worst = max(_apart(whole.model[name], resumed.model[name]) for name in whole.model)
    print(f"the largest difference, relative to the tensor's largest value: {worst:.1e}")
    return int(apart > CLOSE or bool(differ))


def _apart(a: Tensor, b: Tensor) -> float:
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))


def small(quick: bool) -> StudySpec:
    text = {
        "goal": "one step",
        "data": {
            "source": "synthetic",
            "size": [48, 64] if quick else [120, 160],
            "options": {"frames": 30, "test_frames": 0, "height": 48, "width": 64}
            if quick
            else {"frames": 60, "test_frames": 0},
        },
        "model": {
            "encoder": "test_efficientnet" if quick else "efficientnet_b0",
            "pretrained": False,
        },
        "loss": {"weights": [WEIGHTS]},
        "train": {"batch": 4, "lr": 1e-3, "precision": "fp32"},
    }
    return parse(text, "benchmarks/gpu_checks.py")


def trained(
    spec: StudySpec, home: Path, device: torch.device, steps: int, saved_after: int | None = None
) -> Lane:
    """A lane after so many steps of its first epoch; saved and restored on the way if asked."""
    assert spec.data is not None
    assert spec.model is not None
    pack = building.ensure("synthetic", None, spec.data.options, home)
    copy = building.training_copy(pack, spec.data.size, home)
    with building.Pack(copy) as opened:
        held = open_frames(copy, range(len(opened)), spec.data, device)
    trainer = Trainer(spec, spec.model, held, device)
    lane = trainer.lane(WEIGHTS, 0, 1e-3)
    trainer._graph.train()
    for number, batch in enumerate(held.batches(spec.train.batch, 0, 0)):
        if number == steps:
            break
        if number == saved_after:
            told = {"position": lane.position()}
            checkpoint.save(home, "last", lane.tensors(), told)
            lane = trainer.lane(WEIGHTS, 0, 1e-3)
            lane.restore(checkpoint.load(home / "last"))
        trainer._step(lane, batch)
        lane.step += 1
    return lane


def sweep(asked: argparse.Namespace) -> int:
    """A small study, with an embedded PostgreSQL and two workers on the one device."""
    pretrained = bool(os.environ.get("WEIGHTSEARCH_WEIGHTS"))
    values = {
        "source": "nyu_csv" if asked.data else "synthetic",
        "options": "{}" if asked.data else "{ frames = 60, test_frames = 0 }",
        "encoder": "tf_efficientnet_lite0", "pretrained": str(pretrained).lower(),
        "height": 120, "width": 160, "batch": 8, "epochs": 2,
    }  # fmt: skip
    if asked.quick:
        values |= {
            "options": "{ frames = 30, test_frames = 0, height = 48, width = 64 }",
            "encoder": "test_efficientnet", "height": 48, "width": 64, "batch": 4, "epochs": 1,
        }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder, "gpu-sweep.toml")
        study.write_text(STUDY.format(**values))
        command = [sys.executable, "-m", "weightsearch"]
        launch = ["launch", str(study), "--workers", "2", "--device", asked.device, "--no-promote"]
        launch += ["--data", str(asked.data)] if asked.data else []
        began = time.perf_counter()
        ran = subprocess.run([*command, *launch, "--json"], stdout=subprocess.PIPE, text=True)
        took_s = time.perf_counter() - began
        if ran.returncode:
            return ran.returncode
        verified = subprocess.run([*command, "verify", "gpu-sweep-grid"])
    answer = json.loads(ran.stdout)
    print(f"{answer['points']} in {took_s:.0f} s")
    for row in answer["ranking"]:
        print(f"{row['rank']} {row['weights']} rmse {row['rmse']:.4f}")
    return verified.returncode


def roofline(asked: argparse.Namespace) -> int:
    """What the device can do at most: copying, multiplying, starting kernels."""
    device = torch.device(asked.device)
    side, floats = (256, 1 << 20) if asked.quick else (8192, 1 << 28)
    x = torch.ones(floats, device=device)
    into = torch.empty_like(x)
    a = torch.randn(side, side, device=device).bfloat16()
    tiny = torch.zeros(1, device=device)
    copied = rate(lambda: into.copy_(x), device) * 2 * x.nbytes
    print(f"copy: {copied / 1e9:.1f} GB/s read and written", flush=True)
    multiplied = rate(lambda: a @ a, device) * 2 * side**3
    print(f"bf16 product of {side}x{side}: {multiplied / 1e12:.3f} TFLOP/s", flush=True)
    print(f"kernels started: {rate(lambda: tiny.add_(1), device):.0f} per second")
    return 0


def rate(run: Callable[[], object], device: torch.device, for_s: float = 1.0) -> float:
    """How often it runs in a second."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    run()
    wait()
    count, began = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began) < for_s:
        for _ in range(10):
            run()
        wait()
        count += 10
    return count / took_s


STEPS = {"correctness": correctness, "sweep": sweep, "roofline": roofline}

if __name__ == "__main__":
    raise SystemExit(main())
