"""A saved network."""

from __future__ import annotations

from pathlib import Path

import torch

from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec


def save_network(folder: Path, gain: float = 30.0, variance: float | None = None) -> Path:
    """A checkpoint of a tiny random network; `gain` makes its output vary over the image, and a
    `variance` replaces what batch normalisation has seen."""
    torch.manual_seed(0)
    model = ModelSpec(encoder="test_efficientnet", pretrained=False, width=0.5)
    data = DataSpec(source="synthetic", size=SIZE)
    network = DepthNet(model, data)
    with torch.no_grad():
        network.decoder.head.weight.normal_().mul_(gain)
        for name, seen in network.named_buffers():
            if variance is not None and name.endswith("running_var"):
                seen.fill_(variance)
    facts = {"model": model.model_dump(mode="json"), "data": data.model_dump(mode="json")}
    return checkpoints.save(folder, "best", {"model": checkpoints.named_tensors(network)}, facts)


SIZE = (32, 48)
"""What the network takes."""
