"""What training is expected to take: a few steps are timed, the rest is counted."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weightsearch.data.packs import building
from weightsearch.data.packs.building import Pack
from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import score
from weightsearch.depth.network import starting
from weightsearch.depth.network.precision import pick
from weightsearch.depth.training import batches
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.runtime.console import duration
from weightsearch.study import search_space
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.keep_spec import KeepSpec

BATCHES = 4  # read for the steps that are timed
ENOUGH_S = 2.0  # of steps, once two were timed
SLOW_S = {"cpu": 1.0, "cuda": 5.0}  # a first step of so many is slow, whatever warming up takes
LIMIT_S = 30.0  # no further network is begun after

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timed:
    """What was measured of one network."""

    step_s: float
    frame_s: float
    """Of validation."""
    model_bytes: int
    optimizer_bytes: int
    frozen_step_s: float | None = None
    """While the encoder is frozen, where it is for some epochs and not for others."""

    def epoch_s(self, steps: int, frames: int, frozen: float = 0.0) -> float:
        """Of so many steps and frames of validation, in the mean over a run in which the encoder is
        frozen for this share of the epochs."""
        less_s = 0.0 if self.frozen_step_s is None else self.step_s - self.frozen_step_s
        return steps * (self.step_s - frozen * less_s) + frames * self.frame_s

    def point_bytes(self, keep: KeepSpec) -> int:
        """What a point of the search leaves."""
        return self.model_bytes if keep.search == "weights" else 0

    def full_bytes(self, keep: KeepSpec) -> int:
        """What a promotion's run leaves: `best`, or also `last` with the one before it. That of
        three seeds only one's `best` stays is left out: until the verdict they are all there."""
        state = 2 * (self.model_bytes + self.optimizer_bytes)
        return self.model_bytes + (state if keep.full == "all" else 0)


def estimate(
    spec: StudySpec, device: str, packed: Path, clock: Clock = time.monotonic
) -> dict[str, Any]:
    """Fields of an `Estimate`, from every network that the study trains, or, where they take long,
    from the first of them. Nothing of what the timed steps train is kept."""
    networks = starting.networks(spec)
    with Pack(packed) as native:
        train, val = split_frames(native, spec)
        began, on, found = clock(), pick(device), []
        for one in networks:
            found.append(timed(one, on, packed, native, train, val))
            _forget(on)
            if clock() - began > LIMIT_S:
                break
    steps = batches.steps(len(train), spec.train.batch)

    def epoch_s(epochs: int) -> float:
        frozen = _frozen(spec, epochs)
        return statistics.fmean(one.epoch_s(steps, len(val), frozen) for one in found)

    full = None if spec.train.freeze in (0, "all") else spec.promote
    return {
        "epoch_s": epoch_s(spec.train.epochs),
        **({"full_epoch_s": epoch_s(full.epochs)} if full else {}),
        "point_bytes": statistics.fmean(one.point_bytes(spec.keep) for one in found),
        "full_bytes": statistics.fmean(one.full_bytes(spec.keep) for one in found),
        "how": _how(spec.train.batch, found, len(networks)),
    }


def timed(
    spec: StudySpec,
    device: torch.device,
    packed: Path,
    native: Pack,
    train: Sequence[int],
    val: Sequence[int],
) -> Timed:
    """Trains one network for some steps of the whole loss, then scores a batch."""
    assert spec.model is not None
    assert spec.data is not None
    batch, data = spec.train.batch, spec.data
    copy = building.training_copy(packed, data.size, packed.parents[1])
    few = train[:: max(1, len(train) // (BATCHES * batch))][: BATCHES * batch]
    # In memory, or from disk, as the whole would be.
    memory_bytes = batches.MEMORY_BYTES[device.type] * len(few) // len(train)
    frames = batches.open_frames(copy, few, data, device, memory_bytes)
    trainer = Trainer(spec, spec.model, frames, device)
    lane, step_s = _stepped(trainer)
    frozen_step_s = _frozen_step_s(trainer, lane)
    slow_s = SLOW_S[device.type]
    some, protocol = val[: batch if step_s < slow_s else 1], PROTOCOLS[spec.evaluate.protocol]

    def scored_s() -> Iterator[float]:
        while True:
            began = time.perf_counter()
            score(trainer.predictor(lane), native, some, protocol, data.size, device, batch)
            yield time.perf_counter() - began

    parts = lane.tensors()
    return Timed(
        step_s=step_s,
        frame_s=_warm_s(scored_s(), slow_s) / len(some),
        model_bytes=_bytes(parts["model"].values()),
        optimizer_bytes=_bytes([*parts["optimizer"].values(), *parts.get("average", {}).values()]),
        frozen_step_s=frozen_step_s,
    )


def _frozen(spec: StudySpec, epochs: int) -> float:
    """For which share of so many the encoder is; 0 where it always is, as its steps are timed."""
    return 0.0 if spec.train.freeze == "all" else min(1.0, spec.train.freeze / epochs)


def _frozen_step_s(trainer: Trainer, lane: Lane) -> float | None:
    """The seconds of a step of the first epochs, where they are others than the rest."""
    if trainer.train.freeze in (0, "all"):
        return None
    lane.epoch = lane.step = 0
    return _warm_s(trainer.steps_s(lane), SLOW_S[trainer.device.type])


def _stepped(trainer: Trainer) -> tuple[Lane, float]:
    """A lane that was trained, with less memory where it must be, and the seconds of a step."""
    spec = trainer.spec
    weights = dict.fromkeys(spec.loss.terms, 1 / len(spec.loss.terms))
    lr = search_space.levels(spec).get("lr", (spec.train.lr,))[0]
    shrink = 0
    while True:
        lane = trainer.lane(weights, spec.train.seed, float(lr), shrink)  # type: ignore[arg-type]
        if spec.train.freeze != "all":
            lane.epoch = spec.train.freeze  # from here on all of it is trained
        try:
            return lane, _warm_s(trainer.steps_s(lane), SLOW_S[trainer.device.type])
        except torch.OutOfMemoryError:
            if lane.micro == 1 or spec.train.batch >> shrink <= 1:
                raise
        del lane
        _forget(trainer.device)
        shrink += 1


def _warm_s(times: Iterable[float], slow_s: float) -> float:
    """The median of those after the first, which warms up; the first, where it is that slow."""
    took: list[float] = []
    for seconds in times:
        took.append(seconds)
        if took[0] > slow_s or (len(took) > 1 and sum(took) > ENOUGH_S) or len(took) == BATCHES:
            break
    return statistics.median(took[1:] or took)


def _forget(device: torch.device) -> None:
    """Gives the device's memory back; the machine's is free once nothing refers to it."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _how(batch: int, found: Sequence[Timed], networks: int) -> str:
    steps = sorted(one.step_s for one in found)
    span = " to ".join(dict.fromkeys(map(_shown, (steps[0], steps[-1]))))
    took = f"a step of {batch} frames took {span}"
    if networks == 1:
        return took
    rest = ", taken for all" * (len(found) < networks)
    return f"{took} with {len(found)} of {networks} networks{rest}"


def _shown(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{1000 * seconds:.0f} ms"
