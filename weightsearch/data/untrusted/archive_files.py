"""The files of a data set, in a folder or in a zip, by their path relative to its root."""

from __future__ import annotations

import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weightsearch.errors import DataError
from weightsearch.runtime.safe_text import presentable

MAX_FILE_BYTES = 1 << 26
BROKEN = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What zipfile raises over a member that is damaged or encrypted."""
JOINERS = "\u200c\u200d"
"""Between letters of Persian and of Indic scripts, and within pictures of persons."""
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of the others zipfile unpacks all at once, however much it is."""


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
    """Whether the name stays below the root (relative, without `..`), and can be shown as it is."""
    path = PurePosixPath(name)
    plain = can_be_shown(name) and "\\" not in name
    return plain and not path.is_absolute() and ".." not in path.parts


def can_be_shown(text: str) -> bool:
    """Whether nothing in the text moves a cursor, turns the direction of what follows, or is no
    character at all. Spaces of any width and joiners are as good as letters: macOS puts a narrow
    space before PM."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" or c in JOINERS for c in text)


def folder(root: Path) -> Files:
    def where(name: str) -> str:
        return str(root / name)

    def facts(name: str) -> tuple[int, int] | None:
        try:
            found = os.stat(where(name))
        except OSError:  # also where none can be: its name is too long, a link leads to itself
            return None
        # A pipe would keep its reader waiting for ever.
        return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def read(name: str) -> bytes:
        try:
            with open(where(name), "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise DataError(f"{where(name)}: cannot be read ({error.strerror}).") from None
        return _limited(data, len(data), where(name))

    return Files(read, facts, where)


def archive(path: Path, *landmarks: str) -> Files:
    """The members of a zip below the topmost folder that has a file called as one of `landmarks`.

    Nothing is unpacked. Each process opens the file for itself, because a forked one would share
    its position; threads may share it. Raises DataError for a file that is no zip, has no such
    folder, or has two members of one name, of which each program would take another.
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
        listed = [info for info in handle().infolist() if not info.is_dir()]
    except BROKEN as error:
        raise DataError(
            f"{path}: must be a zip file, but cannot be opened ({presentable(str(error))})."
        ) from None
    members = {info.filename: info for info in listed}
    tops = [
        name.removesuffix(landmark)
        for name in members
        for landmark in landmarks
        if f"/{name}".endswith(f"/{landmark}") and inside(name)
    ]
    if not tops:
        close()
        raise DataError(f"{path}: must hold {' or '.join(landmarks)}, but does not.")
    if len(members) < len(listed):
        close()
        twice = presentable(Counter(i.filename for i in listed).most_common(1)[0][0])
        raise DataError(f"{path}: must hold each name once, but '{twice}' is there more often.")
    top = min(tops, key=len)

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
        if info.compress_type not in BOUNDED:
            raise DataError(f"{where(name)}: must be stored or deflated, but is not.")
        try:
            with handle().open(info) as member:
                return member.read(info.file_size)  # not more, whatever is packed into it
        except BROKEN as error:
            raise DataError(f"{where(name)}: cannot be read ({presentable(str(error))}).") from None

    return Files(read, facts, where, close)


def _limited(data: bytes, size: int, where: str) -> bytes:
    if size > MAX_FILE_BYTES:
        raise DataError(f"{where}: must be at most {MAX_FILE_BYTES} bytes, but is larger.")
    return data
