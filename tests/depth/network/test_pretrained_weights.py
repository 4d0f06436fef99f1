"""Where pretrained weights come from, and which are refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from weightsearch.depth.network import encoders, weight_sources
from weightsearch.errors import WeightsError

SMALL = "test_efficientnet"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub that does not answer, an empty cache, and a folder for weights."""
    monkeypatch.setattr(weight_sources.hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(weight_sources.hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
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
