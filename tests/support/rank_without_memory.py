"""A rank of a full run whose memory runs out in its second step, unless it is asked to take less.

python -m support.rank_without_memory    # stands in for weightsearch.depth.rank_process
"""

from __future__ import annotations

import torch
from torch import Tensor

from weightsearch.depth import rank_process
from weightsearch.depth.training.rank_trainer import RankTrainer
from weightsearch.depth.training.trial_state import Lane

forward = RankTrainer._forward


def runs_out(self: RankTrainer, lane: Lane, rgb: Tensor, bf16: bool) -> Tensor:
    if lane.step == 1 and len(rgb) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    return forward(self, lane, rgb, bf16)


if __name__ == "__main__":
    RankTrainer._forward = runs_out  # type: ignore[method-assign]
    rank_process.main()
