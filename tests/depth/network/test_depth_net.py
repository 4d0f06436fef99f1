"""Encoders, decoder and head: sizes, parameters, units."""

from __future__ import annotations

import math
import re

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT
from torch import nn

from weightsearch.depth.network import encoders, feature_pyramid
from weightsearch.depth.network.decoders import DECODERS
from weightsearch.depth.network.depth_net import DepthNet, metres
from weightsearch.depth.network.targets import Range, represent, value_range
from weightsearch.errors import ConfigError
from weightsearch.study import known_names
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec

SMALL = "test_efficientnet"
TARGETS = ("depth", "inverse", "log")


def data(target: str = "depth", size: tuple[int, int] = (64, 64)) -> DataSpec:
    return DataSpec.model_validate({"source": "synthetic", "size": size, "target": target})


def net(encoder: str, width: float = 1.0, **options: object) -> DepthNet:
    torch.manual_seed(0)
    spec = ModelSpec(encoder=encoder, width=width, pretrained=False)
    return DepthNet(spec, data(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "width", "millions"),
    [
        ("densenet121", 1.0, 18.99),
        ("densenet169", 1.0, 42.66),
        ("densenet201", 1.0, 57.81),
        ("densenet121", 0.5, 10.62),
        ("densenet169", 0.5, 21.37),
        ("densenet201", 0.5, 29.69),
    ],
)
def test_densenets_have_as_many_parameters_as_densedepth(
    name: str, width: float, millions: float
) -> None:
    with torch.device("meta"):
        built = net(name, width)
    assert sum(p.numel() for p in built.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    last = {"densenet121": 1024, "densenet169": 1664, "densenet201": 1920}[name]
    assert built.encoder.channels == (64, 64, 128, 256, last)


def test_densenets_are_tapped_after_the_transitions() -> None:
    torch.manual_seed(0)
    encoder = encoders.build("densenet121", False).eval()
    network = timm.create_model("densenet121", num_classes=0).eval()
    network.features.load_state_dict(encoder.body.features.state_dict())
    seen: dict[str, torch.Tensor] = {}
    for name in ("norm0", "pool0", "transition1", "transition2"):
        getattr(network.features, name).register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out)
        )
    rgb = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = encoder(rgb)
        last = network.forward_features(rgb)
    for found, expected in zip(maps, [*seen.values(), last], strict=True):
        torch.testing.assert_close(found, expected)
    assert [tuple(m.shape[-2:]) for m in maps] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize("size", [(64, 64), (75, 97), (33, 50)])
