"""Which frames validate and which train: by scene or block, never by frame.

Neighbouring frames show the same things, so a split by frame would test on what was trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from weightsearch.errors import ConfigError, DataError
from weightsearch.runtime.safe_text import counted
from weightsearch.study.data_spec import DataSpec, folds_of

SHARES = (10, 20, 30, 40, 50)
"""Per cent that are suggested for validation: the first that whole groups can give."""
MOST = 1.5
"""A validation split may hold out this multiple of the share that was asked for, and no more."""


def chosen(
    groups: Sequence[str], data: DataSpec, seed: int, fold: int = 0
) -> tuple[list[int], list[int]]:
    """Indices (train, val) of the training frames, from the group of each, as the table [data] of a
    study has it: its limit, then its validation split. Raises DataError."""
    kept = list(range(len(groups)))
    if data.limit is not None and data.limit < len(groups):
        kept = subset(groups, data.limit)
    train, val = validation([groups[k] for k in kept], data.val, seed, fold)
    return [kept[k] for k in train], [kept[k] for k in val]


def validation(
    groups: Sequence[str], val: str, seed: int, fold: int = 0
) -> tuple[list[int], list[int]]:
    """Indices (train, val) from the group of each frame; `val` reads 'folds:K', of which the given
    fold validates (`_fold`), or 'blocks:P%':

    Whole groups, in an order that the seed decides and the order of the frames does not, until
    they hold at least P% of the frames. Where that holds out over `MOST` times as much, because
    groups differ in size, the groups that come nearest to P% are held out instead. Raises DataError
    where there are no frames, no group is left to train on, or none is small enough.
    """
    count = _folds(val)
    percent = _percent(val) if count is None else 0.0
    if not groups:
        raise DataError(
            "a validation split is taken from training frames, but there are none; name data with a"
            " training split."
        )
    if count is not None:
        return _divided(groups, _fold(groups, count, seed, fold % count))
    sizes = Counter(groups)
    held = _held(groups, percent, seed)
    if len(held) == len(sizes):
        raise DataError(
            f"a validation split must leave at least one group on each side, but {val} of"
            f" {len(groups)} frames takes {len(held)} of {counted(len(sizes), 'group')}; use more"
            " frames, or"
            f" {smallest(groups, seed) or 'divide them into scenes'}."
        )
    if not held:
        shares = [f"{name} ({count / len(groups):.0%})" for name, count in sizes.most_common(3)]
        raise DataError(
            f"a validation split must hold out at most {MOST:g} times the {percent:g} % that was"
            f" asked for, in whole groups, but the {len(sizes)} groups are too large:"
            f" {', '.join(shares)}{', ...' if len(sizes) > 3 else ''};"
            f" ask for {smallest(groups, seed)}, or divide the groups."
        )
    return _divided(groups, held)


def smallest(groups: Sequence[str], seed: int) -> str | None:
    """The validation split of the smallest of `SHARES` that whole groups can give, if one can."""
    for share in SHARES:
        if 0 < len(_held(groups, share, seed)) < len(set(groups)):
            return f"blocks:{share}%"
    return None


def _held(groups: Sequence[str], percent: float, seed: int) -> set[str]:
    """The groups to hold out: all of them, or none, where no share can be."""
    wanted = percent * len(groups) / 100
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: _drawn(seed, group))
    held = _until(order, sizes, wanted)
    if len(held) < len(sizes) and sum(sizes[group] for group in held) > MOST * wanted:
        return _nearest(order, sizes, wanted)
    return held


def _folds(val: str) -> int | None:
    try:
        return folds_of(val)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _divided(groups: Sequence[str], held: set[str]) -> tuple[list[int], list[int]]:
    train = [i for i, group in enumerate(groups) if group not in held]
    return train, [i for i, group in enumerate(groups) if group in held]


def _fold(groups: Sequence[str], count: int, seed: int, fold: int) -> set[str]:
    """The groups of one of `count` folds: each group is in one. The largest come first, in an order
    that the seed decides, each to the fold that has the fewest frames by then.

    Raises DataError where there are fewer groups than folds.
    """
    sizes = Counter(groups)
    if len(sizes) < count:
        raise DataError(
            f"each of {count} folds must have a group of frames, but there"
            f" {'is' if len(sizes) == 1 else 'are'} {counted(len(sizes), 'group')};"
            f" ask for {f'folds:{len(sizes)}' if len(sizes) > 1 else 'more frames'}, or divide the"
            " frames into more scenes."
        )
    frames, members = [0] * count, [set[str]() for _ in range(count)]
    for group in sorted(sizes, key=lambda group: (-sizes[group], _drawn(seed, group))):
        least = min(range(count), key=lambda k: (frames[k], len(members[k])))
        frames[least] += sizes[group]
        members[least].add(group)
    return members[fold]


def _until(order: Sequence[str], sizes: Mapping[str, int], wanted: float) -> set[str]:
    """The first groups that together hold at least `wanted` frames."""
    held: set[str] = set()
    count = 0
    for group in order:
        if count >= wanted:
            break
        held.add(group)
        count += sizes[group]
    return held


def _nearest(order: Sequence[str], sizes: Mapping[str, int], wanted: float) -> set[str]:
    """The groups whose frames add up nearest to `wanted`, earlier ones first; none where every sum
    is over `MOST` times as much."""
    added: dict[int, str] = {0: ""}  # by the sum that can be reached: the group added last
    for group in order:
        if round(wanted) in added:
            break
        sums = [known + sizes[group] for known in added]
        added |= {n: group for n in sums if n not in added and n <= MOST * wanted}
    found = min((n for n in added if n), key=lambda n: abs(n - wanted), default=0)
    held = set()
    while found:
        held.add(added[found])
        found -= sizes[added[found]]
    return held


def subset(groups: Sequence[str], limit: int) -> list[int]:
    """Indices of at most `limit` frames: as many whole groups as fit, evenly spread.

    Raises DataError where not even two groups fit.
    """
    sizes = Counter(groups)  # in order of first appearance
    names = list(sizes)
    for count in range(min(len(names), limit), 1, -1):
        spread = ((np.arange(count) + 0.5) * len(names) / count).astype(int)
        kept = {names[k] for k in spread}
        if sum(sizes[name] for name in kept) <= limit:
            return [i for i, group in enumerate(groups) if group in kept]
    raise DataError(
        f"a limit must leave room for two whole groups, but {limit} is too few for {len(names)}"
        f" groups of {max(sizes.values(), default=0)} frames at most; raise data.limit."
    )


def _drawn(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


def _percent(val: str) -> float:
    kind, _, share = val.partition(":")
    try:
        percent = float(share.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if kind != "blocks" or not share.endswith("%") or not 0 < percent < 100:
        raise ConfigError(f"a validation split must read 'blocks:P%' or 'folds:K', but is '{val}'.")
    return percent
