"""Whether ONNX files of encoders, the paper's four by default, agree with torch on real pictures.

    python benchmarks/export.py PICTURES [ENCODER ...]

An encoder may be a pattern: 'tf_*' is every one of that name that timm offers. Random weights, with
a head that is not zero: what is compared is arithmetic, not what was learned. Exits with 1 where
one differs by more than `export` lets through, or takes longer than `MOST_S`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import timm
import torch

from weightsearch.depth.inference.export import export
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.errors import CheckpointError
from weightsearch.study.spec import DataSpec, ModelSpec

PAPER = ("densenet121", "densenet169", "densenet201", "efficientnet_b0")
SIZE = (240, 320)
MOST_S = 60.0
"""Of one export, with its comparisons, on two cores."""


def main(pictures: Path, encoders: list[str]) -> int:
    failed = 0
    torch.set_num_threads(2)
    print("| encoder | compared at | pictures | largest relative difference | p50 | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    for encoder in [name for given in encoders for name in timm.list_models(given) or [given]]:
        with tempfile.TemporaryDirectory() as folder:
            saved = _random(Path(folder), encoder)
            began = time.perf_counter()
            try:
                made = export(saved, Path(folder, "model.onnx"), [pictures])
            except CheckpointError as error:
                failed += 1
                print(f"| {encoder} | {error} | | | | |", flush=True)
                continue
        took_s = time.perf_counter() - began
        failed += took_s > MOST_S
        sizes = " and ".join(f"{height}x{width}" for height, width in made.sizes)
        print(
            f"| {encoder} | {sizes} | {made.pictures} | {made.difference:.2g} |"
            f" {made.p50_ms:.0f} ms | {took_s:.0f} |",
            flush=True,
        )
    return min(failed, 1)


def _random(folder: Path, encoder: str) -> Path:
    torch.manual_seed(0)
    model = ModelSpec(encoder=encoder, pretrained=False)
    network = DepthNet(model, DataSpec(source="nyu_csv", size=SIZE))
    with torch.no_grad():
        network.decoder.head.weight.normal_(std=0.3)
    facts = {"model": model.model_dump(mode="json"), "data": network.data.model_dump(mode="json")}
    return checkpoints.save(folder, "best", {"model": checkpoints.named_tensors(network)}, facts)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:] or list(PAPER)))
