"""Predictions to numbers: of a network, of a checkpoint, or of a folder of anybody's files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weightsearch import names, objective
from weightsearch.data import files
from weightsearch.data.pack import Pack
from weightsearch.data.resize import resize_rgb
from weightsearch.depth import checkpoint as checkpoints
from weightsearch.depth.depth_files import read_depth
from weightsearch.depth.metrics import per_image, rmse_pooled
from weightsearch.depth.protocols import PROTOCOLS, Protocol, counted, fit
from weightsearch.errors import DataError

Predict = Callable[[Tensor], Tensor]
"""RGB (b, 3, h, w) in 0..1 to depth in metres (b, 1, h', w')."""

BATCH = 8
"""Images at a time where a checkpoint is evaluated; the numbers do not depend on it."""


@dataclass(frozen=True)
class Scores:
    """What a protocol says of some predictions."""

    protocol: str
    ground_truth: str
    """The kind that the data has, which may not be the one that the protocol is meant for."""
    per_image: dict[str, list[float]]
    """Each metric, one value per scored image."""
    pooled: dict[str, float]
    """What only all images together have: `rmse_pooled`."""
    names: list[str]
    groups: list[str]
    """Name, and scene or block, of each scored image."""
    skipped: list[str]
    """Images without any pixel that counts; they are in no mean."""
    missing: list[str]
    """Images without a prediction, where that was allowed."""
    notes: list[str]
    """One line each: what a reader of the numbers has to know."""

    def metrics(self) -> dict[str, float]:
        """Each metric's mean over the scored images, and `rmse_pooled`."""
        rmse = {"rmse": self.per_image["rmse"]}  # first, and the other RMSE beside it
        return objective.summarise({**rmse, **self.pooled, **self.per_image}).metrics


def score(
    predict: Predict,
    pack: Pack,
    indices: Sequence[int],
    protocol: Protocol,
    size: tuple[int, int],
    device: torch.device | str,
    batch: int,
) -> Scores:
    """What the protocol says of a network on these frames of a pack at its native resolution.

    `size` (height, width) is what the network takes. It is called without gradients; evaluation
    mode and precision are the caller's. Raises DataError where the protocol does not suit the data,
    or no pixel counts.
    """

    def batches() -> Iterator[_Batch]:
        for start in range(0, len(indices), batch):
            chunk = indices[start : start + batch]
            rgb, gt_m, valid = pack.read(chunk)
            inputs = network_input(rgb, size, device)
            with torch.no_grad():
                views_m = [predict(inputs).float()]
                if protocol.mirror:
                    views_m.append(predict(inputs.flip(-1)).float().flip(-1))
            truth = (torch.from_numpy(x).to(device) for x in (gt_m, valid))
            yield _Batch(chunk, views_m, *truth)

    return _score(batches(), pack, protocol)


def network_input(
    rgb: npt.NDArray[np.uint8], size: tuple[int, int], device: torch.device | str
) -> Tensor:
    """Float (b, 3, *size) in 0..1 of rgb (b, h, w, 3), resized as training copies are."""
    if rgb.shape[1:3] != size:
        rgb = np.stack([resize_rgb(image, size) for image in rgb])
    return torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float() / 255


def evaluate_checkpoint(
    checkpoint: Path, pack: Pack, protocol_name: str, split: str, device: torch.device | str
) -> Scores:
    """What the protocol says of a checkpoint's network on a split, at the size it was trained at.

    Raises CheckpointError for a checkpoint of no use, DataError as `score` does, ConfigError for an
    unknown protocol.
    """
    protocol, indices = _asked(protocol_name, pack, split)
    network = checkpoints.network(checkpoint, device)
    return score(network, pack, indices, protocol, network.data.size, device, BATCH)


