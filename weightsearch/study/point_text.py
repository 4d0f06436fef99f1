"""A point's weights and choices as text."""

from __future__ import annotations

from collections.abc import Mapping

from weightsearch.study.search_space import Point, decimals
from weightsearch.study.spec_fields import Value


def described(point: Point) -> str:
    """`0.6 mae + 0.4 ssim, densenet121, lr 0.001`."""
    parts = [weighted_sum(decimals(point.weights, 3), digits=6), choices(point.params)]
    return ", ".join(filter(None, parts))


def weighted_sum(weights: Mapping[str, float], digits: int = 3) -> str:
    """`0.6 mae + 0.4 ssim`: terms of weight 0 are left out."""
    return " + ".join(f"{weight:.{digits}g} {term}" for term, weight in weights.items() if weight)


def choices(params: Mapping[str, Value]) -> str:
    """`densenet121, lr 0.001`: a number with its name."""
    return ", ".join(v if isinstance(v, str) else f"{name} {v}" for name, v in params.items())


def assigned(weights: Mapping[str, float], digits: int = 3) -> str:
    """`mae=0.6 edge=0 ssim=0.4`: every term."""
    return " ".join(f"{term}={weight:.{digits}g}" for term, weight in weights.items())
