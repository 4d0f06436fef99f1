"""The trainer of one rank: predicts its share of a batch, adds its gradients to the others'."""

from __future__ import annotations

import torch
from torch import Tensor

from weightsearch.depth.training.batches import Frames, stream
from weightsearch.depth.training.ranks import Ranks, WholeBatchNorm
from weightsearch.depth.training.trainer import Trainer
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import ConfigError
from weightsearch.study.spec import ModelSpec, StudySpec


def built(
    spec: StudySpec, model: ModelSpec, frames: Frames, device: torch.device, ranks: Ranks | None
) -> Trainer:
    """The trainer of a rank, or of a run that has only one."""
    if ranks is None:
        return Trainer(spec, model, frames, device)
    return RankTrainer(spec, model, frames, device, ranks)


class RankTrainer(Trainer):
    """Raises ConfigError where a rank's share of a batch is too small for the network."""

    def __init__(
        self,
        spec: StudySpec,
        model: ModelSpec,
        frames: Frames,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        super().__init__(spec, model, frames, device)
        self.ranks = ranks
        self.most_at_once = -(-spec.train.batch // ranks.count)
        batch = min(spec.train.batch, len(frames.names))
        self.share, fewest = batch // ranks.count, self._graph.fewest_images
        if self.share < fewest:
            raise ConfigError(
                f"each of promote.devices must have {fewest} of a batch at least, but {batch} among"
                f" {ranks.count} leaves {self.share}; lower promote.devices, or raise train.batch."
            )

    def _in_parts(self, lane: Lane, rgb: Tensor) -> Tensor:
        shares = torch.tensor_split(rgb, self.ranks.count)
        if self.ranks.rank:  # dropout and stochastic depth: not the first's, for other frames
            torch.manual_seed(stream(lane.seed, lane.epoch, lane.step, 3, self.ranks.rank))
        own = super()._in_parts(lane, shares[self.ranks.rank])
        return self.ranks.whole(own, [len(share) for share in shares])

    def _forward(self, lane: Lane, rgb: Tensor, bf16: bool) -> Tensor:
        with WholeBatchNorm():
            return super()._forward(lane, rgb, bf16)

    def _backward(self, lane: Lane, loss: Tensor) -> None:
        super()._backward(lane, loss)
        # Of a learned weighting the gradients are the same on all ranks: they see all predictions.
        found = [value.grad for value in lane.trained().values() if value.grad is not None]
        self.ranks.add_up(found)
