"""Opening HDF5 files that somebody else wrote.

HDF5 can point outside itself (external links, external storage, virtual datasets), which would
read any file of this machine into the data set, and can promise far more data than it holds.
Nothing here follows such pointers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from weightsearch.errors import DataError

MAX_SLICE_BYTES = 1 << 28
MAX_RATIO = 200
"""Of promised to stored bytes: a constant frame has 88 under lzf, a bomb 1000 under gzip."""
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
    except OSError as error:
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
    except (KeyError, OSError, RuntimeError, ValueError) as error:
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
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{file.filename}: '{name}' cannot be looked up ({one_line(error)})."
        ) from None


def check(found: h5py.Dataset, where: str, kind: str, rank: int) -> None:
    """Raises DataError unless the dataset has this type, and can be read a slice at a time."""
    try:
        dtype, shape = found.dtype, found.shape
        stored, elsewhere = found.id.get_storage_size(), found.external or found.is_virtual
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{where} cannot be read ({one_line(error)}).") from None
    if elsewhere:
        raise DataError(f"{where} must hold its own data, but points to another file or dataset.")
    if shape is None or dtype.kind != kind or len(shape) != rank:
        raise DataError(
            f"{where} must hold {KINDS[kind]} on {rank} axes,"
            f" but has shape {shape} and dtype {dtype}."
        )
    size = int(found.size) * dtype.itemsize
    if size and (size // shape[0] > MAX_SLICE_BYTES or size > MAX_RATIO * stored):
        raise DataError(
            f"{where} must be data of a plausible size, but promises {size} bytes"
            f" and holds {stored}."
        )


def read(found: h5py.Dataset, selection: Any, where: str) -> Any:
    """What the selection holds; raises DataError where it is damaged."""
    try:
        return found[selection]
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{where} cannot be read ({one_line(error)}).") from None


def one_line(error: Exception) -> str:
    """The first line of HDF5's messages, which span several."""
    return (str(error) or type(error).__name__).splitlines()[0].strip()
