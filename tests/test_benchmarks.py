"""Benchmarks of training run to their end; what they measure is asserted nowhere."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from support import fork_server
from support.paths import ROOT

ROWS = {
    "step.py": ["test_efficientnet"],
    "loader.py": ["DataLoader, PIL, torchvision", "ours, from disk", "ours, from memory"],
}


@pytest.mark.parametrize("script", ROWS)
def test_a_quick_run_prints_its_table(script: str, tmp_path: Path) -> None:
    fork_server.start()
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick"]
    ran = fork_server.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split(" | ") for line in ran.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == ROWS[script]
    assert all(re.fullmatch(r"\d+(\.\d+)?", row[-2]) and float(row[-2]) > 0 for row in rows)


def test_a_loss_of_another_kind_is_no_rival(tmp_path: Path) -> None:
    fork_server.start()
    changed = (ROOT / "benchmarks" / "step.py").read_text()
    changed = changed.replace('"ssim": (1 - similar) / 2', '"ssim": 1 - similar')
    (tmp_path / "step.py").write_text(changed)
    (tmp_path / "loader.py").write_text((ROOT / "benchmarks" / "loader.py").read_text())
    command = [sys.executable, str(tmp_path / "step.py"), "--quick"]
    ran = fork_server.run(command, env=dict(os.environ), cwd=tmp_path)
    assert ran.returncode == 1
    assert "the losses must agree, but are" in ran.stderr
