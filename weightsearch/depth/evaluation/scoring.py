"""Predictions to numbers: of a network, or of a checkpoint; `prediction_files.py` scores files.

The route: `checked_request` gives protocol and frames → predictions come as `Batch`es →
`score_batches` fits each to its ground truth, and gives `Scores`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.alignment import ALIGNMENTS, align
from weightsearch.depth.evaluation.error_breakdown import Details
from weightsearch.depth.evaluation.metrics import Metric, per_image, rmse_pooled
from weightsearch.depth.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    Shows,
    Size,
    counted,
    fit,
    infinity_m,
)
from weightsearch.depth.files.units import Kind
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.prediction import Predict, depth_maps
from weightsearch.errors import ConfigError, DataError, did_you_mean
from weightsearch.study import known_names, objective_contract


class UnsuitedError(DataError):
    """A protocol that is made for other data."""


BATCH = 1
"""Images at a time where a checkpoint is evaluated: as `predict` has them. In a batch of another
size depth differs in its seventh digit, and with it a pixel that lies on a threshold."""


@dataclass(frozen=True)
class Scores:
    """What a protocol says of some predictions."""

    protocol: str
    alignment: str
    """How each image's scale was fitted to its ground truth; usually `none`."""
    ground_truth: str
    """The kind that the data has, which may not be the one that the protocol is meant for."""
    per_image: dict[str, list[float]]
    """Each metric, one value per scored image."""
    pooled: dict[str, float]
    """What only all images together have: `rmse_pooled`, beside `rmse`."""
    indices: list[int]
    """The place of each scored image in the pack."""
    pixels: list[int]
    """How many pixels of each scored image count."""
    names: list[str]
    groups: list[str]
    """Name, and scene or block, of each scored image."""
    skipped: list[str]
    """Images without any pixel that counts; they are in no mean."""
    missing: list[str]
    """Images without a prediction, where that was allowed."""
    notes: list[str]
    """One line each: what a reader of the numbers has to know."""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the predictions show (`input`: whole or part); of files, their unit too."""
    details: Details | None = None
    raw: Scores | None = None
    """The same without alignment, where there is one and the prediction has metres."""

    def edges(self) -> dict[str, list[float]]:
        """The edge metrics of each scored image, where details were asked for; NaN where an image
        has no window that is wholly valid."""
        if self.details is None:
            return {}
        scored = set(self.indices)
        kept = [n for n, i in enumerate(self.details.images) if i in scored]
        return {name: [values[n] for n in kept] for name, values in self.details.edges.items()}

    def metrics(self) -> dict[str, float]:
        """Each metric's mean over the scored images, and what is pooled."""
        rmse = {k: v for k, v in self.per_image.items() if k == "rmse"}  # first, then the other
        return objective_contract.summarise({**rmse, **self.pooled, **self.per_image}).metrics


def score(
    predict: Predict,
    pack: Pack,
    indices: Sequence[int],
    protocol: Protocol,
    size: tuple[int, int],
    device: torch.device | str,
    batch: int,
    alignment: str = "none",
    details: Details | None = None,
) -> Scores:
    """What the protocol says of a network on these frames of a pack at its native resolution.

    The network is given whole pictures, as in training, at `size` (height, width), and is called
    without gradients; evaluation mode and precision are the caller's. `details` are filled on the
    way. Raises DataError where the protocol does not suit the data, or no pixel counts.
    """

    def batches() -> Iterator[Batch]:
        for chunk in pack.batches(indices, batch):
            rgb, gt_m, valid = pack.read(chunk)
            views_m = depth_maps(predict, rgb, size, device, protocol.mirror)
            gt, mask = (torch.from_numpy(x).to(device) for x in (gt_m, valid))
            yield Batch(chunk, views_m, gt, mask, "whole")

    return score_batches(batches(), pack, protocol, indices, alignment, details)


