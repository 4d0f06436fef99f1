"""A point's weights and choices as text."""

from __future__ import annotations

from collections.abc import Mapping

from weightsearch.study.search_space import WEIGHTING, Point, decimals, weighting_of
from weightsearch.study.spec_fields import Value


def described(point: Point) -> str:
    """`0.6 mae + 0.4 ssim, densenet121, lr 0.001`; `uncertainty, densenet121, lr 0.001`."""
    weighed = loss(decimals(point.weights, 3), point.params, digits=6)
    return ", ".join(filter(None, (weighed, choices(point.params))))


def loss(weights: Mapping[str, float], params: Mapping[str, Value], digits: int = 3) -> str:
    """How the terms are weighed: `0.6 mae + 0.4 ssim`, or a learned weighting's name."""
    return weighting_of(params) or weighted_sum(weights, digits)


def weighted_sum(weights: Mapping[str, float], digits: int = 3) -> str:
    """`0.6 mae + 0.4 ssim`: terms of weight 0 are left out."""
    return " + ".join(f"{weight:.{digits}g} {term}" for term, weight in weights.items() if weight)


def choices(params: Mapping[str, Value]) -> str:
    """`densenet121, lr 0.001`: a number with its name; `loss` names a learned weighting."""
    return ", ".join(
        v if isinstance(v, str) else f"{name} {v}"
        for name, v in params.items()
        if name != WEIGHTING
    )


def assigned(weights: Mapping[str, float], digits: int = 3) -> str:
    """`mae=0.6 edge=0 ssim=0.4`: every term."""
    return " ".join(f"{term}={weight:.{digits}g}" for term, weight in weights.items())
