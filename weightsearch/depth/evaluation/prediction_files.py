"""Scores anybody's predictions, from files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weightsearch.data.packs.building import Pack
from weightsearch.data.untrusted import archive_files
from weightsearch.depth.evaluation.error_breakdown import Details
from weightsearch.depth.evaluation.protocols import Protocol, Shows, Size, is_of_part
from weightsearch.depth.evaluation.scoring import (
    Batch,
    Scores,
    checked_request,
    judged,
    score_batches,
    stepped_size,
)
from weightsearch.depth.files import units
from weightsearch.depth.files.depth_maps import USUAL, mirrored_file, read_values
from weightsearch.errors import DataError


@dataclass(frozen=True)
class Files:
    """A folder of predictions, and what its owner says of them."""

    folder: Path
    unit: str | None = None
    """One of `UNITS`; None where the files state theirs, or have the usual one."""
    shows: Shows | None = None
    """What the predictions show, where a protocol has a part and their size does not tell."""
    partial: bool = False
    """Whether some may be missing."""


PLAUSIBLE = (0.5, 2.0)
"""Predictions and ground truth in one unit have medians of this ratio. The units in use differ by
more than twice (256, 1000 and 100 steps a metre)."""
USUAL_OF = {"kitti_eigen": {".png": "m/256"}}
"""The unit of files that state none where that of a data set's own tools is another."""


def evaluate_predictions(
    files: Files,
    pack: Pack,
    protocol_name: str,
    split: str = "test",
    alignment: str = "none",
    detailed: bool = False,
) -> Scores:
    """What the protocol says of a folder of NAME.npy or, without one, grey NAME.png; NAME is the
    frame's, sub-folders included. For a protocol that mirrors, NAME_mirrored.npy is the prediction
    for the mirrored picture, turned back, where all frames have one.

    Raises DataError where a prediction is missing (with `partial` it is counted instead), is no
    such file, or is not in its unit: where the median of its ratios to the ground truth is outside
    `PLAUSIBLE`, and neither the caller nor the file states the unit. Raises ConfigError for an
    unknown protocol or unit.
    """
    units.check(files.unit, alignment)
    protocol, indices = checked_request(protocol_name, pack, split, alignment)
    folder = files.folder
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder of predictions, but there is no such folder.")
    found, missing = _find(folder, pack, indices)
    if missing and not (files.partial and found):
        raise DataError(
            f"{folder}: must hold NAME.npy or NAME.png for each of the {len(indices)} frames of"
            f" split '{split}', but lacks {len(missing)}, first {missing[0]};"
            f" add {'some' if files.partial else 'them, or give --partial'}."
        )
    details = Details(protocol.details_m(pack.max_depth_m)) if detailed else None
    read = Read(files, _mirrored(folder, pack, found) if protocol.mirror else {})
    batches = _batches(found, pack, protocol, read)
    scores = score_batches(batches, pack, protocol, list(found), alignment, details)
    ratio = _plausible(read)
    more = list(_notes(protocol, read, len(found), len(missing), len(indices)))
    unit = {"unit": " and ".join(sorted(read.units)), "median_ratio": ratio}

    def told(one: Scores) -> Scores:
        provenance = {**one.provenance, **unit}
        notes = [*one.notes, *more]
        return dataclasses.replace(one, missing=missing, notes=notes, provenance=provenance)

    return dataclasses.replace(told(scores), raw=told(scores.raw) if scores.raw else None)


@dataclass(frozen=True)
class Read:
    """What was found in the files."""

    files: Files
    mirrored: Mapping[int, Path]
    """Of each frame; empty unless all have one."""
    resized: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    """What had to be done so that they could be compared, a line or name each."""
    units: set[str] = field(default_factory=set)
    guessed: dict[str, str] = field(default_factory=dict)
    """Units that nobody stated: a file that was taken to have it."""
    ratios: list[float] = field(default_factory=list)
    """The median of prediction / ground truth, one of each frame that has pixels to compare."""

    def view(self, file: Path, usual: Mapping[str, str], beside: str | None = None) -> View:
        """The prediction in a file; `beside` is the unit of the one that it lies beside."""
        read = read_values(file, self.files.unit)
        stated = self.files.unit or read.stated or beside
        name = stated or usual[file.suffix]
        self.units.add(name)
        if stated is None:
            self.guessed.setdefault(name, str(file))
        unit = units.UNITS[name]
        if unit.kind != "m" and not np.isfinite(read.values).all():
            raise DataError(f"{file}: must be finite, because '{name}' has no range, but is not.")
        return View(torch.from_numpy(unit.converted(read.values))[None, None], name)


