"""The files of a data set, in a folder or in a zip, by their path relative to its root."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weightsearch.errors import DataError

MAX_FILE_BYTES = 1 << 27


@dataclass(frozen=True)
class Files:
    """Reads files by name; names use forward slashes and never leave the root."""

    read: Callable[[str], bytes]
    """Raises DataError for a file that is missing or damaged."""
    facts: Callable[[str], tuple[int, int] | None]
    """Size, and time or checksum; None where there is no such file."""
    where: Callable[[str], str]
    """How an error message names the file."""
    close: Callable[[], None] = lambda: None


def inside(name: str) -> bool:
    """Whether the name stays below the root: relative, and without `..`."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def folder(root: Path) -> Files:
    def where(name: str) -> str:
        return str(root / name)

    def facts(name: str) -> tuple[int, int] | None:
        try:
            stat = os.stat(where(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return stat.st_size, stat.st_mtime_ns

    def read(name: str) -> bytes:
        try:
            with open(where(name), "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise DataError(f"{where(name)}: cannot be read ({error.strerror}).") from None
        return _limited(data, len(data), where(name))

    return Files(read, facts, where)


def archive(path: Path, landmark: str) -> Files:
    """The members of a zip below the topmost folder that has a file called `landmark`.

    Nothing is unpacked. Each process opens the file for itself, because a forked one would share
    its position; threads may share it. Raises DataError for a file that is no zip, or has no
    such folder.
    """
    handles: dict[int, zipfile.ZipFile] = {}

    def handle() -> zipfile.ZipFile:
        if os.getpid() not in handles:
            handles[os.getpid()] = zipfile.ZipFile(path)
        return handles[os.getpid()]

    def close() -> None:
        for opened in handles.values():
            opened.close()

    try:
        members = {info.filename: info for info in _members(handle())}
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path}: must be a zip file, but cannot be opened ({error}).") from None
    marks = [name for name in members if f"/{name}".endswith(f"/{landmark}")]
    if not marks:
        close()
        raise DataError(f"{path}: must hold {landmark}, but does not.")
    top = min(marks, key=len).removesuffix(landmark)

    def where(name: str) -> str:
        return f"{path}: {top}{name}"

    def facts(name: str) -> tuple[int, int] | None:
        info = members.get(f"{top}{name}")
        return None if info is None else (info.file_size, info.CRC)

    def read(name: str) -> bytes:
        info = members.get(f"{top}{name}")
        if info is None:
            raise DataError(f"{where(name)}: there is no such file.")
        _limited(b"", info.file_size, where(name))
        try:
            return handle().read(info)
        except (
            zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error
        ) as error:  # fmt: skip
            raise DataError(f"{where(name)}: cannot be read ({error}).") from None

    return Files(read, facts, where, close)


def _members(opened: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    return (info for info in opened.infolist() if not info.is_dir())


def _limited(data: bytes, size: int, where: str) -> bytes:
    if size > MAX_FILE_BYTES:
        raise DataError(f"{where}: must be at most {MAX_FILE_BYTES} bytes, but is larger.")
    return data
