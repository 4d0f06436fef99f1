"""Exported networks: they give torch's depth at any size, or there is no file."""

from __future__ import annotations

import copy
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from support import checkpoints as use_factory
from support.checkpoints import SIZE
from support.packs import frame
from timm.layers.cond_conv2d import CondConv2d
from timm.layers.conv2d_same import conv2d_same, create_conv2d_pad
from torch import nn
from torch.export import ExportedProgram

from weightsearch.depth.inference import (
    activations,
    batch_norm_folding,
    expert_mixtures,
    export_formats,
    onnx_file,
    same_padding,
)
from weightsearch.depth.inference import export as exports
from weightsearch.depth.inference.export import export
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.errors import CheckpointError, ConfigError, DataError
from weightsearch.runtime.optional_packages import needs

TF = "tf_mobilenetv3_small_minimal_100"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return use_factory.save(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """The network of both files, whose tracing takes a third of a test."""
    trace, traced = exports._program, {}

    def once(network: DepthNet, source: Path | str, fixed: bool) -> ExportedProgram:
        if (source, fixed) not in traced:
            traced[source, fixed] = trace(network, source, fixed)
        return traced[source, fixed]

    with pytest.MonkeyPatch.context() as context:
        context.setattr(exports, "_program", once)
        yield


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])  # in this order: ONNX folds layers
def test_a_file_gives_torchs_depth_at_sizes_that_it_was_not_made_for(
    checkpoint: Path, tmp_path: Path, suffix: str
) -> None:
    told: list[str] = []
    made = export(checkpoint, tmp_path / f"model{suffix}", say=told.append)
    assert made.difference <= 1e-4
    assert made.sizes == [SIZE, (85, 129)]
    compared = [
        f"{of} at {size}"
        for of in ("running torch", "comparing with it")
        for size in ("64x96", "85x129")
    ]
    assert told[1:] == [f"writing {suffix}", *compared, "timing at 64x96"]
    run = export_formats.FORMATS[suffix].load(made.file)
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
    assert facts["compared_at"] == "4 pictures at 64x96, 2 at 85x129"
    assert facts == made.facts


