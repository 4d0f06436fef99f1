"""The best constant: what a network that has learned nothing of the picture could still predict.

Of the depths that count under the protocol 99 candidates are taken (the quantiles 1 % to 99 %), and
the one with the best mean metric wins, whichever metric that is: near the mean depth for RMSE, near
the median for MAE, below it for REL. It is chosen on the very frames that it is scored on, so that
no constant is better by more than a quantile's width: a network has to beat it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.metrics import per_image
from weightsearch.depth.evaluation.protocols import Protocol
from weightsearch.depth.evaluation.scoring import Batch, Scores, judged, score_batches

CANDIDATES = 99
SAMPLED, LEAST = 20_000, 64
"""Pixels that choose, evenly spread over the images, and at least so many of each: every candidate
is compared with all of them."""


def best_constant(
    pack: Pack,
    frames: Sequence[int],
    protocol: Protocol,
    metric: str,
    smaller: bool,
    device: torch.device | str = "cpu",
) -> tuple[float, Scores]:
    """The constant depth in metres that is best by the metric (a key of `protocol.metrics()`, or
    `rmse_pooled`), and its scores on these frames, by that metric alone. Raises DataError as
    `score` does."""
    chosen_by = "rmse" if metric == "rmse_pooled" else metric
    depths_m, valid = _sample(pack, frames, protocol, device)
    shares = torch.arange(1, CANDIDATES + 1, dtype=torch.float64, device=device) / (CANDIDATES + 1)
    candidates_m = sorted(set(torch.quantile(depths_m[valid], shares).tolist()))
    measures = {chosen_by: protocol.metrics()[chosen_by]}

    def value(constant_m: float) -> float:
        found = per_image(torch.full_like(depths_m, constant_m), depths_m, valid, measures)
        mean = float(found[chosen_by].nanmean())
        return mean if smaller else -mean

    best_m = min(candidates_m, key=value)
    batches = _batches(pack, frames, best_m, device)
    return best_m, score_batches(batches, pack, protocol, frames, "none", None, measures)


def told(depth_m: float, scores: Scores, metric: str) -> dict[str, Any]:
    """As an epoch's `about` has it: see `CONSTANT` in `study/objective_contract.py`."""
    samples = scores.per_image.get(metric)
    return {
        "says": f"a constant prediction of {depth_m:.3g} m",
        "value": scores.metrics()[metric],
        **({"samples": samples} if samples else {}),
    }


def _batches(
    pack: Pack, frames: Sequence[int], constant_m: float, device: torch.device | str
) -> Iterator[Batch]:
    for chunk in pack.batches(frames, 1):
        _, gt, mask = pack.read(chunk)
        gt_m, valid = torch.from_numpy(gt).to(device), torch.from_numpy(mask).to(device)
        yield Batch(chunk, [torch.full_like(gt_m, constant_m)[:, None]], gt_m, valid, "whole")


def _sample(
    pack: Pack, frames: Sequence[int], protocol: Protocol, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Some of each image's depths that count, and where there are any: (images, 1, pixels) each."""
    most = max(LEAST, SAMPLED // len(frames))
    depths = torch.ones((len(frames), 1, most), dtype=torch.float64, device=device)
    valid = torch.zeros_like(depths, dtype=torch.bool)
    for k, batch in enumerate(_batches(pack, frames, 1.0, device)):
        _, gt_m, counts = judged(batch, pack, protocol, clamp_first=True)
        found = gt_m[counts].double()
        picked = found[torch.linspace(0, len(found) - 1, min(most, len(found))).long()]
        depths[k, 0, : len(picked)] = picked
        valid[k, 0, : len(picked)] = True
    return depths, valid
