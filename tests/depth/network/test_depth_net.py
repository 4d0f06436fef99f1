"""Encoders, decoder and head: sizes, parameters, units; and where pretrained weights come from."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.paths import ROOT
from torch import nn

from weightsearch.depth.network import encoders, feature_pyramid
from weightsearch.depth.network.decoders import DECODERS
from weightsearch.depth.network.depth_net import DepthNet, metres
from weightsearch.depth.network.targets import Range, represent, value_range
from weightsearch.errors import ConfigError, WeightsError
from weightsearch.study import known_names
from weightsearch.study.spec import DataSpec, ModelSpec

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


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub that does not answer, an empty cache, and a folder for weights."""
    monkeypatch.setattr(encoders.hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(encoders.hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("WEIGHTSEARCH_WEIGHTS", str(folder))
    return folder


def weights(name: str = SMALL) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(timm.create_model(name).state_dict())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (SMALL, f"{SMALL}.safetensors"),
        (SMALL, f"{SMALL}.r160_in1k.safetensors"),
        (SMALL, f"{SMALL}/model.safetensors"),
        (f"{SMALL}.r160_in1k", f"{SMALL}.r160_in1k/model.safetensors"),
        ("densenet121", "densenet121.safetensors"),
        ("test_vit", "test_vit.safetensors"),
    ],
)
def test_pretrained_weights_come_from_the_folder(offline: Path, name: str, file: str) -> None:
    saved = weights(name)
    (offline / file).parent.mkdir(exist_ok=True)
    save_file(saved, offline / file)
    encoder = encoders.build(name, True)
    convolutions = [v for k, v in encoder.state_dict().items() if k.endswith("weight")]
    first = next(v for k, v in saved.items() if v.ndim == 4)
    assert torch.equal(next(v for v in convolutions if v.ndim == 4), first)
    config = timm.get_pretrained_cfg(name)
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor(config.mean))
    torch.testing.assert_close(encoder.std.flatten(), torch.tensor(config.std))
    assert encoder.origin is not None
    assert (encoder.origin.name, encoder.origin.file) == (file, file)
    assert encoder.origin.license is encoder.origin.hub is None  # nobody knows whose they are
    digest = hashlib.sha256((offline / file).read_bytes()).hexdigest()
    assert encoder.origin.sha256 == digest
    plain = encoders.build(name, False)
    assert plain.origin is None
    assert plain.mean.eq(0).all()
    assert plain.std.eq(1).all()


def test_pretrained_weights_come_from_the_hubs_cache(offline: Path, tmp_path: Path) -> None:
    repository = tmp_path / "cache" / f"models--timm--{SMALL}.r160_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    saved = weights()
    save_file(saved, snapshot / "model.safetensors")
    encoder = encoders.build(SMALL, True)
    assert torch.equal(encoder.body.conv_stem.weight, saved["conv_stem.weight"])
    assert encoder.origin is not None
    assert encoder.origin.name == f"{SMALL}.r160_in1k"
    assert encoder.origin.hub == f"timm/{SMALL}.r160_in1k"
    assert encoder.origin.file is None
    digest = hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()
    assert encoder.origin.sha256 == digest


def test_missing_weights_are_one_line_with_both_ways_out(offline: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        encoders.build(SMALL, True)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"{SMALL}.safetensors",
        str(offline),
        "WEIGHTSEARCH_WEIGHTS",
        "pretrained = false",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("conv_stem.weight"), "lacks 'conv_stem.weight'"),
        (lambda t: t.update(more=torch.zeros(1)), "has the foreign tensor 'more'"),
        (lambda t: t.update({"conv_stem.weight": torch.zeros(2, 3)}), "must have shape"),
    ],
)
def test_weights_of_another_network_are_refused(
    offline: Path, change: object, message: str
) -> None:
    tensors = weights()
    change(tensors)  # type: ignore[operator]
    save_file(tensors, offline / f"{SMALL}.safetensors")
    with pytest.raises(WeightsError, match=message):
        encoders.build(SMALL, True)


def test_weights_with_another_classifier_are_taken(offline: Path) -> None:
    tensors = weights()
    tensors["classifier.weight"] = torch.zeros(7, 3)
    del tensors["classifier.bias"]
    save_file(tensors, offline / f"{SMALL}.safetensors")
    encoder = encoders.build(SMALL, True)
    assert torch.equal(encoder.body.conv_stem.weight, tensors["conv_stem.weight"])


def test_a_damaged_file_of_weights_is_refused(offline: Path) -> None:
    file = offline / f"{SMALL}.safetensors"
    save_file(weights(), file)
    whole = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(whole // 2)
    with pytest.raises(WeightsError, match="must be a safetensors file"):
        encoders.build(SMALL, True)
    shutil.rmtree(offline)
