"""What a point is trained with, and from where: by every process that trains it.

The first rank of a run (objective.py) and the others (rank_process.py) call `prepared`, so that all
have the same network at the same place. Importing this module imports no torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth import point_record
from weightsearch.errors import ConfigError, did_you_mean
from weightsearch.study import search_space
from weightsearch.study.objective_contract import Context
from weightsearch.study.spec import ModelSpec, StudySpec
from weightsearch.study.spec_fields import Value
from weightsearch.study.tables.number_range import Range

if TYPE_CHECKING:
    from weightsearch.data.packs.building import Pack
    from weightsearch.depth.training.beginnings import Leg
    from weightsearch.depth.training.ranks import Ranks
    from weightsearch.depth.training.trainer import Trainer
    from weightsearch.depth.training.trial_state import Lane

SEARCHED = ("encoder", "decoder", "lr", "size")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A point that is ready to train."""

    trainer: Trainer
    lane: Lane
    """New, or as the checkpoint `last` of the point, or of its trunk, has it."""
    epochs: list[dict[str, Any]]
    """Those before."""
    legs: Sequence[Leg]
    """What is left: the one that the lane is in, and those after it."""
    new: Callable[[Mapping[str, float]], Lane]
    """A lane of such weights that has trained nothing yet."""
    val: Sequence[int]
    """The frames to validate with."""


def prepared(
    weights: Mapping[str, float],
    params: Mapping[str, Value],
    context: Context,
    native: Pack,
    ranks: Ranks | None,
) -> Prepared:
    """Of a context `at_size`, whose packed data are `native`."""
    from weightsearch.depth.training import beginnings

    spec = context.spec
    model, lr = chosen(params, context)
    train, val = split_frames(native, spec, context.fold)
    built = trainer(native.path, train, model, context, ranks)
    weighting = search_space.weighting_of(params)

    def facts_of(of: Mapping[str, float], at: Context) -> dict[str, Any]:
        facts = point_record.facts_of(of, model, lr, weighting, native, at)
        return facts | point_record.told(native, train, val, built.encoder_origin)

    def new(of: Mapping[str, float]) -> Lane:
        return lane(built, of, params, context)

    legs = beginnings.legs(weights, facts_of, context)
    first, begun, epochs = beginnings.begin(legs, new, context)
    return Prepared(built, begun, epochs, legs[first:], new, val)


def lane(
    on: Trainer, weights: Mapping[str, float], params: Mapping[str, Value], context: Context
) -> Lane:
    """A new one of this point."""
    from weightsearch.depth.loss.weightings import Learned

    weighting = search_space.weighting_of(params)
    learned = None if weighting is None else Learned(weighting, context.epochs)
    lr = chosen(params, context)[1]
    return on.lane(weights, context.seed, lr, context.shrink, learned, context.epochs)


def check_names(spec: StudySpec, params: Mapping[str, Any]) -> None:
    from weightsearch.depth.evaluation.metrics import METRICS

    for name in params:
        if name not in SEARCHED:
            raise ConfigError(
                f"the depth objective has no parameter '{name}'; {did_you_mean(name, SEARCHED)}"
            )
    known = {point_record.renamed(name) for name in METRICS} | {"rmse_pooled"}
    if spec.objective.metric not in known:
        raise ConfigError(
            f"the depth objective has no metric '{spec.objective.metric}';"
            f" {did_you_mean(spec.objective.metric, known)}"
        )


def chosen(params: Mapping[str, Value], context: Context) -> tuple[ModelSpec, float]:
    """The model and the lr to train with: what is searched from `params`, the rest fixed.

    Raises ConfigError for what this objective does not know.
    """
    spec = context.spec
    assert spec.model is not None
    params = {name: value for name, value in params.items() if name != search_space.WEIGHTING}
    check_names(spec, params)
    fixed = {"encoder": spec.model.encoder, "decoder": spec.model.decoder, "lr": spec.train.lr}
    chosen = fixed | dict(params)
    for name, value in chosen.items():
        if isinstance(value, tuple | Range):
            kind = "range" if isinstance(value, Range) else "list"
            told = search_space.told(value)
            raise ConfigError(f"'{name}' must be one value here, but is the {kind} {told}.")
    chosen.pop("size", None)
    lr = float(chosen.pop("lr"))  # type: ignore[arg-type]
    return spec.model.model_copy(update=chosen), lr


def at_size(params: Mapping[str, Value], context: Context) -> Context:
    """The context with the input size of this point, where sizes are searched."""
    if "size" not in params:
        return context
    spec = context.spec
    assert spec.data is not None
    data = spec.data.model_copy(update={"size": search_space.picture_size(str(params["size"]))})
    return replace(context, spec=spec.model_copy(update={"data": data}))


def trainer(
    path: Path, train: Sequence[int], model: ModelSpec, context: Context, ranks: Ranks | None
) -> Trainer:
    """From the worker's cache where it fits. Only the latest is kept, to bound the memory."""
    from weightsearch.data.packs import building, depth_range
    from weightsearch.depth.network.precision import pick
    from weightsearch.depth.training import batches, rank_trainer

    spec, cache = context.spec, context.cache
    assert spec.data is not None
    data, device = spec.data, pick(context.device)

    def remake() -> Path:
        return building.copy_made_again(path, data.size, context.home)

    def frames() -> batches.Frames:
        copy = building.training_copy(path, data.size, context.home)
        with building.Pack(path) as native:
            for line in depth_range.told(native, native.indices("train"), data):
                log.warning("%s: %s", data.source, line)
        return batches.open_frames(copy, train, data, device, remake=remake)

    key = (path, spec.digest(), device, context.fold)
    held = cached(cache, "depth frames", key, frames)
    one = (*key, model.encoder, model.decoder, ranks)
    trainer: Trainer = cached(
        cache, "depth trainer", one, lambda: rank_trainer.built(spec, model, held, device, ranks)
    )
    return trainer


def cached(cache: dict[str, Any], name: str, key: object, build: Callable[[], object]) -> Any:
    if cache.get(name, (None,))[0] != key:
        cache.pop(name, None)  # before the next one is built
        cache[name] = key, build()
    return cache[name][1]
