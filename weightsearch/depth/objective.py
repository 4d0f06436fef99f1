"""The depth objective: what the service calls to train one configuration.

The route: `run` opens the pack and splits it → `_trainer` takes from the worker's cache, or builds,
what trials share → `Trainer.run` (training/trainer.py) trains → each epoch is scored on validation
frames at native size (evaluation/scoring.py) and yielded. Importing this module imports no torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth.training import early_stopping
from weightsearch.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    did_you_mean,
)
from weightsearch.study import known_names, search_space
from weightsearch.study.objective_contract import (
    CONSTANT,
    LAST,
    NOT_COMPARABLE,
    Context,
    Run,
    summarise,
)
from weightsearch.study.spec import ModelSpec, StudySpec
from weightsearch.study.spec_fields import Value

if TYPE_CHECKING:
    from weightsearch.data.packs.building import Pack
    from weightsearch.depth.evaluation.error_breakdown import Details
    from weightsearch.depth.evaluation.scoring import Scores
    from weightsearch.depth.network.prediction import Predict
    from weightsearch.depth.network.weight_sources import Origin
    from weightsearch.depth.training.trainer import Epoch, Trainer
    from weightsearch.depth.training.trial_state import Lane

SHRUNK = "memory ran out, and batch normalisation saw fewer images at once than train.batch"
SEARCHED = ("encoder", "decoder", "lr", "size")
WEIGHTINGS = known_names.NAMES["weighting"]
"""What the objective declares: the learned weightings that it knows."""

log = logging.getLogger(__name__)


def run(weights: Mapping[str, float], params: Mapping[str, Value], context: Context) -> Run:
    """Trains one configuration; the contract is in `weightsearch/study/objective_contract.py`.

    Where the context's folder holds a checkpoint `last` of the same point, training goes on from
    it, and what was yielded before is yielded again. A promotion keeps `best` by the study's metric
    and returns what the test split says of it: test frames are read nowhere else.
    """
    from weightsearch.data.packs import building
    from weightsearch.depth.loss.weightings import Learned
    from weightsearch.depth.training.saving import Saving, still_ours

    context = _at_size(params, context)
    spec = context.spec
    assert spec.data is not None
    weighting = search_space.weighting_of(params)
    model, lr = _chosen(params, context)
    path = building.ensure(spec.data.source, context.data, spec.data.options, context.home)
    with building.Pack(path) as native:
        _same_data(native, context)
        train, val = split_frames(native, spec)
        trainer = _trainer(path, train, model, context)
        constant = _constant(path, native, val, trainer, context)
        facts = _facts(weights, model, lr, native, context) | _told(
            native, train, val, trainer.encoder_origin
        )
        if weighting is not None:
            facts["point"]["weighting"] = weighting
        learned = Learned(weighting, context.epochs) if weighting is not None else None
        lane, epochs = _start(
            lambda: trainer.lane(weights, context.seed, lr, context.shrink, learned), facts, context
        )
        yield from epochs

        def validate(predict: Predict) -> Scores:
            return _score(predict, native, val, spec.evaluate.protocol, trainer)

        saving = Saving(context, lane, facts)
        try:
            until = lane.epoch if early_stopping.ran_out(epochs, context) else context.epochs
            for epoch in trainer.run(lane, until, validate, context.grace_s):
                epochs.append(_shown(epoch, trainer, lane, constant))
                still_ours(context)
                if context.final and early_stopping.best(epochs, context) == len(epochs):
                    saving.best(epoch.number, summarise(epochs[-1]).metrics)
                saving.after_epoch(epochs)
                yield epochs[-1]
                if early_stopping.ran_out(epochs, context):
                    break
        except Interrupted:
            if not context.lost():
                saving.last(epochs)
            raise
        return _test(native, trainer, lane, context) if context.final else None


def check_model(spec: StudySpec, device: str) -> None:
    """Raises what would be wrong with every point whatever the data: names, encoders and their
    weights, sizes, the device. `launch` asks this before it packs."""
    from weightsearch.depth.network.depth_net import DepthNet
    from weightsearch.depth.network.encoders import check_name
    from weightsearch.depth.network.precision import pick

    assert spec.data is not None
    assert spec.model is not None
    _check_names(spec, spec.params)
    pick(device)
    chosen = search_space.choices(spec)
    for encoder in chosen["encoder"]:  # all of the names before the first of the weights
        check_name(str(encoder))
    for encoder, decoder, size in product(
        chosen["encoder"], chosen["decoder"], search_space.sizes(spec)
    ):
        one = spec.model.model_copy(update={"encoder": encoder, "decoder": decoder})
        DepthNet(one, spec.data.model_copy(update={"size": size})).check_size(spec.train.batch)


def check(spec: StudySpec, device: str, packed: Path) -> None:
    """The same, and protocols that do not suit the packed data."""
    from weightsearch.data.packs import building
    from weightsearch.depth.evaluation.protocols import PROTOCOLS

    check_model(spec, device)
    with building.Pack(packed) as native:
        for part in (spec.evaluate, spec.promote):
            if part is not None:
                for shape, picture in set(zip(native.depth_sizes, native.sizes, strict=True)):
                    PROTOCOLS[part.protocol].check_shape(shape, picture)


def estimate(spec: StudySpec, device: str, packed: Path) -> dict[str, Any]:
    """What an epoch takes here, and what a promotion's run leaves on disk, from timed steps."""
    from weightsearch.depth.training import cost

    return cost.estimate(spec, device, packed)


