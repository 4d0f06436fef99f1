"""The layout of a pack: one HDF5 file, one chunk per frame.

    rgb_K    uint8  (n_K, h, w, 3)
    depth_K  float32 (n_K, h', w'), metres as the reader gave them: rounded to millimetres, let
             alone to 1/256 m, metrics differ from the official ones in their fourth digit
    valid_K  bool   (n_K, h', w')
    places   uint32 (n, 2): the K of each frame, and its row there
    names, groups, splits, skipped   UTF-8
    about   JSON, UTF-8: format, reader, options, ground_truth, max_depth_m, digest, origin

Frames of one size share a K: data sets exist whose frames differ in size, or whose depth is of
another size than its RGB. In a training copy h', w' are half of h, w, rounded up. All text is of
fixed length: reading variable-length text from a damaged file crashes HDF5 2.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from weightsearch.data.frames.source import NO_DEPTH, Frame, FrameRef
from weightsearch.data.readers import registry
from weightsearch.data.untrusted import hdf5_files
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value

FORMAT = 4  # 4: depth is not rounded
LAW = f"must be a pack of format {FORMAT}"
Size = tuple[int, int]
PARTS = (("rgb", "u", 4), ("depth", "f", 3), ("valid", "b", 3))
"""Name, kind and dimensions of what is kept of each frame."""
ABOUT: dict[str, Any] = {
    "reader": str,
    "options": dict,
    "ground_truth": str,
    "max_depth_m": int | float,
    "digest": str,
    "origin": str,
}


@dataclass(frozen=True)
class About:
    """What a pack says of itself beside its frames."""

    reader: str
    options: Mapping[str, Value]
    ground_truth: str
    max_depth_m: float
    origin: str = ""
    """Of a training copy: the digest of the pack that it was made from."""
    computed_from: str = ""
    """Of frames that are computed: their source's fingerprint."""


class DamagedPackError(DataError):
    """A frame of a pack cannot be read: its file is made from the data set, or from a pack."""


