"""The loss: what each term compares, their weighted sum, and how hard each of them pulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightsearch.depth.loss.masked import Map, Mask, Scalar
from weightsearch.depth.loss.terms import COMPARES, LOSS_TERMS
from weightsearch.depth.network.targets import Range, represent, value_range
from weightsearch.study.data_spec import DataSpec


def compare(
    terms: Sequence[str], pred_m: Map, true_m: Map, valid: Mask, data: DataSpec
) -> dict[str, Scalar]:
    """The value of each term, not weighted; blind to both depths where they are not valid."""
    depths = [torch.where(valid, depth_m, 1.0) for depth_m in (pred_m, true_m)]
    targets = {term: COMPARES.get(term, data.target) for term in terms}
    compared: dict[str, tuple[Map, Map, Mask, Range]] = {}
    for target in dict.fromkeys(targets.values()):
        shown = data.model_copy(update={"target": target})
        pred, true = (represent(depth_m, shown) for depth_m in depths)
        compared[target] = pred, true, valid, value_range(shown)
    return {term: LOSS_TERMS[term](*compared[target]) for term, target in targets.items()}


def total(terms: Mapping[str, Scalar], weights: Float[Tensor, "terms"]) -> Scalar:
    """The weighted sum; `weights` is in the order of the terms."""
    return (torch.stack(tuple(terms.values())) * weights).sum()


def gradient_norms(
    terms: Mapping[str, Scalar], weights: Float[Tensor, "terms"], pred_m: Map, data: DataSpec
) -> Float[Tensor, "terms"]:
    """How hard each weighted term pulls: the norm of its gradient at the network's output.

    The output is taken as the target represents it (d, its inverse or logarithm): that is what the
    last layer gives, but where `model.metres` flattens. `terms` were computed from `pred_m`; their
    graph is kept, and no gradient is accumulated.
    """
    leaf = pred_m.detach().requires_grad_()
    (slope,) = torch.autograd.grad(represent(leaf, data).sum(), leaf)
    norms = []
    for value in terms.values():
        (gradient,) = torch.autograd.grad(value, pred_m, retain_graph=True)
        norms.append((gradient / slope).norm())
    return weights * torch.stack(norms)
