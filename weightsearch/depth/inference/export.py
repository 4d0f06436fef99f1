"""A network as one file for other programs: ONNX, or a `.pt2` of torch.export, of any input size.

The file is in place only once the other program has given the same depth on the same pictures. (No
TorchScript: torch has deprecated it in favour of torch.export.)
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.export import Dim, ExportedProgram

from weightsearch.depth.files.input_pictures import Rgb, gather, read_rgb
from weightsearch.depth.inference import activations, expert_mixtures, same_padding
from weightsearch.depth.inference.export_formats import FORMATS, Format, Run, Tell, Write
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.prediction import network_input
from weightsearch.depth.uncollected import uncollected
from weightsearch.errors import CheckpointError, ConfigError, DataError
from weightsearch.runtime import provenance, safe_text
from weightsearch.runtime.atomic_file import staged

MOST = 1e-4
"""The largest relative difference between the file and torch that is let through."""
MOST_ROUNDED = 1e-3
"""The same, of a network that amplifies the rounding of float32: where torch itself is as far from
float64, a difference says nothing of the file."""
FLOOR_M = 1e-3
"""Differences are relative to the depth, or to this where it is less: protocols count no less."""
SYNTHETIC = 4
BATCH = 3
"""Pictures that are compared together, so that a long list of them needs no memory."""
AT_LARGER = 2
"""Pictures that are compared at the larger size: there it is to be seen that sizes are free."""
RUNS, LEAST_RUNS, MOST_S = 20, 3, 2.0
"""A network is timed `RUNS` times, or for so long, but at least `LEAST_RUNS` times."""
TRACED = (2, 3, 97, 131)
"""Odd, and all different, so that nothing in the network passes for constant, or for equal."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how well it agrees with torch."""

    file: Path
    sizes: list[tuple[int, int]]
    """(height, width) of the comparisons: the size that was trained, and a larger one."""
    pictures: int
    """How many were compared at the trained size; at the larger one, the first `AT_LARGER`."""
    difference: float
    """The largest of any pixel, relative to the depth that torch gives there."""
    rounding: float | None
    """The same of torch and float64, by which a difference above `MOST` was judged, at the sizes
    that have one; else None."""
    p50_ms: float
    """Half of the runs of one picture at the trained size took less, in the runtime's threads."""
    runtime: str
    facts: dict[str, str]
    """What the file says of itself."""


def export(
    checkpoint: Path,
    to: Path,
    check: Sequence[Path] = (),
    say: Callable[[str], None] = lambda doing: None,
) -> Exported:
    """Writes the checkpoint's network to `to`: `.onnx` for onnxruntime, `.pt2` for torch.export.

    Input `rgb`, float32 (b, 3, h, w) in 0..1: the encoder's mean and deviation are in the file.
    Output `depth_m`, metres (b, 1, (h + 1) // 2, (w + 1) // 2). Batch, height and width are free,
    but for sides of 32 pixels or less, which torch.export leaves out; but height and width are the
    trained ones in a `.pt2` of an encoder that pads by the size of its input (timm's `tf_*`).
    It is compared on the pictures of `check` (files or folders), or on synthetic ones. `say` is
    told what begins, of what may take long.

    Raises ConfigError for another suffix, CheckpointError where the network cannot be exported or
    the file differs by more than `MOST`, and by more than twice what float32 itself costs (each of
    the two may err by as much; `MOST_ROUNDED` is the end); DataError for pictures that cannot be
    read, or a file that cannot be written. There is no file then, and a previous one is as it was.
    """
    if to.suffix not in FORMATS:
        raise ConfigError(f"--to must end in {' or '.join(FORMATS)}, but got '{to.name}'.")
    form = FORMATS[to.suffix]
    form.needs()
    pictures = [read_rgb(one.path) for one in gather(check, videos=False)] or _synthetic()
    network = checkpoints.network(checkpoint, "cpu")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with staged(to) as file:
            say(f"tracing {network.spec.encoder}")
            program = _program(network, checkpoint, form.fixes(network))
            say(f"writing {to.suffix}")
            with _refusing(network, checkpoint), uncollected():
                write = form.translate(program)
            made, tell = _compared(form, write, file, network, checkpoint, to, pictures, say)
            tell(made.facts)
    except OSError as error:
        raise DataError(f"{to}: cannot be written ({error.strerror or error}).") from None
    return made


