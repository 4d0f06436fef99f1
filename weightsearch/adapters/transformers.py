"""A Hugging Face `Trainer` as an objective: its own `train`, looked at after each epoch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from weightsearch.adapters.handover import Viewer, pulled
from weightsearch.adapters.saved_epochs import SavedEpochs
from weightsearch.errors import ObjectiveError
from weightsearch.runtime.optional_packages import needs
from weightsearch.study.objective_contract import LAST, Context, Epoch, Run

NOT_METRICS = ("epoch", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
"""What `evaluate` says beside them."""


def arguments(context: Context, **options: Any) -> Any:
    """`TrainingArguments` with the context's epochs, seed, one device and folder, and the `options`
    of your own; evaluates after each epoch, and reports to nobody.

    Raises ConfigError where transformers is not installed.
    """
    needs("transformers", "transformers", "accelerate")
    from transformers import TrainingArguments

    if context.device != "cpu":
        os.environ["ACCELERATE_TORCH_DEVICE"] = context.device  # read when the first are made
    given: dict[str, Any] = {
        "output_dir": str(context.folder / LAST),
        "num_train_epochs": context.epochs,
        "seed": context.seed,
        "use_cpu": context.device == "cpu",
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "max_steps": 2 if context.tiny else -1,
    }
    made = TrainingArguments(**given | options)
    if context.device != "cpu":  # else it would take the first, and the others beside it
        made.__dict__["_setup_devices"] = torch.device(context.device)
        made._n_gpu = 1
    return made


def epochs(context: Context, trainer: Any, *, test: Callable[[], Epoch] | None = None) -> Run:
    """`trainer.train()`, which yields after each epoch what `evaluate` says, by its own names
    (`eval_loss`, ...); `compute_metrics` may return lists with a value per sample.

    After each epoch the Trainer's own checkpoint is written, and a later attempt goes on from there
    to the same values. In a full run the network of the best epoch is kept (`best`, for
    `from_pretrained`), and loaded again for `test`, whose metrics the run returns. Ends where
    `[train] patience` has run out, as where a callback of the trainer's own stops it.

    Raises ObjectiveError where the trainer is for other epochs, another folder or another device.
    """
    _check(context, trainer)
    saved = SavedEpochs(context)
    yield from saved.epochs

    def work(viewer: Viewer[Epoch]) -> Epoch | None:
        if not saved.are_all:
            from transformers import PrinterCallback

            trainer.remove_callback(PrinterCallback)  # the ledger has it
            trainer.add_callback(_callback(trainer, viewer, saved))
            trainer.train(
                resume_from_checkpoint=str(saved.checkpoint) if saved.checkpoint else None
            )
        if not context.final or test is None:
            return None
        if saved.best.exists():
            trainer._load_from_checkpoint(str(saved.best))  # as load_best_model_at_end does
        return test()

    return (yield from pulled(work))


def _check(context: Context, trainer: Any) -> None:
    asked = {
        "num_train_epochs": context.epochs,
        "output_dir": str(context.folder / LAST),
        "device": torch.device(context.device),
    }
    for name, value in asked.items():
        found = getattr(trainer.args, name)
        if found != value or (name == "device" and trainer.args.n_gpu > 1):
            raise ObjectiveError(
                f"the Trainer's {name} must be {value}, as the context says, but is {found}; build"
                " its args with arguments(context)."
            )


def _callback(trainer: Any, viewer: Viewer[Epoch], saved: SavedEpochs) -> Any:
    from transformers import TrainerCallback

    class Look(TrainerCallback):  # type: ignore[misc]
        """Has each epoch evaluated and saved, and shows it."""

        _at_end = False
        _metrics: dict[str, Any] = {}  # noqa: RUF012  (replaced, never changed)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            viewer.stay()
            saved.stop_in_time()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._at_end = control.should_evaluate = control.should_save = True

        def on_evaluate(
            self, args: Any, state: Any, control: Any, metrics: dict[str, Any], **_: Any
        ) -> None:
            self._metrics = {k: v for k, v in metrics.items() if k not in NOT_METRICS}

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not self._at_end:
                return
            self._at_end = False

            def written(folder: Path) -> Path:
                return folder / f"checkpoint-{state.global_step}"

            def save_best(folder: Path) -> None:
                trainer.save_model(str(folder))

            viewer.show(saved.add(self._metrics, written, save_best))
            control.should_training_stop = control.should_training_stop or saved.are_all

    return Look()
