"""A point's weights and choices as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weightsearch.study.search_space import WEIGHTING, Point, decimals, weighting_of
from weightsearch.study.spec import ModelSpec
from weightsearch.study.spec_fields import Value


def described(point: Point) -> str:
    """`densenet121, lr 0.001 · 0.6 mae 0.4 ssim`, to three digits."""
    return named(decimals(point.weights), point.params, digits=3)


def named(weights: Mapping[str, float], params: Mapping[str, Value], digits: int = 2) -> str:
    """What a point is, as people read it: `densenet121 · 0.6 mae 0.2 edge 0.2 ssim`.

    Choices first, the encoder before the others, a number with its name, the decoder where it is
    not the usual one; then the weights that are not 0, or the name of the learned weighting:
    `densenet121, lr 0.001 · uncertainty`.
    """
    usual = ModelSpec.model_fields["decoder"].default
    chosen = {name: v for name, v in params.items() if (name, v) != ("decoder", usual)}
    if "encoder" in chosen:
        chosen = {"encoder": chosen["encoder"]} | chosen
    terms = (f"{weight:.{digits}g} {term}" for term, weight in weights.items() if weight)
    return " · ".join(filter(None, (choices(chosen), weighting_of(params) or " ".join(terms))))


def labelled(text: str, identity: str) -> str:
    """A name with the hash that files and the database have: `resnet18 · 1 mae [0e4e612f2d]`."""
    return f"{text} [{identity}]"


def told_apart(names: Sequence[str], identities: Sequence[str]) -> list[str]:
    """The names, each with its hash where two are the same: weights are rounded in them."""
    if len({*names}) == len(names):
        return [*names]
    return [labelled(*one) for one in zip(names, identities, strict=True)]


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