def test_a_file_that_differs_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before stays."""
    (tmp_path / "model.pt2").write_text("the previous one")

    def other(rgb: np.ndarray) -> np.ndarray:
        return np.ones((len(rgb), 1, (rgb.shape[2] + 1) // 2, (rgb.shape[3] + 1) // 2), np.float32)

    monkeypatch.setattr(exports, "_program", lambda *_: None)
    form = export_formats.Format(
        *(lambda: None, lambda _: lambda _: lambda _: None, lambda _: other, lambda: ""),
        fixes=lambda _: False,
    )
    monkeypatch.setitem(export_formats.FORMATS, ".pt2", form)
    with pytest.raises(CheckpointError, match=r"must agree with torch to 0\.0001 relative, but"):
        export(checkpoint, tmp_path / "model.pt2")
    assert (tmp_path / "model.pt2").read_text() == "the previous one"
    assert len(list(tmp_path.iterdir())) == 1


def _rounding(network: DepthNet, size: tuple[int, int]) -> float:
    pictures = exports._synthetic()
    want_m = exports.depths(network, pictures, size)
    return exports._rounding(copy.deepcopy(network).double(), want_m, pictures, size)


@pytest.mark.parametrize(("factor", "is_taken"), [(1.5, True), (3, False)])
def test_a_difference_is_no_fault_where_float32_itself_is_as_far_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, is_taken: bool
) -> None:
    network = use_factory.network("test_resnet")
    with torch.no_grad():
        network.decoder.head.weight *= 1500  # raw values whose rounding is larger than 1e-4
    rounding = max(_rounding(network, size) for size in (SIZE, (85, 129)))
    assert exports.MOST < rounding < exports.MOST_ROUNDED / 3

    def run(rgb: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            depth_m = network(torch.from_numpy(rgb)).numpy()
        return depth_m + np.maximum(depth_m, exports.FLOOR_M) * factor * rounding

    monkeypatch.setattr(exports.checkpoints, "network", lambda *_: network)
    monkeypatch.setattr(exports, "_program", lambda *_: None)
    monkeypatch.setattr(exports, "_facts", lambda *_: {})
    form = export_formats.Format(
        *(lambda: None, lambda _: lambda _: lambda _: None, lambda _: run, lambda: ""),
        fixes=lambda _: False,
    )
    monkeypatch.setitem(export_formats.FORMATS, ".pt2", form)
    if is_taken:
        made = export(tmp_path, tmp_path / "model.pt2")
        assert made.rounding == pytest.approx(rounding)
        assert made.facts["torch_from_float64"] == f"{rounding:.3g}"
        return
    with pytest.raises(CheckpointError, match="though torch is within"):
        export(tmp_path, tmp_path / "model.pt2")


def test_what_the_format_cannot_express_is_one_line(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a convolution whose groups depend on the batch (timm's `tf_efficientnet_cc_*`)."""

    def cannot(*_: object) -> export_formats.Run:
        raise RuntimeError("Error when translating node conv2d\nwith more below")

    monkeypatch.setattr(exports, "_program", lambda *_: None)
    form = export_formats.Format(lambda: None, cannot, cannot, lambda: "", fixes=lambda _: False)  # type: ignore[arg-type]
    monkeypatch.setitem(export_formats.FORMATS, ".pt2", form)
    with pytest.raises(CheckpointError, match=r"but: Error when translating node conv2d\. Noth"):
        export(checkpoint, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_differences_are_relative_and_nan_is_one(wrong: float) -> None:
    network = use_factory.network("test_resnet")
    rgb = frame(0, SIZE, blur=8).rgb

    def run(rgb: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            depth_m = network(torch.from_numpy(rgb)).numpy()
        depth_m[..., 3, 5] *= wrong
        return depth_m

    want_m = exports.depths(network, [rgb], SIZE)
    found = exports.largest_difference(network, want_m, run, [rgb], SIZE)
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


class TwoLayers(nn.Module):
    """Two layers with SAME padding, of stride 2."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [
            create_conv2d_pad(3, 4, 3, stride=2, padding="same"),
            create_conv2d_pad(4, 1, 5, stride=2, padding="same"),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        depth_m: torch.Tensor = self.layers(rgb)
        return depth_m


def test_same_padding_is_one_operator_in_onnx(tmp_path: Path) -> None:
    network = TwoLayers().eval()
    assert same_padding.sized_by_input(network)
    assert same_padding.exportable(network)
    program = exports._program(network, "a network", False)  # type: ignore[arg-type]
    export_formats.FORMATS[".onnx"].translate(program)(tmp_path / "model.onnx")
    run = export_formats.FORMATS[".onnx"].load(tmp_path / "model.onnx")
    for height, width in ((96, 128), (111, 70), (97, 99)):  # pads unequally at each
        rgb = torch.rand(2, 3, height, width)
        with torch.no_grad():
            np.testing.assert_allclose(run(rgb.numpy()), network(rgb).numpy(), atol=1e-5)


class Normalised(nn.Module):
    """What is folded, and what is not: a layer before its convolution, or a result used twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        same = create_conv2d_pad(4, 6, 3, stride=2, padding="same")
        self.folded = nn.Sequential(
            *(nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4), nn.ReLU()),
            *(same, nn.BatchNorm2d(6), nn.ReLU()),
        )
        self.before = nn.BatchNorm2d(6)
        self.twice, self.last = nn.Conv2d(6, 1, 3, padding=1), nn.BatchNorm2d(1)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    nn.init.uniform_(tensor, 0.5, 2)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        raw = self.twice(self.before(self.folded(rgb)))
        depth_m: torch.Tensor = self.last(raw) + raw
        return depth_m


def test_normalisation_is_folded_into_the_convolution_before_it() -> None:
    network = Normalised().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    program = exports._program(network, "normalised", False)  # type: ignore[arg-type]
    rgb = torch.rand(2, 3, 97, 111)
    assert _norms(program) == 4
    batch_norm_folding.fold(program)
    assert _norms(program) == 2
    with torch.no_grad():
        torch.testing.assert_close(program.module()(rgb), network(rgb), rtol=1e-5, atol=1e-5)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def _norms(program: ExportedProgram) -> int:
    return sum(node.target == batch_norm_folding.BATCH_NORM for node in program.graph.nodes)


def test_activations_that_write_over_their_input_are_traced_as_if_they_did_not() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(inplace=True), nn.ReLU()).eval()
    with activations.out_of_place(network):
        program = torch.export.export(network, (torch.ones(2, 3, 7, 7),))
    targets = {node.target for node in program.graph.nodes}
    assert torch.ops.aten.silu.default in targets
    assert torch.ops.aten.silu_.default not in targets
    assert [layer.inplace for layer in network[1:]] == [True, False]


