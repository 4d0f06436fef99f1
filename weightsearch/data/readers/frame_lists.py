"""The lists that data sets come with: text, one frame a line, columns parted by blanks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from weightsearch.data.frames.source import Split
from weightsearch.data.untrusted import archive_files
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value

MAX_LINES = 1 << 20
MAX_BYTES = 1 << 26
LISTED: Mapping[Split, str] = {"train": "train_list", "test": "test_list"}
"""The options that name the lists."""


def text(store: archive_files.Files, name: str, most: int = MAX_BYTES) -> str:
    """A list as text; raises DataError where it is too large or not UTF-8."""
    size, _ = store.facts(name) or (0, 0)
    if size > most:
        raise DataError(f"{store.where(name)}: must have at most {most} bytes, not {size}.")
    try:
        return store.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{store.where(name)}: must be text in UTF-8, but {error}.") from None


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and columns of each line that is not blank. Raises DataError."""
    lines = text(archive_files.folder(path.parent), path.name).splitlines()
    if len(lines) > MAX_LINES:
        raise DataError(f"{path}: must have at most {MAX_LINES} lines, but has {len(lines)}.")
    for number, line in enumerate(lines, 1):
        if cells := line.split():
            yield number, cells


def frames(path: Path) -> Iterator[tuple[str, str]]:
    """RGB and depth of each line `RGB DEPTH [FOCAL]`, as the lists of BTS, AdaBins and ZoeDepth
    have them. The slash that some paths start with is the data set's root, not the disk's; the
    focal length is checked to be a number and not used. Depth may be `None`.

    Raises DataError naming the line.
    """
    for number, cells in rows(path):
        pair = [cell.lstrip("/") for cell in cells[:2]]
        fits = len(cells) in (2, 3) and all(name and archive_files.inside(name) for name in pair)
        if not fits or not _is_number(cells[2:]):
            raise DataError(
                f"{path}:{number}: must be 'RGB DEPTH' or 'RGB DEPTH FOCAL' without '..' and of"
                f" letters that can be shown, but is {' '.join(cells)[:200]!r}."
            )
        yield pair[0], pair[1]


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
