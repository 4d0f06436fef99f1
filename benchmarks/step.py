"""A training step of ours against a plain loop of timm and torch: images per second by encoder.

    python benchmarks/step.py [ENCODER...] [--precision fp32] [--pairs 5] [--device cpu] [--clock]
                              [--quick]

Both train the same network, begun alike, on the same pictures in batches of one size, with Adam and
`0.6 MAE + 0.2 Edge + 1.0 SSIM`, in the same precision, on one thread. The plain loop is as people
write it: a DataLoader that decodes and resizes with PIL (`loader.py`), feature maps of timm,
F.interpolate in the decoder, SSIM of pytorch-msssim, a look at the loss after each step. That both
losses agree on one batch is checked first. Measured in turns; medians.

On a CPU by CPU time, which others at work change little. On a GPU (or with --clock) by the clock,
the device being waited for before and after; and beside it, what share of the device's rate for a
large product of matrices in this precision a step's operations come to (torch's FlopCounterMode:
convolutions and products, forwards and backwards).
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch
import torch.nn.functional as F
from loader import Size, frames, pictures, plain_loader
from pytorch_msssim import ssim
from roofline import product_flops, wait
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from weightsearch.depth.loss import weighted_sum
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.precision import pick
from weightsearch.depth.training.trainer import Trainer
from weightsearch.study.loading import parse
from weightsearch.study.spec import StudySpec

ENCODERS = ("densenet121", "efficientnet_b0", "mobilenetv3_small_100", "tf_efficientnet_lite0")
WEIGHTS = {"mae": 0.6, "edge": 0.2, "ssim": 1.0}
LR = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoders", nargs="*", default=ENCODERS)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--size", nargs=2, type=int, default=(120, 160))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="of each, in each pair")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", action="store_true", help="as on a GPU: by the clock")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    by_clock = asked.clock or device.type == "cuda"
    native = (480, 640)
    if asked.quick:
        asked.encoders, asked.size, native = ["test_efficientnet"], (32, 48), (48, 64)
        asked.batch, asked.steps, asked.pairs = 2, 1, 1
    print(f"{asked.size[0]}x{asked.size[1]}, batch {asked.batch}, {asked.device},", end=" ")
    print(f"{torch.get_num_threads()} threads, n = {asked.pairs} pairs of {asked.steps} steps\n")
    named = CLOCK if by_clock else ("ours, images per CPU second", "plain", "ratio", "by the clock")
    print("| encoder | precision | " + " | ".join(named) + " |")
    print("|---" * (2 + len(named)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        data = pictures(Path(folder, "nyu_data"), asked.batch * max(2, asked.steps), native)
        for encoder in asked.encoders:
            spec = study(encoder, asked.precision, (asked.size[0], asked.size[1]), asked.batch)
            ours, plain = both(spec, data, Path(folder, "home"), device)
            taken = [
                (timed(ours, asked.steps), timed(plain, asked.steps)) for _ in range(asked.pairs)
            ]
            shown = by_the_clock if by_clock else by_cpu_time
            cells = shown(ours, taken, asked.batch, asked.steps, asked.quick)
            precision = "bf16" if ours.trainer.bf16 else "fp32"
            print(f"| {encoder} | {precision} | " + " | ".join(cells) + " |", flush=True)


def by_cpu_time(
    ours: Ours, taken: list[tuple[Took, Took]], batch: int, steps: int, quick: bool
) -> list[str]:
    images = batch * steps
    return [
        f"{median(images / o.cpu_s for o, _ in taken):.1f}",
        f"{median(images / p.cpu_s for _, p in taken):.1f}",
        f"{median(p.cpu_s / o.cpu_s for o, p in taken):.2f}",
        f"{median(p.clock_s / o.clock_s for o, p in taken):.2f}",
    ]


CLOCK = ("ours, images/s", "plain", "ratio", "GFLOP a step", "TFLOP/s", "% of a product's")


def by_the_clock(
    ours: Ours, taken: list[tuple[Took, Took]], batch: int, steps: int, quick: bool
) -> list[str]:
    images, step_s = batch * steps, median(o.clock_s / steps for o, _ in taken)
    flops = ours.step_flops()
    kind = torch.bfloat16 if ours.trainer.bf16 else torch.float32
    most = product_flops(ours.trainer.device, kind, quick)
    return [
        f"{median(images / o.clock_s for o, _ in taken):.1f}",
        f"{median(images / p.clock_s for _, p in taken):.1f}",
        f"{median(p.clock_s / o.clock_s for o, p in taken):.2f}",
        f"{flops / 1e9:.3g}",
        f"{flops / step_s / 1e12:.3g}",
        f"{100 * flops / step_s / most:.2g}",
    ]


def study(encoder: str, precision: str, size: Size, batch: int) -> StudySpec:
    tables = {
        "goal": "What does a step cost?",
        "objective": "rmse",
        "data": {"source": "nyu_csv", "size": list(size)},
        "model": {"encoder": encoder, "pretrained": False},
        "loss": {"weights": [WEIGHTS]},
        "train": {"lr": LR, "batch": batch, "precision": precision},
    }
    return parse(tables, "benchmarks/step.py")


@dataclass(frozen=True)
class Took:
    cpu_s: float
    clock_s: float


def timed(way: Ours | Loop, steps: int) -> Took:
    wait(way.device)
    cpu, clock = time.process_time(), time.perf_counter()
    way.train(steps)
    wait(way.device)
    return Took(time.process_time() - cpu, time.perf_counter() - clock)


def both(spec: StudySpec, data: Path, home: Path, device: torch.device) -> tuple[Ours, Loop]:
    """Both ways, warm; raises SystemExit where they do not compute the same loss."""
    assert spec.data is not None
    assert spec.model is not None
    pick(str(device))
    held = frames(data, home, spec.data, device)
    trainer = Trainer(spec, spec.model, held, device)
    torch.manual_seed(0)
    net = DepthNet(spec.model, spec.data, held.typical_m)
    plain = Loop(
        Plain(net).to(device), plain_loader(data, spec.data.size, spec.train.batch), trainer.bf16
    )
    agree(net.to(device), plain, spec)
    ours = Ours(trainer)
    for way in (ours, plain):
        way.train(1)
    return ours, plain


def agree(net: DepthNet, plain: Loop, spec: StudySpec) -> None:
    """Raises SystemExit unless network and loss are the same in both ways, in float32."""
    assert spec.data is not None
    rgb, depth_m = (x.to(plain.device) for x in next(iter(plain.loader)))
    pred_m = net(rgb)
    terms = weighted_sum.compare(
        tuple(WEIGHTS), pred_m, depth_m, torch.ones_like(depth_m, dtype=torch.bool), spec.data
    )
    here = weighted_sum.total(terms, torch.tensor(list(WEIGHTS.values()), device=pred_m.device))
    there = loss(plain.net(rgb), depth_m)
    if not torch.allclose(here, there, rtol=1e-4):
        raise SystemExit(f"the losses must agree, but are {here.item()} and {there.item()}.")


class Ours:
    """Steps of `Trainer`, epoch after epoch, without validation."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.device = trainer, trainer.device
        self.lane = trainer.lane(WEIGHTS, 0, LR)
        trainer._graph.train()
        self.batches = self._endless()

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.trainer._moved([self.lane], next(self.batches))
            if self.lane.failure is not None:
                raise self.lane.failure
            self.lane.step %= self.trainer.steps

    def step_flops(self) -> int:
        """Operations of a step, as torch counts them."""
        with FlopCounterMode(display=False) as counter:
            self.train(1)
        return int(counter.get_total_flops())

    def _endless(self) -> Iterator:  # type: ignore[type-arg]
        epoch = 0
        while True:
            yield from self.trainer.frames.batches(self.trainer.train.batch, 0, epoch)
            epoch += 1


