"""The network: an encoder, a decoder, and a head that turns what they give into metres."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from weightsearch.depth.network import encoders
from weightsearch.depth.network.decoders import DECODERS
from weightsearch.errors import ConfigError
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec


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
        self.fewest_images = 1
        """That training can take at once: batch normalisation needs two values per channel, which
        maps of 1x1 have not in one image. Known after `check_size`."""

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 (h+1)//2 (w+1)//2"]:
        """Depth in metres (b, 1, (h + 1) // 2, (w + 1) // 2) of rgb (b, 3, h, w).

        Float32 under autocast too; never negative, whatever the weights.
        """
        raw = self.decoder(self.encoder(rgb), (rgb.shape[-2], rgb.shape[-1]))
        return metres(raw.float(), self.data)

    def check_size(self, images: int | None = None) -> None:
        """Raises ConfigError where the encoder cannot take images of the data's size, or cannot be
        trained on so many of them at once; sets `fewest_images`."""
        single: list[bool] = []

        def see(_: nn.Module, x: tuple[Tensor, ...]) -> None:
            single.append(x[0].shape[2:].numel() == 1)

        layers = [m for m in self.modules() if isinstance(m, _BatchNorm)]
        hooks = [layer.register_forward_pre_hook(see) for layer in layers]
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
        finally:
            for hook in hooks:
                hook.remove()
        self.fewest_images = 2 if any(single) else 1
        if images is not None and images < self.fewest_images:
            height, width = self.data.size
            raise ConfigError(
                f"encoder '{self.spec.encoder}' must be trained on two images of {height}x{width}"
                " pixels at once, because it has batch normalisation of maps of 1x1, but gets"
                f" {images}; raise train.batch (and have as many frames), or data.size."
            )


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
