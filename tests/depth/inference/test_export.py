"""Exported networks: they give torch's depth at any size, or there is no file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from support import checkpoints as use_factory
from support.checkpoints import SIZE
from support.packs import frame

from weightsearch.depth.inference import export as exports
from weightsearch.depth.inference.export import export
from weightsearch.errors import CheckpointError, ConfigError, DataError
from weightsearch.runtime.optional_packages import needs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return use_factory.save(tmp_path_factory.mktemp("checkpoint"))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_file_gives_torchs_depth_at_sizes_that_it_was_not_made_for(
    checkpoint: Path, tmp_path: Path, suffix: str
) -> None:
    made = export(checkpoint, tmp_path / f"model{suffix}")
    assert made.difference <= 1e-4
    assert made.sizes == [SIZE, (85, 129)]
    run = exports.FORMATS[suffix].load(made.file.read_bytes())
    rgb = torch.rand(3, 3, 111, 70)
    with torch.no_grad():
        want_m = use_factory.network("test_resnet")(rgb).numpy()
    assert want_m.std() > 0.01
    np.testing.assert_allclose(run(rgb.numpy()), want_m, rtol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [f"model{suffix}"]
    if suffix == ".onnx":
        session = onnxruntime.InferenceSession(made.file)
        facts = session.get_modelmeta().custom_metadata_map
        assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
        assert session.get_outputs()[0].shape == ["batch", 1, "half_height", "half_width"]
    else:
        extra = {"weightsearch.json": ""}
        torch.export.load(io.BytesIO(made.file.read_bytes()), extra_files=extra)
        facts = json.loads(extra["weightsearch.json"])
    assert (facts["unit"], facts["trained_size"]) == ("metres", "64x96")
    assert float(facts["largest_relative_difference"]) == pytest.approx(made.difference, rel=0.01)
    assert facts == made.facts


def test_a_file_that_differs_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before stays."""
    (tmp_path / "model.pt2").write_text("the previous one")

    def other(rgb: np.ndarray) -> np.ndarray:
        return np.ones((len(rgb), 1, (rgb.shape[2] + 1) // 2, (rgb.shape[3] + 1) // 2), np.float32)

    monkeypatch.setattr(exports, "_program", lambda *_: None)
    form = exports._Format(lambda: None, lambda _: lambda _: b"", lambda _: other, lambda: "")
    monkeypatch.setitem(exports.FORMATS, ".pt2", form)
    with pytest.raises(CheckpointError, match=r"must agree with torch to 0\.0001 relative, but"):
        export(checkpoint, tmp_path / "model.pt2")
    assert (tmp_path / "model.pt2").read_text() == "the previous one"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_differences_are_relative_and_nan_is_one(wrong: float) -> None:
    network = use_factory.network("test_resnet")
    rgb = frame(0, SIZE, blur=8).rgb

    def run(rgb: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            depth_m = network(torch.from_numpy(rgb)).numpy()
        depth_m[..., 3, 5] *= wrong
        return depth_m

    found = exports.largest_difference(network, run, [rgb], [SIZE])
    assert found == pytest.approx(wrong - 1, rel=0.01, nan_ok=True)


def test_other_suffixes_and_pictures_that_are_none_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--to must end in \.onnx or \.pt2, but got 'm\.tflite'"):
        export(checkpoint, tmp_path / "m.tflite")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must hold pictures, but has no file"):
        export(checkpoint, tmp_path / "m.pt2", [tmp_path / "empty"])


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(ConfigError, match=r"needs nonesuch, .* pip install 'weightsearch\[use\]'"):
        needs("use", "onnx", "nonesuch")
