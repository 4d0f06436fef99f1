"""Opening HDF5 files that somebody else wrote.

HDF5 can point outside itself (external links, external storage, virtual datasets), which would
read any file of this machine into the data set, and can promise far more data than it holds, in all
or in the one chunk that a small slice lies in. Nothing here follows such pointers, and nothing is
read before it is known how much memory that takes.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import h5py

from weightsearch.errors import DataError
from weightsearch.runtime.safe_text import presentable

MAX_SLICE_BYTES = 1 << 26
"""Of one frame, of one chunk, and of what is read whole. A frame of NYU has 1 MB."""
MAX_RATIO = 200
"""Of promised to stored bytes, where more is promised than may be read whole: constant frames have
88 under lzf, and 1000 under gzip, as bombs do."""
FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, 32000)
"""32000 is lzf. The others are rare, and have a longer history of faults."""
DAMAGED = (
    ArithmeticError, AttributeError, KeyError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What h5py raises over a damaged file."""
KINDS = {"u": "unsigned integers", "f": "floats", "b": "booleans", "S": "text", "O": "references"}


def open_file(path: Path, law: str) -> h5py.File:
    """The file, for reading; `law` is how an error message says what it must be.

    Raises DataError where there is none, or it is not HDF5, or it is truncated.
    """
    if not path.is_file():
        raise DataError(f"{path}: {law}, but there is no such file.")
    try:
        with path.open("rb") as file:
            start = file.read(19)
        if not h5py.is_hdf5(path):
            is_old = start.startswith(b"MATLAB 5.0")
            got = "a MATLAB v5 file; save it with -v7.3" if is_old else "not an HDF5 file"
            raise DataError(f"{path}: {law}, but it is {got}.")
        # Locks fail on read-only and some network folders; a larger chunk cache serves files whose
        # chunks span several frames.
        return h5py.File(path, "r", locking=False, rdcc_nbytes=64 << 20)
    except DAMAGED as error:
        raise DataError(f"{path}: {law}, but it cannot be opened ({one_line(error)}).") from None


def dataset(file: h5py.File, name: str, kind: str, rank: int) -> h5py.Dataset:
    """The dataset `name` of the file itself, of this numpy dtype kind and rank.

    Raises DataError where it is missing, of another type, lies elsewhere, or is a bomb.
    """
    where = f"{file.filename}: '{name}'"
    if not has(file, name):
        raise DataError(f"{where} must be in the file, but is missing.")
    try:
        is_own = file.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD
        found = file[name] if is_own else None
    except DAMAGED as error:
        raise DataError(f"{where} cannot be read ({one_line(error)}).") from None
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{where} must be a dataset in the file itself, but is a link or a group.")
    check(found, where, kind, rank)
    return found


def has(file: h5py.File, name: str) -> bool:
    """Whether the file names it, be it as a link, which is not followed.

    Raises DataError where the file is damaged.
    """
    try:
        return bool(file.id.links.exists(name.encode()))
    except DAMAGED as error:
        raise DataError(
            f"{file.filename}: '{name}' cannot be looked up ({one_line(error)})."
        ) from None


def check(found: h5py.Dataset, where: str, kind: str, rank: int) -> None:
    """Raises DataError unless the dataset has this type, and can be read a slice at a time."""
    try:
        dtype, shape, chunk = found.dtype, found.shape, found.chunks or ()
        made = found.id.get_create_plist()
        filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
        # The file's own word, which may be more than there is.
        stored = min(found.id.get_storage_size(), Path(found.file.filename).stat().st_size)
        elsewhere = found.external or found.is_virtual
    except DAMAGED as error:
        raise DataError(f"{where} cannot be read ({one_line(error)}).") from None
    if elsewhere:
        raise DataError(f"{where} must hold its own data, but points to another file or dataset.")
    if shape is None or dtype.kind != kind or len(shape) != rank:
        raise DataError(
            f"{where} must hold {KINDS[kind]} on {rank} axes,"
            f" but has shape {shape} and dtype {dtype}."
        )
    if not set(filters) <= set(FILTERS):
        raise DataError(
            f"{where} must be stored as it is, or compressed by gzip or lzf, but is not."
        )
    size = int(found.size) * dtype.itemsize
    largest = max(size // shape[0] if size else 0, prod(chunk) * dtype.itemsize if chunk else 0)
    is_bomb = size > max(MAX_SLICE_BYTES, MAX_RATIO * stored)
    if largest > MAX_SLICE_BYTES or is_bomb or (size and not stored):
        raise DataError(
            f"{where} must be data of a plausible size, but promises {size} bytes"
            f" ({largest} at a time) and holds {stored}."
        )


def read(found: h5py.Dataset, selection: Any, where: str) -> Any:
    """What the selection holds, `()` being all; raises DataError where it is damaged."""
    try:
        if selection == () and found.nbytes > MAX_SLICE_BYTES:
            raise ValueError(f"it has {found.nbytes} bytes")
        return found[selection]
    except DAMAGED as error:
        raise DataError(f"{where} cannot be read ({one_line(error)}).") from None


def one_line(error: Exception) -> str:
    """The first line of HDF5's messages, which span several."""
    return presentable((str(error) or type(error).__name__).splitlines()[0].strip())
