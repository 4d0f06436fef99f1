"""The wheel: studies travel in it, and it works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def test_studies_travel_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    shipped = {p.name for p in (ROOT / "studies").glob("*.toml")}
    assert {p.name for p in (installed / "weightsearch" / "studies").glob("*.toml")} == shipped
    code = (
        "from weightsearch.study import loading, planning; import dashboards.serving, weightsearch;"
        "assert weightsearch.__file__.startswith(__import__('sys').argv[1]), weightsearch.__file__;"
        "print(len(planning.plan(loading.load(loading.study_file('paper-grid'))).points))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code, str(installed)],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stdout) == 4 * 175


def test_the_repository_holds_no_large_file() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert [f for f in files if f.exists() and f.stat().st_size > 1_000_000] == []


def test_no_module_of_tests_is_long() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in (ROOT / "tests").rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert long == {}
