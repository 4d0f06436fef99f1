"""What is saved of a configuration while it trains, and when."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightsearch.depth.network import checkpoint
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import CheckpointError, Interrupted
from weightsearch.study.objective_contract import LAST, Context

SHARE = 0.05
"""At most this share of the time of a search's point goes into saving."""

log = logging.getLogger(__name__)


@dataclass
class Saving:
    """Saves `last`, from which a later attempt continues, and a promotion's `best`."""

    context: Context
    lane: Lane
    facts: Mapping[str, Any]
    """What a checkpoint says of itself, beside position and epochs."""
    saved_at: float = -math.inf
    took_s: float = 0.0
    saved: Mapping[str, float] | None = None
    """The position of `last`."""

    def after_epoch(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Saves `last` where it must be, or where that is worth its time.

        A promotion saves every epoch, and so does whoever was asked to stop; what is to be gone on
        with later is saved at its end.
        """
        ends = self.lane.epoch == self.context.until
        if self.context.final or ends or self.context.grace_s() is not None:
            self.last(epochs)
        elif self._is_worth_it():
            try:
                self.last(epochs)
            except CheckpointError as error:  # a full disk: what is lost is only a short cut
                log.warning("%s Training continues without", error)
                self.saved_at = math.inf

    def last(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Saves `last`: all that training goes on from, with the epochs so far.

        Raises Interrupted where the point is another worker's, CheckpointError.
        """
        began = time.monotonic()
        still_ours(self.context)
        if self.saved == self.lane.position():
            return
        facts = {**self.facts, "position": self.lane.position(), "epochs": epochs}
        checkpoint.save(self.context.folder, LAST, self.lane.tensors(), facts, keep_previous=True)
        self.saved = self.lane.position()
        self.saved_at = time.monotonic()
        self.took_s = self.saved_at - began

    def best(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Saves the network as `best`, with its epoch and metrics; raises CheckpointError."""
        facts = {**self.facts, "epoch": epoch, "metrics": metrics}
        checkpoint.save(self.context.folder, "best", {"model": self.lane.evaluated()}, facts)

    def _is_worth_it(self) -> bool:
        """Each epoch but the last, as long as saving takes at most `SHARE` of the time."""
        more = self.lane.epoch < self.context.epochs
        return more and SHARE * (time.monotonic() - self.saved_at) >= self.took_s


def still_ours(context: Context) -> None:
    """Raises Interrupted where the point was given to another worker, whose folder it is now."""
    if context.lost():
        raise Interrupted("the point is another worker's")