def _same_data(native: Pack, context: Context) -> None:
    """Raises DataError where the study was begun on other data: results would not compare."""
    if context.data_digest not in (None, native.digest, native.rounded_digest):
        raise DataError(
            f"the study was begun on data with digest {str(context.data_digest)[:12]}, but"
            f" {context.data or 'the data'} has {native.digest[:12]}; name the same data in --data."
        )


def _check_names(spec: StudySpec, params: Mapping[str, Any]) -> None:
    from weightsearch.depth.evaluation.metrics import METRICS

    for name in params:
        if name not in SEARCHED:
            raise ConfigError(
                f"the depth objective has no parameter '{name}'; {did_you_mean(name, SEARCHED)}"
            )
    known = {_renamed(name) for name in METRICS} | {"rmse_pooled"}
    if spec.objective.metric not in known:
        raise ConfigError(
            f"the depth objective has no metric '{spec.objective.metric}';"
            f" {did_you_mean(spec.objective.metric, known)}"
        )


def _chosen(params: Mapping[str, Value], context: Context) -> tuple[ModelSpec, float]:
    """The model and the lr to train with: what is searched from `params`, the rest fixed.

    Raises ConfigError for what this objective does not know.
    """
    spec = context.spec
    assert spec.model is not None
    params = {name: value for name, value in params.items() if name != search_space.WEIGHTING}
    _check_names(spec, params)
    fixed = {"encoder": spec.model.encoder, "decoder": spec.model.decoder, "lr": spec.train.lr}
    chosen = fixed | dict(params)
    for name, value in chosen.items():
        if isinstance(value, tuple):
            raise ConfigError(f"'{name}' must be one value here, but is the list {list(value)}.")
    chosen.pop("size", None)
    lr = float(chosen.pop("lr"))  # type: ignore[arg-type]
    return spec.model.model_copy(update=chosen), lr


def _at_size(params: Mapping[str, Value], context: Context) -> Context:
    """The context with the input size of this point, where sizes are searched."""
    if "size" not in params:
        return context
    spec = context.spec
    assert spec.data is not None
    data = spec.data.model_copy(update={"size": search_space.picture_size(str(params["size"]))})
    return replace(context, spec=spec.model_copy(update={"data": data}))


def _trainer(path: Path, train: Sequence[int], model: ModelSpec, context: Context) -> Trainer:
    """From the worker's cache where it fits. Only the latest is kept, to bound the memory."""
    from weightsearch.data.packs import building, depth_range
    from weightsearch.depth.network.precision import pick
    from weightsearch.depth.training import batches
    from weightsearch.depth.training.trainer import Trainer

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

    key = (path, spec.digest(), device)
    held = _cached(cache, "depth frames", key, frames)
    one = (*key, model.encoder, model.decoder)
    trainer: Trainer = _cached(
        cache, "depth trainer", one, lambda: Trainer(spec, model, held, device)
    )
    return trainer


def _cached(cache: dict[str, Any], name: str, key: object, build: Callable[[], object]) -> Any:
    if cache.get(name, (None,))[0] != key:
        cache.pop(name, None)  # before the next one is built
        cache[name] = key, build()
    return cache[name][1]


def _facts(
    weights: Mapping[str, float], model: ModelSpec, lr: float, native: Pack, context: Context
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
            "final": context.final,
            "spec_digest": spec.digest(),
            "data_digest": native.digest,
        },
        "model": model.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "spec": spec.resolved(),
    }


def _told(
    native: Pack, train: Sequence[int], val: Sequence[int], origin: Origin | None
) -> dict[str, Any]:
    """What else a checkpoint says of itself, for its model card (launch/model_card.py)."""
    frames = {"train": len(train), "val": len(val), "test": len(native.indices("test"))}
    return {
        "frames": frames,
        "ground_truth": native.ground_truth,
        "encoder_weights": asdict(origin) if origin else None,
    }


