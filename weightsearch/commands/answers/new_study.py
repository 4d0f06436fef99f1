"""A study file for somebody's data, from a look at them: what `init` writes."""

from __future__ import annotations

import json
import math
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from weightsearch.data.frames import split
from weightsearch.data.frames.source import NO_DEPTH
from weightsearch.data.inspection import report
from weightsearch.data.readers import registry
from weightsearch.errors import ConfigError, DataError, WeightsError
from weightsearch.runtime.safe_text import counted
from weightsearch.study import known_names, loading
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

LOOKED_AT = 8
PIXELS = {"cpu": 128 * 176, "cuda": 240 * 320}
"""Of a training picture at most, to begin with: not measured, `launch --dry-run` says the hours."""
STEP = 32
"""Sizes are multiples of it: the coarsest maps of an encoder are 1/32 of the picture."""
ENCODERS = {
    "cpu": ("mobilenetv3_small_100", "resnet10t"),
    "cuda": ("densenet121", "efficientnet_b0"),
}
TERMS = ("mae", "edge", "ssim")
BUDGET = "2h"
STEPS = {1: 1, 2: 4, 3: 3}
"""Of the simplex, by the number of terms: 5 directions of two terms, 10 of three; beyond, 2."""


@dataclass(frozen=True)
class Look:
    """What is known of the data before a study is written for them."""

    reader: str
    path: Path | None
    options: Mapping[str, Value]
    """Those that were given."""
    train: int
    test: int
    groups: int
    """Scenes or blocks of the training frames."""
    size: tuple[int, int]
    """Height and width of a picture."""
    val: str
    max_depth_m: float
    warnings: Sequence[str]


@dataclass(frozen=True)
class Wanted:
    """What somebody asked for."""

    encoders: Sequence[str]
    terms: Sequence[str]
    budget: str | None
    size: tuple[int, int]
    on: str
    """`cpu` or `cuda`: how much is tried."""
    pretrained: bool = True


def look(reader: str | None, path: Path | None, options: Mapping[str, Value]) -> Look:
    """Opens the data, and reads some frames. Raises ConfigError and DataError."""
    reader = reader or registry.detect(path, options)
    with closing(registry.open_source(reader, path, options)) as source:
        groups = [ref.group for ref in source.frames if ref.split == "train"]
        source.read(0)  # depth that is none is said before what it is divided into
    val = _validation(path, groups)
    found = report.inspect(reader, path, options, LOOKED_AT, val)
    if found["depth_m"] is None:
        raise DataError(f"{path}: must have frames with valid depth, but has none; {NO_DEPTH}")
    height, width = found["size"]
    return Look(
        reader=reader,
        path=path,
        options=options,
        train=len(groups),
        test=found["counts"].get("test", 0),
        groups=len(set(groups)),
        size=(height, width),
        val=val,
        max_depth_m=found["max_depth_m"],
        warnings=found["warnings"],
    )


def _validation(path: Path | None, groups: Sequence[str]) -> str:
    """The smallest share that whole groups can give. Raises DataError where none can."""
    where = path or "the data"
    if not groups:
        raise DataError(
            f"{where}: must hold training frames, but all of its frames are of the test split; put"
            " those to train on elsewhere than into folders called test or val."
        )
    if found := split.smallest(groups, 0):
        return found
    raise DataError(
        f"{where}: must have at least two scenes or blocks of similar size, one of which validates,"
        f" but its {len(groups)} training frames are of {len(set(groups))}; put each scene into a"
        " folder of its own (SCENE/rgb, SCENE/depth), or add frames: 15 neighbours are a block."
    )


def size_for(picture: tuple[int, int], on: str) -> tuple[int, int]:
    """The input size: of the picture's shape, and no larger than is quickly trained."""
    scale = min(1.0, math.sqrt(PIXELS[on] / math.prod(picture)))
    height, width = (max(2, round(scale * side / STEP)) * STEP for side in picture)
    return height, width


