"""Which terms the loss may have, and which representation of depth each of them compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightsearch.depth.loss import terms as loss_terms
from weightsearch.depth.loss.terms import Map, Mask, Scalar, Term
from weightsearch.depth.network.depth_net import data_range, represent
from weightsearch.study.spec import DataSpec

LOSS_TERMS: dict[str, Term] = {
    "mae": loss_terms.mae,
    "edge": loss_terms.edge,
    "ssim": loss_terms.ssim,
    "berhu": loss_terms.berhu,
    "silog": loss_terms.silog,
    "normal": loss_terms.normal,
    "gradient": loss_terms.gradient,
    "log_l1": loss_terms.log_l1,
    "sobel_edge": loss_terms.sobel_edge,
    "smoothness": loss_terms.smoothness,
}

COMPARES: dict[str, Literal["depth", "log"]] = {
    "silog": "log",
    "normal": "depth",
    "log_l1": "depth",
}
"""What a term compares whose formula says it; the others compare what `data.target` says.

silog is a function of ln d. A surface is made of metres, and so is the 0.5 in Hu et al.'s
ln(|e| + 0.5).
"""


def compare(
    terms: Sequence[str], pred_m: Map, true_m: Map, valid: Mask, data: DataSpec
) -> dict[str, Scalar]:
    """The value of each term, not weighted; blind to both depths where they are not valid."""
    span = data_range(data)
    depths = [torch.where(valid, depth_m, 1.0) for depth_m in (pred_m, true_m)]
    targets = {term: COMPARES.get(term, data.target) for term in terms}
    pairs = {}
    for target in dict.fromkeys(targets.values()):
        shown = data.model_copy(update={"target": target})
        pairs[target] = represent(depths[0], shown), represent(depths[1], shown)
    return {t: LOSS_TERMS[t](*pairs[target], valid, span) for t, target in targets.items()}


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
