"""Patterns that fit somebody's files, as an example in an error message."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from weightsearch.data.frames.natural_order import natural
from weightsearch.data.readers import folder_walk, own_patterns
from weightsearch.data.untrusted import archive_files
from weightsearch.errors import ConfigError

MOST_FILES, MOST_FOLDERS = 2000, 200
"""Looked at: enough to see how files are called, quick in a home folder too."""
DEPTH = re.compile(r"depth|disp|dist|range|(?<![a-z])(?:d|dep|dpt|gt)(?![a-z])", re.IGNORECASE)
"""In what people call their depth."""
JPEG = (".jpg", ".jpeg")
LAST_NUMBER = re.compile(r"^(?P<start>.*?)\d+(?P<end>\D*)$", re.DOTALL)


def told(root: Path) -> str:
    """What an error adds, from `;` to its last word: options that fit files there, where it can be
    guessed which are depth; else how they are called. Empty where there are no pictures."""
    names = sorted(itertools.islice(_names(root), MOST_FILES), key=natural)
    if not names:
        return "; there is no PNG, JPEG or .npy in it"
    laws: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name in names:
        laws[_law(name)].append(name)
    by_kind: dict[bool, list[tuple[str, list[str]]]] = {True: [], False: []}
    for (of_file, _), here in sorted(laws.items(), key=lambda law: -len(law[1])):
        by_kind[bool(DEPTH.search(of_file) or DEPTH.search(here[0]))].append((of_file, here))
    colours_only = [law for law in by_kind[False] if law[0].lower().endswith(JPEG)]
    if not by_kind[True] and colours_only:  # depth is never JPEG
        others = [law for law in by_kind[False] if law not in colours_only]
        by_kind = {True: others, False: colours_only}
    for (rgb, colours), (depth, depths) in itertools.product(by_kind[False], by_kind[True]):
        if found := _fitting(names, _patterns(rgb, colours), _patterns(depth, depths)):
            options = " ".join(
                f"--option {shlex.quote(f'{kind}={law}')}"
                for kind, law in zip(own_patterns.PLAIN, found, strict=True)
            )
            return f"; its files fit --reader folder {options}"
    shown = ", ".join(dict.fromkeys((names[0], names[len(names) // 2], names[-1])))
    return (
        f"; its files are called {shown}: name --reader folder, --option rgb=PATTERN and --option"
        " depth=PATTERN, with {name} for what tells frames apart, as in 'FOLDER/{name}.png'"
    )


def _names(root: Path) -> Iterator[str]:
    endings = tuple({*own_patterns.SUFFIXES["rgb"], *own_patterns.SUFFIXES["depth"]})
    for folder, below, here in itertools.islice(os.walk(root), MOST_FOLDERS):
        below[:] = sorted(name for name in below if not folder_walk.is_litter(name))
        for name in here:
            whole = (Path(folder) / name).relative_to(root).as_posix()
            is_picture = name.lower().endswith(endings) and not folder_walk.is_litter(name)
            if is_picture and archive_files.inside(whole):
                yield whole


def _law(name: str) -> tuple[str, int]:
    """How files beside this one are called, and how deep they lie: the last number in the name is
    what tells them apart, or all of it where there is none."""
    path = PurePosixPath(name)
    stem = LAST_NUMBER.sub(r"\g<start>{name}\g<end>", path.stem)
    return f"{stem if stem != path.stem else '{name}'}{path.suffix}", len(path.parts)


def _patterns(law: str, names: Sequence[str]) -> Iterator[str]:
    """With the folders as they are, or with one that differs as the group."""
    folders = [PurePosixPath(name).parent.parts for name in names]
    differing = [k for k, parts in enumerate(zip(*folders, strict=True)) if len(set(parts)) > 1]
    if len(differing) == 1:
        (k,) = differing
        yield "/".join((*folders[0][:k], "{group}", *folders[0][k + 1 :], law))
    yield "/".join((*folders[0], law))


def _fitting(
    names: Iterable[str], rgbs: Iterable[str], depths: Iterable[str]
) -> tuple[str, str] | None:
    """The first two patterns under which each frame has both of its files."""
    for rgb, depth in itertools.product(list(rgbs), list(depths)):
        try:
            found = own_patterns.frames({"rgb": rgb, "depth": depth}, names)
        except ConfigError:  # other fields, or a name with braces
            continue
        if found:
            return rgb, depth
    return None
