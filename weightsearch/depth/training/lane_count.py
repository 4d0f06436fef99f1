"""How many lanes a device trains fastest: a few steps of each number are timed."""

from __future__ import annotations

import gc
import logging
import math
import statistics
from collections.abc import Callable, Iterator
from itertools import islice

import torch

from weightsearch.depth.training.recorded_steps import WARM_STEPS
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane

COUNTS = (1, 2, 4, 8)
GAIN = 1.05
"""So much faster, for each lane, must more of them be: timings vary."""
TIMED = 8  # steps, after as many as it takes to record one

log = logging.getLogger(__name__)


def fastest(step_s: Callable[[int], float], at_once: Callable[[], bool]) -> int:
    """Of `COUNTS` the number with the most steps of a lane per second, where `step_s` gives the
    seconds of a step of so many; 1 unless more are faster by `GAIN`.

    Lanes that take turns are no faster than one: nothing is timed once they are not `at_once`.
    """
    best, best_each_s = 1, math.inf
    for count in COUNTS:
        if not at_once():
            break
        try:
            each_s = step_s(count) / count
        except torch.OutOfMemoryError:  # and more of them would not fit either
            if count == 1:
                raise
            break
        log.info("%d lanes: %.4g s for a step of each", count, each_s)
        if each_s * GAIN < best_each_s and (count == 1 or at_once()):
            best, best_each_s = count, each_s
    return best


def step_s(trainer: Trainer, count: int, timed: int = TIMED) -> float:
    """The median seconds of a step of so many lanes; nothing of them is kept."""
    spec = trainer.spec
    weights = dict.fromkeys(spec.loss.terms, 1 / len(spec.loss.terms))
    lanes = [trainer.lane(weights, spec.train.seed, 1e-4) for _ in range(count)]
    try:
        took = list(islice(_endless(trainer, lanes), WARM_STEPS + 2 + timed))
        return statistics.median(took[-timed:])
    finally:
        for lane in lanes:
            trainer.recorder.forget(lane)
        del lanes
        if trainer.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def _endless(trainer: Trainer, lanes: list[Lane]) -> Iterator[float]:
    while True:
        yield from trainer.steps_s(*lanes)
        for lane in lanes:
            if lane.failure is not None:
                raise lane.failure
            lane.epoch, lane.step = lane.epoch + 1, 0
