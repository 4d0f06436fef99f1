"""Loss weights that are written out in a study, or go by a name: "paper" means a table here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weightsearch.errors import did_you_mean

PRESETS = {
    "paper": {"mae": 0.6, "edge": 0.2, "ssim": 1.0},  # arXiv 2404.07686
    "densedepth": {"mae": 0.1, "edge": 1.0, "ssim": 1.0},  # arXiv 1812.11941, its loss.py
    # keras-team/keras-io, examples/vision/depth_estimation.py; its SSIM term is twice ours.
    "keras": {"mae": 0.1, "smoothness": 0.9, "ssim": 0.85},
}
TARGETS = {"densedepth": "inverse", "keras": "log"}
"""The target that a name's weights were chosen for; of another one they mean something else. The
paper does not say which its target is."""
EQUAL = "equal"
"""1 for each term of the study, whichever they are."""


def tables(weights: Any, terms: Sequence[str]) -> Any:
    """`weights` (a table, a name, or a list of those) with tables for names.

    Raises ValueError for anything else, and for weights that are no numbers of at least 0.
    """
    if isinstance(weights, list | tuple):
        return [_table(vector, terms) for vector in weights]
    return _table(weights, terms)


def check_target(weights: Any, target: Any) -> None:
    """Raises ValueError for the name of weights that belong to another target."""
    for name in weights if isinstance(weights, list | tuple) else [weights]:
        meant = TARGETS.get(name) if isinstance(name, str) else None
        if meant not in (None, target):
            table = ", ".join(f"{term} = {weight:g}" for term, weight in PRESETS[name].items())
            raise ValueError(
                f"weights '{name}' belong to data.target '{meant}', but it is '{target}'; set it,"
                f" or write {{ {table} }}, which there is another loss."
            )


def _table(vector: Any, terms: Sequence[str]) -> Any:
    if isinstance(vector, str):
        return _named(vector, terms)
    if not isinstance(vector, dict):
        raise ValueError(
            "must be a grid, or one or several tables of weights such as"
            f" {{ mae = 0.6, ssim = 1.0 }} or names such as 'paper', but got {vector!r}."
        )
    for term, weight in vector.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
            raise ValueError(
                f"the weight of '{term}' must be a number of at least 0, but got {weight!r}."
            )
    return vector


def _named(name: str, terms: Sequence[str]) -> dict[str, float]:
    """Terms that `name` does not weigh are 0; those that it does must be the study's."""
    if name == EQUAL:
        return dict.fromkeys(terms, 1.0)
    if name not in PRESETS:
        raise ValueError(f"unknown weights '{name}'; {did_you_mean(name, (*PRESETS, EQUAL))}")
    lacking = [term for term in PRESETS[name] if term not in terms]
    if lacking:
        raise ValueError(
            f"weights '{name}' need the terms {', '.join(PRESETS[name])}, but `terms` lacks"
            f" {', '.join(lacking)}; add what is lacking to loss.terms."
        )
    return dict(PRESETS[name])
