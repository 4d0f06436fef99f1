"""The lists that data sets come with: text, one frame a line, columns parted by blanks."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from weightsearch.data.frames.source import Split
from weightsearch.data.untrusted import archive_files
from weightsearch.errors import DataError, others
from weightsearch.study.spec_fields import Value

WINDOWS = "cp1252"
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MAX_LINES = 1 << 20
MAX_BYTES = 1 << 26
LISTED: Mapping[Split, str] = {"train": "train_list", "test": "test_list"}
"""The options that name the lists."""


def text(
    store: archive_files.Files, name: str, most: int = MAX_BYTES, warnings: list[str] | None = None
) -> str:
    """A list as text: UTF-8, UTF-16 or UTF-32, with a byte order mark or without, else
    Windows-1252, which is said in `warnings`: what is listed must exist under the name that was
    read, so no file is taken for another. Raises DataError where it is too large, or no text."""
    size, _ = store.facts(name) or (0, 0)
    if size > most:
        raise DataError(f"{store.where(name)}: must have at most {most} bytes, not {size}.")
    data = store.read(name)
    encoding = _encoding(data)
    try:
        found = data.decode(encoding)
    except ValueError as error:
        raise DataError(
            f"{store.where(name)}: must be text in UTF-8, UTF-16 or Windows-1252, but {error}."
        ) from None
    if encoding == WINDOWS and warnings is not None:
        warnings.append(f"{name}: is not UTF-8, and was read as Windows-1252.")
    return found


def _encoding(data: bytes) -> str:
    """By the mark at the start; without one, by the zero beside an ASCII first character."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    if len(data) > 1 and 0 in data[:2]:
        return "utf-16-le" if data[0] else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return WINDOWS
    return "utf-8"


def rows(path: Path, warnings: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Number and columns of each line that is not blank; of lines that say the same the first, as
    `warnings` then says. Raises DataError."""
    lines = text(archive_files.folder(path.parent), path.name, warnings=warnings).splitlines()
    if len(lines) > MAX_LINES:
        raise DataError(f"{path}: must have at most {MAX_LINES} lines, but has {len(lines)}.")
    seen: set[tuple[str, ...]] = set()
    again: list[int] = []
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if cells and tuple(cells) in seen:
            again.append(number)
        elif cells:
            seen.add(tuple(cells))
            yield number, cells
    warnings += repeated(path.name, again)


def repeated(name: str, again: Sequence[int]) -> list[str]:
    """The warning of lines that repeat earlier ones; none where no line does."""
    if not again:
        return []
    told = [f"line {number}" for number in again]
    return [f"{name}: {len(told)} repeats of earlier lines left out: {told[0]}{others(told)}."]


def frames(path: Path, warnings: list[str]) -> list[tuple[str, str]]:
    """RGB and depth of each line `RGB DEPTH [FOCAL]`, as the lists of BTS, AdaBins and ZoeDepth
    have them. The slash that some paths start with is the data set's root, not the disk's; the
    focal length is checked to be a number and not used. Depth may be `None`. `warnings` gets
    a line on what was converted, or listed twice.

    Raises DataError naming the first ten lines that are otherwise.
    """
    found: list[tuple[str, str]] = []
    wrong: list[str] = []
    first = 0
    for number, cells in rows(path, warnings):
        pair = [cell.lstrip("/") for cell in cells[:2]]
        fits = len(cells) in (2, 3) and all(name and archive_files.inside(name) for name in pair)
        if fits and _is_number(cells[2:]):
            found.append((pair[0], pair[1]))
        else:
            first = first or number
            wrong.append(f"{' '.join(cells)[:200]!r}{f' (line {number})' * bool(wrong)}")
    if wrong:
        raise DataError(
            f"{path}:{first}: must be 'RGB DEPTH' or 'RGB DEPTH FOCAL' without '..' and of"
            f" letters that can be shown, but is {wrong[0]}{others(wrong)} ({len(wrong)} lines)."
        )
    return found


def _is_number(cells: Sequence[str]) -> bool:
    try:
        return all(float(cell) > 0 for cell in cells)
    except ValueError:
        return False


def lying(
    root: Path, usual: Mapping[Split, Sequence[str]], chosen: Mapping[str, Value]
) -> dict[Split, Path]:
    """The list of each split: the one that the option names (`train_list`, `test_list`; relative
    to the root), or one of the usual names in the root or in `train_test_inputs` there.

    Raises DataError for a named one that is not there.
    """
    found: dict[Split, Path] = {}
    for split, names in usual.items():
        if given := str(chosen[LISTED[split]]):
            found[split] = root / given
            if not found[split].is_file():
                raise DataError(f"{found[split]}: must be a list, but there is no such file.")
            continue
        places = [root / part / name for part in ("", "train_test_inputs") for name in names]
        here = [place for place in places if place.is_file()]
        if here:
            found[split] = here[0]
    return found
