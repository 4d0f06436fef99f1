"""Scores anybody's predictions, from files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from weightsearch.data.packs.building import Pack
from weightsearch.data.untrusted import archive_files
from weightsearch.depth.evaluation.error_breakdown import Details
from weightsearch.depth.evaluation.protocols import (
    Protocol,
    Size,
    is_of_part,
)
from weightsearch.depth.evaluation.scoring import (
    Batch,
    Scores,
    checked_request,
    score_batches,
    stepped_size,
)
from weightsearch.depth.files.depth_maps import read_depth
from weightsearch.errors import DataError


def evaluate_predictions(
    folder: Path,
    pack: Pack,
    protocol_name: str,
    split: str = "test",
    partial: bool = False,
    alignment: str = "none",
    detailed: bool = False,
) -> Scores:
    """What the protocol says of a folder of NAME.npy (metres) or, without one, NAME.png (16-bit,
    millimetres); NAME is the frame's, sub-folders included.

    Raises DataError where a prediction is missing (with `partial` it is counted instead) or is no
    such file, ConfigError for an unknown protocol.
    """
    protocol, indices = checked_request(protocol_name, pack, split, alignment)
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder of predictions, but there is no such folder.")
    found, missing = _find(folder, pack, indices)
    if missing and not (partial and found):
        raise DataError(
            f"{folder}: must hold NAME.npy or NAME.png for each of the {len(indices)} frames of"
            f" split '{split}', but lacks {len(missing)}, first {missing[0]};"
            f" add {'some' if partial else 'them, or give --partial'}."
        )
    details = Details(protocol.details_m(pack.max_depth_m)) if detailed else None
    read = Read([], [])
    batches = _batches(found, pack, protocol, read)
    scores = score_batches(batches, pack, protocol, list(found), alignment, details)
    notes = [*scores.notes, *_notes(protocol, read, len(found), len(missing), len(indices))]
    return dataclasses.replace(scores, missing=missing, notes=notes)


@dataclass(frozen=True)
class Read:
    """What had to be done to predictions so that they could be compared, a line or name each."""

    resized: list[str]
    parts: list[str]


def _batches(
    found: Mapping[int, Path], pack: Pack, protocol: Protocol, read: Read
) -> Iterator[Batch]:
    """A batch a file, beside its ground truth; fills `read`."""
    for i, file in found.items():
        depth_m = read_depth(file)
        size: Size = (depth_m.shape[0], depth_m.shape[1])
        shape = stepped_size(protocol, pack.depth_sizes[i])
        of_part = is_of_part(protocol, size, shape, pack.sizes[i])
        if of_part:
            read.parts.append(pack.names[i])
        elif size != shape:
            sizes = f"from {size[0]}x{size[1]} to {shape[0]}x{shape[1]}"
            read.resized.append(f"{pack.names[i]} {sizes}")
        _, gt_m, valid = (torch.from_numpy(x) for x in pack.read([i]))
        yield Batch([i], [torch.from_numpy(depth_m)[None, None]], gt_m, valid, of_part)


def _notes(protocol: Protocol, read: Read, found: int, missing: int, asked: int) -> Iterator[str]:
    if missing:
        yield f"left out, having no prediction: {missing} of {asked} frames"
    if read.resized:
        resized = len(read.resized)
        yield f"resized bilinearly: {resized} of {found} predictions, first {read.resized[0]}"
    if read.parts:
        yield (
            f"taken to show only what protocol '{protocol.name}' gives to a network, by their size:"
            f" {len(read.parts)} of {found} predictions, first {read.parts[0]}"
        )
    if protocol.mirror:
        yield (
            f"protocol '{protocol.name}' averages with the prediction for the mirrored image;"
            " files have none, so this was left out"
        )


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