@pytest.mark.parametrize(
    "encoder",
    ["mobilenetv3_small_050", "densenet121", "test_convnext", "test_vit", "test_resnet"],
)
def test_the_output_has_half_the_size_for_any_encoder_and_size(
    encoder: str, size: tuple[int, int]
) -> None:
    with torch.no_grad():
        depth_m = net(encoder).eval()(torch.rand(2, 3, *size))
    assert depth_m.shape == (2, 1, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert depth_m.isfinite().all()


def test_maps_in_another_order_of_axes_are_turned() -> None:
    encoder = encoders.build("swin_tiny_patch4_window7_224", False).eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == list(encoder.channels)
    assert [m.shape[2] for m in maps] == [64 // r for r in encoder.reductions]


def test_skips_are_matched_by_level() -> None:
    # The deepest at 1/16, none at 1/2.
    assert feature_pyramid.skips((4, 8, 16, 16, 32)) == [3, 1, 0, None]
    assert feature_pyramid.skips((14, 14, 14)) == [1, None, None, None]


@pytest.mark.parametrize(
    ("reductions", "picks"),
    [
        ((2, 4, 8, 16, 32), [1, 2, 3, 4]),
        ((4, 8, 16, 16, 32), [0, 1, 3, 4]),
        ((14, 14, 14, 14), [0, 1, 2, 3]),  # a ViT
        ((16,) * 12, [0, 4, 7, 11]),
        ((16, 16, 16), [0, 1, 1, 2]),
        ((8, 16), [0, 0, 1, 1]),
        ((16,), [0, 0, 0, 0]),
    ],
)
def test_a_level_without_a_map_gets_the_nearest(
    reductions: tuple[int, ...], picks: list[int]
) -> None:
    assert feature_pyramid.nearest(reductions, (4, 8, 16, 32)) == picks


def test_maps_of_a_plain_transformer_come_from_all_its_depth() -> None:
    encoder = encoders.build("test_vit", False)
    assert encoder.body.out_indices == [0, 2, 3, 5]
    assert encoder.reductions == (16, 16, 16, 16)


DECODED = ["resnet10t", "mobilenetv3_small_050", "test_vit"]


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [
        # Each decoder on one encoder; on all of them at night.
        pytest.param(decoder, encoder, marks=() if number % 3 == other else pytest.mark.slow)
        for number, decoder in enumerate(DECODERS)
        for other, encoder in enumerate(DECODED)
    ],
)
def test_every_decoder_ends_at_half_the_size_and_trains_the_encoder(
    decoder: str, encoder: str
) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(encoder=encoder, decoder=decoder, pretrained=False, width=0.25)
    built = DepthNet(spec, data(), 2.0)
    with torch.no_grad():
        # Flat at the start, and of half the size, rounded up, whatever the size.
        for size in ((64, 96), (75, 97), (33, 50)):
            depth_m = built.eval()(torch.rand(1, 3, *size))
            flat = torch.full((1, 1, (size[0] + 1) // 2, (size[1] + 1) // 2), 2.0)
            torch.testing.assert_close(depth_m, flat)
        built.decoder.head.weight.normal_(0, 0.01)
    built.train()(torch.rand(2, 3, 64, 96)).log().var().backward()
    pulled = [p.grad is not None and bool(p.grad.ne(0).any()) for p in built.encoder.parameters()]
    assert sum(pulled) > 0.5 * len(pulled)  # timm starts the last norm of a residual block at 0
    assert all(p.grad is not None for p in built.parameters())


def test_one_frame_at_a_time_trains_with_every_decoder() -> None:
    for decoder in DECODERS:
        spec = ModelSpec(encoder=SMALL, decoder=decoder, pretrained=False, width=0.25)
        assert DepthNet(spec, data()).train()(torch.rand(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize("encoder", ["densenet169", "efficientnet_b0"])
def test_decoders_have_as_many_parameters_as_the_docs_say(encoder: str) -> None:
    rows = re.findall(
        rf"^\| {encoder} \| (\w+) \| ([\d.]+) \|", (ROOT / "docs/decoders.md").read_text(), re.M
    )
    with torch.device("meta"):
        body = encoders.build(encoder, False)
        built = {n: build(body.channels, body.reductions, 1.0) for n, build in DECODERS.items()}
    counted = {
        n: sum(p.numel() for p in m.parameters()) for n, m in (built | {"alone": body}).items()
    }
    assert {n: f"{count / 1e6:.2f}" for n, count in counted.items()} == dict(rows)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_width_makes_a_decoder_narrower(decoder: str) -> None:
    sizes = []
    for width in (0.5, 1.0):
        with torch.device("meta"):
            built = DECODERS[decoder]((16, 24, 32, 48, 256), (2, 4, 8, 16, 32), width)
        sizes.append(sum(p.numel() for p in built.parameters()))
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_neither_shrinks_nor_blows_up_the_signal(decoder: str) -> None:
    torch.manual_seed(0)
    built = DECODERS[decoder]((16, 24, 32, 48, 64), (2, 4, 8, 16, 32), 1.0)
    maps = [
        torch.randn(4, c, 64 // r, 64 // r)
        for c, r in zip((16, 24, 32, 48, 64), (2, 4, 8, 16, 32), strict=True)
    ]
    out: list[torch.Tensor] = []
    built.head.register_forward_pre_hook(lambda _, x: out.append(x[0]))
    built(maps, (64, 64))
    assert 0.2 < out[0].std() < 5


@pytest.mark.parametrize("target", TARGETS)
@given(
    st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=8),
    st.sampled_from([(0.1, 10.0), (1.0, 80.0)]),
)
def test_every_real_number_becomes_a_depth(
    target: str, raw: list[float], limits: tuple[float, float]
) -> None:
    spec = data(target).model_copy(update={"min_depth_m": limits[0], "max_depth_m": limits[1]})
    ordered = torch.tensor(sorted(raw))
    depth_m = metres(ordered, spec)
    assert depth_m.isfinite().all()
    assert (depth_m >= 0).all()
    steps = depth_m.diff()
    assert (steps <= 0).all() if target == "inverse" else (steps >= 0).all()


def test_targets_are_what_they_are_called() -> None:
    raw = torch.linspace(-3, 3, 7)
    softplus = nn.functional.softplus(raw)
    torch.testing.assert_close(represent(metres(raw, data()), data()), softplus)
    inverse = data("inverse")
    torch.testing.assert_close(represent(metres(raw, inverse), inverse), 1 + softplus)
    assert represent(torch.tensor(2.5), inverse) == 4
    assert represent(torch.tensor(0.1 * math.e), data("log")).item() == pytest.approx(1)
    assert represent(torch.tensor(0.1), data("log")) == 0
    middle = torch.tensor(0.5 * (math.log(0.05) + math.log(20)), requires_grad=True)
    (slope,) = torch.autograd.grad(metres(middle, data("log")).log(), middle)
    assert slope.item() == pytest.approx(1)


def test_the_range_is_that_of_the_target() -> None:
    assert value_range(data()) == Range(0.1, 10)
    assert value_range(data("inverse")) == Range(1, pytest.approx(100))
    assert value_range(data("log")) == Range(0, pytest.approx(math.log(100)))
    outdoors = data("inverse").model_copy(update={"max_depth_m": 80.0})
    assert value_range(outdoors) == Range(1, 100)  # not 800, which would swamp all beyond 8 m
    assert value_range(outdoors.model_copy(update={"min_depth_m": 1.0})) == Range(1, 80)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("typical_m", [0.5, 3.0, 8.0])
def test_an_untrained_network_predicts_the_typical_depth(target: str, typical_m: float) -> None:
    built = DepthNet(ModelSpec(encoder=SMALL, pretrained=False), data(target), typical_m)
    with torch.no_grad():
        depth_m = built(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(depth_m, torch.full_like(depth_m, typical_m), rtol=1e-4, atol=0)


def test_the_output_is_float32_under_autocast() -> None:
    built = net("test_convnext")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        depth_m = built(torch.rand(1, 3, 64, 64))
    assert depth_m.dtype == torch.float32


def test_names_known_without_torch_are_the_decoders() -> None:
    assert set(known_names.NAMES["decoder"]) == set(DECODERS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("densnet121", "did you mean 'densenet121'"),
        ("efficientnet_b0.foo", "did you mean 'efficientnet_b0."),
        ("hf-hub:somebody/net", "unknown encoder"),
        ("test_mambaout.none", "unknown to timm"),
    ],
)
def test_an_unknown_encoder_is_refused_with_the_nearest_name(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoders.build(name, False)


def test_a_size_that_the_encoder_cannot_take_is_refused() -> None:
    spec = ModelSpec(encoder="test_maxvit", pretrained=False)
    built = DepthNet(spec, data(size=(75, 97)))
    with pytest.raises(ConfigError, match="'test_maxvit' must take images of 75x97 pixels"):
        built.check_size()
