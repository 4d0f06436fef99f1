"""Packs: a data set decoded once into one file that loads fast, under HOME/packs.

A pack keeps the native size and is where evaluation takes its ground truth from. A training copy
is made from it for one input size, and holds no test frame.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py

from weightsearch.data.frames.resize import resize_depth, resize_rgb
from weightsearch.data.frames.source import Frame, FrameRef, Source
from weightsearch.data.packs import layout
from weightsearch.data.packs.layout import About, Pack
from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError
from weightsearch.runtime.home import is_forbidden
from weightsearch.study.spec_fields import Value

__all__ = ["Pack", "ensure", "training_copy"]

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""


def ensure(
    reader: str,
    path: Path | None,
    options: Mapping[str, Value],
    home: Path,
    progress: Progress | None = None,
) -> Path:
    """The pack of a data set, built on the first call and reused as long as its files stay.

    It appears whole or not at all; of processes that want it at once, one builds it. Raises
    ConfigError and DataError.
    """
    with closing(open_source(reader, path, options)) as source:
        target = _file(home, reader, source)
        about = About(
            reader,
            dict(source.options),
            source.ground_truth,
            source.max_depth_m,
            computed_from=source.fingerprint if source.is_computed else "",
        )
        if not _is_there(target, ""):
            for line in source.notes:
                log.info("%s: %s", reader, line)
            for line in source.warnings:
                log.warning("%s: %s", reader, line)
        frames = ((ref, source.read(i)) for i, ref in enumerate(source.frames))
        _build(target, "", frames, len(source.frames), about, progress)
    return target


def packed(reader: str, path: Path | None, options: Mapping[str, Value], home: Path) -> Path | None:
    """The pack of a data set, where it is built already. Raises ConfigError and DataError."""
    with closing(open_source(reader, path, options)) as source:
        return pack_of(source, home)


def pack_of(source: Source, home: Path) -> Path | None:
    """The pack of an opened data set, where it is built already."""
    target = _file(home, source.reader, source)
    return target if _is_there(target, "") else None


def remove_damaged(
    reader: str, path: Path | None, options: Mapping[str, Value], home: Path
) -> Iterator[Path]:
    """Reads the pack of a data set and its training copies through, and removes those that cannot
    be read: `ensure` and `training_copy` make them again. Raises ConfigError, and DataError, also
    for a file that this user may not read."""
    with closing(open_source(reader, path, options)) as source:
        target = _file(home, reader, source)
    yield from filter(_removed, sorted(target.parent.glob(f"{target.stem}*.h5")))


def copy_made_again(pack: Path, size: tuple[int, int], home: Path) -> Path:
    """The training copy, after it turned out damaged: made anew, unless another process has done so
    since. Raises DataError."""
    copy = training_copy(pack, size, home)
    if _removed(copy):
        log.warning("%s was damaged, and is made again from its pack", copy)
        copy = training_copy(pack, size, home)
    return copy


def _removed(file: Path) -> bool:
    """Reads a pack through, and removes it where that fails."""
    _refuse_unreadable(file)
    try:
        with Pack(file) as pack:
            pack.check()
    except DataError:
        file.unlink(missing_ok=True)
        return True
    return False


def _file(home: Path, reader: str, source: Source) -> Path:
    return home / "packs" / f"{reader}-{source.fingerprint[:12]}.h5"


def copy_file(pack: Path, size: tuple[int, int], home: Path) -> Path:
    """Where the training copy of a pack at this (height, width) lies, once it is built."""
    height, width = size
    return home / "packs" / f"{pack.stem}-{height}x{width}.h5"


def training_copy(
    pack: Path, size: tuple[int, int], home: Path, progress: Progress | None = None
) -> Path:
    """The training frames of a pack at an input size (height, width), built once.

    RGB is resized with antialiasing; depth has half the size, rounded up, and is the mean over the
    valid pixels of each cell. Test frames are not in the file. Raises DataError.
    """
    height, width = size
    half = (height + 1) // 2, (width + 1) // 2
    target = copy_file(pack, size, home)

    def shrunk(frame: Frame) -> Frame:
        return Frame(resize_rgb(frame.rgb, size), *resize_depth(frame.depth_m, frame.valid, half))

    with Pack(pack) as full:
        train = full.indices("train")
        if not train:
            raise DataError(
                f"{pack}: must hold training frames, but has {len(full)} test frames only; evaluate"
                " on them, or name data with a training split."
            )
        refs = [FrameRef(full.names[i], full.groups[i], "train") for i in train]
        frames = ((ref, shrunk(full.frame(i))) for ref, i in zip(refs, train, strict=True))
        about = About(full.reader, full.options, full.ground_truth, full.max_depth_m, full.digest)
        _build(target, full.digest, frames, len(train), about, progress)
    with Pack(target) as made:  # its places are those of the training frames
        if len(made.names) != len(train):
            raise DataError(
                f"{target}: must have {len(train)} frames, but has {len(made.names)}; the depth of"
                f" {made.skipped[0] if made.skipped else 'some'} is lost at {height}x{width}: leave"
                " such frames out, or choose a larger data.size."
            )
    return target


def _build(
    target: Path,
    origin: str,
    frames: Iterable[tuple[FrameRef, Frame]],
    count: int,
    about: About,
    progress: Progress | None,
) -> None:
    """Writes the target unless it is there already, made from the same origin.

    The unfinished file is its own lock, and becomes the target or is removed: nothing else stays.
    """
    # One name for all, so that what a killed process left is written over.
    partial = target.with_suffix(".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        while not (_is_there(target, origin) and _is_used(target)):
            with _Disk(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), "r+") as disk:
                fcntl.flock(disk, fcntl.LOCK_EX)
                if not _is_at(disk, partial):  # its owner finished while we waited
                    continue
                try:
                    if not _is_there(target, origin):
                        _write(disk, _watched(frames, disk, count, progress), count, about)
                        os.replace(partial, target)
                        _settle(target.parent)
                        return
                finally:
                    if _is_at(disk, partial):
                        partial.unlink()
    except OSError as error:
        raise DataError(
            f"{target}: must be writable, but {error.strerror or error}; free some space, or set"
            " WEIGHTSEARCH_HOME to another folder."
        ) from None


def _is_there(target: Path, origin: str) -> bool:
    if not target.exists():
        return False
    _refuse_unreadable(target)
    try:
        with Pack(target) as found:
            return origin in ("", found.origin)
    except DataError:  # damaged, or of another format: it is built again
        return False


def _refuse_unreadable(file: Path) -> None:
    """Another user's file is not a damaged one, to be replaced. Raises DataError."""
    if is_forbidden(file):
        raise DataError(
            f"{file}: must be readable by you, but is another user's; have them allow it, or set"
            " WEIGHTSEARCH_HOME to another folder."
        )


