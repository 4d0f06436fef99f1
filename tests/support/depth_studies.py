"""Small studies of the depth objective on synthetic rooms, and packs of them built once."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightsearch.data.packs import building
from weightsearch.depth.objective import run
from weightsearch.study import loading
from weightsearch.study.objective_contract import Context
from weightsearch.study.spec import StudySpec

OPTIONS = {"frames": 30, "test_frames": 6, "height": 48, "width": 64, "holes": 0.05}
WEIGHTS = {"mae": 0.5, "edge": 0.2, "ssim": 0.3}


def depth_spec(encoder: str = "test_efficientnet", **tables: Mapping[str, Any]) -> StudySpec:
    """A study on 30 frames of 48x64 pixels; keyword arguments are laid over its tables."""
    plain: dict[str, Any] = {
        "goal": "test",
        "data": {"source": "synthetic", "size": [48, 64], "val": "blocks:20%", "options": OPTIONS},
        "model": {"encoder": encoder, "pretrained": False},
        "loss": {"weights": WEIGHTS},
        "train": {"epochs": 2, "batch": 4, "lr": 1e-3},
        "promote": {"protocol": "full", "top": 1, "seeds": [1]},
    }
    for name, table in tables.items():
        plain[name] = plain.get(name, {}) | dict(table) if isinstance(table, Mapping) else table
    return loading.parse(plain, "test")


def context(spec: StudySpec, folder: Path, **values: Any) -> Context:
    plain: dict[str, Any] = {
        "spec": spec,
        "study": "tiny",
        "seed": spec.train.seed,
        "epochs": spec.train.epochs,
        "patience": spec.train.patience,
        "device": "cpu",
        "folder": folder,
        "home": home(),
    }
    return Context(**plain | values)


def whole(there: Context, params: dict[str, Any] | None = None) -> tuple[list[Any], Any]:
    """All that is yielded, and what is returned."""
    running, epochs = run(WEIGHTS, params or {}, there), []
    while True:
        try:
            epochs.append(next(running))
        except StopIteration as end:
            return epochs, end.value


@functools.cache
def home() -> Path:
    """A folder for packs, removed when the process ends."""
    folder = tempfile.TemporaryDirectory()
    home.folder = folder  # type: ignore[attr-defined]  # lives as long as the function
    return Path(folder.name)


def training_copy(spec: StudySpec) -> Path:
    assert spec.data is not None
    native = building.ensure(spec.data.source, None, spec.data.options, home())
    return building.training_copy(native, spec.data.size, home())
