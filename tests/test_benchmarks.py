"""Benchmarks of training run to their end; what they measure is asserted nowhere."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
from support.paths import ROOT

from weightsearch.store.connection.database import Database

ROWS = {
    "step.py": ["test_efficientnet"],
    "loader.py": ["DataLoader, PIL, torchvision", "ours, from disk", "ours, from memory"],
}


@pytest.mark.parametrize("script", ROWS)
def test_a_quick_run_prints_its_table(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In this process, which has imported torch and timm: a new one would do nothing else for 2 s.
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", [script, "--quick"])
    try:
        runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
    finally:
        sys.modules.pop("loader", None)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = [line.split(" | ") for line in lines[1:]]
    assert [row[0].removeprefix("| ") for row in rows] == ROWS[script]
    assert all(re.fullmatch(r"\d+(\.\d+)?", row[-2]) and float(row[-2]) > 0 for row in rows)


def test_a_surface_that_was_never_asked_for_is_no_share_of_0(
    opened: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = runpy.run_path(str(ROOT / "benchmarks" / "mixture.py"))
    monkeypatch.setitem(script["TRIALS"], 2, 3)
    for sampler, believed in (("random", "-"), ("mixture", "0 %")):
        script["measure"](opened, sampler, 2, "none", 1)
        row = capsys.readouterr().out.split(" | ")
        assert (row[0], row[6]) == (f"| {sampler}", believed)
