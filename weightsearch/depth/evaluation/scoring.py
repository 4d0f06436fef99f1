"""Predictions to numbers: of a network, or of a checkpoint; `prediction_files.py` scores files.

The route: `checked_request` gives protocol and frames → predictions come as `Batch`es →
`score_batches` fits each to its ground truth, and gives `Scores`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.error_breakdown import Details
from weightsearch.depth.evaluation.metrics import per_image, rmse_pooled
from weightsearch.depth.evaluation.protocols import (
    ALIGNMENTS,
    PROTOCOLS,
    Protocol,
    Size,
    align,
    counted,
    fit,
)
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.prediction import Predict, network_input
from weightsearch.errors import ConfigError, DataError, did_you_mean
from weightsearch.study import known_names, objective_contract


class UnsuitedError(DataError):
    """A protocol that is made for other data."""


BATCH = 8
"""Images at a time where a checkpoint is evaluated; the numbers do not depend on it."""


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
    """What only all images together have: `rmse_pooled`."""
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
    details: Details | None = None

    def edges(self) -> dict[str, list[float]]:
        """The edge metrics of each scored image, where details were asked for; NaN where an image
        has no window that is wholly valid."""
        if self.details is None:
            return {}
        scored = set(self.indices)
        kept = [n for n, i in enumerate(self.details.images) if i in scored]
        return {name: [values[n] for n in kept] for name, values in self.details.edges.items()}

    def metrics(self) -> dict[str, float]:
        """Each metric's mean over the scored images, and `rmse_pooled`."""
        rmse = {"rmse": self.per_image["rmse"]}  # first, and the other RMSE beside it
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

    `size` (height, width) is what the network takes. It is called without gradients; evaluation
    mode and precision are the caller's. `details` are filled on the way. Raises DataError where the
    protocol does not suit the data, or no pixel counts.
    """

    def batches() -> Iterator[Batch]:
        for chunk in pack.batches(indices, batch):
            rgb, gt_m, valid = pack.read(chunk)
            if protocol.sees is not None:
                rgb = rgb[:, *protocol.sees((rgb.shape[1], rgb.shape[2]))]
            inputs = network_input(rgb, size, device)
            with torch.no_grad():
                views_m = [predict(inputs).float()]
                if protocol.mirror:
                    views_m.append(predict(inputs.flip(-1)).float().flip(-1))
            gt, mask = (torch.from_numpy(x).to(device) for x in (gt_m, valid))
            yield Batch(chunk, views_m, gt, mask, of_part=True)

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
    of_part: bool
    """Whether the predictions show what the protocol `sees`, not the whole picture."""


def score_batches(
    batches: Iterable[Batch],
    pack: Pack,
    protocol: Protocol,
    asked: Sequence[int],
    alignment: str,
    details: Details | None,
) -> Scores:
    """Compares the batches of the frames that were asked for, image by image.

    `details` are filled on the way. Raises UnsuitedError where the protocol does not fit the size
    of a frame, DataError where no pixel counts.
    """
    assert pack.digest == pack.origin, "a training copy has no ground truth of its own"
    try:
        for i in asked:
            protocol.check_shape(pack.depth_sizes[i], pack.sizes[i])
    except DataError as error:
        raise UnsuitedError(str(error)) from None
    metrics = protocol.metrics()
    columns: dict[str, list[float]] = {name: [] for name in (*metrics, "pixels")}
    indices: list[int] = []
    not_finite = 0
    for batch in batches:
        pred_m, gt_m, counts = _comparable(batch, protocol, pack.max_depth_m, alignment)
        values = per_image(pred_m, gt_m, counts, metrics)
        if details is not None:
            details.add(pred_m, gt_m, counts, batch.indices)
        for name, column in columns.items():
            column += values[name].tolist()
        indices += batch.indices
        not_finite += sum(int((~view.isfinite()).sum()) for view in batch.views_m)

    scored = [n for n, pixels in enumerate(columns["pixels"]) if pixels]
    if not scored:
        raise DataError(
            f"protocol '{protocol.name}' needs an image with pixels that count"
            f" ({protocol.description}), but none of {len(indices)} has any."
        )
    kept = {name: [column[n] for n in scored] for name, column in columns.items()}
    pixels = [int(n) for n in kept.pop("pixels")]
    return Scores(
        protocol=protocol.name,
        alignment=alignment,
        ground_truth=pack.ground_truth,
        per_image=kept,
        pooled={"rmse_pooled": rmse_pooled(kept["rmse"], pixels)},
        indices=[indices[n] for n in scored],
        pixels=pixels,
        names=[pack.names[indices[n]] for n in scored],
        groups=[pack.groups[indices[n]] for n in scored],
        skipped=[pack.names[i] for n, i in enumerate(indices) if not columns["pixels"][n]],
        missing=[],
        notes=_notes(pack, protocol, len(indices), len(indices) - len(scored), not_finite),
        details=details,
    )


def _comparable(
    batch: Batch, protocol: Protocol, data_max_m: float, alignment: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, ground truth and which pixels count (b, h, w): the part that is judged."""
    first = protocol.step // 2
    gt_m, valid = (
        x[:, first :: protocol.step, first :: protocol.step] for x in (batch.gt_m, batch.valid)
    )
    shape: Size = (gt_m.shape[1], gt_m.shape[2])
    views_m = [fit(protocol, view, shape, data_max_m, batch.of_part) for view in batch.views_m]
    pred_m = torch.stack(views_m).mean(0)[:, 0]
    counts = counted(protocol, gt_m, valid, data_max_m)
    if protocol.crop is not None:
        crop = (slice(None), *protocol.crop(shape))
        pred_m, gt_m, counts = pred_m[crop], gt_m[crop], counts[crop]
    return align(alignment, pred_m, gt_m, counts).clamp(*protocol.range_m(data_max_m)), gt_m, counts


def stepped_size(protocol: Protocol, shape: Size) -> Size:
    """The size of ground truth of that shape once `step` is applied."""
    first = protocol.step // 2
    height, width = (len(range(first, side, protocol.step)) for side in shape)
    return height, width


def _notes(pack: Pack, protocol: Protocol, images: int, skipped: int, not_finite: int) -> list[str]:
    near_m, far_m = protocol.range_m(pack.max_depth_m)
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
