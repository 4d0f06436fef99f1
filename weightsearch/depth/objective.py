"""The depth objective: what the service calls to train one configuration.

The route: `_run` opens the pack → `prepared` (prepared.py) splits it, and takes from the worker's
cache, or builds, what trials share → `Trainer.run` (training/trainer.py) trains → each epoch is
scored on validation frames at native size (evaluation/scoring.py) and yielded. Importing this
module imports no torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth import point_record, prepared
from weightsearch.depth.training import early_stopping
from weightsearch.depth.uncollected import uncollected
from weightsearch.errors import DataError, Interrupted
from weightsearch.study import known_names, search_space
from weightsearch.study.objective_contract import (
    Context,
    Point,
    Run,
    summarise,
)
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

if TYPE_CHECKING:
    from weightsearch.data.packs.building import Pack
    from weightsearch.depth.evaluation.error_breakdown import Details
    from weightsearch.depth.evaluation.scoring import Scores
    from weightsearch.depth.network.prediction import Predict
    from weightsearch.depth.training.trainer import Trainer
    from weightsearch.depth.training.trial_state import Lane

APART = ("lr", search_space.WEIGHTING)
"""In which, beside the weights, points may differ that are trained together."""
SHARES = ("trunk", "frozen")
WEIGHTINGS = known_names.NAMES["weighting"]
"""What the objective declares: the learned weightings that it knows."""

log = logging.getLogger(__name__)


def run(weights: Mapping[str, float], params: Mapping[str, Value], context: Context) -> Run:
    """Trains one configuration; the contract is in `weightsearch/study/objective_contract.py`."""
    (alone,) = run_together([(weights, params)], [context])
    return (yield from alone)


def run_together(points: Sequence[Point], contexts: Sequence[Context]) -> list[Run]:
    """Trains configurations of one network and size, as far as they stand in the same epoch on one
    pass of data and augmentation (`Trainer.run`)."""
    beside: list[Lane] = []
    runs = [_run(*point, one, beside) for point, one in zip(points, contexts, strict=True)]
    return [_begun(one) for one in runs]  # all are there before the first trains


def fastest_lanes(
    weights: Mapping[str, float], params: Mapping[str, Value], context: Context
) -> int:
    """How many points like this one its device trains fastest together, from timed steps."""
    import_networks()
    from weightsearch.data.packs import building
    from weightsearch.depth.training import lane_count

    context = prepared.at_size(params, context)
    spec = context.spec
    assert spec.data is not None
    path = building.ensure(spec.data.source, context.data, spec.data.options, context.home)
    with building.Pack(path) as native:
        train, _ = split_frames(native, spec, context.fold)
        trainer = prepared.trainer(path, train, prepared.chosen(params, context)[0], context, None)
    if not prepared.lane(trainer, weights, params, context).repeats():
        return 1
    timed = partial(lane_count.step_s, trainer)
    return lane_count.fastest(timed, trainer.recorder.may_record)


def _begun(run: Run) -> Run:
    """The run, from which a first and empty epoch was taken: what it failed of until there, it
    raises where it is asked for the next."""
    failure: Exception | None = None
    try:
        next(run)
    except Exception as error:
        failure = error

    def rest() -> Run:
        if failure is not None:
            raise failure
        return (yield from run)

    return rest()


def _run(
    weights: Mapping[str, float],
    params: Mapping[str, Value],
    context: Context,
    beside: list[Lane],
) -> Run:
    """Yields once when it is ready to train, then epochs; its lane is among those `beside` it.

    Where the context's folder holds a checkpoint `last` of the same point, training goes on from
    it, or from that of its trunk, and what was yielded before is yielded again. A promotion keeps
    `best` by the study's metric (a search too, where `keep.search` asks for it) and returns what
    the test split says of it: test frames are read nowhere else.
    """
    import_networks()
    from weightsearch.data.packs import building
    from weightsearch.depth.training import beginnings
    from weightsearch.depth.training import ranks as several
    from weightsearch.depth.training.saving import Saving, still_ours

    context = prepared.at_size(params, context)
    spec = context.spec
    assert spec.data is not None
    path = building.ensure(spec.data.source, context.data, spec.data.options, context.home)
    with building.Pack(path) as native, several.joined(weights, params, context) as ranks:
        _same_data(native, context)
        point = prepared.prepared(weights, params, context, native, ranks)
        trainer, lane, legs, epochs = point.trainer, point.lane, point.legs, point.epochs
        if ranks is not None:
            ranks.check_place(lane.epoch, lane.step, trainer.device)
        constant = _constant(path, native, point.val, trainer, context)
        beside.append(lane)

        def validate(predict: Predict) -> Scores:
            return _score(predict, native, point.val, spec.evaluate.protocol, trainer)

        saving = Saving(context, lane, legs[0].facts)
        try:
            yield {}
            yield from epochs
            for leg in legs:
                keeps = leg is legs[-1] and (context.final or spec.keep.search == "weights")
                until = lane.epoch if early_stopping.ran_out(epochs, context) else leg.until
                for epoch in trainer.run(lane, until, validate, context.grace_s, beside):
                    epochs.append(point_record.shown(epoch, trainer, lane, constant))
                    still_ours(context)
                    if keeps and early_stopping.best(epochs, context) == len(epochs):
                        saving.best(epoch.number, summarise(epochs[-1]).metrics)
                    saving.after_epoch(epochs)
                    if leg is not legs[-1] and lane.epoch == leg.until:
                        # Before another run can train the trunk's lane on beside its own.
                        beside.remove(lane)
                        lane = beginnings.forked(point.new(weights), lane, context)
                        beside.append(lane)
                        saving = Saving(context, lane, legs[-1].facts)
                    yield epochs[-1]
                    if early_stopping.ran_out(epochs, context):
                        break
        except Interrupted:
            if not context.lost():
                saving.last(epochs)
            raise
        finally:
            beside.remove(lane)
        return _test(native, trainer, lane, context) if context.final else None


def check_model(spec: StudySpec, device: str) -> None:
    """Raises what would be wrong with every point whatever the data: names, encoders and their
    weights, sizes, the device. `launch` asks this before it packs."""
    import_networks()
    from weightsearch.depth.network import starting
    from weightsearch.depth.network.encoders import check_name
    from weightsearch.depth.network.precision import pick

    assert spec.data is not None
    assert spec.model is not None
    prepared.check_names(spec, spec.params)
    pick(device)
    for encoder in search_space.levels(spec)["encoder"]:  # all names before the first weights
        check_name(str(encoder))
    for one in starting.networks(spec):
        assert one.model is not None
        assert one.data is not None
        starting.network(one.model, one.data, spec.train.init).check_size(spec.train.batch)


def check(spec: StudySpec, device: str, packed: Path) -> None:
    """The same, and a split or protocols that do not suit the packed data."""
    import_networks()
    from weightsearch.data.packs import building
    from weightsearch.depth.evaluation.protocols import PROTOCOLS

    check_model(spec, device)
    with building.Pack(packed) as native:
        split_frames(native, spec)
        for part in (spec.evaluate, spec.promote):
            if part is not None:
                for shape, picture in set(zip(native.depth_sizes, native.sizes, strict=True)):
                    PROTOCOLS[part.protocol].check_shape(shape, picture)


def estimate(spec: StudySpec, device: str, packed: Path) -> dict[str, Any]:
    """What an epoch takes here, and what a promotion's run leaves on disk, from timed steps."""
    from weightsearch.depth.training import cost

    return cost.estimate(spec, device, packed)


