"""A lane: one trial in training, as a value that can be saved and restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from weightsearch.depth.loss.weightings import Weighting
from weightsearch.depth.network.checkpoint import Checkpoint, Tensors, copy
from weightsearch.depth.training import freezing
from weightsearch.depth.training.averaging import Average
from weightsearch.depth.training.schedules import Schedule


@dataclass(eq=False)
class Lane:
    """Everything that training changes of one trial, and where it stands; equal to itself alone."""

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
    schedule: Schedule | None = None
    """None where the lr stays as it is."""
    average: Average | None = None
    frozen_epochs: float = 0
    """For so many the encoder stays as it is."""
    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Steps done in the epoch after them."""
    seconds: float = 0.0
    """Spent on those steps: its part of what lanes took together."""
    failure: Exception | None = None
    """What its training failed of, while others went on."""

    def is_beside(self, other: Lane) -> bool:
        """Whether both stand in the same epoch of the same order of batches."""
        return self.failure is None and (self.seed, self.epoch) == (other.seed, other.epoch)

    def repeats(self) -> bool:
        """Whether its steps are the same work but for learning rates."""
        if self.weighting is not None or self.average is not None or self.frozen_epochs:
            return False
        return self.schedule is None or self.schedule.beta1 is None

    def is_plain(self, batch: int) -> bool:
        """Whether its next step is the same work as the last but for learning rates, for a whole
        batch of so many. The first makes the optimizer's state, where it has one: SGD has none."""
        return self.repeats() and self.micro >= batch and (self.epoch, self.step) > (0, 0)

    def trained(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.model.items() if value.requires_grad}

    def is_frozen(self) -> bool:
        """Whether the encoder is, in the epoch that the lane is in."""
        return self.epoch < self.frozen_epochs

    def in_training(self) -> dict[str, Tensor]:
        """The network of a step."""
        return freezing.held(self.model) if self.is_frozen() else self.model

    def evaluated(self) -> dict[str, Tensor]:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.model | self.average.values if self.average else self.model

    def prepare(self, before: int) -> None:
        """Sets what the schedule has for the step that `before` others of the run came before."""
        if self.schedule is not None:
            self.schedule.set(self.optimizer, before)

    def move(self, before: int) -> None:
        """That step along the gradients, once it is prepared."""
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model, before)

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
        averaged = {"average": self.average.values} if self.average else {}
        return {
            "model": self.model,
            "optimizer": optimizer,
            "rows": self._of_the_epoch(),
            **learned,
            **averaged,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Puts what was saved of a lane into this new one.

        Raises CheckpointError where it is of another model, optimizer or number of steps.
        """
        saved, path = checkpoint.tensors, checkpoint.path
        copy(saved["rows"], self._of_the_epoch(), path)
        if self.weighting:
            copy(saved.get("weighting", {}), self.weighting.tensors(), path)
        self.fork(checkpoint, keeps_moments=True)

    def fork(self, trunk: Checkpoint, keeps_moments: bool) -> None:
        """Puts what was saved of a lane of other weights, at the end of an epoch, into this new
        one: its network, its averages, its place, and the optimizer's moments where they are kept.

        Raises CheckpointError where it is of another model or optimizer.
        """
        saved, path = trunk.tensors, trunk.path
        copy(saved["model"], self.model, path)
        if self.average:
            copy(saved.get("average", {}), self.average.values, path)
        if keeps_moments:
            self._remember(saved["optimizer"])
        position = trunk.facts["position"]
        self.epoch, self.step = position["epoch"], position["step"]
        self.seconds = position["seconds"]

    def _remember(self, moments: Mapping[str, Tensor]) -> None:
        """The optimizer's state."""
        state: dict[int, dict[str, Tensor]] = {}
        optimized = self._optimized()
        numbers = {name: i for i, name in enumerate(optimized)}
        for key, value in moments.items():
            name, _, kind = key.rpartition("/")
            state.setdefault(numbers[name], {})[kind] = _like(value, optimized[name])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

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