def test_an_onnx_file_is_what_onnx_itself_writes(tmp_path: Path) -> None:
    """Tensors of every kind: large and small, transposed, of no size."""
    arrays = {
        "large": np.arange(70_000, dtype=np.float32).reshape(7, 10_000),
        "small": np.float32([1, 2]),
        "transposed": np.arange(600, dtype=np.int64).reshape(30, 20).T,
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(3, np.int64),
    }
    values = [
        ir.val(name, const_value=ir.tensor(array, name=name)) for name, array in arrays.items()
    ]
    graph = ir.Graph([], [], nodes=[], initializers=values, name="g", opset_imports={"": 20})
    model = ir.Model(graph, ir_version=10, producer_name="weightsearch")
    whole = ir.serde.serialize_model(model)
    onnx_file.write(model, tmp_path / "model.onnx")
    read = onnx.load(tmp_path / "model.onnx")
    assert [value.const_value is not None for value in values] == [True] * len(values)
    by_name = sorted(read.graph.initializer, key=lambda one: one.name)
    assert by_name == sorted(whole.graph.initializer, key=lambda one: one.name)
    for one in by_name:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(one), arrays[one.name])
    for proto in (read, whole):
        del proto.graph.initializer[:]
    assert read == whole


@pytest.mark.parametrize(("number", "want"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02")])
def test_a_varint_has_seven_bits_a_byte(number: int, want: str) -> None:
    """300 is the example of protobuf's documentation."""
    assert onnx_file._varint(number).hex() == want


@pytest.mark.slow
def test_an_encoder_with_same_padding_is_right_at_any_size(tmp_path: Path) -> None:
    """timm's `tf_*`: odd and even sides pad unequally; the trained 64x96 does not tell."""
    saved = use_factory.save(tmp_path / "checkpoint", TF)
    made = export(saved, tmp_path / "model.onnx")
    assert made.difference <= 1e-4
    run = export_formats.FORMATS[".onnx"].load(made.file)
    network = use_factory.network(TF)
    for height, width in ((111, 70), (97, 98)):
        rgb = torch.rand(1, 3, height, width)
        with torch.no_grad():
            np.testing.assert_allclose(run(rgb.numpy()), network(rgb).numpy(), rtol=1e-4)
    assert "any size" in made.facts["input"]


@pytest.mark.slow
def test_same_padding_has_the_trained_size_in_a_pt2(tmp_path: Path) -> None:
    saved = use_factory.save(tmp_path / "checkpoint", TF)
    made = export(saved, tmp_path / "model.pt2")
    assert (made.sizes, made.difference <= 1e-4) == ([SIZE], True)
    assert "of 64x96 only" in made.facts["input"]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_the_operator_pads_as_timm_does(stride: int, kernel: int) -> None:
    x, weight = torch.rand(2, 4, 13, 16), torch.rand(4, 4, kernel, kernel)
    for dilation in (1, 2):
        arguments = (x, weight, None, (stride, stride), (0, 0), (dilation, dilation))
        want = conv2d_same(*arguments)
        with same_padding.as_operator():
            got = sys.modules["timm.layers.conv2d_same"].conv2d_same(*arguments)
        assert torch.equal(got, want)
        assert got.shape[-2:] == (-(-13 // stride), -(-16 // stride))


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(("padding", "bias"), [("same", False), (1, True)])
def test_experts_are_mixed_as_timm_does(groups: int, padding: str | int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = CondConv2d(
        *(8, 16, 3), stride=2, padding=padding, groups=groups, bias=bias, num_experts=4
    )
    x, routing = torch.rand(3, 8, 13, 16), torch.rand(3, 4)
    want = layer(x, routing)
    with expert_mixtures.of_results():
        got = layer(x, routing)
    torch.testing.assert_close(got, want)
    assert torch.equal(layer(x, routing), want)  # as it was


class OneMixture(nn.Module):
    """A convolution whose weights depend on the picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = CondConv2d(3, 6, 3, stride=2, padding="same", num_experts=4)
        self.route = nn.Linear(3, 4)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        depth_m: torch.Tensor = self.layer(rgb, self.route(rgb.mean((2, 3))).sigmoid())
        return depth_m


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_weights_that_depend_on_the_picture_leave_the_batch_free(
    tmp_path: Path, suffix: str
) -> None:
    network = OneMixture().eval()
    network.data = SimpleNamespace(size=(32, 48))  # type: ignore[assignment]
    form = export_formats.FORMATS[suffix]
    program = exports._program(network, "mixtures", form.fixes(network))  # type: ignore[arg-type]
    form.translate(program)(tmp_path / "model")
    run = form.load(tmp_path / "model")
    for batch in (1, 3):
        rgb = torch.rand(batch, 3, 32, 48)
        with torch.no_grad():
            np.testing.assert_allclose(run(rgb.numpy()), network(rgb).numpy(), atol=1e-5)
