"""What a data set holds and what is wrong with it, for people and as JSON.

Names, counts, groups and splits are of the whole set; everything about pixels is of a sample of
frames, evenly spread, and of neighbours across the splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weightsearch.data.frames.source import Frame, FrameRef, Source
from weightsearch.data.inspection import contact_sheet, depth_units, leaks, registration
from weightsearch.data.packs import depth_range
from weightsearch.data.readers.registry import UNBOUNDED, open_source
from weightsearch.study.spec_fields import Value

SAMPLE = 16
VAL = "blocks:10%"
VALUES = 4_000_000
"""Depths that are kept of the sample, evenly spread; at most 20,000 of a frame."""
EDGES = 256
"""Frames whose edges are compared."""
BINS = 10


@dataclass(frozen=True)
class Look:
    """What is kept of a frame that was looked at."""

    ref: FrameRef
    rgb_size: tuple[int, int]
    depth_size: tuple[int, int]
    pixels: int
    valid: int
    left_out: int
    extremes_m: tuple[float, float] | None
    values_m: npt.NDArray[np.float32]


def inspect(
    reader: str,
    path: Path | None,
    options: Mapping[str, Value],
    sample: int = SAMPLE,
    val: str = VAL,
    seed: int = 0,
    picture: Path | None = None,
) -> dict[str, Any]:
    """Names by split, counts, sizes (height, width), the depth of a sample of the frames, the split
    with its digests, and `warnings`: what to act on, a line each.

    `sample` frames are looked at, all of them for 0; `val` and `seed` are those of a study, and say
    which frames would validate. `depth_m` is None where no pixel looked at is valid. `picture`
    names a contact sheet to write. Raises ConfigError and DataError.
    """
    with closing(open_source(reader, path, options)) as source:
        frames = source.frames
        count = min(sample or len(frames), len(frames))
        chosen = [k * len(frames) // count for k in range(count)]
        side, unsplit = leaks.sides(frames, val, seed)
        pairs = leaks.neighbours(frames, side)
        sampled = _sampled(source, chosen, picture)
        for i in {i for pair in pairs for i in pair} - sampled.thumbs.keys():
            sampled.thumbs[i] = leaks.thumb(source.read(i))
        measured = _measured(reader, path, options, chosen) or sampled.looks
        shift = registration.shift(sampled.edges)
        names: dict[str, list[str]] = {}
        for ref in frames:
            names.setdefault(ref.split, []).append(ref.name)
        told = list(_judged(sampled.looks, measured, len(frames), reader))
        return {
            "reader": reader,
            "options": dict(source.options),
            "ground_truth": source.ground_truth,
            "max_depth_m": source.max_depth_m,
            "counts": {split: len(found) for split, found in names.items()},
            "groups": _groups(frames),
            **_depth(source, sampled.looks),
            "shift": vars(shift) if shift else None,
            "validation": {"val": val, "seed": seed, "sides": leaks.digests(frames, side)},
            "warnings": [
                *source.warnings,
                *(line for is_warning, line in told if is_warning),
                *_shifted(shift),
                *([unsplit] if unsplit else []),
                *leaks.shared_groups(frames, side),
                *leaks.twins(frames, side, sampled.thumbs, pairs),
            ],
            "notes": [*source.notes, *(line for is_warning, line in told if not is_warning)],
            "splits": names,
        }


@dataclass(frozen=True)
class Sampled:
    """What was seen of the sample."""

    looks: list[Look]
    edges: list[tuple[registration.Map, float]]
    thumbs: dict[int, leaks.Thumb]
    """By the frame's number."""


