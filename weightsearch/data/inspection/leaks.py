"""Whether what is tested or validated on was trained on: groups on both sides, and frames of
different sides that show the same thing.

Frames are compared as 32x24 grey pictures (correlation) and depth maps (mean difference of the
logarithms). On NYU's labelled frames no pair of a training and a test frame comes near the limits
(65,600 pairs, highest correlation 0.875, there with a depth difference of 0.39); panning a frame by
16 of its 640 pixels stays within them for more than half of the frames.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from weightsearch.data.frames import split
from weightsearch.data.frames.source import Frame, FrameRef
from weightsearch.errors import DataError

SIZE = (24, 32)
ALIKE = 0.85
ALIKE_DEPTH = 0.1
ALIKE_ALONE = 0.95
"""Where depth cannot be compared, as it is too sparse."""
PAIRS = 24
"""Neighbours looked at for each pair of sides."""
SIDES = re.compile(r"(?<![a-z])(train(ing)?|test(ing)?|val(id|idation)?|eval)(?![a-z])")
MOST = 4000
"""Frames that are compared with each other."""
NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Thumb:
    """A frame, small enough to keep: grey of mean 0 and length 1, and the logarithm of depth, NaN
    where there is none."""

    grey: npt.NDArray[np.float32]
    log_depth: npt.NDArray[np.float32]


def thumb(frame: Frame) -> Thumb:
    """The frame as it is compared."""
    picture = Image.fromarray(frame.rgb).convert("L").resize(SIZE[::-1], Image.Resampling.BOX)
    grey = np.asarray(picture, dtype=np.float32).ravel()
    grey = grey - grey.mean()
    total, share = (
        np.asarray(Image.fromarray(values).resize(SIZE[::-1], Image.Resampling.BOX)).ravel()
        for values in (frame.depth_m, frame.valid.astype(np.float32))
    )
    known = share > 0.5
    log_depth = np.full(total.shape, np.nan, dtype=np.float32)
    log_depth[known] = np.log(np.maximum(total[known] / share[known], 1e-3))
    return Thumb(grey / max(float(np.linalg.norm(grey)), 1e-6), log_depth)


def alike(a: Thumb, b: Thumb) -> bool:
    """Whether both show the same thing from nearly the same place."""
    likeness = float(a.grey @ b.grey)
    both = np.isfinite(a.log_depth) & np.isfinite(b.log_depth)
    if both.mean() < 0.25:
        return likeness > ALIKE_ALONE
    apart = float(np.abs(a.log_depth[both] - b.log_depth[both]).mean())
    return likeness > ALIKE and apart < ALIKE_DEPTH


def sides(frames: Sequence[FrameRef], val: str, seed: int) -> tuple[list[str], str | None]:
    """The side of each frame, `train`, `validation` or `test`, and why none could be held out."""
    train = [i for i, ref in enumerate(frames) if ref.split == "train"]
    found: list[str] = [ref.split for ref in frames]
    if not train:
        return found, None
    try:
        _, held = split.validation([frames[i].group for i in train], val, seed)
    except DataError as error:
        return found, f"--val {val} holds no frames out, so leaks into them are not seen: {error}"
    for k in held:
        found[train[k]] = "validation"
    return found, None


def digests(frames: Sequence[FrameRef], side: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Frames, groups and the SHA-256 of the sorted names, a line each, of each side."""
    answer = {}
    for name in dict.fromkeys(side):
        here = [ref for ref, on in zip(frames, side, strict=True) if on == name]
        names = "".join(f"{line}\n" for line in sorted(ref.name for ref in here))
        answer[name] = {
            "frames": len(here),
            "groups": len({ref.group for ref in here}),
            "digest": hashlib.sha256(names.encode()).hexdigest(),
        }
    return answer


def shared_groups(frames: Sequence[FrameRef], side: Sequence[str]) -> Iterator[str]:
    """A warning where a group lies in both splits."""
    where: dict[str, set[str]] = {}
    for ref in frames:
        where.setdefault(ref.group, set()).add(ref.split)
    both = [group for group, on in where.items() if len(on) > 1]
    if both:
        yield (
            f"{len(both)} of {len(where)} groups lie in both train and test, first {both[0]}:"
            " frames of a scene look alike, so split by scene."
        )


def neighbours(frames: Sequence[FrameRef], side: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of frames that follow each other by name and lie on different sides, evenly spread.

    The words train and test in names count for nothing, numbers by their value.
    """
    order = sorted(range(len(frames)), key=lambda i: _key(frames[i].name))
    kinds: dict[frozenset[str], list[tuple[int, int]]] = {}
    for i, k in pairwise(order):
        if side[i] != side[k]:
            kinds.setdefault(frozenset((side[i], side[k])), []).append((i, k))
    return [
        found[j * len(found) // min(PAIRS, len(found))]
        for found in kinds.values()
        for j in range(min(PAIRS, len(found)))
    ]


def twins(
    frames: Sequence[FrameRef],
    side: Sequence[str],
    thumbs: Mapping[int, Thumb],
    pairs: Sequence[tuple[int, int]],
) -> Iterator[str]:
    """A warning for each two sides that have frames which show the same thing.

    `pairs` are neighbours by name; `thumbs`, or 4000 of them, evenly spread, are compared with each
    other too.
    """
    every = {(min(pair), max(pair)) for pair in pairs} | set(_candidates(side, thumbs))
    kinds: dict[frozenset[str], list[tuple[int, int]]] = {}
    for i, k in sorted(every):
        if alike(thumbs[i], thumbs[k]):
            kinds.setdefault(frozenset((side[i], side[k])), []).append((i, k))
    for kind, found in kinds.items():
        one, other = sorted(kind)
        i, k = found[0]
        yield (
            f"{one} and {other} hold near-identical frames: {len(found)} pairs of those looked at,"
            f" first {frames[i].name} and {frames[k].name}; neighbours of a video must lie on one"
            " side, so name their scene as the group; frames of two scenes may look alike."
        )


def _candidates(side: Sequence[str], thumbs: Mapping[int, Thumb]) -> Iterator[tuple[int, int]]:
    """Pairs on different sides whose pictures are alike, whatever their depth."""
    every = sorted(thumbs)
    count = min(MOST, len(every))
    looked = [every[k * len(every) // count] for k in range(count)]
    grey = np.stack([thumbs[i].grey for i in looked])
    on = np.array([side[i] for i in looked])
    for row, i in enumerate(looked):
        likeness = grey[row + 1 :] @ grey[row]
        near = (likeness > ALIKE) & (on[row + 1 :] != on[row])
        yield from ((i, looked[row + 1 + int(k)]) for k in np.flatnonzero(near))


def _key(name: str) -> list[tuple[int, int, str]]:
    plain = SIDES.sub("", name)
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in NUMBER.split(plain)
        if part
    ]
