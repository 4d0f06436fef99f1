"""What each decoder adds to an encoder: parameters, and multiply-adds for one image.

    python benchmarks/decoders.py [ENCODER...] [--size 480 640] [--width 1.0]

Nothing is computed and no memory taken: networks and image are on torch's meta device. Multiply-
adds are those of convolutions and matrix products, as torch's own counter counts them, halved.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

from weightsearch.depth.network import encoders
from weightsearch.depth.network.decoders import DECODERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoders", nargs="*", default=["densenet169", "efficientnet_b0"])
    parser.add_argument("--size", nargs=2, type=int, default=(480, 640))
    parser.add_argument("--width", type=float, default=1.0)
    asked = parser.parse_args()
    print("| encoder | decoder | parameters (M) | multiply-adds (G) |\n|---|---|---|---|")
    for name in asked.encoders:
        for part, parameters, operations in counted(name, tuple(asked.size), asked.width):
            print(f"| {name} | {part} | {parameters / 1e6:.2f} | {operations / 1e9:.1f} |")


def counted(name: str, size: tuple[int, int], width: float) -> list[tuple[str, int, int]]:
    """Of the encoder itself (named "alone"), then of each decoder without the encoder."""
    with torch.device("meta"):
        encoder = encoders.build(name, False).eval()
        rgb = torch.zeros(1, 3, *size)
        with FlopCounterMode(display=False) as counter:
            maps = encoder(rgb)
        rows = [("alone", _parameters(encoder), counter.get_total_flops() // 2)]
        for decoder, build in DECODERS.items():
            built = build(encoder.channels, encoder.reductions, width).eval()
            with FlopCounterMode(display=False) as counter:
                built(maps, size)
            rows.append((decoder, _parameters(built), counter.get_total_flops() // 2))
    return rows


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    main()
