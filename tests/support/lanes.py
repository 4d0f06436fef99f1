"""Lanes of tiny networks in training."""

from __future__ import annotations

import torch

from support.depth_studies import depth_spec, training_copy
from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.network.prediction import Predict
from weightsearch.depth.training.batches import Frames, open_frames
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.study.spec import StudySpec

CPU = torch.device("cpu")
SPEC = depth_spec()
NONE = Scores(
    protocol="none", alignment="none", ground_truth="exact", per_image={}, pooled={}, indices=[],
    pixels=[], names=[], groups=[], skipped=[], missing=[], notes=[],
)  # fmt: skip


def unscored(predict: Predict) -> Scores:
    """Stands for validation where a test has no use for it."""
    assert predict(torch.zeros(1, 3, 48, 64)).isfinite().all()
    return NONE


def frames(spec: StudySpec = SPEC, device: torch.device = CPU, **options: int) -> Frames:
    assert spec.data is not None
    return open_frames(training_copy(spec), range(24), spec.data, device, **options)


def trainer(spec: StudySpec = SPEC, device: torch.device = CPU) -> Trainer:
    assert spec.model is not None
    return Trainer(spec, spec.model, frames(spec, device), device)


def with_dropout(on: Trainer) -> Trainer:
    """Draws from torch's global generator in each step, as stochastic depth does."""
    on._graph.decoder.entry.register_forward_pre_hook(
        lambda layer, x: torch.nn.functional.dropout(x[0], 0.5, layer.training)
    )
    return on


def trained(on: Trainer, weights: dict[str, float], seed: int = 0, epochs: int = 2) -> Lane:
    lane = on.lane(weights, seed, 1e-3)
    for _ in on.run(lane, epochs, unscored):
        pass
    return lane


def same(a: Lane, b: Lane) -> bool:
    left, right = a.tensors(), b.tensors()
    return left.keys() == right.keys() and all(
        left[part].keys() == right[part].keys()
        and all(torch.equal(left[part][k], right[part][k]) for k in left[part])
        for part in left
    )
