"""Metrics and durations as people read them."""

from __future__ import annotations

from weightsearch.study.spec import StudySpec

UNITS = {"rmse": "m", "sq_rel": "m", "seconds": "s"}
"""Of metrics of depth that have one: an own objective's `rmse` may be of anything."""
NAMES = {"rmse": "RMSE", "rel": "REL", "log10": "log10", "sq_rel": "SqRel", "silog": "SILog"}


def is_of_depth(spec: StudySpec) -> bool:
    """Whether the study's samples are images and its metrics those of depth: it has [data]."""
    return spec.data is not None


def label(metric: str, of_depth: bool) -> str:
    """`RMSE (m)`; of an own objective `RMSE`."""
    unit = UNITS.get(metric) if of_depth else None
    return NAMES.get(metric, metric) + (f" ({unit})" if unit else "")


def amount(metric: str, value: float, of_depth: bool) -> str:
    """`RMSE 0.4701 m`; of an own objective `RMSE 0.4701`."""
    unit = UNITS.get(metric) if of_depth else None
    return f"{NAMES.get(metric, metric)} {value:.4g}" + (f" {unit}" if unit else "")


def sample(of_depth: bool) -> str:
    """What there may be a value of each of."""
    return "image" if of_depth else "sample"


def group(of_depth: bool) -> str:
    """What samples that are alike have in common."""
    return "scene" if of_depth else "group"


def hours(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