def text(found: Look, wanted: Wanted, file: Path) -> str:
    """The study, with what each line is for."""
    directions, weights = _weights(wanted.terms)
    points, name = directions * len(wanted.encoders), word(file)
    gpu, start = wanted.on == "cuda", "ImageNet" if wanted.pretrained else "random"
    (height, width), (tall, wide) = wanted.size, found.size
    place = (
        [(f"path   = {_toml(_place(found.path, file))}", "--data takes precedence")]
        if found.path
        else []
    )
    rows: list[tuple[str, str]] = [
        ("", f"Written by `weightsearch init`. Is all well: weightsearch check {name}"),
        (
            "",
            f"What it takes: weightsearch launch {name} --dry-run; every key: weightsearch schema",
        ),
        (f"goal      = {_toml(_goal(found, wanted))}", ""),
        ('objective = "rmse"', "ranks the points, on validation frames; metres"),
        (
            (
                f"budget    = {_toml(wanted.budget)}",
                "of the search; then the best so far are trained",
            )
            if wanted.budget
            else ("", 'budget = "2h": where it is left out, every point is tried')
        ),
        ("[data]", ""),
        (f"source = {_toml(found.reader)}", "the reader (docs/data.md)"),
        *place,
        (
            f"size   = [{height}, {width}]",
            f"height, width to train at; pictures have {tall}x{wide}",
        ),
        (
            f"val    = {_toml(found.val)}",
            f"of {found.train} frames in {found.groups} scenes or blocks",
        ),
        (f"max_depth_m = {found.max_depth_m:g}", "depth beyond is not trained on"),
        *([(f"options = {_options(found.options)}", "of the reader")] * bool(found.options)),
        ("[model]", ""),
        (f"encoder    = {_toml(list(wanted.encoders))}", "timm names; each is tried"),
        (f"pretrained = {_toml(wanted.pretrained)}", f"start from {start} weights"),
        ("[loss]", ""),
        (f"terms   = {_toml(list(wanted.terms))}", "docs/losses.md"),
        (
            f"weights = {weights}",
            f"{counted(directions, 'direction')}, so {counted(points, 'point')}",
        ),
        ("[train]", ""),
        (f"lr     = {'1e-4' if wanted.pretrained else '1e-3'}", ""),
        (f"batch  = {min(8, max(2, found.train // 4))}", ""),
        (f"epochs = {10 if gpu else 3}", "of each point: short, only to rank them"),
        ("[promote]", "the best are trained in full, and compared"),
        (f"top      = {min(3, points)}", ""),
        ("seeds    = [1, 2, 3]", "each of them so often"),
        (f"epochs   = {30 if gpu else 10}", ""),
        ("patience = 5", "epochs without improvement until a run ends"),
    ]
    return "".join(_line(key, why) for key, why in rows)


def _line(key: str, why: str) -> str:
    apart = "\n" if key.startswith("[") else ""
    told = f"# {why}" if why else ""
    return f"{apart}{f'{key:<42} {told}' if key else told}".rstrip(" ") + "\n"


def _goal(found: Look, wanted: Wanted) -> str:
    where = found.path.name if found.path else "synthetic rooms"
    terms = ", ".join(wanted.terms)
    return f"Which weights of {terms}, and which encoder, suit {where}?"


def _weights(terms: Sequence[str]) -> tuple[int, str]:
    """How many directions, and what the file says."""
    if len(terms) == 1:
        return 1, f"{{ {terms[0]} = 1.0 }}"
    steps = STEPS.get(len(terms), 2)
    count = math.comb(steps + len(terms) - 1, steps)
    return count, f'{{ grid = "simplex", steps = {steps} }}'


def _place(path: Path, file: Path) -> str:
    """Relative where it lies beside the file or below, so that both can be moved together."""
    whole, folder = path.resolve(), file.resolve().parent
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)


def _options(options: Mapping[str, Value]) -> str:
    return f"{{ {', '.join(f'{name} = {_toml(value)}' for name, value in options.items())} }}"


def _toml(value: object) -> str:
    """Text, numbers, truth values and lists of them are written alike in JSON and TOML."""
    return json.dumps(value, ensure_ascii=False)


def word(file: Path) -> str:
    """The file's name as a shell takes it."""
    return shlex.quote(str(file))


def spec_of(written: str, file: Path) -> StudySpec:
    """The study that was written. Raises ConfigError where it does not hold."""
    return loading.parse(tomllib.loads(written), str(file))


def lacking_weights(spec: StudySpec) -> WeightsError | None:
    """Checks encoders and sizes, and says why pretrained weights cannot be had, if they cannot.

    Raises ConfigError for an encoder that cannot take such pictures.
    """
    from weightsearch.depth import objective

    try:
        objective.check_model(spec, "cpu")
    except WeightsError as error:
        return error
    return None


def check_encoders(names: Sequence[str]) -> None:
    """Raises ConfigError, with the nearest name, for an encoder that there is not, or none."""
    from weightsearch.depth.network import encoders  # imports torch

    if not names:
        raise ConfigError("a study must have at least one encoder, such as densenet121.")
    for name in names:
        encoders.check_name(name)


def check_terms(terms: Sequence[str]) -> None:
    """Raises ConfigError for a loss term that there is not, or none at all."""
    if not terms:
        raise ConfigError("a loss must have at least one term, such as mae.")
    for term in terms:
        known_names.check("loss term", term)