def evaluate_predictions(
    folder: Path, pack: Pack, protocol_name: str, split: str = "test", partial: bool = False
) -> Scores:
    """What the protocol says of a folder of NAME.npy (metres) or, without one, NAME.png (16-bit,
    millimetres); NAME is the frame's, sub-folders included.

    Raises DataError where a prediction is missing (with `partial` it is counted instead) or is no
    such file, ConfigError for an unknown protocol.
    """
    protocol, indices = _asked(protocol_name, pack, split)
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder of predictions, but there is no such folder.")
    found, missing = _find(folder, pack, indices)
    if missing and not (partial and found):
        raise DataError(
            f"{folder}: must hold NAME.npy or NAME.png for each of the {len(indices)} frames of"
            f" split '{split}', but lacks {len(missing)}, first {missing[0]};"
            f" add {'some' if partial else 'them, or give --partial'}."
        )
    resized: list[str] = []

    def batches() -> Iterator[_Batch]:
        for i, file in found.items():
            depth_m = read_depth(file)
            if depth_m.shape != pack.shape:
                resized.append(f"{pack.names[i]} from {depth_m.shape[0]}x{depth_m.shape[1]}")
            _, gt_m, valid = (torch.from_numpy(x) for x in pack.read([i]))
            yield _Batch([i], [torch.from_numpy(depth_m)[None, None]], gt_m, valid)

    scores = _score(batches(), pack, protocol)
    notes = list(scores.notes)
    if missing:
        notes.append(f"left out, having no prediction: {len(missing)} of {len(indices)} frames")
    if resized:
        notes.append(
            f"resized bilinearly to {pack.shape[0]}x{pack.shape[1]}: {len(resized)} of"
            f" {len(found)} predictions, first {resized[0]}"
        )
    if protocol.mirror:
        notes.append(
            f"protocol '{protocol.name}' averages with the prediction for the mirrored image;"
            " files have none, so this was left out"
        )
    return dataclasses.replace(scores, missing=missing, notes=notes)


def _asked(protocol_name: str, pack: Pack, split: str) -> tuple[Protocol, list[int]]:
    """The protocol, found to suit the pack, and the split's frames, at least one."""
    names.check("protocol", protocol_name)
    protocol = PROTOCOLS[protocol_name]
    protocol.check_shape(pack.shape)
    indices = pack.indices(split)
    if not indices:
        have = ", ".join(sorted(set(pack.splits)))
        raise DataError(f"{pack.path}: must have frames of split '{split}', but has {have}.")
    return protocol, indices


@dataclass(frozen=True)
class _Batch:
    indices: Sequence[int]
    views_m: Sequence[Tensor]
    """Predictions (b, 1, h', w') to average: one, or two where the protocol mirrors."""
    gt_m: Tensor
    valid: Tensor
    """(b, h, w) each."""


def _score(batches: Iterable[_Batch], pack: Pack, protocol: Protocol) -> Scores:
    assert pack.depth_shape == pack.shape, "a training copy has no ground truth of its own"
    protocol.check_shape(pack.shape)
    metrics = protocol.metrics()
    crop = (slice(None), *(protocol.crop or ()))
    columns: dict[str, list[float]] = {name: [] for name in (*metrics, "pixels")}
    indices: list[int] = []
    not_finite = 0
    for batch in batches:
        views_m = [fit(protocol, view, pack.shape, pack.max_depth_m) for view in batch.views_m]
        pred_m = torch.stack(views_m).mean(0)[:, 0]
        counts = counted(protocol, batch.gt_m, batch.valid, pack.max_depth_m)
        values = per_image(pred_m[crop], batch.gt_m[crop], counts[crop], metrics)
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
        ground_truth=pack.ground_truth,
        per_image=kept,
        pooled={"rmse_pooled": rmse_pooled(kept["rmse"], pixels)},
        names=[pack.names[indices[n]] for n in scored],
        groups=[pack.groups[indices[n]] for n in scored],
        skipped=[pack.names[i] for n, i in enumerate(indices) if not columns["pixels"][n]],
        missing=[],
        notes=_notes(pack, protocol, len(indices), len(indices) - len(scored), not_finite),
    )


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


def _find(folder: Path, pack: Pack, indices: Sequence[int]) -> tuple[dict[int, Path], list[str]]:
    """The prediction file of each frame that has one, and the names of the frames without."""
    found: dict[int, Path] = {}
    missing: list[str] = []
    for i in indices:
        name = pack.names[i]
        if not files.inside(name):
            raise DataError(f"frame names must stay inside the folder, but one is '{name}'.")
        # Not with_suffix: a name may have a dot in it.
        here = [p for p in (folder / f"{name}.npy", folder / f"{name}.png") if p.is_file()]
        if here:
            found[i] = here[0]
        else:
            missing.append(name)
    return found, missing