def _is_used(target: Path) -> bool:
    """Notes on the file that it was used now: `gc` goes by that. False where it is gone."""
    try:
        os.utime(target)
    except FileNotFoundError:
        return False
    except OSError:  # another user's, or a disk that cannot be written: read all the same
        pass
    return True


def _is_at(disk: _Disk, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(disk.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _write(disk: _Disk, frames: Iterable[tuple[FrameRef, Frame]], count: int, about: About) -> None:
    with h5py.File(disk, "w") as file:
        layout.write(file, frames, count, about)
    disk.check()
    os.fsync(disk.fileno())


def _settle(folder: Path) -> None:
    """Makes a new name in the folder survive a loss of power."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _watched(
    frames: Iterable[tuple[FrameRef, Frame]], disk: _Disk, count: int, progress: Progress | None
) -> Iterator[tuple[FrameRef, Frame]]:
    """The frames, ended by the first failure of the disk."""
    for done, frame in enumerate(frames):
        disk.check()
        if progress:
            progress(done, count)
        yield frame
    if progress:
        progress(count, count)


class _Disk(io.FileIO):
    """A file that keeps its first failure to itself until asked.

    HDF5 cannot close a file that it failed to write, and crashes the process at exit (seen with a
    full disk and HDF5 2.0). So it never learns of the failure; the file is thrown away. Ctrl-C is
    such a failure too where it arrives during a write.
    """

    failure: BaseException | None = None

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        size = rest.nbytes
        try:
            while rest.nbytes:
                rest = rest[super().write(rest) :]
        except BaseException as error:
            self.failure = self.failure or error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except BaseException as error:
            self.failure = self.failure or error
            return size or 0

    def check(self) -> None:
        """Raises the first failure, where there was one."""
        if self.failure is not None:
            raise self.failure