def _compared(
    form: Format,
    write: Write,
    file: Path,
    network: DepthNet,
    checkpoint: Path,
    to: Path,
    pictures: Sequence[Rgb],
    say: Callable[[str], None],
) -> tuple[Exported, Tell]:
    """Writes and loads the file, which shall be `to`, while torch runs the pictures; what is true
    of it. Raises CheckpointError where it differs, OSError where it cannot be written."""

    def written() -> tuple[Tell, Run]:
        return write(file), form.load(file)

    sizes = [network.data.size]
    if not form.fixes(network):
        sizes.append(larger(network.data.size))
    with _refusing(network, checkpoint), ThreadPoolExecutor(1) as beside:
        writing = beside.submit(written)
        if not form.is_apart:
            writing.result()
        want_m: list[list[npt.NDArray[np.float32]]] = []
        for size in sizes:
            say(f"running torch at {_shown([size])}")
            want_m.append([])
            for depth_m in depths(network, pictures, size):
                want_m[-1].append(depth_m)
                if writing.done():
                    writing.result()  # raises what went wrong before more is run
        tell, run = writing.result()
        found = []
        for size, want in zip(sizes, want_m, strict=True):
            say(f"comparing with it at {_shown([size])}")
            found.append(largest_difference(network, want, run, pictures, size))
    difference = float(np.max(found))  # NaN wherever there is one
    rounding = None
    if MOST < difference <= MOST_ROUNDED:
        say("comparing torch with float64")
        exact = copy.deepcopy(network).double()
        roundings = [
            _rounding(exact, want, pictures, size)
            for size, want, one in zip(sizes, want_m, found, strict=True)
            if one > MOST
        ]
        rounding = float(np.max(roundings))
    if not difference <= max(MOST, 2 * (rounding or 0)):
        raise CheckpointError(
            f"{to}: what is written must agree with torch to {MOST:g} relative, but differs by"
            f" {difference:.3g} at {_shown(sizes)}{_of_rounding(rounding)}; nothing was written."
        )
    facts = _facts(network, checkpoint, difference, sizes, len(pictures))
    if rounding is not None:
        facts["torch_from_float64"] = f"{rounding:.3g}"
    say(f"timing at {_shown(sizes[:1])}")
    p50_ms = _p50_ms(run, network_input(pictures[0][None], sizes[0], "cpu").numpy())
    runtime = form.runtime()
    return Exported(to, sizes, len(pictures), difference, rounding, p50_ms, runtime, facts), tell


def onnx_run(network: DepthNet) -> Run:
    """The network in onnxruntime, on the CPU, for any size.

    Raises ConfigError where ONNX is not installed, CheckpointError where it cannot be exported,
    DataError where there is no room for a temporary file.
    """
    form = FORMATS[".onnx"]
    form.needs()
    program = _program(network, "a new network", form.fixes(network))
    try:
        with tempfile.TemporaryDirectory() as folder, _refusing(network, "a new network"):
            file = Path(folder, "model.onnx")
            form.translate(program)(file)
            return form.load(file)
    except OSError as error:
        place = tempfile.gettempdir()
        raise DataError(f"{place}: cannot be written ({error.strerror or error}).") from None


def depths(
    network: DepthNet, pictures: Sequence[Rgb], size: tuple[int, int]
) -> Iterator[npt.NDArray[np.float32]]:
    """Torch's, in metres (b, 1, h', w') for each batch that is compared at the size."""
    for rgb in _batches(network, pictures, size):
        with torch.no_grad():
            depth_m: npt.NDArray[np.float32] = network(rgb).numpy()
        yield depth_m


def largest_difference(
    network: DepthNet,
    want_m: Iterable[npt.NDArray[np.float32]],
    run: Run,
    pictures: Sequence[Rgb],
    size: tuple[int, int],
) -> float:
    """The largest relative difference of a pixel from `depths`."""
    found = []
    for rgb, want in zip(_batches(network, pictures, size), want_m, strict=True):
        got_m = run(rgb.numpy())
        if got_m.shape != want.shape:
            return float("inf")
        found.append((np.abs(got_m - want) / np.maximum(want, FLOOR_M)).max())
    return float(np.max(found))  # NaN wherever there is one


def _batches(
    network: DepthNet, pictures: Sequence[Rgb], size: tuple[int, int]
) -> Iterator[torch.Tensor]:
    """At the trained size one, and the others in batches: for a large network they take less time
    together than each alone. At another one a batch of the first."""
    rest = pictures[1:] or [pictures[0]] * 2
    batches = [pictures[:1], *(rest[k : k + BATCH] for k in range(0, len(rest), BATCH))]
    if size != network.data.size:
        batches = [[*pictures, *pictures][:AT_LARGER]]
    for batch in batches:
        yield torch.cat([network_input(one[None], size, "cpu") for one in batch])


