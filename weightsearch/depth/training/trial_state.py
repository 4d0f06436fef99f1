"""A lane: one trial in training, as a value that can be saved and restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from weightsearch.depth.loss.weightings import Weighting
from weightsearch.depth.network.checkpoint import Checkpoint, Tensors, copy

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


@dataclass
class Lane:
    """Everything that training changes of one trial, and where it stands."""

    model: dict[str, Tensor]
    """Parameters (those that require gradients) and buffers, by name."""
    optimizer: torch.optim.Optimizer
    """Of those parameters, in their order, then of those of a learned weighting."""
    terms: tuple[str, ...]
    """Of the study's loss terms those whose weight is not 0, all where their weighting is learned,
    in their order; only these are computed."""
    weights: Tensor
    """Of these terms, where they are fixed."""
    rows: Tensor
    """(steps, 2 * terms + 2): of each step of the epoch the terms; the share of its pixels, pairs
    or windows that each was computed of; the loss; and the place in its batch of the first frame
    whose prediction is not finite, or -1."""
    gradient_norms: Tensor
    """(terms,): `weighted_sum.gradient_norms`, summed over the steps of the epoch in which it was
    measured."""
    seed: int
    micro: int
    """So many frames of a batch go through the network at once."""
    weighting: Weighting | None = None
    """The learned one; None where the weights are fixed."""
    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Steps done in the epoch after them."""
    seconds: float = 0.0
    """Spent on those steps."""

    def trained(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.model.items() if value.requires_grad}

    def position(self) -> dict[str, float]:
        """For a checkpoint's facts, under the key `position`."""
        return {"epoch": self.epoch, "step": self.step, "seconds": self.seconds}

    def tensors(self) -> Tensors:
        """For a checkpoint: with `position`, all that the lane needs to resume."""
        names = list(self._optimized())
        state = self.optimizer.state_dict()["state"]
        optimizer = {
            f"{names[i]}/{key}": value
            for i, values in state.items()
            for key, value in values.items()
            if value is not None
        }
        learned = {"weighting": self.weighting.tensors()} if self.weighting else {}
        return {
            "model": self.model,
            "optimizer": optimizer,
            "rows": self._of_the_epoch(),
            **learned,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Puts what was saved of a lane into this new one.

        Raises CheckpointError where it is of another model, optimizer or number of steps.
        """
        saved, path = checkpoint.tensors, checkpoint.path
        copy(saved["model"], self.model, path)
        copy(saved["rows"], self._of_the_epoch(), path)
        if self.weighting:
            copy(saved.get("weighting", {}), self.weighting.tensors(), path)
        state: dict[int, dict[str, Tensor]] = {}
        optimized = self._optimized()
        numbers = {name: i for i, name in enumerate(optimized)}
        for key, value in saved["optimizer"].items():
            name, _, kind = key.rpartition("/")
            state.setdefault(numbers[name], {})[kind] = _like(value, optimized[name])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        position = checkpoint.facts["position"]
        self.epoch, self.step = position["epoch"], position["step"]
        self.seconds = position["seconds"]

    def _optimized(self) -> dict[str, Tensor]:
        """What the optimizer moves, in its order."""
        return self.trained() | (self.weighting.trained() if self.weighting else {})

    def _of_the_epoch(self) -> dict[str, Tensor]:
        # `pulls`: the key in checkpoints, those of older versions too.
        return {"rows": self.rows, "pulls": self.gradient_norms}


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """A moment laid out in memory as its parameter is, which the fused optimizers rely on."""
    if value.shape != parameter.shape:
        return value  # the count of steps
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