def evaluate_checkpoint(
    checkpoint: Path,
    pack: Pack,
    protocol_name: str,
    split: str,
    device: torch.device | str,
    alignment: str = "none",
    size: Size | None = None,
    detailed: bool = False,
) -> Scores:
    """What the protocol says of a checkpoint's network on a split, at the size it was trained at,
    or at `size` (height, width).

    Raises CheckpointError for a checkpoint of no use, DataError as `score` does, ConfigError for an
    unknown protocol.
    """
    protocol, indices = checked_request(protocol_name, pack, split, alignment)
    network = checkpoints.network(checkpoint, device)
    at = size or network.data.size
    details = Details(protocol.details_m(pack.max_depth_m)) if detailed else None
    scores = score(network, pack, indices, protocol, at, device, BATCH, alignment, details)
    if at == network.data.size:
        return scores
    trained = "x".join(str(side) for side in network.data.size)
    note = f"the network was given {at[0]}x{at[1]} pixels, but was trained at {trained}"
    return dataclasses.replace(scores, notes=[*scores.notes, note])


def checked_request(
    protocol_name: str, pack: Pack, split: str, alignment: str
) -> tuple[Protocol, list[int]]:
    """The protocol of that name, and the frames of the split, at least one.

    Raises ConfigError for an unknown protocol or alignment, DataError for a split without frames.
    """
    known_names.check("protocol", protocol_name)
    protocol = PROTOCOLS[protocol_name]
    if alignment not in ALIGNMENTS:
        raise ConfigError(f"unknown alignment '{alignment}'; {did_you_mean(alignment, ALIGNMENTS)}")
    indices = pack.indices(split)
    if not indices:
        have = ", ".join(sorted(set(pack.splits)))
        raise DataError(f"{pack.path}: must have frames of split '{split}', but has {have}.")
    return protocol, indices


@dataclass(frozen=True)
class Batch:
    """Predictions of some frames, with the ground truth that they are compared with."""

    indices: Sequence[int]
    views_m: Sequence[Tensor]
    """Predictions (b, 1, h', w') to average: one, or two where the protocol mirrors."""
    gt_m: Tensor
    valid: Tensor
    """(b, h, w) each."""
    shows: Shows
    """Whether the predictions show the whole picture, or what the protocol `sees`."""
    kind: Kind = "m"
    """Whether they are metres, depth of any scale, or inverse depth of any scale and shift."""


def score_batches(
    batches: Iterable[Batch],
    pack: Pack,
    protocol: Protocol,
    asked: Sequence[int],
    alignment: str,
    details: Details | None,
    metrics: Mapping[str, Metric] | None = None,
) -> Scores:
    """Compares the batches of the frames that were asked for, image by image, by the protocol's
    metrics where no others are named.

    `details` are filled on the way. Raises UnsuitedError where the protocol does not fit the size
    of a frame, DataError where no pixel counts.
    """
    assert pack.digest == pack.origin, "a training copy has no ground truth of its own"
    try:
        for i in asked:
            protocol.check_shape(pack.depth_sizes[i], pack.sizes[i])
    except DataError as error:
        raise UnsuitedError(str(error)) from None
    metrics = metrics or protocol.metrics()
    tallies = {how: Tally() for how in dict.fromkeys(("none", alignment))}
    shown: set[str] = set()
    for batch in batches:
        shown.add(batch.shows)
        for how, tally in tallies.items():
            if how == "none" != alignment and batch.kind != "m":
                continue  # without a scale there is nothing to say of metres
            pred_m, gt_m, counts = _comparable(batch, pack, protocol, how)
            tally.add(batch, per_image(pred_m, gt_m, counts, metrics))
            if how == alignment and details is not None:
                details.add(pred_m, gt_m, counts, batch.indices)
    provenance = {"input": " and ".join(sorted(shown, reverse=True))}
    found = {
        how: dataclasses.replace(tally.scores(pack, protocol, how), provenance=provenance)
        for how, tally in tallies.items()
        if tally.indices
    }
    if not found:
        raise DataError(f"{pack.path}: must have frames to score, but none was asked for.")
    raw = found.get("none") if alignment != "none" else None
    return dataclasses.replace(found[alignment], details=details, raw=raw)


