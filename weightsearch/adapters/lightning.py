"""A Lightning module as an objective: its own `Trainer.fit`, looked at after each epoch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from weightsearch.adapters import random_state
from weightsearch.adapters.handover import Viewer, pulled
from weightsearch.adapters.saved_epochs import SavedEpochs
from weightsearch.errors import ObjectiveError
from weightsearch.study.objective_contract import Context, Epoch, Run

NETWORK = "network.ckpt"
QUIET = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)


def options(context: Context) -> dict[str, Any]:
    """For `Trainer(**options(context), ...)`: its epochs, its one device, and no files, bars and
    tables of its own, as there are many workers and the ledger has the numbers."""
    kind, _, index = context.device.partition(":")
    on = {"accelerator": kind, "devices": [int(index or 0)] if kind == "cuda" else 1}
    return {
        "max_epochs": context.epochs,
        **on,
        "default_root_dir": str(context.folder),
        "enable_checkpointing": False,
        **QUIET,
        **(dict.fromkeys(("limit_train_batches", "limit_val_batches"), 2) if context.tiny else {}),
    }


def epochs(
    context: Context,
    trainer: Any,
    module: Any,
    *fit: Any,
    more: Callable[[], Epoch] | None = None,
    test: Callable[[], Epoch] | None = None,
    **fit_options: Any,
) -> Run:
    """`trainer.fit(module, *fit, **fit_options)`, which yields after each epoch what was logged.

    `more` is called after each epoch and adds to it, values per sample for one. After each epoch
    Lightning's own checkpoint is written, with the random numbers of Python, numpy and torch, and a
    later attempt goes on from there to the same values. In a full run the network of the best epoch
    is kept (`best/network.ckpt`, for `load_from_checkpoint`), and loaded again for `test`, whose
    metrics the run returns. Ends where `[train] patience` has run out, as where a callback of the
    trainer's own stops it.

    Raises ObjectiveError where the trainer is for another number of epochs.
    """
    if trainer.max_epochs != context.epochs:
        raise ObjectiveError(
            f"the Trainer must have max_epochs={context.epochs}, as the context says, but has"
            f" {trainer.max_epochs}; build it with Trainer(**options(context))."
        )
    saved = SavedEpochs(context, _check)
    yield from saved.epochs

    def work(viewer: Viewer[Epoch]) -> Epoch | None:
        if not saved.are_all:
            trainer.callbacks.append(_callback(trainer, viewer, saved, more))
            again = {"ckpt_path": str(saved.checkpoint), "weights_only": True}
            trainer.fit(module, *fit, **fit_options, **(again if saved.checkpoint else {}))
        if not context.final or test is None:
            return None
        if (saved.best / NETWORK).exists():
            found = torch.load(saved.best / NETWORK, map_location="cpu", weights_only=True)
            module.load_state_dict(found["state_dict"])
        return test()

    return (yield from pulled(work))


def _check(checkpoint: Path) -> None:
    """Raises where `torch.load` cannot read it without executing anything: hyperparameters that a
    module saves in it may be of any class."""
    torch.load(checkpoint, map_location="meta", weights_only=True)


def _callback(
    trainer: Any, viewer: Viewer[Epoch], saved: SavedEpochs, more: Callable[[], Epoch] | None
) -> Any:
    """Of the trainer's own package: `lightning.pytorch` or `pytorch_lightning`.

    A `Checkpoint`, because these are called last at the end of an epoch, once all is logged.
    """
    packages = (kind.__module__.rpartition(".trainer.trainer")[0] for kind in type(trainer).__mro__)
    checkpoint: Any = import_module(f"{next(filter(None, packages))}.callbacks").Checkpoint

    class Look(checkpoint):  # type: ignore[misc]
        """Saves and shows each epoch."""

        _resumed: dict[str, Any] | None = None

        def state_dict(self) -> dict[str, Any]:
            return random_state.taken(saved.context.device)

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self._resumed = state

        def on_fit_start(self, trainer: Any, module: Any) -> None:
            if self._resumed is not None:  # before the loop makes the next epoch's batches
                random_state.restore(self._resumed, saved.context.device)

        def on_train_batch_end(self, *_: Any) -> None:
            viewer.stay()
            saved.stop_in_time()

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            # Here, and not where the next epoch starts: of these two only this one is resumed
            # with every batch, schedule and random number in its place.
            number = trainer.current_epoch + 1

            def save(folder: Path) -> Path:
                file = folder / f"epoch-{number}.ckpt"
                trainer.save_checkpoint(file, weights_only=False)
                return file

            def save_best(folder: Path) -> None:
                trainer.save_checkpoint(folder / NETWORK, weights_only=True)

            logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
            viewer.show(saved.add(logged | dict(more() if more else {}), save, save_best))
            trainer.should_stop = trainer.should_stop or saved.are_all

    return Look()
