"""Single steps of `gpu.sh`; each prints its results as they come.

python benchmarks/gpu_checks.py correctness|lanes|sweep|roofline [--device cuda] [--quick]
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
from pathlib import Path
from typing import Any

import torch
from roofline import product_flops, rate, wait
from torch import Tensor

from weightsearch.data.packs import building
from weightsearch.depth.network import checkpoint
from weightsearch.depth.network.precision import pick
from weightsearch.depth.training import lane_count
from weightsearch.depth.training.batches import open_frames
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.study.loading import parse
from weightsearch.study.spec import StudySpec

WEIGHTS = {"mae": 0.6, "edge": 0.2, "ssim": 1.0}
CLOSE = 1e-2
"""Of a step's loss on a GPU, whose convolutions are in TF32 (10 bits), relative to the CPU's."""
STEPS_COMPARED = 4  # the first says little: a network that is not trained predicts one depth

ENCODER = "tf_efficientnet_lite0"
"""Whose weights `gpu_carry.py` takes along."""
STUDY = """
goal      = "Does a small sweep run on one GPU?"
objective = "rmse"
[data]
source = "{source}"
size   = [{height}, {width}]
val    = "blocks:20%"
options = {options}
{limit}
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
    asked = parser.parse_args()
    if asked.device == "cpu":
        torch.set_num_threads(1)  # two collapse beside any other process (docs/benchmarks.md)
    return STEPS[asked.step](asked)


def correctness(asked: argparse.Namespace) -> int:
    """Steps on the device against the CPU's; a run that was saved half-way against a whole one.

    Resumed, it must agree bit for bit, on a GPU too: there, by kernels that add in one order. Those
    of training do not, so that two whole runs differ by chance and would say nothing.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before its first product
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    with tempfile.TemporaryDirectory() as folder:
        spec = small(asked.quick)
        device = pick(asked.device)
        cpu = trained(spec, Path(folder), torch.device("cpu"), STEPS_COMPARED)
        whole = trained(spec, Path(folder), device, STEPS_COMPARED)
        losses = [lane.rows[:STEPS_COMPARED, -2].cpu() for lane in (cpu, whole)]
        apart = ((losses[0] - losses[1]).abs() / losses[0]).max().item()
        print(f"losses on the CPU: {losses[0].tolist()}\nand on {device}: {losses[1].tolist()}")
        print(f"apart by at most {apart:.1e}", flush=True)
        again = trained(spec, Path(folder), device, STEPS_COMPARED)
        resumed = trained(spec, Path(folder), device, STEPS_COMPARED, saved_after=2)
    by_chance = [n for n, value in whole.model.items() if not torch.equal(value, again.model[n])]
    print(f"the same run twice: {len(by_chance)} of {len(whole.model)} tensors differ")
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
        trainer._moved([lane], batch)
        if lane.failure is not None:
            raise lane.failure
    return lane


def lanes(asked: argparse.Namespace) -> int:
    """Images per second of 1, 2, 4 and 8 lanes, against one alone and against the plain loop in
    float32 (step.py). On a CPU lanes take turns."""
    import step

    pick(asked.device)
    quick, device = asked.quick, torch.device(asked.device)
    encoders = ["test_efficientnet"] if quick else ["tf_efficientnet_lite0", "densenet121"]
    size, batch, native = ((32, 48), 2, (48, 64)) if quick else ((120, 160), 8, (480, 640))
    print("| encoder | lanes | a step of each | images/s | of one alone | of the plain loop |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = step.pictures(Path(folder, "nyu_data"), batch * 16, native)
        for encoder in encoders:
            spec = step.study(encoder, "fp32", size, batch)
            _, plain = step.both(spec, data, Path(folder, "home"), device)
            plain_s = statistics.median(_timed(plain, 1, device) for _ in range(1 if quick else 8))
            spec = step.study(encoder, "auto", size, batch)
            ours, _ = step.both(spec, data, Path(folder, "home"), device)
            alone_s = 0.0
            for count in lane_count.COUNTS:
                step_s = lane_count.step_s(ours.trainer, count, 1 if quick else lane_count.TIMED)
                alone_s = alone_s or step_s
                how = "at once" if ours.trainer.recorder.record and count > 1 else "in turns"
                print(
                    f"| {encoder} | {count}, {how} | {1000 * step_s:.2f} ms"
                    f" | {count * batch / step_s:.1f} | {count * alone_s / step_s:.2f}"
                    f" | {count * plain_s / step_s:.2f} |",
                    flush=True,
                )
    return 0


def _timed(way: Any, steps: int, device: torch.device) -> float:
    began = time.perf_counter()
    way.train(steps)
    wait(device)
    return (time.perf_counter() - began) / steps


def sweep(asked: argparse.Namespace) -> int:
    """A small study, with an embedded PostgreSQL and two workers on the one device."""
    pretrained = bool(os.environ.get("WEIGHTSEARCH_WEIGHTS"))
    rooms = "frames = 60, test_frames = 0" + ", height = 48, width = 64" * asked.quick
    values = {
        "source": "nyu_csv" if asked.data else "synthetic",
        "options": "{}" if asked.data else f"{{ {rooms} }}",
        "limit": "", "pretrained": str(pretrained).lower(),
        "encoder": ENCODER,
        "height": 120, "width": 160, "batch": 8, "epochs": 2,
    }  # fmt: skip
    if asked.quick:
        values |= {
            "limit": "limit = 60", "encoder": ENCODER if pretrained else "test_efficientnet",
            "height": 48, "width": 64, "batch": 4, "epochs": 1,
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
    floats = 1 << 20 if asked.quick else 1 << 28
    x = torch.ones(floats, device=device)
    into = torch.empty_like(x)
    tiny = torch.zeros(1, device=device)
    copied = rate(lambda: into.copy_(x), device) * 2 * x.nbytes
    print(f"copy: {copied / 1e9:.1f} GB/s read and written", flush=True)
    for name, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        multiplied = product_flops(device, kind, asked.quick)
        print(f"{name} product: {multiplied / 1e12:.3f} TFLOP/s", flush=True)
    print(f"kernels started: {rate(lambda: tiny.add_(1), device):.0f} per second")
    return 0


STEPS = {"correctness": correctness, "lanes": lanes, "sweep": sweep, "roofline": roofline}

if __name__ == "__main__":
    raise SystemExit(main())
