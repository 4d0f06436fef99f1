"""Decoders of segmentation-models-pytorch, fed with our encoders' maps.

Its decoder modules are used as they are; its models would bring their own encoders. It is imported
where a decoder is built. `width` scales the published numbers of channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from weightsearch.depth.network import feature_pyramid
from weightsearch.depth.network.feature_pyramid import Size, nearest, regular, resize

PYRAMID = (4, 8, 16, 32)


class UNet(nn.Module):
    """U-Net's decoder (arXiv 1505.04597): nearest neighbours, concatenation, two 3x3 convolutions.

    With batch normalisation; `attention="scse"` weighs pixels and channels before and after them
    (arXiv 1803.02579). A level without a feature map is reached without a skip.
    """

    def __init__(
        self,
        channels: Sequence[int],
        reductions: Sequence[int],
        width: float,
        *,
        attention: str | None = None,
    ) -> None:
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        super().__init__()
        self.skips = feature_pyramid.skips(reductions)
        taken = [0 if skip is None else channels[skip] for skip in self.skips]
        inner = [_scaled(number, width, 16) for number in (256, 128, 64, 32)]
        self.body = UnetDecoder(
            (3, *reversed(taken), channels[-1]), inner, n_blocks=4, attention_type=attention
        )
        self.head = nn.Conv2d(inner[-1], 1, 3, padding=1)
        _initialise(self.body)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        features = [maps[-1]]
        for skip, level in zip(self.skips, feature_pyramid.LEVELS, strict=True):
            if skip is None:  # nothing to concatenate, but of a size to go to
                features.append(
                    maps[-1].new_zeros(len(maps[-1]), 0, *feature_pyramid.part(size, level))
                )
            elif level == feature_pyramid.LEVELS[-1]:
                features.append(resize(maps[skip], feature_pyramid.part(size, level)))
            else:
                features.append(maps[skip])
        whole = maps[0]  # stands for the image, which is looked at only by decoders that go so far
        return self.head(self.body([whole, *reversed(features)]))  # type: ignore[no-any-return]


class FPN(nn.Module):
    """A feature pyramid (arXiv 1612.03144) with the heads of panoptic FPN (arXiv 1901.02446).

    Ends at a quarter of the input size, from where the depth is enlarged.
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], width: float) -> None:
        from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

        super().__init__()
        self.picks = nearest(reductions, PYRAMID)
        self.body = FPNDecoder(
            [channels[pick] for pick in self.picks],
            pyramid_channels=_scaled(256, width, 32),
            segmentation_channels=_scaled(128, width, 32),
            dropout=0.0,
        )
        self.head = nn.Conv2d(self.body.out_channels, 1, 3, padding=1)
        _initialise(self.body)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        levels = zip(self.picks, PYRAMID, strict=True)
        features = [regular(maps[pick], size, level) for pick, level in levels]
        return resize(self.head(self.body(features)), feature_pyramid.part(size, 2))


class DeepLabV3Plus(nn.Module):
    """Atrous pyramid pooling of the deepest map, refined with that at 1/4 (arXiv 1802.02611).

    The deepest map is brought to 1/16 of the input size, where the paper's own encoder ends. Ends
    at a quarter, from where the depth is enlarged.
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], width: float) -> None:
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

        super().__init__()
        self.picks = nearest(reductions, (PYRAMID[0], PYRAMID[-1]))
        fine, deep = (channels[pick] for pick in self.picks)
        inner = _scaled(256, width, 32)
        self.body = DeepLabV3PlusDecoder(
            (0, 0, fine, deep),
            encoder_depth=5,
            out_channels=inner,
            atrous_rates=(6, 12, 18),
            output_stride=16,
            aspp_separable=True,
            aspp_dropout=0.0,
        )
        self.head = nn.Conv2d(inner, 1, 1)
        _initialise(self.body)
        # One pixel per image is left in this branch: a batch of one frame has no statistics there.
        pooled: Any = self.body.aspp[0].convs[-1]
        pooled[2] = nn.GroupNorm(1, inner)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        fine, deep = (maps[pick] for pick in self.picks)
        features = [fine, fine, regular(fine, size, 4), regular(deep, size, 16)]
        return resize(self.head(self.body(features)), feature_pyramid.part(size, 2))


class DPT(nn.Module):
    """The decoder of dense prediction transformers (arXiv 2103.13413), of convolutional maps too.

    Four maps, brought to 1/4 to 1/32 of the input size by what is learned, fused from the coarsest
    up; a class token is not looked at. The paper's depth head, without its enlargement to the input
    size, ends it.
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], width: float) -> None:
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder

        super().__init__()
        self.picks = nearest(reductions, PYRAMID)
        self.levels = [
            min(feature_pyramid.rounded(reductions[pick]), PYRAMID[-1]) for pick in self.picks
        ]
        inner = _scaled(256, width, 32)
        self.body = DPTDecoder(
            encoder_out_channels=[channels[pick] for pick in self.picks],
            encoder_output_strides=self.levels,
            encoder_has_prefix_tokens=False,
            readout="ignore",
            intermediate_channels=[_scaled(n, width, 32) for n in (256, 512, 1024, 1024)],
            fusion_channels=inner,
        )
        self.refine = nn.Sequential(
            nn.Conv2d(inner, inner // 2, 3, padding=1),
            nn.Conv2d(inner // 2, 32, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Conv2d(32, 1, 1)
        _initialise(self.body)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        levels = zip(self.picks, self.levels, strict=True)
        features = [regular(maps[pick], size, level) for pick, level in levels]
        fused = self.body(features, [None] * len(features))
        return resize(self.head(self.refine(fused)), feature_pyramid.part(size, 2))


def _scaled(channels: int, width: float, multiple: int) -> int:
    return max(multiple, round(channels * width / multiple) * multiple)


def _initialise(module: nn.Module) -> None:
    from segmentation_models_pytorch.base.initialization import initialize_decoder

    initialize_decoder(module)
