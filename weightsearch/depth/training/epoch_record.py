"""What a lane's record of an epoch, a row for each step, comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.training.batches import Frames
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import NonFiniteLoss


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave."""

    number: int
    """From 1."""
    losses: dict[str, float]
    """Means over the steps: `loss`, and, of terms whose weight is not 0, `loss_TERM` before
    weighting and `counted_TERM`, the share of the term's pixels, pairs or windows that it was
    computed of. Of all terms `share_TERM`, of the loss, and `gradient_share_TERM`, of the norms of
    the gradients at the network's output (`weighted_sum.gradient_norms`). Where the weighting is
    learned, `weight_TERM`: the mean of the weights, made to sum to 1 in each step. Each kind sums
    to 1."""
    scores: Scores
    """Of the validation frames."""
    seconds: float
    images_per_second: float
    """In training, without validation."""


def losses(lane: Lane, terms: Sequence[str]) -> dict[str, float]:
    """What `Epoch.losses` says of the epoch that the lane has just done; `terms` are all of the
    study's."""
    means, count = lane.rows.mean(0), len(lane.terms)
    found = {"loss": means[-2].item()}
    for i, term in enumerate(lane.terms):
        found |= {f"loss_{term}": means[i].item()}
        found |= {f"counted_{term}": means[count + i].item()}
    weighted = means[:count] * lane.weights
    if lane.weighting is not None:
        weighted = (lane.rows[:, :count] * lane.weighting.rows).mean(0)
        shown = zip(lane.terms, lane.weighting.means().tolist(), strict=True)
        found |= {f"weight_{term}": weight for term, weight in shown}
    parts = {"share": weighted, "gradient_share": lane.gradient_norms}
    for kind, values in parts.items():
        shares = (values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)).tolist()
        known = dict(zip(lane.terms, shares, strict=True))
        found |= {f"{kind}_{term}": known.get(term, 0.0) for term in terms}
    return found


def check(lane: Lane, frames: Frames, batch: int) -> None:
    """Raises NonFiniteLoss for the first step of the epoch so far whose loss is not a number."""
    rows = lane.rows[: lane.step]
    bad = (~rows[:, :-1].isfinite()).any(1).cpu()  # the one place that waits for the device
    if not bad.any():
        return
    step = int(bad.int().argmax())
    *values, loss, place = rows[step].tolist()
    named = zip((*lane.terms, "loss"), (*values[: len(lane.terms)], loss), strict=True)
    term, value = next((n, v) for n, v in named if not math.isfinite(v))
    chunk = frames.order(batch, lane.seed, lane.epoch)[step]
    which = "first in frame" if place >= 0 else "in the batch of frame"
    raise NonFiniteLoss(
        f"term '{term}' is {value} in epoch {lane.epoch + 1}, step {step + 1}, {which}"
        f" '{frames.names[chunk[max(0, int(place))]]}'."
    )
