"""What a network is before its first step: new, or a checkpoint of one's own (`train.init`)."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from weightsearch.depth.network import checkpoint
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.errors import CheckpointError
from weightsearch.study import search_space
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec, StudySpec
from weightsearch.study.tables import init_spec
from weightsearch.study.tables.init_spec import Init


def networks(spec: StudySpec) -> list[StudySpec]:
    """The study with each of its encoders, decoders and sizes alone."""
    assert spec.model is not None
    assert spec.data is not None
    chosen, found = search_space.levels(spec), []
    for encoder, decoder, size in product(
        chosen["encoder"], chosen["decoder"], search_space.sizes(spec)
    ):
        model = spec.model.model_copy(update={"encoder": encoder, "decoder": decoder})
        data = spec.data.model_copy(update={"size": size})
        found.append(spec.model_copy(update={"model": model, "data": data}))
    return found


def network(
    model: ModelSpec, data: DataSpec, init: Init | None, typical_m: float = 2.5
) -> DepthNet:
    """The network of a run, on the CPU; with `init`, all of that checkpoint's, head included.

    Raises CheckpointError where the checkpoint is of another network, or another than was meant.
    """
    if init is None:
        return DepthNet(model, data, typical_m)
    saved = checkpoint.load(init.path)
    _check(saved.path, model, data)
    if init_spec.digest_of(saved.facts["files"]) != init.sha256:
        raise CheckpointError(
            f"{init.path}: must be the checkpoint that the study was begun with (sha256"
            f" {init.sha256[:12]}), but holds another; restore it, or begin a study of another"
            " name."
        )
    # Not the pretrained weights: colour statistics too are the checkpoint's.
    net = DepthNet(model.model_copy(update={"pretrained": False}), data, typical_m)
    checkpoint.fill(net, saved)
    return net


def _check(path: Path, model: ModelSpec, data: DataSpec) -> None:
    """Raises CheckpointError where it was trained as another network, or to say depth otherwise."""
    known, trained_on = checkpoint.specs(path)
    wanted = _told(model, data)
    if _told(known, trained_on) != wanted:
        raise CheckpointError(
            f"{path}: train.init must be of the study's network, {wanted}, but is of"
            f" {_told(known, trained_on)}; change [model] and data.target, or start from another."
        )


def _told(model: ModelSpec, data: DataSpec) -> str:
    return f"{model.encoder} with {model.decoder} x {model.width:g}, target {data.target}"
