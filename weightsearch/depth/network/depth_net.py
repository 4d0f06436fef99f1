"""The network: an encoder, a decoder, and a head that turns what they give into metres."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from weightsearch.depth.network import encoders
from weightsearch.depth.network.decoders import DECODERS
from weightsearch.errors import ConfigError
from weightsearch.study.spec import DataSpec, ModelSpec


class DepthNet(nn.Module):
    """RGB in [0, 1] to metres at half the size, for one encoder and one decoder.

    `spec` names single ones, not lists. An untrained network predicts `typical_m` everywhere:
    steps of 1e-4 would otherwise spend a short run on the offset alone.
    """

    def __init__(self, spec: ModelSpec, data: DataSpec, typical_m: float = 2.5) -> None:
        super().__init__()
        assert isinstance(spec.encoder, str)
        assert isinstance(spec.decoder, str)
        self.spec, self.data = spec, data
        self.encoder = encoders.build(spec.encoder, spec.pretrained)
        self.decoder = DECODERS[spec.decoder](
            self.encoder.channels, self.encoder.reductions, spec.width
        )
        head = self.decoder.head
        assert isinstance(head, nn.Conv2d)
        nn.init.zeros_(head.weight)
        assert head.bias is not None
        nn.init.constant_(head.bias, _raw(typical_m, data))

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 (h+1)//2 (w+1)//2"]:
        """Depth in metres (b, 1, (h + 1) // 2, (w + 1) // 2) of rgb (b, 3, h, w).

        Float32 under autocast too; never negative, whatever the weights.
        """
        raw = self.decoder(self.encoder(rgb), (rgb.shape[-2], rgb.shape[-1]))
        return metres(raw.float(), self.data)

    def check_size(self) -> None:
        """Raises ConfigError where the encoder cannot take images of the data's size."""
        try:
            with torch.no_grad():
                self.eval()(torch.zeros(1, 3, *self.data.size))
        except (RuntimeError, AssertionError, ValueError) as error:
            height, width = self.data.size
            raise ConfigError(
                f"encoder '{self.spec.encoder}' must take images of {height}x{width} pixels, but"
                f" {str(error).splitlines()[0].rstrip('.')}; change data.size or take another"
                " encoder."
            ) from None


def metres(raw: Float[Tensor, "*shape"], data: DataSpec) -> Float[Tensor, "*shape"]:
    """Any real number to metres, so that the slope suits what the loss compares.

    depth: softplus, so any depth. inverse: max_depth_m / d = 1 + softplus (DenseDepth's target),
    so at most max_depth_m. log: ln d has slope 1 in the middle of the range and flattens towards
    half the least and twice the largest depth, so that neither zero nor infinity can come out.
    """
    if data.target == "depth":
        return F.softplus(raw)
    if data.target == "inverse":
        return data.max_depth_m / (1 + F.softplus(raw))
    low, span = _log_bounds(data)
    return torch.exp(low + span * torch.sigmoid(4 * (raw - low) / span - 2))


def represent(depth_m: Float[Tensor, "*shape"], data: DataSpec) -> Float[Tensor, "*shape"]:
    """What the loss compares: d, max_depth_m / d, or ln d.

    `depth_m` must be above 0; of less than a micrometre, which a network may predict, the logarithm
    is that of a micrometre.
    """
    if data.target == "depth":
        return depth_m
    if data.target == "inverse":
        return data.max_depth_m / depth_m
    return torch.log(depth_m.clamp(min=1e-6))


def data_range(data: DataSpec) -> float:
    """The range of the represented values, which SSIM's constants are relative to.

    The same numbers that DenseDepth uses for its own target: 1000 / 10 = 100 for max / d.
    """
    if data.target == "depth":
        return data.max_depth_m
    ratio = data.max_depth_m / data.min_depth_m
    return ratio if data.target == "inverse" else math.log(ratio)


def _raw(depth_m: float, data: DataSpec) -> float:
    """The inverse of `metres`, kept within what it can give."""
    if data.target == "depth":
        return _inverse_softplus(max(depth_m, 1e-3))
    if data.target == "inverse":
        return _inverse_softplus(max(data.max_depth_m / depth_m - 1, 1e-3))
    low, span = _log_bounds(data)
    share = min(max((math.log(depth_m) - low) / span, 0.01), 0.99)
    return low + span * (2 + math.log(share / (1 - share))) / 4


def _inverse_softplus(y: float) -> float:
    return y + math.log(-math.expm1(-y))


def _log_bounds(data: DataSpec) -> tuple[float, float]:
    """The logarithms of half the least depth, and of the ratio of twice the largest to it."""
    low = math.log(data.min_depth_m / 2)
    return low, math.log(2 * data.max_depth_m) - low