def _sampled(source: Source, chosen: Sequence[int], picture: Path | None) -> Sampled:
    """Reads each of the frames once; `picture` names a contact sheet of some to write."""
    count, rows = len(chosen), contact_sheet.ROWS
    shown = {chosen[k * count // rows] for k in range(rows)} if picture else set()
    sampled, strips = Sampled([], [], {}), []
    for i in chosen:
        frame, ref = source.read(i), source.frames[i]
        sampled.thumbs[i] = leaks.thumb(frame)
        sampled.looks.append(_look(ref, frame, VALUES // count))
        if len(sampled.edges) < EDGES and (found := registration.surfaces(frame)):
            sampled.edges.append(found)
        if i in shown:
            strips.append(contact_sheet.strip(ref.name, frame))
    if picture:
        contact_sheet.write(picture, strips)
    return sampled


def _look(ref: FrameRef, frame: Frame, most: int) -> Look:
    """`most` is how many of its depths are kept."""
    values = frame.depth_m[frame.valid]
    rgb_height, rgb_width, _ = frame.rgb.shape
    height, width = frame.depth_m.shape
    return Look(
        ref=ref,
        rgb_size=(rgb_height, rgb_width),
        depth_size=(height, width),
        pixels=frame.valid.size,
        valid=values.size,
        left_out=frame.left_out,
        extremes_m=(float(values.min()), float(values.max())) if values.size else None,
        values_m=values[:: -(-values.size // max(1, min(most, 20_000))) or 1],
    )


def _measured(
    reader: str, path: Path | None, options: Mapping[str, Value], chosen: Sequence[int]
) -> list[Look]:
    """The same frames without the range that the user gave, which may hide what they hold; empty
    for a reader that has none."""
    if reader not in UNBOUNDED:
        return []
    with closing(open_source(reader, path, {**options, **UNBOUNDED[reader]})) as source:
        most = VALUES // len(chosen)
        return [_look(source.frames[i], source.read(i), most) for i in chosen]


def _groups(frames: Sequence[FrameRef]) -> dict[str, int]:
    pairs = {(ref.split, ref.group) for ref in frames}
    order = dict.fromkeys(ref.split for ref in frames)
    return {split: sum(on == split for on, _ in pairs) for split in order}


def _depth(source: Source, looks: Sequence[Look]) -> dict[str, Any]:
    sizes = Counter((look.rgb_size, look.depth_size) for look in looks)
    values = np.concatenate([look.values_m for look in looks])
    ends = [look.extremes_m for look in looks if look.extremes_m]
    pixels, valid = (sum(getattr(look, name) for look in looks) for name in ("pixels", "valid"))
    edges = np.linspace(0, source.max_depth_m, BINS + 1)
    shares = np.histogram(values, edges)[0] / max(1, values.size)
    return {
        "size": list(looks[0].rgb_size),
        "sizes": [
            {"rgb": list(rgb), "depth": list(depth), "frames": number}
            for (rgb, depth), number in sizes.most_common()
        ],
        "sampled": len(looks),
        "depth_m": {
            "min": min(low for low, _ in ends),
            "median": float(np.median(values)),
            "max": max(high for _, high in ends),
        }
        if ends
        else None,
        "valid_share": valid / pixels,
        "least_valid": min((look.valid / look.pixels, look.ref.name) for look in looks),
        "histogram": [
            {"from": float(low), "to": float(high), "share": float(share)}
            for low, high, share in zip(edges, edges[1:], shares, strict=False)
        ],
    }


def _judged(
    looks: Sequence[Look], measured: Sequence[Look], count: int, reader: str
) -> Iterator[tuple[bool, str]]:
    """What the pixels say; True for a warning."""
    empty = [look.ref.name for look in looks if not look.valid]
    if empty:
        yield (
            True,
            f"{len(empty)} of {len(looks)} frames looked at have no valid depth at all, first"
            f" {empty[0]}; packs leave such frames out"
            + ("." if len(looks) == count else " (--sample 0 looks at all)."),
        )
    coarse: list[tuple[bool, str]] = []
    for split in dict.fromkeys(look.ref.split for look in measured):
        values = [look.values_m for look in measured if look.ref.split == split]
        coarse += depth_units.coarse(np.concatenate(values), split)
    yield from coarse
    wrong = depth_units.median(np.concatenate([look.values_m for look in measured]))
    if wrong and not any(is_warning for is_warning, _ in coarse):  # one that knows more
        yield True, wrong
    left_out, inside = (
        sum(getattr(look, name) for look in looks) for name in ("left_out", "valid")
    )
    if left_out > depth_range.MUCH * (left_out + inside):
        yield True, depth_range.beyond_reader(left_out / (left_out + inside), reader)


def _shifted(shift: registration.Shift | None) -> Iterator[str]:
    if shift is None or not shift.is_off:
        return
    if shift.mirror:
        yield f"depth fits its RGB pictures best {shift.mirror}: check the order of the axes."
    else:
        yield (
            f"depth lies {shift.dx} pixels to the right of its RGB pictures and {shift.dy} below"
            f" (negative: left, above; edges agree best there, correlation {shift.peak:.2f})."
        )
