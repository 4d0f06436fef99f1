"""Checkpoints of small random networks whose depth varies over a picture, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import torch

from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec

SIZE = (64, 96)


def network(encoder: str, size: tuple[int, int] = SIZE) -> DepthNet:
    """Random, but with a head that is not zero, as an untrained one's is."""
    torch.manual_seed(0)
    model = ModelSpec(encoder=encoder, pretrained=False, width=0.5)
    made = DepthNet(model, DataSpec(source="synthetic", size=size)).eval()
    with torch.no_grad():
        made.decoder.head.weight.normal_().mul_(0.3)
    return made


def save(folder: Path, encoder: str = "test_resnet", size: tuple[int, int] = SIZE) -> Path:
    made = network(encoder, size)
    facts = {"model": made.spec.model_dump(mode="json"), "data": made.data.model_dump(mode="json")}
    return checkpoints.save(folder, "best", {"model": checkpoints.named_tensors(made)}, facts)
