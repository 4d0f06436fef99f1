"""Where a run begins: at its first epoch, at its own checkpoint, or at the end of its trunk.

A run that forks has two legs: its first epochs with the trunk's weights, the rest with its own. The
trunk's checkpoint stands for the first leg; where it is not there, that leg is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weightsearch.depth.network import checkpoint
from weightsearch.depth.network.checkpoint import Checkpoint
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import CheckpointError, ConfigError
from weightsearch.study import loading
from weightsearch.study.objective_contract import LAST, Context
from weightsearch.study.spec import StudySpec

log = logging.getLogger(__name__)

Epochs = list[dict[str, Any]]
New = Callable[[Mapping[str, float]], Lane]
"""A lane of such weights that has trained nothing yet."""
FactsOf = Callable[[Mapping[str, float], Context], dict[str, Any]]
"""What checkpoints say of a run of such weights (point_record.py)."""


@dataclass(frozen=True)
class Leg:
    """What a run trains with the same weights."""

    weights: Mapping[str, float]
    facts: Mapping[str, Any]
    """What its checkpoints say of themselves."""
    until: int
    """The epoch of the run that it ends with."""


def legs(weights: Mapping[str, float], facts_of: FactsOf, context: Context) -> list[Leg]:
    """Of a run, in order."""
    own, fork = Leg(weights, facts_of(weights, context), context.epochs), context.fork
    if fork is None:
        return [own]
    facts = facts_of(fork.weights, replace(context, fork=None))
    return [Leg(fork.weights, facts, fork.epochs), own]


def begin(run: Sequence[Leg], new: New, context: Context) -> tuple[int, Lane, Epochs]:
    """The number of the leg that the run is in, its lane, and the epochs that lie behind it."""
    if saved := _saved(context.folder / LAST):
        place = next((k for k, leg in enumerate(run) if _is_of(saved, leg, context)), None)
        lane = None if place is None else _restored(new(run[place].weights), saved)
        if place is not None and lane is not None:
            log.info("resuming from epoch %d, step %d", lane.epoch, lane.step)
            if place < len(run) - 1 and lane.epoch == run[place].until:
                return place + 1, forked(new(run[-1].weights), lane, context), saved.facts["epochs"]
            return place, lane, saved.facts["epochs"]
        if place is None:
            log.warning("%s: is of another point, and training starts anew", saved.path)
    fork = context.fork
    if fork is not None and (saved := _saved(fork.folder / LAST)):
        position = saved.facts.get("position", {})
        is_its_end = (position.get("epoch"), position.get("step")) == (fork.epochs, 0)
        if is_its_end and _is_of(saved, run[0], context):
            try:
                return 1, forked(new(run[1].weights), saved, context), saved.facts["epochs"]
            except CheckpointError as error:
                log.warning("%s The trunk is trained anew", error)
        else:
            log.warning("%s: is of another trunk, which is trained anew", saved.path)
    return 0, new(run[0].weights), []


def forked(lane: Lane, trunk: Lane | Checkpoint, context: Context) -> Lane:
    """A lane that has trained nothing, with what its trunk has come to. Raises CheckpointError."""
    assert context.fork is not None
    if isinstance(trunk, Lane):
        tensors = {part: dict(values) for part, values in trunk.tensors().items()}
        trunk = Checkpoint(context.folder, {"position": trunk.position()}, tensors)
    lane.fork(trunk, context.fork.moments == "kept")
    log.info("forking from its trunk after epoch %d", lane.epoch)
    return lane


def _saved(last: Path) -> Checkpoint | None:
    """What is there; None where it is nothing, or of no use."""
    if not (last / checkpoint.MANIFEST).is_file():
        return None
    try:
        return checkpoint.load_or_previous(last)
    except checkpoint.ForbiddenCheckpointError:  # the next save would remove it
        raise
    except CheckpointError as error:
        log.warning("%s Training starts anew", error)
        return None


def _is_of(saved: Checkpoint, leg: Leg, context: Context) -> bool:
    point = saved.facts.get("point")
    before = leg.facts["point"] | {"spec_digest": context.spec.digest(promotion=True)}
    if not point or point in (leg.facts["point"], before):
        return bool(point)
    same = point | {"spec_digest": None} == leg.facts["point"] | {"spec_digest": None}
    return same and _was_extended(saved, context.spec)


def _was_extended(saved: Checkpoint, spec: StudySpec) -> bool:
    """Whether the study has grown since, and nothing else of it has changed."""
    try:
        then = loading.parse(saved.facts["spec"], str(saved.path))
    except (KeyError, ConfigError):
        return False
    return loading.digest_but_size(then) == loading.digest_but_size(spec)


def _restored(lane: Lane, saved: Checkpoint) -> Lane | None:
    try:
        lane.restore(saved)
    except CheckpointError as error:
        log.warning("%s Training starts anew", error)
        return None
    return lane
