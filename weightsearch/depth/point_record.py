"""What is said of a point: by its checkpoints, and to the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from weightsearch.study.objective_contract import CONSTANT, NOT_COMPARABLE, Context, Fork
from weightsearch.study.spec import ModelSpec

if TYPE_CHECKING:
    from weightsearch.data.packs.building import Pack
    from weightsearch.depth.evaluation.scoring import Scores
    from weightsearch.depth.network.weight_sources import Origin
    from weightsearch.depth.training.epoch_record import Epoch
    from weightsearch.depth.training.trainer import Trainer
    from weightsearch.depth.training.trial_state import Lane

SHRUNK = "memory ran out, and batch normalisation saw fewer images at once than train.batch"


def facts_of(
    weights: Mapping[str, float],
    model: ModelSpec,
    lr: float,
    weighting: str | None,
    native: Pack,
    context: Context,
) -> dict[str, Any]:
    """What a checkpoint says of itself; `point` must agree for training to go on from it."""
    spec = context.spec
    assert spec.data is not None
    return {
        "study": context.study,
        "point": {
            "weights": dict(weights),
            "params": {"encoder": model.encoder, "decoder": model.decoder, "lr": lr},
            "seed": context.seed,
            **({} if context.fold is None else {"fold": context.fold}),
            "final": context.final,
            **({} if context.fork is None else {"fork": _told(context.fork)}),
            "spec_digest": spec.digest(),
            "data_digest": native.digest,
            **({} if weighting is None else {"weighting": weighting}),
        },
        "model": model.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "spec": spec.resolved(),
    }


def _told(fork: Fork) -> dict[str, Any]:
    return {"weights": dict(fork.weights), "epochs": fork.epochs, "moments": fork.moments}


def told(
    native: Pack, train: Sequence[int], val: Sequence[int], origin: Origin | None
) -> dict[str, Any]:
    """What else a checkpoint says of itself, for its model card (launch/model_card.py)."""
    frames = {"train": len(train), "val": len(val), "test": len(native.indices("test"))}
    return {
        "frames": frames,
        "ground_truth": native.ground_truth,
        "encoder_weights": asdict(origin) if origin else None,
    }


def shown(
    epoch: Epoch, trainer: Trainer, lane: Lane, constant: Mapping[str, Any]
) -> dict[str, Any]:
    """An epoch as the service wants it."""
    about: dict[str, Any] = {CONSTANT: constant}
    if not trainer.is_comparable(lane):
        about[NOT_COMPARABLE] = SHRUNK
    if trainer.encoder_origin:
        about["encoder_weights"] = asdict(trainer.encoder_origin)
    if trainer.train.init:
        about["init"] = trainer.train.init.sha256
    return {
        **metrics(epoch.scores),
        **epoch.losses,
        "seconds": epoch.seconds,
        "images_per_second": epoch.images_per_second,
        "parameters": trainer.parameters,
        "latency_ms": trainer.latency_ms(lane),
        "micro_batch": lane.micro,
        "about": about,
    }


def metrics(scores: Scores) -> dict[str, Any]:
    per_image = {renamed(name): values for name, values in scores.per_image.items()}
    return {**per_image, **scores.pooled, "groups": scores.groups}


def renamed(metric: str) -> str:
    return "rel" if metric == "abs_rel" else metric
