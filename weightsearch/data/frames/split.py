"""Which frames validate and which train: by scene or block, never by frame.

Neighbouring frames show the same things, so a split by frame would test on what was trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from weightsearch.errors import ConfigError, DataError

MOST = 1.5
"""A validation split may hold out this multiple of the share that was asked for, and no more."""


def validation(groups: Sequence[str], val: str, seed: int) -> tuple[list[int], list[int]]:
    """Indices (train, val) from the group of each frame; `val` reads 'blocks:P%'.

    Whole groups, in an order that the seed decides and the order of the frames does not, until
    they hold at least P% of the frames. Where that holds out over `MOST` times as much, because
    groups differ in size, the groups that come nearest to P% are held out instead. Raises DataError
    where there are no frames, no group is left to train on, or none is small enough.
    """
    percent = _percent(val)
    if not groups:
        raise DataError(
            "a validation split is taken from training frames, but there are none; name data with a"
            " training split."
        )
    wanted = percent * len(groups) / 100
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    held = _until(order, sizes, wanted)
    if not 0 < len(held) < len(sizes):
        raise DataError(
            f"a validation split must leave at least one group on each side, but {val} of"
            f" {len(groups)} frames takes {len(held)} of {len(sizes)} groups; use more frames, or"
            f" {'a smaller share' if len(sizes) > 1 else 'divide them into scenes'}."
        )
    if sum(sizes[group] for group in held) > MOST * wanted:
        held = _nearest(order, sizes, wanted)
    if not held:
        shares = [f"{name} ({count / len(groups):.0%})" for name, count in sizes.most_common(3)]
        raise DataError(
            f"a validation split must hold out at most {MOST:g} times the {percent:g} % that was"
            f" asked for, in whole groups, but the {len(sizes)} groups are too large:"
            f" {', '.join(shares)}{', ...' if len(sizes) > 3 else ''}; ask for a larger share, or"
            " divide the groups."
        )
    train = [i for i, group in enumerate(groups) if group not in held]
    return train, [i for i, group in enumerate(groups) if group in held]


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


def _percent(val: str) -> float:
    kind, _, share = val.partition(":")
    try:
        percent = float(share.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if kind != "blocks" or not share.endswith("%") or not 0 < percent < 100:
        raise ConfigError(f"a validation split must read 'blocks:P%', but is '{val}'.")
    return percent
