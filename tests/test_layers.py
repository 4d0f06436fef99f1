"""Imports point one way, and `--help` stays light."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "weightsearch"
HEAVY = {"torch", "timm", "optuna", "sqlalchemy", "ray", "submitit"}
MODULES = 250  # 230 with Python 3.11; others count a few more or fewer of their own


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.stem not in ("__init__", "__main__"))


def folders() -> list[Path]:
    return sorted({p.parent for p in PACKAGE.rglob("*.py")})


def names(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name != "__pycache__" and p.name != "studies"]


def test_rooms_files_and_halves_import_one_way() -> None:
    """The contracts in pyproject.toml: the order of the rooms, no circle, the two halves."""
    ran = subprocess.run(
        [shutil.which("lint-imports", path=Path(sys.executable).parent) or "", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ", 0 broken" in ran.stdout


def test_the_top_folder_is_the_plan_of_the_house() -> None:
    # Twelve rooms and four files, and `adapters`, the one path inside that users' code imports.
    assert len(names(PACKAGE)) <= 17


@pytest.mark.parametrize("folder", folders(), ids=lambda f: str(f.relative_to(ROOT)))
def test_rooms_stay_small_and_shallow(folder: Path) -> None:
    assert len(names(folder)) <= 20
    assert len(folder.relative_to(PACKAGE).parts) <= 2  # of files: three levels
    assert (folder / "__init__.py").read_text().startswith('"""')


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


def test_help_imports_no_more_than_it_prints_with() -> None:
    """Each command pays for what its parsing imports: neither pydantic, rich nor a study's file."""
    code = "import sys, weightsearch.commands.main; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    asked = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = asked.stdout.split()
    assert not {name.split(".")[0] for name in loaded} & {"pydantic", "rich", "numpy"}
    assert len(loaded) <= MODULES


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


def test_what_threads_of_a_launch_import_is_there_before_them() -> None:
    code = (
        "import sys, weightsearch.worker.background; sys.exit('sqlalchemy.orm' not in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


@pytest.mark.parametrize("file", modules(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_modules_stay_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400