def import_networks() -> None:
    """Everything that trains, in less time than module by module (`uncollected`)."""
    if "weightsearch.depth.training.beginnings" in sys.modules:
        return
    with uncollected():
        from weightsearch.depth.training import beginnings  # noqa: F401


def _same_data(native: Pack, context: Context) -> None:
    """Raises DataError where the study was begun on other data: results would not compare."""
    if context.data_digest not in (None, *native.digests):
        raise DataError(
            f"the study was begun on data with digest {str(context.data_digest)[:12]}, but"
            f" {context.data or 'the data'} has {native.digest[:12]}; name the same data in --data."
        )


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
    made: dict[str, Any] = prepared.cached(context.cache, "depth constant", key, build)
    return made


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
    checkpoint.copy(saved.tensors["model"], lane.evaluated(), saved.path)
    protocol = (spec.promote or spec.evaluate).protocol
    predict = trainer.predictor(lane, context.grace_s)
    source = spec.data.source
    options = registry.judging(source, spec.data.options, PROTOCOLS[protocol].ground_truth)
    with building.Pack(building.ensure(source, context.data, options, context.home)) as judged:
        far_m = PROTOCOLS[protocol].details_m(judged.max_depth_m)
        details = Details(far_m, with_edges=False)
        frames = judged.indices("test")
        scores = _score(predict, judged, frames, protocol, trainer, details)
        return {**point_record.metrics(scores), "about": details.answer()}
