"""The names by which samples of several runs are told to be of one scene."""

from __future__ import annotations

from collections.abc import Sequence


def scenes(fold: int | None, groups: Sequence[str], samples: int) -> list[str]:
    """Of each sample; without groups each is its own, in each fold another."""
    names = groups or map(str, range(samples))
    return list(names) if fold is None else [f"{fold}:{name}" for name in names]
