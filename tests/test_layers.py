"""Imports point one way, and `--help` stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "weightsearch"
HEAVY = {"torch", "timm", "optuna", "sqlalchemy", "ray", "submitit"}

# A module may import from its own layer and from those above it in this list.
LAYERS = [
    {"errors", "runtime"},
    {"provenance"},
    {"data", "stats"},
    {"depth", "store"},
    {"report", "study"},
    {"report"},
    {"launch", "worker"},
    {"launch"},
    {"depth"},
    {"nightly"},
    {"commands"},
]
FORBIDDEN = {
    "data": {"torch", "optuna", "sqlalchemy", "weightsearch.store", "weightsearch.depth"},
    "depth": {
        "optuna",
        "sqlalchemy",
        "psycopg",
        "weightsearch.store",
        "weightsearch.study.planning",
    },
    "store": {"torch", "timm", "h5py", "weightsearch.depth", "weightsearch.data"},
    "plan": {"torch", "timm", "h5py", "weightsearch.depth", "weightsearch.store"},
    "launch": {"torch", "timm", "weightsearch.depth"},
    "report": {"torch", "timm", "weightsearch.depth", "weightsearch.data"},
    "promote": {"torch", "timm", "weightsearch.depth", "weightsearch.data"},
    "worker": {"torch", "timm", "weightsearch.depth", "weightsearch.data"},
}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.stem not in ("__init__", "__main__"))


def part(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Every module that the file imports, also inside functions; `from a import b` is a.b too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("file", modules(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    level = {name: k for k, names in enumerate(LAYERS) for name in names}
    ours = {m.split(".")[1] for m in imported(file) if m.startswith("weightsearch.")}
    above = {other for other in ours & level.keys() if level[other] > level[part(file)]}
    assert not above, f"{file.name} imports from above: {above}"


@pytest.mark.parametrize("file", modules(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_the_two_halves_do_not_know_each_other(file: Path) -> None:
    forbidden = FORBIDDEN.get(part(file), set())
    crossed = {m for m in imported(file) for f in forbidden if m == f or m.startswith(f"{f}.")}
    assert not crossed


@pytest.mark.parametrize(
    "command", [["--help"], ["launch", "--help"], ["data", "--help"], ["nightly", "--help"]]
)
def test_help_loads_neither_torch_nor_optuna(command: list[str]) -> None:
    asked = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "weightsearch", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in asked.stderr.splitlines()}
    assert not loaded & HEAVY
    assert "Usage" in asked.stdout


def test_a_trivial_worker_needs_no_torch() -> None:
    code = (
        "import sys, weightsearch.worker.loop, weightsearch.study.trivial_objective\n"
        "import weightsearch.launch.session\n"
        "import weightsearch.store.optuna_mirror, weightsearch.depth.objective\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


@pytest.mark.parametrize("file", modules(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_modules_stay_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400
