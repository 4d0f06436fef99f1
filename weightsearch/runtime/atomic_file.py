"""Files that are there with all of their content, on disk, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def staged(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """An empty file beside `path`, to be written in the block; it takes the place of `path` in one
    step, synced, when the block ends.

    What was there before stays until then. Where the block, or OSError (a full disk), ends it, it
    leaves nothing behind; an OSError of ours names `path`.
    """
    if not path.name:  # as of "."
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        os.close(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode))
        yield staging
        with staging.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(staging, path)
    except OSError as error:
        if error.filename != str(staging):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        staging.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomically(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Writes the file, whole, or leaves what was there before, and raises OSError (a full disk)."""
    with staged(path, mode) as file:
        file.write_bytes(content)
