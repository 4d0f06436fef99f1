"""Whether ONNX files of encoders, the paper's four by default, agree with torch on real pictures.

    python benchmarks/export.py PICTURES [ENCODER ...]

An encoder may be a pattern: 'tf_*' is every one of that name that timm offers. What is compared is
arithmetic, not what was learned, so weights are random. But batch normalisation has the statistics
of the pictures, and the head's results vary by 1, as in a trained network: without, deep features
vanish (to 1e-4 in efficientnet_b0, whatever is wrong with them), or depth is 0 everywhere (from
-640 before softplus in tf_efficientnet_es). And blocks add `RESIDUAL` of what they compute to what
they pass on, as networks begin to be trained (Goyal et al. 2017, arXiv 1706.02677, section 5.1:
with 0 of it): where each of a hundred random blocks counts as much as all before it, rounding grows
from block to block (2.1e-3 in tf_efficientnet_l2), and a fault of less could not be seen. Where the
difference is above `export`'s limit, torch's own from float64 stands beside it. Exits with 1 where
one differs by more than `export` lets through, or takes longer than `MOST_S`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import timm
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from weightsearch.depth.files.input_pictures import gather, read_rgb
from weightsearch.depth.inference.export import export, larger
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.prediction import network_input
from weightsearch.errors import CheckpointError
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec

PAPER = ("densenet121", "densenet169", "densenet201", "efficientnet_b0")
SIZE = (240, 320)
"""At which the networks are trained; `export` also compares at `larger(SIZE)`."""
RESIDUAL = 0.2
MOST_S = 60.0
"""Of one export, with its comparisons, on two cores."""


def main(pictures: Path, encoders: list[str]) -> int:
    failed = 0
    torch.set_num_threads(2)
    print("| encoder | pictures | largest relative difference | float64's | p50 | s | CPU s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for encoder in [name for given in encoders for name in timm.list_models(given) or [given]]:
        with tempfile.TemporaryDirectory() as folder:
            saved = _random(Path(folder), encoder, pictures)
            began, cpu_began = time.perf_counter(), time.process_time()
            try:
                made = export(saved, Path(folder, "model.onnx"), [pictures])
            except CheckpointError as error:
                failed += 1
                print(f"| {encoder} | {error} | | | | | |", flush=True)
                continue
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        failed += took_s > MOST_S
        rounding = "" if made.rounding is None else f"{made.rounding:.2g}"
        print(
            f"| {encoder} | {made.pictures} | {made.difference:.2g} | {rounding} |"
            f" {made.p50_ms:.0f} ms | {took_s:.0f} | {cpu_s:.0f} |",
            flush=True,
        )
    return min(failed, 1)


def _random(folder: Path, encoder: str, pictures: Path) -> Path:
    torch.manual_seed(0)
    model = ModelSpec(encoder=encoder, pretrained=False)
    network = DepthNet(model, DataSpec(source="nyu_csv", size=SIZE))
    shown = [read_rgb(one.path) for one in gather([pictures], videos=False)][:4]
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all batches
    for block in network.modules():
        if getattr(block, "has_skip", False):  # timm's name, in all that the TensorFlow ones are of
            last = [layer for layer in block.modules() if isinstance(layer, _BatchNorm)][-1]
            torch.nn.init.constant_(last.weight, RESIDUAL)
    with torch.no_grad():
        for size in (larger(SIZE), SIZE):
            rgb = torch.cat([network_input(picture[None], size, "cpu") for picture in shown])
            network.train()(rgb)
        network.eval().decoder.head.weight.normal_(std=0.3)
        network.decoder.head.weight /= network.decoder(network.encoder(rgb), SIZE).std()
    facts = {"model": model.model_dump(mode="json"), "data": network.data.model_dump(mode="json")}
    return checkpoints.save(folder, "best", {"model": checkpoints.named_tensors(network)}, facts)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:] or list(PAPER)))