class Pack:
    """A pack, open for reading; `with Pack(path) as pack`.

    Raises DataError for anything but a pack, and DamagedPackError from `read` and `frame` where a
    frame is damaged.
    A process opens it for itself: an open pack must not be inherited by a fork.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = hdf5_files.open_file(path, LAW)
            try:
                self._load()
            except BaseException:
                self._file.close()
                raise
        except DataError as error:
            raise DataError(
                f"{str(error).removesuffix('.')}; pack it again: weightsearch data pack."
            ) from None

    def _load(self) -> None:
        about = self._about()
        self.names: list[str] = self._strings("names")
        self.groups: list[str] = self._strings("groups")
        self.splits: list[str] = self._strings("splits")
        self.skipped: list[str] = self._strings("skipped")
        """Frames without any valid depth, which are left out."""
        self._places = self._read_places()
        self._parts = [self._part(k) for k in range(int(self._places[:, 0].max()) + 1)]
        rows = np.array([len(part["rgb"]) for part in self._parts])
        if not (self._places[:, 1] < rows[self._places[:, 0]]).all():
            raise DataError(f"{self.path}: {LAW}, but its parts differ in size or type.")
        self.sizes: list[Size] = [self._parts[k]["rgb"].shape[1:3] for k in self._places[:, 0]]
        """Height and width of each frame's RGB image."""
        self.depth_sizes: list[Size] = [
            self._parts[k]["depth"].shape[1:3] for k in self._places[:, 0]
        ]
        self.reader: str = about["reader"]
        self.options: dict[str, Value] = about["options"]
        self.ground_truth: str = about["ground_truth"]
        self.max_depth_m: float = about["max_depth_m"]
        self.digest: str = about["digest"]
        """SHA-256 over the names and what was decoded: two packs with it hold the same. Of
        frames that are computed, over what they are computed from: processors differ in them."""
        self.origin: str = about["origin"] or self.digest
        """The digest of the full-size pack: of a training copy the one it was made from."""
        decoded = about.get("decoded_digest", self.digest)
        self.digests: tuple[str, str, str] = self.digest, decoded, about.get("rounded_digest", "")
        """And those that earlier releases gave the same data: over what was decoded, of computed
        frames too; and of format 3, whose depth was rounded."""
        self.left_out: float = about.get("left_out", 0.0)
        """The share of what was measured that lies outside the reader's range."""

    def _read_places(self) -> npt.NDArray[np.intp]:
        found = hdf5_files.dataset(self._file, "places", "u", 2)
        places: npt.NDArray[np.intp] = hdf5_files.read(found, (), f"{self.path}: 'places'").astype(
            np.intp
        )
        counts = {len(self.names), len(self.groups), len(self.splits), len(places)}
        if len(counts) > 1 or places.shape[1] != 2 or not len(places):
            raise DataError(f"{self.path}: {LAW}, but its parts differ in size or type.")
        return places

    def _part(self, k: int) -> dict[str, h5py.Dataset]:
        """The frames of one size."""
        part = {
            name: hdf5_files.dataset(self._file, f"{name}_{k}", kind, dimensions)
            for name, kind, dimensions in PARTS
        }
        rgb, depth, valid = (part[name] for name, *_ in PARTS)
        fits = rgb.shape[3] == 3 and depth.shape == valid.shape and len(rgb) == len(depth)
        if not fits or [p.dtype for p in part.values()] != [np.uint8, np.float32, np.bool_]:
            raise DataError(f"{self.path}: {LAW}, but its parts differ in size or type.")
        return part

    def _about(self) -> dict[str, Any]:
        try:
            (text,) = self._strings("about")
            about: dict[str, Any] = json.loads(text)
            if (found := about["format"]) != FORMAT:
                raise DataError(f"{self.path}: {LAW}, but it has format {found}.")
            whole = all(isinstance(about[name], kind) for name, kind in ABOUT.items())
            whole = whole and isinstance(about.get("left_out", 0.0), float)
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise DataError(f"{self.path}: {LAW}, but what it says of itself is damaged.")
        return about

    def _strings(self, name: str) -> list[str]:
        found = hdf5_files.dataset(self._file, name, "S", 1)
        values = hdf5_files.read(found, (), f"{self.path}: '{name}'")
        try:
            return [value.decode() for value in values]
        except UnicodeDecodeError:
            raise DataError(f"{self.path}: '{name}' must be UTF-8, but is not.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.names)

    def indices(self, split: str) -> list[int]:
        """The frames of a split, in order."""
        return [i for i, found in enumerate(self.splits) if found == split]

    def frame(self, i: int) -> Frame:
        rgb, depth_m, valid = self.read([i])
        return Frame(rgb[0], depth_m[0], valid[0])

    def read(
        self, indices: Sequence[int]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """rgb (n, h, w, 3), depth_m (n, h', w') in metres and valid (n, h', w'), in this order.

        The frames must be of one size (`batches` cuts so). Neighbours are read together, so
        ascending indices are fastest.
        """
        places = self._places[np.asarray(indices, dtype=np.intp)]
        if len(set(places[:, 0])) > 1:
            raise ValueError("frames that are read together must be of one size")
        part, wanted = self._parts[places[0, 0] if len(places) else 0], places[:, 1]
        rgb, depth_m, valid = (
            np.empty((len(wanted), *part[name].shape[1:]), dtype=part[name].dtype)
            for name, *_ in PARTS
        )
        breaks = np.flatnonzero(np.diff(wanted, prepend=-2) != 1).tolist()
        for start, stop in pairwise([*breaks, len(wanted)]):
            first = int(wanted[start])
            span = slice(first, first + stop - start)
            where = f"{self.path}: frames from {self.names[indices[start]]}"
            try:
                for name, out in (("rgb", rgb), ("depth", depth_m), ("valid", valid)):
                    out[start:stop] = hdf5_files.read(part[name], span, where)
            except DataError as error:
                said = str(error).removesuffix(".")
                raise DamagedPackError(f"{said}; {self._remedy()}.") from None
        return rgb, depth_m, valid

    def check(self) -> None:
        """Reads every frame. Raises DamagedPackError."""
        for i in range(len(self)):
            self.read([i])

    def _remedy(self) -> str:
        """What to do about a damaged frame. Nothing but this file is lost."""
        if self.origin != self.digest:
            return "it is a copy for training, which is made again where it is removed"
        return f"make the pack again: {registry.pack_command(self.reader, self.options)}"

    def batches(self, indices: Sequence[int], most: int) -> Iterator[list[int]]:
        """The indices in runs of at most `most` frames of one size, in their order."""
        for _, run in groupby(indices, lambda i: int(self._places[i, 0])):
            frames = list(run)
            yield from (frames[k : k + most] for k in range(0, len(frames), most))


def write(
    file: h5py.File, frames: Iterable[tuple[FrameRef, Frame]], count: int, about: About
) -> None:
    """Writes the frames as they come; those without valid depth are left out, by name.

    Raises DataError where valid depth is no depth, or no frame is left.
    """
    digest, rounded_digest = hashlib.sha256(), hashlib.sha256()
    computed_digest = hashlib.sha256(about.computed_from.encode())
    refs: list[FrameRef] = []
    skipped: list[str] = []
    places: list[tuple[int, int]] = []
    parts: dict[tuple[int, ...], tuple[int, dict[str, h5py.Dataset]]] = {}
    left_out = measured = 0
    for ref, frame in frames:
        valid = frame.valid & (frame.depth_m > 0)
        left_out += frame.left_out
        measured += frame.left_out + int(frame.valid.sum())
        if not valid.any():
            skipped.append(ref.name)
            continue
        depth_m = _checked(frame, valid, ref.name)
        arrays: dict[str, npt.NDArray[Any]] = {"rgb": frame.rgb, "depth": depth_m, "valid": valid}
        size = (*frame.rgb.shape, *valid.shape)
        if size not in parts:
            k = len(parts)
            made = {name: _create(file, f"{name}_{k}", array) for name, array in arrays.items()}
            parts[size] = k, made
        k, datasets = parts[size]
        row = len(datasets["rgb"])
        stated = "\0".join((ref.name, ref.group, ref.split, str(frame.rgb.shape))).encode()
        for whole in (digest, rounded_digest, computed_digest):
            whole.update(stated)
        for array in (frame.rgb, *_rounded(depth_m, about.max_depth_m)):
            rounded_digest.update(np.ascontiguousarray(array).data)
        for name, array in arrays.items():
            datasets[name].resize(row + 1, axis=0)
            datasets[name][row] = array
            digest.update(np.ascontiguousarray(array).data)
        refs.append(ref)
        places.append((k, row))
    if not refs:
        raise DataError(
            f"at least one frame must have valid depth, but none of {count} has; {NO_DEPTH}"
        )
    file["places"] = np.array(places, dtype=np.uint32)
    facts = {
        "format": FORMAT,
        "digest": (computed_digest if about.computed_from else digest).hexdigest(),
        "decoded_digest": digest.hexdigest(),
        "rounded_digest": rounded_digest.hexdigest(),
        "left_out": left_out / max(1, measured),
    }
    texts: dict[str, list[str]] = {
        "names": [ref.name for ref in refs],
        "groups": [ref.group for ref in refs],
        "splits": [ref.split for ref in refs],
        "skipped": skipped,
        "about": [json.dumps(facts | asdict(about))],
    }
    for name, lines in texts.items():
        file[name] = np.array([line.encode() for line in lines], dtype=np.bytes_)


def _rounded(
    depth_m: npt.NDArray[np.float32], max_depth_m: float
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Depth and validity as packs of format 3 held them: in steps of 1 mm, beyond 65 m of 1/256 m.

    For studies that were begun on such a pack and are to be continued.
    """
    step_m = 0.001 if max_depth_m <= 65 else 1 / 256
    units = np.clip(np.rint(depth_m.astype(np.float64) / step_m), 0, np.iinfo(np.uint16).max)
    return units.astype(np.uint16), units > 0


def _checked(frame: Frame, valid: npt.NDArray[np.bool_], name: str) -> npt.NDArray[np.float32]:
    """Depth as it is, 0 where not valid; raises DataError where it cannot be metres."""
    stated = frame.depth_m[frame.valid]
    wrong = stated[~((stated >= 0) & (stated < np.inf))]
    if wrong.size:
        raise DataError(
            f"frame {name}: valid depth must be finite and not below 0 m, but is {wrong[0]:g}."
        )
    return np.where(valid, frame.depth_m, np.float32(0)).astype(np.float32)


def _create(file: h5py.File, name: str, frame: npt.NDArray[np.generic]) -> h5py.Dataset:
    return file.create_dataset(
        name,
        (0, *frame.shape),
        dtype=frame.dtype,
        maxshape=(None, *frame.shape),
        chunks=(1, *frame.shape),
        compression="lzf",  # decodes several times faster than gzip
        shuffle=frame.dtype.itemsize > 1,
        fletcher32=True,  # a flipped bit raises instead of training on it
    )
