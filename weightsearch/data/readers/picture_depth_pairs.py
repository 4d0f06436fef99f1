"""Data sets that have a file of colour and a file of depth for each frame, in whatever layout."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from weightsearch.data.frames.natural_order import natural
from weightsearch.data.frames.source import Frame, FrameRef, GroundTruth, Source, fingerprint, runs
from weightsearch.data.untrusted import picture_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import DataError, others
from weightsearch.study.spec_fields import Value

KINDS = ("PNG", "JPEG")
NYU_SCENE = re.compile(r"(.+_\d{4})[a-z]?(_out)?")


@dataclass(frozen=True)
class Pair:
    """The files of one frame, by their names in the store of colours and in that of depths."""

    ref: FrameRef
    rgb: str
    depth: str
    masks: tuple[str, ...] = ()
    """In the store of depths."""


@dataclass(frozen=True)
class Layout:
    """What a reader found out about a data set, before any picture is opened."""

    reader: str
    pairs: Sequence[Pair]
    rgb: Files
    depth: Files
    options: Mapping[str, Value]
    ground_truth: GroundTruth
    max_depth_m: float
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def source(layout: Layout, read: Callable[[Pair], Frame]) -> Source:
    """The layout as a source, where all of its files are there; otherwise DataError, which says
    how many are missing, and which is the first."""
    pairs = layout.pairs
    wanted = [(layout.rgb, pair.rgb) for pair in pairs]
    wanted += [(layout.depth, name) for pair in pairs for name in (pair.depth, *pair.masks)]
    facts = present(wanted)
    return Source(
        reader=layout.reader,
        frames=tuple(pair.ref for pair in pairs),
        read=lambda i: read(pairs[i]),
        options=layout.options,
        ground_truth=layout.ground_truth,
        fingerprint=fingerprint(
            layout.reader,
            facts,
            [(pair.ref.name, pair.ref.group, pair.ref.split) for pair in pairs],
            dict(layout.options),
        ),
        max_depth_m=layout.max_depth_m,
        notes=layout.notes,
        warnings=layout.warnings,
    )


def present(wanted: Sequence[tuple[Files, str]]) -> list[tuple[str, tuple[int, int]]]:
    """Name and facts of each file; raises DataError where any is missing, naming the first ten."""
    facts = []
    missing = []
    for store, name in wanted:
        found = store.facts(name)
        if found is None:
            missing.append(store.where(name))
        else:
            facts.append((name, found))
    if missing:
        raise DataError(
            f"{missing[0]}: is listed, but there is no such file"
            f" (missing: {len(missing)} of {len(wanted)}{others(missing)})."
        )
    return facts


def partners(root: Path, found: Mapping[str, set[str]], kinds: Sequence[str]) -> list[str]:
    """The names that each kind of file exists for, in natural order.

    Raises DataError where names lack one of them: how many do, and the first ten.
    """
    every = sorted(set().union(*found.values()), key=natural)
    wrong = []
    for kind in kinds:
        lacking = [name for name in every if name not in found.get(kind, set())]
        if lacking:
            wrong.append(
                f"each frame must have its {kind}, but {lacking[0]} has none"
                f" (missing: {len(lacking)} of {len(every)}{others(lacking)})"
            )
    if wrong:
        raise DataError(f"{root}: {'; '.join(wrong)}.")
    return every


def at(path: Path | None, reader: str, what: str) -> Path:
    """The folder at `path`, or DataError that says what it must be."""
    if path is None:
        raise unplaced(reader, what)
    if not path.is_dir():
        raise DataError(f"{path}: must be the folder of {what}, but there is no such folder.")
    return path


def unplaced(reader: str, what: str) -> DataError:
    """Where nobody has said where the data lie; `what` says what they are."""
    return DataError(
        f"reader '{reader}' must be told where its data lie, but no place was given; add --data"
        f" PATH of {what}, or path in a study's [data]."
    )


def some(root: Path, pairs: Sequence[Pair], law: str) -> None:
    """Raises DataError where no frame was found; `law` says where they should lie."""
    if not pairs:
        raise DataError(f"{root}: must hold {law}, but holds none.")


def stem(name: str) -> str:
    """A file's name as that of its frame: without its suffix."""
    return str(PurePosixPath(name).with_suffix(""))


def nyu_scene(folder: str) -> str:
    """The room of a folder of NYU's raw recordings: `kitchen_0028b` is a part of `kitchen_0028`,
    and one part must not validate what was trained on another."""
    found = NYU_SCENE.fullmatch(folder)
    return found[1] if found else folder


def by_neighbours(
    places: Iterable[str], prefix: str = "", names: Sequence[str] | None = None
) -> list[str]:
    """Groups for frames, each given its folder: runs of 15 within a folder, in the natural order
    of `names`, as lists are often shuffled; without names, in the order of the frames."""
    ordered = list(places)
    order = sorted(range(len(ordered)), key=lambda i: natural(names[i]) if names else [])
    runs_of = {place: iter(runs(count)) for place, count in Counter(ordered).items()}
    found = [""] * len(ordered)
    for i in order:
        found[i] = f"{prefix}{ordered[i]}/{next(runs_of[ordered[i]])}".lstrip("/")
    return found


def picture(
    store: Files, name: str, modes: Sequence[str], law: str, kinds: Sequence[str] = KINDS
) -> npt.NDArray[Any]:
    """The pixels of a picture of one of these modes (Pillow's); `law` says what it must be."""
    where = store.where(name)
    known = f"a {' or '.join(kinds)} image"
    with picture_files.opened(io.BytesIO(store.read(name)), kinds, where, known) as image:
        if image.mode not in modes:
            raise DataError(f"{where}: must be {law}, but has mode {image.mode}.")
        return np.array(image)


def colours(store: Files, name: str) -> npt.NDArray[np.uint8]:
    """An 8-bit RGB picture, uint8 (h, w, 3)."""
    return picture(store, name, ("RGB",), "8-bit RGB")


def grey16(store: Files, name: str, law: str) -> npt.NDArray[np.uint16]:
    """A 16-bit grey PNG, (h, w)."""
    return picture(store, name, ("I;16",), f"16-bit grey ({law})", ("PNG",)).astype(np.uint16)


def frame(
    rgb: npt.NDArray[np.uint8],
    depth_m: npt.NDArray[Any],
    farthest_m: float,
    measured: npt.NDArray[np.bool_] | None = None,
    nearest_m: float = 0.0,
) -> Frame:
    """A frame whose depth is valid where it is a number above 0, at least `nearest_m` and at most
    `farthest_m`, and `measured`; elsewhere it is 0. What only the range leaves out is counted."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is not valid either
        depth_m = np.asarray(depth_m, dtype=np.float32)
        known = np.isfinite(depth_m) & (depth_m > 0)
        if measured is not None:
            known &= measured
        valid = known & (depth_m >= np.float32(nearest_m)) & (depth_m <= np.float32(farthest_m))
    left_out = int(known.sum()) - int(valid.sum())
    return Frame(rgb, np.where(valid, depth_m, np.float32(0)), valid, left_out)


def of_one_size(rgb: npt.NDArray[Any], depth: npt.NDArray[Any], where: str) -> None:
    """Raises DataError unless both have one height and width; `where` names the depth."""
    if rgb.shape[:2] != depth.shape[:2]:
        raise DataError(
            f"{where}: must have its RGB image's size {rgb.shape[:2]},"
            f" but has {depth.shape[:2]} (height, width)."
        )
