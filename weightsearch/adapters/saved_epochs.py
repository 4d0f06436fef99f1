"""What adapters share: which epochs were trained, the checkpoint after the last, the best network.

`LAST` in the context's folder has the framework's own checkpoint and `epochs.json`, which names it:
a checkpoint counts once it is named there, so a process may be killed at any instant. Training that
goes on from it comes to the same numbers, and yields again what was yielded before.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from weightsearch.depth.training import early_stopping
from weightsearch.errors import Interrupted, ObjectiveError
from weightsearch.runtime import own_traceback
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.study import loading
from weightsearch.study.objective_contract import BEST, LAST, Context, Epoch, plain

MANIFEST = "epochs.json"

log = logging.getLogger(__name__)


class SavedEpochs:
    """The epochs of one run so far, on disk."""

    def __init__(
        self, context: Context, check: Callable[[Path], object] = lambda checkpoint: None
    ) -> None:
        """`check` raises for a checkpoint that cannot be loaded: then training starts anew.

        Raises ObjectiveError for a run that forks from a trunk.
        """
        if context.fork is not None:
            raise ObjectiveError(
                "adapters train a run with its own weights from its first epoch, but this one forks"
                " from a trunk; leave 'trunk' out of SHARES, or [share] out of the study."
            )
        self.context = context
        self.place = context.folder / LAST
        self.best = context.folder / BEST
        self.epochs: list[Epoch] = []
        self.checkpoint: Path | None = None
        """To go on from; None for a run that begins."""
        self._began = time.monotonic()
        self._took_s: float | None = None
        self._read(check)

    @property
    def are_all(self) -> bool:
        """Whether none is left to train, or patience has run out."""
        if len(self.epochs) >= self.context.epochs:
            return True
        return self._has_metric() and early_stopping.ran_out(self.epochs, self.context)

    def add(
        self, epoch: Epoch, save: Callable[[Path], Path], save_best: Callable[[Path], object]
    ) -> Epoch:
        """Saves what training goes on from after this epoch, and the best network where one is
        kept; returns the epoch in plain numbers.

        `save` writes a checkpoint into the folder that it is given and returns its path there;
        `save_best` writes the network into an empty folder. Raises Interrupted where the point is
        another worker's, OSError.
        """
        self._still_ours()
        self.epochs.append(_plain(epoch))
        keeps = self.context.final or self.context.spec.keep.search == "weights"
        if keeps and self._is_best():
            shutil.rmtree(self.best, ignore_errors=True)
            self.best.mkdir(parents=True)
            save_best(self.best)
        self.place.mkdir(parents=True, exist_ok=True)
        self._name(save(self.place))
        self._took_s = time.monotonic() - self._began
        self._began = time.monotonic()
        return self.epochs[-1]

    def stop_in_time(self) -> None:
        """For the end of a batch: raises Interrupted once a stop was asked for that the epoch, by
        how long the one before took, would outlast; and where the point is another worker's."""
        self._still_ours()
        given_s = self.context.grace_s()
        if given_s is None:
            return
        spent_s = time.monotonic() - self._began
        if self._took_s is None or self._took_s - spent_s > given_s or given_s <= 0:
            raise Interrupted(f"{spent_s:.0f} s of an epoch are given up, {given_s:.0f} s given.")

    def _is_best(self) -> bool:
        return self._has_metric() and early_stopping.best(self.epochs, self.context) == len(
            self.epochs
        )

    def _has_metric(self) -> bool:
        """Whether the deciding metric is there; the worker says it where it is not."""
        metric = self.context.spec.objective.metric
        return bool(self.epochs) and all(metric in epoch for epoch in self.epochs)

    def _still_ours(self) -> None:
        if self.context.lost():
            raise Interrupted("the point is another worker's")

    def _name(self, checkpoint: Path) -> None:
        """From now on it is what a later attempt goes on from; those before it are removed."""
        for file in [checkpoint, *checkpoint.rglob("*")]:
            _sync(file)
        of = self._of(loading.digest_but_size(self.context.spec))
        told = {"of": of, "checkpoint": checkpoint.name, "epochs": self.epochs}
        write_atomically(self.place / MANIFEST, json.dumps(told).encode())
        for other in self.place.iterdir():
            if other.name not in (checkpoint.name, MANIFEST):
                shutil.rmtree(other) if other.is_dir() else other.unlink()

    def _read(self, check: Callable[[Path], object]) -> None:
        file = self.place / MANIFEST
        try:
            told = json.loads(file.read_bytes())
            checkpoint = self.place / Path(told["checkpoint"]).name
            digests = loading.digest_but_size(self.context.spec), self.context.spec.digest()
            if told["of"] not in map(self._of, digests) or not checkpoint.exists():
                raise ValueError("it is of another run, or without its checkpoint")
            check(checkpoint)
            self.epochs, self.checkpoint = list(told["epochs"]), checkpoint
        except FileNotFoundError:
            return
        except PermissionError:  # the next one that is kept would remove it
            raise
        except Exception as error:
            why = own_traceback.line(error)
            log.warning("%s: cannot be gone on from, and training starts anew: %s", file, why)

    def _of(self, digest: str) -> list[Any]:
        """What a run must share with one that is gone on with; its folder says the point. (Earlier
        releases noted the whole digest of the study, which changes as that grows.)"""
        context = self.context
        return [digest, context.seed, context.fold, context.epochs, context.final]


def _plain(epoch: Epoch) -> Epoch:
    """Its numbers as Python's own, for JSON; what is no number the worker says."""
    return {name: _number(value) for name, value in epoch.items()}


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, int | float) or getattr(value, "ndim", None) == 0:
        return float(value)
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return [cast(Any, _number(one)) for one in value]
    return value


def _sync(path: Path) -> None:
    """Has a file or folder on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
