"""`[keep]` of a study file: which checkpoints stay."""

from __future__ import annotations

from typing import Literal

from weightsearch.study.spec_fields import Part


class KeepSpec(Part):
    """Which checkpoints stay once their run is done; no part of a study's identity.

    What a run goes on from is always there until then.
    """

    search: Literal["none", "weights"] = "none"
    """Of each point of the search its best epoch's network (of depth networks), or nothing."""
    full: Literal["best", "weights", "all"] = "best"
    """Of each finalist's full runs the best one's network, every run's, or also the state that
    training ended in, with that of its optimizer."""
