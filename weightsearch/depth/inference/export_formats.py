"""The files that a network is exported to: how each is written, and run."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.export import ExportedProgram

from weightsearch.depth.inference import batch_norm_folding, onnx_file, same_padding
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.errors import CheckpointError
from weightsearch.runtime.optional_packages import needs

LARGEST = (1 << 31) - (1 << 24)
"""Bytes of an ONNX file: protobuf ends at 2 GB."""

for _talker in ("torch.onnx", "onnxscript", "onnx_ir"):
    logging.getLogger(_talker).setLevel(logging.ERROR)  # they tell how they go about it

Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""rgb (b, 3, h, w) in 0..1 to metres (b, 1, h', w')."""
Tell = Callable[[Mapping[str, str]], None]
"""Has a file say this of itself. Raises OSError."""
Write = Callable[[Path], Tell]
"""Raises OSError."""


@dataclass(frozen=True)
class Format:
    needs: Callable[[], None]
    translate: Callable[[ExportedProgram], Write]
    load: Callable[[Path], Run]
    """The file is not needed after it."""
    runtime: Callable[[], str]
    fixes: Callable[[DepthNet], bool]
    """Whether a network's height and width must be fixed."""
    is_apart: bool = False
    """Whether torch may run a network in another thread while a file is written and loaded: not
    where torch.export does it, which patches modules."""


def _onnx(program: ExportedProgram) -> Write:
    weights = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    if weights > LARGEST:
        raise CheckpointError(
            f"an ONNX file must be below 2 GB, but the weights alone have {weights / 1e9:.1f} GB;"
            " take .pt2."
        )
    batch_norm_folding.fold(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            input_names=["rgb"],
            output_names=["depth_m"],
            dynamo=True,
            verbose=False,
            custom_translation_table=same_padding.onnx_operators(),
        )
    assert made is not None
    for value, names in (
        (made.model.graph.inputs[0], ("batch", 3, "height", "width")),
        (made.model.graph.outputs[0], ("batch", 1, "half_height", "half_width")),
    ):
        assert value.shape is not None
        told = [
            of if isinstance(of, int) else name for of, name in zip(value.shape, names, strict=True)
        ]
        value.shape = type(value.shape)(told)  # type: ignore[arg-type]

    def write(file: Path) -> Tell:
        onnx_file.write(made.model, file)
        return partial(_tell_onnx, file)

    return write


def _tell_onnx(file: Path, facts: Mapping[str, str]) -> None:
    import onnx

    told = onnx.ModelProto()
    onnx.helper.set_model_props(told, dict(facts))
    with file.open("ab") as end:
        end.write(told.SerializeToString())  # protobuf merges what is concatenated


def _onnx_run(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda rgb: session.run(["depth_m"], {"rgb": rgb})[0]


def _pt2(program: ExportedProgram) -> Write:
    def tell(file: Path, facts: Mapping[str, str]) -> None:
        with file.open("wb") as whole:
            torch.export.save(program, whole, extra_files={"weightsearch.json": json.dumps(facts)})

    def write(file: Path) -> Tell:
        tell(file, {})
        return partial(tell, file)

    return write


def _pt2_run(file: Path) -> Run:
    with file.open("rb") as content:
        module = torch.export.load(content).module()

    def run(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            depth_m: npt.NDArray[np.float32] = module(torch.from_numpy(rgb)).numpy()
        return depth_m

    return run


def _onnx_version() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


FORMATS: dict[str, Format] = {
    ".onnx": Format(
        lambda: needs("use", "onnx", "onnxscript", "onnxruntime"),
        *(_onnx, _onnx_run, _onnx_version),
        fixes=lambda network: not same_padding.exportable(network),
        is_apart=True,
    ),
    # Other programs have no operator of ours.
    ".pt2": Format(
        lambda: None,
        *(_pt2, _pt2_run, lambda: f"torch {torch.__version__}"),
        fixes=same_padding.sized_by_input,
    ),
}
