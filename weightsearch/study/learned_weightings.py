"""The learned weightings of a study: rules that weigh the terms anew while a point trains.

They are rivals of its fixed weights, as points of the same plan; the depth objective's are in
`weightsearch/depth/loss/weightings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from weightsearch.study import weight_presets
from weightsearch.study.spec_fields import Part, Weights

WARM_UP = "warm-up"
"""The weighting that reads `loss.warm_up`."""
DWA = "dwa"
DWA_EPOCHS = 3
"""DWA weighs by the epoch before and the one before that: the first two are of equal weights."""


class WarmUp(Part):
    """From which weights to which a run moves, and for how long."""

    start: Weights
    """A table, or a name of `weight_presets.py`, kept as its table; `end` too."""
    end: Weights
    """Where the weights stay from `share` of the epochs on."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the epochs: so long the weights move, in a straight line; then they stay."""


def written_out(warm_up: Any, terms: Sequence[str]) -> Any:
    """A table of `loss.warm_up` with tables for names. Raises ValueError for unknown ones."""
    if not isinstance(warm_up, dict):
        return warm_up
    named = {
        k: weight_presets.tables(v, terms) for k, v in warm_up.items() if k in ("start", "end")
    }
    return {**warm_up, **named}


def check(weightings: Sequence[str], warm_up: WarmUp | None, terms: Sequence[str]) -> None:
    """Raises ValueError for weightings that the terms or `loss.warm_up` do not suit."""
    if len(set(weightings)) != len(weightings):
        raise ValueError(f"`weightings` must be distinct, but got {list(weightings)}.")
    if weightings and len(terms) < 2:
        raise ValueError(
            f"`weightings` weigh terms against each other and need two, but `terms` is"
            f" {list(terms)}; add a term, or leave `weightings` out."
        )
    if WARM_UP in weightings and warm_up is None:
        raise ValueError(
            f"weighting '{WARM_UP}' moves from one direction to another and needs both; add"
            " warm_up = { start = { " + f'{terms[0]} = 1 }}, end = "equal" }}.'
        )
    if warm_up is not None and WARM_UP not in weightings:
        raise ValueError(
            f"`warm_up` belongs to the weighting '{WARM_UP}', but `weightings` is"
            f" {list(weightings)}; add it there, or leave `warm_up` out."
        )


def check_epochs(weightings: Sequence[str], epochs: Mapping[str, int]) -> None:
    """Raises ValueError for too few epochs (by setting) to tell a weighting from equal weights."""
    for setting, count in epochs.items():
        if DWA in weightings and count < DWA_EPOCHS:
            raise ValueError(
                f"weighting '{DWA}' is of equal weights for two epochs and needs {setting} of at"
                f" least {DWA_EPOCHS}, but got {count}; raise it, or leave '{DWA}' out."
            )
