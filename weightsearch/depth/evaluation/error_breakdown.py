"""Where the error lies: by depth, by distance from an edge, and how edges themselves are met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from weightsearch.depth.evaluation.edge_metrics import distance_from_edges, edge_metrics

INDOORS_M = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
OUTDOORS_M = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0)
FROM_EDGE_PX = (0.0, 2.0, 5.0, 10.0, 20.0, math.inf)


@dataclass
class Details:
    """What is gathered, batch by batch, from the pixels that count."""

    max_m: float
    with_edges: bool = True
    """Edges take most of the time."""
    images: list[int] = field(default_factory=list)
    """The indices of the images, in their order."""
    edges: dict[str, list[float]] = field(default_factory=dict)
    """One value per image; NaN where it has none."""
    _sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, pred_m: Tensor, gt_m: Tensor, counts: Tensor, images: Sequence[int]) -> None:
        """(b, h, w) each: what a protocol compares."""
        self.images += images
        true_m = gt_m[counts].double()
        error_m = pred_m[counts].double() - true_m
        self._sort("by_depth", true_m, self.depth_bins(), error_m, true_m)
        if not self.with_edges:
            return
        for name, values in edge_metrics(pred_m, gt_m, counts, self.max_m).items():
            self.edges.setdefault(name, []).extend(values.tolist())
        away_px = distance_from_edges(gt_m, counts)[counts]
        self._sort("by_edge", away_px, FROM_EDGE_PX, error_m, true_m)

    def depth_bins(self) -> Sequence[float]:
        return INDOORS_M if self.max_m <= INDOORS_M[-1] else OUTDOORS_M

    def _sort(
        self, name: str, of: Tensor, bins: Sequence[float], error_m: Tensor, gt_m: Tensor
    ) -> None:
        inner = torch.tensor(bins[1:-1], dtype=of.dtype, device=of.device)
        place = torch.bucketize(of, inner, right=True)
        parts = (torch.ones_like(error_m), error_m, error_m**2, error_m.abs() / gt_m)
        sums = torch.stack(
            [
                torch.zeros(len(bins) - 1, dtype=torch.float64, device=of.device).index_add(
                    0, place, part
                )
                for part in parts
            ]
        ).cpu()
        self._sums[name] = self._sums.get(name, torch.zeros_like(sums)) + sums

    def answer(self) -> dict[str, Any]:
        """JSON-ready: the bins, and with edges their metrics' means over the images that have them.

        Bins pool the pixels of all images; `from` is part of a bin and `to` is not.
        """
        bins = {"by_depth_m": self._rows("by_depth", self.depth_bins())}
        if not self.with_edges:
            return bins
        return {
            **bins,
            "by_edge_px": self._rows("by_edge", FROM_EDGE_PX),
            "edges": {name: _mean(values) for name, values in self.edges.items()},
        }

    def _rows(self, name: str, bins: Sequence[float]) -> list[Mapping[str, float | int | None]]:
        rows: list[Mapping[str, float | int | None]] = []
        for k, (pixels, error, square, relative) in enumerate(self._sums[name].T.tolist()):
            end = bins[k + 1]
            rows.append(
                {
                    "from": bins[k],
                    "to": end if math.isfinite(end) else None,
                    "pixels": int(pixels),
                    "rmse": math.sqrt(square / pixels) if pixels else None,
                    "abs_rel": relative / pixels if pixels else None,
                    "bias": error / pixels if pixels else None,
                }
            )
        return rows


def _mean(values: Sequence[float]) -> float | None:
    finite = [v for v in values if math.isfinite(v)]
    return math.fsum(finite) / len(finite) if finite else None
