"""Frames found by patterns, or by the folders `rgb` and `depth` where no pattern is given."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from weightsearch.data.readers import folder_walk, picture_depth_pairs, split_words
from weightsearch.data.readers.own_listing import Row
from weightsearch.data.untrusted import archive_files
from weightsearch.errors import ConfigError, DataError, others

PLAIN = {"rgb": "rgb/{name}", "depth": "depth/{name}"}
"""The patterns that stand for no pattern: such folders may also lie in each scene."""
FIELDS = {"name": ".+", "group": "[^/]+", "split": "[^/]+"}
SUFFIXES = {"rgb": (".png", ".jpg", ".jpeg"), "depth": (".png", ".npy")}


def rows(
    root: Path, patterns: Mapping[str, str], notes: list[str], warnings: list[str]
) -> Iterator[Row]:
    """The frames whose files fit the patterns `rgb` and `depth` alike; `notes` and `warnings` get
    what is to be said of them. Raises ConfigError for other patterns, and DataError."""
    rgb, depth = _laws(patterns)
    names = folder_walk.names(root, (*SUFFIXES["rgb"], *SUFFIXES["depth"]))
    if patterns == PLAIN:
        names = _at_the_top(names, rgb, warnings)
    found: dict[str, dict[str, str]] = {"RGB picture": {}, "depth": {}}
    of: dict[str, Row] = {}
    twice: list[str] = []
    for name in names:
        # Depth first: `{name}.png` fits `a_depth.png` too.
        for kind, law in (("depth", depth), ("RGB picture", rgb)):
            if match := law.fullmatch(name):
                fields = {field: text or "" for field, text in sorted(match.groupdict().items())}
                key = unicodedata.normalize("NFC", "/".join(filter(None, fields.values())))
                if key in found[kind]:
                    twice.append(f"{found[kind][key]} and {name} are of the same one")
                of[key] = Row("", "", fields.get("split", ""), fields.get("group", ""))
                found[kind].setdefault(key, name)
                break
    if twice:
        raise DataError(
            f"{root}: each frame must have one RGB picture and one depth, but {twice[0]}"
            f" ({len(twice)} times{others(twice)}); name the suffix in the pattern."
        )
    kinds = {kind: set(here) for kind, here in found.items()}
    matched = [
        replace(of[key], rgb=found["RGB picture"][key], depth=found["depth"][key])
        for key in picture_depth_pairs.partners(root, kinds, list(found))
    ]
    yield from _by_folder(root, matched, notes) if patterns == PLAIN else matched


def frames(patterns: Mapping[str, str], names: Iterable[str]) -> int:
    """How many frames have both of their files among these names. Raises ConfigError."""
    rgb, depth = _laws(patterns)
    found: list[set[tuple[str, ...]]] = []
    for law in (rgb, depth):
        matches = (law.fullmatch(name) for name in names)
        fields = (dict(sorted(match.groupdict().items())) for match in matches if match)
        found.append({tuple(text or "" for text in one.values()) for one in fields})
    return len(found[0] & found[1])


def _at_the_top(names: list[str], law: re.Pattern[str], warnings: list[str]) -> list[str]:
    """Only what lies in the folders at the top, where there are such: others may be copies."""
    top = [name for name in names if name.lower().startswith(("rgb/", "depth/"))]
    left_out = [name for name in set(names) - set(top) if law.fullmatch(name)]
    if not top or not left_out:
        return names
    warnings.append(
        f"{len(left_out)} pictures in other folders called rgb are left out, first"
        f" {min(left_out)}: move them, or give patterns."
    )
    return top


def _by_folder(root: Path, rows: Iterable[Row], notes: list[str]) -> Iterator[Row]:
    """Frames without a pattern: a folder that has the name of a split gives it, as what lies in
    `test` must not be trained on because nobody wrote a pattern; the others give the group."""
    found: dict[str, list[Row]] = defaultdict(list)
    wrong: list[str] = []
    for row in rows:
        *folders, _ = row.rgb.split("/")
        sides = {split_words.side(part): part for part in folders if split_words.side(part)}
        if len(sides) > 1:
            wrong.append(row.rgb)
        split = next(iter(sides.values()), "")
        kept = [part for part in folders if not split_words.side(part)]
        if row.group:  # the folder above `rgb` is the scene
            kept = [part for part in kept if part.lower() != "rgb"]
        found[split].append(replace(row, split=split, group="/".join(kept)))
    if wrong:
        raise DataError(
            f"{root}: a frame must lie in a folder of one split, but {wrong[0]} lies in two"
            f" ({len(wrong)} frames{others(wrong)}); say which with {{split}} in the patterns."
        )
    if named := [f"{part} ({split_words.side(part)})" for part in sorted(found) if part]:
        notes.append(f"folders that have the name of a split give it: {', '.join(named)}.")
    for here in found.values():
        one_group = len({row.group for row in here}) == 1
        yield from (replace(row, group="") if one_group else row for row in here)


def _laws(patterns: Mapping[str, str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What the files of RGB and of depth are called."""
    if patterns == PLAIN:
        rgb, depth = (
            re.compile(rf"((?P<group>.+?)/)?{kind}/(?P<name>.+){_ending(kind)}", re.IGNORECASE)
            for kind in PLAIN
        )
        return rgb, depth
    rgb, depth = (_pattern(option, patterns[option]) for option in PLAIN)
    if rgb.groupindex.keys() != depth.groupindex.keys():
        raise ConfigError(
            "options 'rgb' and 'depth' of reader 'folder' must have the same fields,"
            f" but got {patterns['rgb']!r} and {patterns['depth']!r}."
        )
    return rgb, depth


def _pattern(option: str, text: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w*)\}", text)
    fields = parts[1::2]
    fits = "name" in fields and set(fields) <= FIELDS.keys() and len(set(fields)) == len(fields)
    if not fits or not archive_files.inside(text):
        raise ConfigError(
            f"option '{option}' of reader 'folder' must be a path below the data set with"
            f" {{name}}, and at most one {{group}} and {{split}}, but got {text[:200]!r}."
        )
    law = "".join(
        f"(?P<{part}>{FIELDS[part]})" if is_field else re.escape(part)
        for part, is_field in zip(parts, itertools.cycle((False, True)), strict=False)
    )
    if text.lower().endswith(SUFFIXES[option]):
        return re.compile(law, re.IGNORECASE if law.endswith(")") else 0)
    return re.compile(law + _ending(option), re.IGNORECASE)


def _ending(option: str) -> str:
    return f"({'|'.join(map(re.escape, SUFFIXES[option]))})"