class Loop:
    """The plain loop."""

    def __init__(self, net: Plain, loader: DataLoader[tuple[Tensor, Tensor]], bf16: bool) -> None:
        self.net, self.loader, self.bf16 = net, loader, bf16
        self.optimizer = torch.optim.Adam(net.parameters(), lr=LR)
        self.device = next(net.parameters()).device
        self.batches = self._endless()
        self.losses: list[float] = []

    def train(self, steps: int) -> None:
        kind = self.device.type
        for _ in range(steps):
            rgb, depth_m = (x.to(self.device) for x in next(self.batches))
            self.optimizer.zero_grad()
            with torch.autocast(kind, torch.bfloat16) if self.bf16 else nullcontext():
                pred_m = self.net(rgb)
            value = loss(pred_m, depth_m)
            value.backward()
            self.optimizer.step()
            self.losses.append(value.item())

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader


class Plain(nn.Module):
    """The network as one would write it: timm's feature maps, and DenseDepth's decoder."""

    def __init__(self, net: DepthNet) -> None:
        super().__init__()
        self.body = copy.deepcopy(net.encoder.body)
        self.decoder = copy.deepcopy(net.decoder)

    def forward(self, rgb: Tensor) -> Tensor:
        maps = self.body(rgb)
        x = self.decoder.entry(maps[-1])
        for up, skip in zip(self.decoder.ups, maps[-2::-1], strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = up(torch.cat((x, skip), 1))
        return F.softplus(self.decoder.head(x).float())


def loss(pred_m: Tensor, true_m: Tensor, weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    error = pred_m - true_m
    edge = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    similar = ssim(pred_m, true_m, data_range=10.0)
    mae = error.abs().mean()
    parts = {"mae": mae, "edge": edge, "ssim": (1 - similar) / 2}
    return torch.stack([weights[name] * part for name, part in parts.items()]).sum()


if __name__ == "__main__":
    main()
