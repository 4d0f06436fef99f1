"""Which frames validate and which train: by scene or block, never by frame.

Neighbouring frames show the same things, so a split by frame would test on what was trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from weightsearch.errors import ConfigError, DataError


def validation(groups: Sequence[str], val: str, seed: int) -> tuple[list[int], list[int]]:
    """Indices (train, val) from the group of each frame; `val` reads 'blocks:P%'.

    Whole groups, in an order that the seed decides and the order of the frames does not, until
    they hold at least P% of the frames. Raises DataError where that leaves no group to train on.
    """
    percent = _percent(val)
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    held: set[str] = set()
    count = 0
    for group in order:
        if 100 * count >= percent * len(groups):
            break
        held.add(group)
        count += sizes[group]
    if not 0 < len(held) < len(sizes):
        raise DataError(
            f"a validation split must leave at least one group on each side, but {val} of"
            f" {len(groups)} frames takes {len(held)} of {len(sizes)} groups; use more frames, or"
            " a smaller share."
        )
    train = [i for i, group in enumerate(groups) if group not in held]
    return train, [i for i, group in enumerate(groups) if group in held]


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