def _rounding(
    exact: DepthNet,
    want_m: Iterable[npt.NDArray[np.float32]],
    pictures: Sequence[Rgb],
    size: tuple[int, int],
) -> float:
    """The largest relative difference of the network in float64."""

    def run(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            depth_m: npt.NDArray[np.float32] = exact(torch.from_numpy(rgb).double()).numpy()
        return depth_m

    return largest_difference(exact, want_m, run, pictures, size)


def _of_rounding(rounding: float | None) -> str:
    return "" if rounding is None else f", though torch is within {rounding:.3g} of float64"


def _program(network: DepthNet, checkpoint: Path | str, fixed: bool) -> ExportedProgram:
    """The network traced: for any size, or for the one that it was trained at."""
    sides = {} if fixed else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    shapes = {"rgb": {0: Dim.DYNAMIC, **sides}}
    example = torch.zeros((*TRACED[:2], *network.data.size) if fixed else TRACED)
    with (
        _refusing(network, checkpoint),
        uncollected(),
        warnings.catch_warnings(),
        expert_mixtures.of_results(),
        activations.out_of_place(network),
        contextlib.ExitStack() as stack,
    ):
        warnings.simplefilter("ignore")
        if not fixed and same_padding.sized_by_input(network):
            stack.enter_context(same_padding.as_operator())
        return torch.export.export(network, (example,), dynamic_shapes=shapes)


@contextlib.contextmanager
def _refusing(network: DepthNet, checkpoint: Path | str) -> Iterator[None]:
    """Raises CheckpointError for whatever torch.export, torch.onnx or onnxruntime may raise: they
    have no common one."""
    try:
        yield
    except (CheckpointError, OSError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CheckpointError(
            f"{checkpoint}: encoder '{network.spec.encoder}' must run for any size once it is"
            f" exported, but: {first}. Nothing was written."
        ) from None


def _facts(
    network: DepthNet,
    checkpoint: Path,
    difference: float,
    sizes: Sequence[tuple[int, int]],
    pictures: int,
) -> dict[str, str]:
    size = "any size" if len(sizes) > 1 else f"of {_shown(sizes)} only"
    manifest = (checkpoints.find(checkpoint) / checkpoints.MANIFEST).read_bytes()
    mean, std = (
        [round(float(x), 6) for x in t.flatten()]
        for t in (network.encoder.mean, network.encoder.std)
    )
    return {
        "unit": "metres",
        "input": f"rgb float32 (batch, 3, height, width), 0..1, {size}",
        "output": "depth_m float32 (batch, 1, (height + 1) // 2, (width + 1) // 2)",
        "normalisation": f"inside: mean {mean}, deviation {std}",
        "trained_size": "x".join(map(str, network.data.size)),
        "depth_range_m": f"{network.data.min_depth_m:g}..{network.data.max_depth_m:g}",
        "encoder": str(network.spec.encoder),
        "decoder": str(network.spec.decoder),
        "checkpoint_sha256": hashlib.sha256(manifest).hexdigest(),
        "largest_relative_difference": f"{difference:.3g}",
        "compared_at": _compared_at(sizes, pictures),
        "versions": json.dumps(provenance.versions()),
    }


def _compared_at(sizes: Sequence[tuple[int, int]], pictures: int) -> str:
    trained, *others = sizes
    return ", ".join(
        (
            f"{safe_text.counted(pictures, 'picture')} at {_shown([trained])}",
            *(f"{min(pictures, AT_LARGER)} at {_shown([other])}" for other in others),
        )
    )


def _synthetic() -> list[Rgb]:
    """Pictures with smooth shades and hard edges, the same at each call."""
    source = np.random.default_rng(0)
    found = []
    for _ in range(SYNTHETIC):
        coarse = source.integers(0, 256, (6, 8, 3)).repeat(40, axis=0).repeat(40, axis=1)
        shade = np.linspace(0.3, 1, 240)[:, None, None] * np.linspace(1, 0.5, 320)[:, None]
        found.append((coarse * shade).astype(np.uint8))
    return found


def larger(size: tuple[int, int]) -> tuple[int, int]:
    """A third more on each side, and odd: halving it again and again leaves remainders."""
    return size[0] * 4 // 3 | 1, size[1] * 4 // 3 | 1


def _shown(sizes: Sequence[tuple[int, int]]) -> str:
    return " and ".join(f"{height}x{width}" for height, width in sizes)


def _p50_ms(run: Run, rgb: npt.NDArray[np.float32]) -> float:
    """Of a size that has been run before."""
    took: list[Any] = []
    until = time.perf_counter() + MOST_S
    while len(took) < RUNS and (len(took) < LEAST_RUNS or time.perf_counter() < until):
        began = time.perf_counter()
        run(rgb)
        took.append(time.perf_counter() - began)
    return 1000 * float(np.median(took))