def _start(
    new: Callable[[], Lane], facts: Mapping[str, Any], context: Context
) -> tuple[Lane, list[dict[str, Any]]]:
    """A lane and its epochs so far: those of the checkpoint `last` of this point, or a new one."""
    from weightsearch.depth.network import checkpoint

    lane, last = new(), context.folder / LAST
    if not (last / checkpoint.MANIFEST).is_file():
        return lane, []
    try:
        saved = checkpoint.load_or_previous(last)
        if saved.facts.get("point") != facts["point"]:
            log.warning("%s: is of another point, and training starts anew", last)
            return lane, []
        lane.restore(saved)
    except CheckpointError as error:
        log.warning("%s Training starts anew", error)
        return new(), []
    log.info("resuming from epoch %d, step %d", lane.epoch, lane.step)
    return lane, saved.facts["epochs"]


def _score(
    predict: Predict,
    native: Pack,
    frames: Sequence[int],
    protocol: str,
    trainer: Trainer,
    details: Details | None = None,
) -> Scores:
    from weightsearch.depth.evaluation.protocols import PROTOCOLS
    from weightsearch.depth.evaluation.scoring import score

    spec = trainer.spec
    assert spec.data is not None
    size, batch = spec.data.size, spec.train.batch
    known = PROTOCOLS[protocol]
    return score(predict, native, frames, known, size, trainer.device, batch, details=details)


def _constant(
    path: Path, native: Pack, val: Sequence[int], trainer: Trainer, context: Context
) -> dict[str, Any]:
    """What the best constant prediction comes to; once per worker."""
    from weightsearch.depth.evaluation.constant_prediction import best_constant, told
    from weightsearch.depth.evaluation.protocols import PROTOCOLS

    goal, protocol = context.spec.objective, context.spec.evaluate.protocol
    metric = "abs_rel" if goal.metric == "rel" else goal.metric

    def build() -> dict[str, Any]:
        smaller = goal.direction == "minimize"
        found = best_constant(native, val, PROTOCOLS[protocol], metric, smaller, trainer.device)
        return told(*found, metric)

    key = (path, goal, protocol, tuple(val))
    made: dict[str, Any] = _cached(context.cache, "depth constant", key, build)
    return made


def _shown(
    epoch: Epoch, trainer: Trainer, lane: Lane, constant: Mapping[str, Any]
) -> dict[str, Any]:
    """An epoch as the service wants it."""
    about: dict[str, Any] = {CONSTANT: constant}
    if not trainer.is_comparable(lane):
        about[NOT_COMPARABLE] = SHRUNK
    if trainer.encoder_origin:
        about["encoder_weights"] = asdict(trainer.encoder_origin)
    return {
        **_metrics(epoch.scores),
        **epoch.losses,
        "seconds": epoch.seconds,
        "images_per_second": epoch.images_per_second,
        "parameters": trainer.parameters,
        "latency_ms": trainer.latency_ms(lane),
        "micro_batch": lane.micro,
        "about": about,
    }


def _metrics(scores: Scores) -> dict[str, Any]:
    per_image = {_renamed(name): values for name, values in scores.per_image.items()}
    return {**per_image, **scores.pooled, "groups": scores.groups}


def _renamed(metric: str) -> str:
    return "rel" if metric == "abs_rel" else metric


def _test(native: Pack, trainer: Trainer, lane: Lane, context: Context) -> dict[str, Any] | None:
    """What the promotion's protocol says of `best` on the test split; None without one.

    The ground truth is of the kind that the protocol is meant for, where the reader can give it.
    """
    from weightsearch.data.packs import building
    from weightsearch.data.readers import registry
    from weightsearch.depth.evaluation.error_breakdown import Details
    from weightsearch.depth.evaluation.protocols import PROTOCOLS
    from weightsearch.depth.network import checkpoint

    spec = context.spec
    assert spec.data is not None
    if not native.indices("test"):
        log.warning("%s has no test split, and nothing is said about it", native.path)
        return None
    saved = checkpoint.load(context.folder / "best")
    checkpoint.copy(saved.tensors["model"], lane.model, saved.path)
    protocol = (spec.promote or spec.evaluate).protocol
    predict = trainer.predictor(lane, context.grace_s)
    source = spec.data.source
    options = registry.judging(source, spec.data.options, PROTOCOLS[protocol].ground_truth)
    with building.Pack(building.ensure(source, context.data, options, context.home)) as judged:
        far_m = PROTOCOLS[protocol].details_m(judged.max_depth_m)
        details = Details(far_m, with_edges=False)
        frames = judged.indices("test")
        scores = _score(predict, judged, frames, protocol, trainer, details)
        return {**_metrics(scores), "about": details.answer()}