@dataclass(frozen=True)
class Tally:
    """The metrics of the images seen so far."""

    indices: list[int] = dataclasses.field(default_factory=list)
    columns: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    not_finite: list[int] = dataclasses.field(default_factory=list)
    """Predicted pixels of each view that are no number."""

    def add(self, batch: Batch, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.columns.setdefault(name, []).extend(value.tolist())
        self.indices.extend(batch.indices)
        for view in batch.views_m:
            # A sum is finite only where all are, and takes an eighth of the time.
            counted = not view.sum().isfinite()
            self.not_finite.append(int((~view.isfinite()).sum()) if counted else 0)

    def scores(self, pack: Pack, protocol: Protocol, alignment: str) -> Scores:
        """Raises DataError where no pixel of any image counts."""
        scored = [n for n, pixels in enumerate(self.columns["pixels"]) if pixels]
        if not scored:
            raise DataError(
                f"protocol '{protocol.name}' needs an image with pixels that count"
                f" ({protocol.description}), but none of {len(self.indices)} has any."
            )
        kept = {name: [column[n] for n in scored] for name, column in self.columns.items()}
        pixels = [int(n) for n in kept.pop("pixels")]
        indices = [self.indices[n] for n in scored]
        skipped = sorted(set(range(len(self.indices))) - set(scored))
        return Scores(
            protocol=protocol.name,
            alignment=alignment,
            ground_truth=pack.ground_truth,
            per_image=kept,
            pooled={"rmse_pooled": rmse_pooled(kept["rmse"], pixels)} if "rmse" in kept else {},
            indices=indices,
            pixels=pixels,
            names=[pack.names[i] for i in indices],
            groups=[pack.groups[i] for i in indices],
            skipped=[pack.names[self.indices[n]] for n in skipped],
            missing=[],
            notes=_notes(pack, protocol, len(self.indices), len(skipped), sum(self.not_finite)),
        )


def _comparable(
    batch: Batch, pack: Pack, protocol: Protocol, alignment: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, ground truth and which pixels count (b, h, w): the part that is judged."""
    pred, gt_m, counts = judged(batch, pack, protocol, clamp_first=alignment == "none")
    pred_m = align(alignment, pred, gt_m, counts, batch.kind == "disparity")
    if alignment != "none":  # what no alignment has touched is finite
        far_m = infinity_m(protocol, pack.max_depth_m)
        pred_m = torch.nan_to_num(pred_m, nan=protocol.min_m, posinf=far_m)
    return pred_m.clamp(protocol.min_m, protocol.max_m), gt_m, counts


def judged(
    batch: Batch, pack: Pack, protocol: Protocol, clamp_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, as it is, ground truth and which pixels count (b, h, w): the part that counts.

    The range that a protocol clamps to first is one of metres: it is left out where a scale is
    still to be fitted.
    """
    if not clamp_first:
        protocol = dataclasses.replace(protocol, clamp_first=False)
    first = protocol.step // 2
    gt_m, valid = (
        x[:, first :: protocol.step, first :: protocol.step] for x in (batch.gt_m, batch.valid)
    )
    shape: Size = (gt_m.shape[1], gt_m.shape[2])
    picture = pack.sizes[batch.indices[0]]
    views = [
        fit(protocol, view, shape, pack.max_depth_m, picture, batch.shows == "part")
        for view in batch.views_m
    ]
    pred = (views[0] if len(views) == 1 else torch.stack(views).mean(0))[:, 0]
    counts = counted(protocol, gt_m, valid)
    if protocol.crop is not None:
        crop = (slice(None), *protocol.crop(shape))
        pred, gt_m, counts = pred[crop], gt_m[crop], counts[crop]
    return pred, gt_m, counts


def stepped_size(protocol: Protocol, shape: Size) -> Size:
    """The size of ground truth of that shape once `step` is applied."""
    first = protocol.step // 2
    height, width = (len(range(first, side, protocol.step)) for side in shape)
    return height, width


def _notes(pack: Pack, protocol: Protocol, images: int, skipped: int, not_finite: int) -> list[str]:
    near_m, far_m = protocol.min_m, infinity_m(protocol, pack.max_depth_m)
    notes = []
    if protocol.ground_truth not in (None, pack.ground_truth):
        notes.append(
            f"protocol '{protocol.name}' is meant for {protocol.ground_truth} ground truth, but"
            f" this is {pack.ground_truth}: compare with no published number"
        )
    if skipped:
        notes.append(f"skipped, having no pixel that counts: {skipped} of {images} images")
    if not_finite:
        notes.append(
            f"{not_finite} predicted pixels are not finite; NaN counts as {near_m:g} m,"
            f" infinity as {far_m:g} m"
        )
    return notes