@dataclass(frozen=True)
class View:
    """The map of one file."""

    depth: Tensor
    """(1, 1, h, w), metres where its unit has them."""
    unit: str


def _batches(
    found: Mapping[int, Path], pack: Pack, protocol: Protocol, read: Read
) -> Iterator[Batch]:
    """A batch a file, beside its ground truth; fills `read`."""
    usual = USUAL | USUAL_OF.get(pack.reader, {})
    for i, file in found.items():
        view = read.view(file, usual)
        size: Size = (view.depth.shape[-2], view.depth.shape[-1])
        shape = stepped_size(protocol, pack.depth_sizes[i])
        of_part = is_of_part(protocol, size, shape, pack.sizes[i], read.files.shows)
        if of_part:
            read.parts.append(pack.names[i])
        elif size != shape:
            sizes = f"from {size[0]}x{size[1]} to {shape[0]}x{shape[1]}"
            read.resized.append(f"{pack.names[i]} {sizes}")
        views = [view.depth]
        if i in read.mirrored:
            views.append(read.view(read.mirrored[i], usual, view.unit).depth)
        kind = units.UNITS[view.unit].kind
        _, gt_m, valid = (torch.from_numpy(x) for x in pack.read([i]))
        batch = Batch([i], views, gt_m, valid, "part" if of_part else "whole", kind)
        if kind == "m":
            ratio = _ratio(batch, pack, protocol)
            if ratio is not None:
                read.ratios.append(ratio)
        yield batch


def _ratio(batch: Batch, pack: Pack, protocol: Protocol) -> float | None:
    """The median of prediction / ground truth over the pixels that count."""
    pred_m, gt_m, counts = judged(batch, pack, protocol, clamp_first=False)
    ratios = (pred_m[counts] / gt_m[counts]).numpy()
    return float(np.median(ratios)) if ratios.size else None


def _plausible(read: Read) -> float | None:
    """The median ratio over all frames; raises DataError where it tells of another unit."""
    if not read.ratios:
        return None
    ratio = float(np.median(read.ratios))
    low, high = PLAUSIBLE
    if read.guessed and not low <= ratio <= high:
        name, file = next(iter(read.guessed.items()))
        other = units.that_fits(ratio, name)
        better = f"--unit {other}" if other else "--unit, or --align median for depth of any scale"
        raise DataError(
            f"{file}: predictions are taken for {units.UNITS[name].told}, but are {ratio:.3g} times"
            f" the ground truth at the median, which must be {low:g} to {high:g}; if their unit is"
            f" another, give {better}; if they are that wrong, give --unit {name}."
        )
    return ratio


def _notes(protocol: Protocol, read: Read, found: int, missing: int, asked: int) -> Iterator[str]:
    if missing:
        yield f"left out, having no prediction: {missing} of {asked} frames"
    if read.resized:
        how = {"nearest": "to the nearest pixel"}.get(protocol.resize, "bilinearly")
        resized = len(read.resized)
        yield f"resized {how}: {resized} of {found} predictions, first {read.resized[0]}"
    if read.parts:
        yield (
            f"{'said' if read.files.shows else 'known by their size'} to show only what the authors"
            f" of protocol '{protocol.name}' give to a network: {len(read.parts)} of {found}"
            f" predictions, first {read.parts[0]}"
        )
    if protocol.mirror and not read.mirrored:
        yield (
            f"protocol '{protocol.name}' averages with the prediction for the mirrored image; there"
            " is no NAME_mirrored.npy for every frame (`predict --views` writes them), so this was"
            " left out"
        )


def _mirrored(folder: Path, pack: Pack, found: Mapping[int, Path]) -> dict[int, Path]:
    """The prediction of each frame for the mirrored picture; none unless all have one."""
    names = set(pack.names)
    here = {
        i: mirrored_file(folder / pack.names[i])
        for i in found
        if f"{pack.names[i]}_mirrored" not in names  # that file is another frame's
    }
    whole = len(here) == len(found) and all(file.is_file() for file in here.values())
    return here if whole else {}


def _find(folder: Path, pack: Pack, indices: Sequence[int]) -> tuple[dict[int, Path], list[str]]:
    """The prediction file of each frame that has one, and the names of the frames without."""
    found: dict[int, Path] = {}
    missing: list[str] = []
    for i in indices:
        name = pack.names[i]
        if not archive_files.inside(name):
            raise DataError(f"frame names must stay inside the folder, but one is '{name}'.")
        # Not with_suffix: a name may have a dot in it.
        here = [p for p in (folder / f"{name}.npy", folder / f"{name}.png") if p.is_file()]
        if here:
            found[i] = here[0]
        else:
            missing.append(name)
    return found, missing
