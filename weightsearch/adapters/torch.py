"""A plain PyTorch loop as an objective: one function that trains an epoch, and what to save."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from weightsearch.adapters import random_state
from weightsearch.adapters.saved_epochs import SavedEpochs
from weightsearch.study.objective_contract import Context, Epoch, Run

STATE = "state.pt"


class HasState(Protocol):
    """A network, an optimizer, a schedule, a scaler, ..."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


def epochs(
    context: Context,
    train_epoch: Callable[[], Epoch],
    state: Mapping[str, HasState],
    *,
    test: Callable[[], Epoch] | None = None,
) -> Run:
    """Calls `train_epoch` for each epoch and yields the metrics that it returns.

    `state` is all that changes from epoch to epoch, by name; it is saved after each, with the
    random numbers of Python, numpy and torch, and a later attempt goes on from there to the same
    values. In a full run the network of the best epoch is kept (`best/state.pt`, all of `state`),
    and loaded again for `test`, whose metrics the run returns. Ends where `[train] patience` has
    run out.
    """
    saved = SavedEpochs(context, _read)
    yield from saved.epochs
    if saved.checkpoint is not None:
        _load(saved.checkpoint, state, context.device)

    def save(file: Path) -> Path:
        return _save(file, state, context.device)

    for number in itertools.count(len(saved.epochs) + 1):
        if saved.are_all:
            break
        saved.stop_in_time()
        yield saved.add(
            train_epoch(),
            lambda folder, number=number: save(folder / f"epoch-{number}.pt"),  # type: ignore[misc]
            lambda folder: save(folder / STATE),
        )
    if not context.final or test is None:
        return None
    if (saved.best / STATE).exists():
        _load(saved.best / STATE, state, context.device)
    return test()


def _save(file: Path, state: Mapping[str, HasState], device: str) -> Path:
    told = {name: one.state_dict() for name, one in state.items()}
    torch.save({"state": told, "random": random_state.taken(device)}, file)
    return file


def _load(file: Path, state: Mapping[str, HasState], device: str) -> None:
    found = _read(file)
    for name, one in state.items():
        one.load_state_dict(found["state"][name])
    random_state.restore(found["random"], device)


def _read(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)
