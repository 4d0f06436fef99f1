"""Encoders: any timm network that gives feature maps."""

from __future__ import annotations

import logging
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from weightsearch.depth.network import weight_sources
from weightsearch.depth.network.timm_alone import timm
from weightsearch.depth.network.weight_sources import Origin
from weightsearch.errors import ConfigError

# What a network needs to be told to take images of any size; timm names it in two ways.
ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)
MAPS = 4  # of a plain transformer

# It warns of tensors that feature maps have no use for (the classifier's); `told` checks.
logging.getLogger("timm.models").setLevel(logging.ERROR)


class Encoder(nn.Module):
    """Feature maps of RGB in [0, 1], the finest first.

    `channels` and `reductions` describe the maps; a reduction of 8 means 1/8 of the input size.
    """

    mean: Tensor
    std: Tensor
    origin: Origin | None = None
    """Where its weights come from; None of random ones."""

    def __init__(
        self,
        body: nn.Module,
        channels: tuple[int, ...],
        reductions: tuple[int, ...],
        statistics: tuple[tuple[float, ...], tuple[float, ...]] | None,
    ) -> None:
        super().__init__()
        self.body = body
        self.nhwc = getattr(body, "output_fmt", "NCHW") == "NHWC"  # Swin and the like
        self.channels = channels
        self.reductions = reductions
        # Pretrained weights expect the colours they were trained on, with mean 0 and deviation 1.
        # Random ones expect nothing, and DenseDepth feeds its network RGB as it is. The buffers
        # are there in both cases, so that a checkpoint says by itself which it was.
        mean, std = statistics or ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Maps (b, channels[i], about h / reductions[i], w / reductions[i]) of rgb (b, 3, h, w)."""
        maps = self.body((rgb - self.mean) / self.std)
        return [m.permute(0, 3, 1, 2) if self.nhwc else m for m in maps]


class DenseTaps(nn.Module):
    """A DenseNet tapped where DenseDepth taps it: after the transitions, not before them.

    timm's own feature maps come from before the transitions, with up to eight times the channels,
    and so give another, larger decoder (arXiv 1812.11941; node names as in timm).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features: nn.Sequential = network.features  # type: ignore[assignment]
        stem = network.feature_info[0]["module"].split(".")[-1]  # type: ignore[index]
        self.taps = (stem, "pool0", "transition1", "transition2", "norm5")

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.taps:
                maps.append(x)
        return maps


def build(name: str, pretrained: bool) -> Encoder:
    """The timm network `name` (a pretrained tag may follow it) as an Encoder.

    Raises ConfigError for a name that timm does not know or that gives no feature maps, and
    WeightsError where pretrained weights cannot be had.
    """
    known = weight_sources.encoder_of(name)
    config = known.config
    found = weight_sources.find(known) if pretrained else None
    source = found.told(known) if found else None
    if name.startswith("densenet"):
        body, channels, reductions = _densenet(name, source)
    else:
        body, channels, reductions = _features(name, config, source)
    encoder = Encoder(body, channels, reductions, (config.mean, config.std) if pretrained else None)
    if found is not None and found.path is None:  # timm has just put it there
        found = weight_sources.here(known) or found
    encoder.origin = found.origin if found else None
    return encoder


def check_name(name: str) -> None:
    """Raises ConfigError, with the nearest name, for an encoder that timm does not know."""
    weight_sources.encoder_of(name)


def _densenet(
    name: str, source: dict[str, Any] | None
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    network = _create(name, source, num_classes=0)
    transitions = [getattr(network.features, f"transition{i}") for i in (1, 2)]
    first = network.feature_info[0]["num_chs"]
    channels = (first, first, *(t.conv.out_channels for t in transitions), network.num_features)
    return DenseTaps(network), channels, (2, 4, 8, 16, 32)


def _features(
    name: str, config: Any, source: dict[str, Any] | None
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    error: Exception | None = None
    for options in ANY_SIZE if config.fixed_input_size else ({},):
        try:
            network = _create(name, source, features_only=True, **options)
        except (TypeError, AttributeError, RuntimeError, AssertionError) as caught:
            error = error or caught
            continue
        info = network.feature_info
        if len({block["reduction"] for block in info.info}) == 1:
            # A plain transformer, whose maps are all of one size: timm gives its last three, but
            # a decoder is to see early ones too (as DPT does, arXiv 2103.13413).
            spread = [len(info.info) * k // MAPS - 1 for k in range(1, MAPS + 1)]
            network = _create(name, source, features_only=True, out_indices=spread, **options)
            info = network.feature_info
        return network, tuple(info.channels()), tuple(info.reduction())
    raise ConfigError(
        f"encoder '{name}' must give feature maps (timm's features_only), but"
        f" {str(error).splitlines()[0].rstrip('.')}; take another."
    )


def _create(name: str, source: dict[str, Any] | None, **options: Any) -> Any:
    try:
        network = timm.create_model(
            name, pretrained=source is not None, pretrained_cfg_overlay=source, **options
        )
    except (OSError, EOFError, SafetensorError) as error:  # a download that breaks off
        reason = str(error).splitlines()[0]
        raise weight_sources.missing(weight_sources.encoder_of(name), reason) from None
    kept: Any = network.pretrained_cfg
    kept.pop("state_dict", None)  # a copy of all weights
    return network
