"""`check` trains one epoch of a study's own objective, and shows what its author must see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.processes import Cli

STUDY = """goal = "test"
objective = { run = "mine:run", metric = "rmse", guards = ["rel"] }
loss = { terms = ["smooth", "fit"], weights = { smooth = 0.75, fit = 0.25 } }
train = { epochs = 9 }
"""
GOOD = """
import numpy as np
def run(weights, params, context):
    assert context.tiny and context.epochs == 1 and not context.folder.exists()
    assert list(weights) == ["smooth", "fit"]
    print("it prints")
    yield {"rmse": np.array([0.5, 1.5], np.float32), "rel": np.float32(0.25),
           "about": {"n": np.int64(3)}}
    open("went-on", "w")
"""
RAISES = """
def loss(weights):
    return weights["smoth"]

def run(weights, params, context):
    yield {"rmse": loss(weights)}
"""


@pytest.fixture
def at(tmp_path: Path, storage: str) -> dict[str, str]:
    (tmp_path / "toy.toml").write_text(STUDY)
    return {"WEIGHTSEARCH_STORAGE": storage}


def test_an_epoch_that_works(cli: Cli, at: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    ran = cli("check", "toy.toml", "--device", "cpu", "--json", **at)
    assert ran.returncode == 0, ran.stderr
    (row,) = (row for row in json.loads(ran.stdout)["rows"] if row["part"] == "objective")
    said = "rmse 1 after an epoch of 0.75 smooth 0.25 fit, of 2 samples, in "
    assert row["said"].startswith(said)
    assert (row["state"], row["trace"]) == ("ok", "")
    assert "it prints" in ran.stderr
    assert not (tmp_path / "went-on").exists()


def test_what_it_raises_is_shown_with_its_own_traceback(
    cli: Cli, at: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(RAISES)
    ran = cli("check", "toy.toml", "--device", "cpu", **at)
    assert ran.returncode == 3
    assert 'mine.py", line 3, in loss' in ran.stderr
    assert 'mine.py", line 6, in run' in ran.stderr
    assert "tiny_epoch" not in ran.stderr
    said = " ".join(ran.stdout.split())
    assert "objective 'mine:run' must train an epoch, but KeyError: 'smoth'." in said
    assert "cannot be launched here: 1 to be put right" in said
    unasked = cli("check", "toy.toml", "--device", "cpu", "--no-epoch", **at)
    assert unasked.returncode == 0


@pytest.mark.parametrize(
    ("yielded", "code", "said"),
    [
        ("{'mse': 1.0}", 3, "must yield the metric 'rmse', but yields ['mse']"),
        ("{'rmse': 'low'}", 3, "must yield numbers"),
        ("{'rmse': 1.0, 'about': {'at': {1}}}", 3, "must be JSON, but set is no JSON"),
        ("{'rmse': 1.0, 'about': {'at': float('nan')}}", 3, "must be JSON, but Out of range"),
        ("{'rmse': float('nan')}", 0, "diverged: rmse is nan"),
        ("{'rmse': 1.0}", 0, "the guard rel is not among what it yields"),
    ],
)
def test_what_it_yields_is_looked_at(
    yielded: str, code: int, said: str, cli: Cli, at: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(f"def run(weights, params, context):\n    yield {yielded}\n")
    ran = cli("check", "toy.toml", "--device", "cpu", **at)
    assert (ran.returncode, said in " ".join(ran.stdout.split())) == (code, True), ran.stdout


def test_guards_that_were_not_asked_for_are_not_missed(
    cli: Cli, at: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "toy.toml").write_text(STUDY.replace(', guards = ["rel"]', ""))
    (tmp_path / "mine.py").write_text("def run(weights, params, context):\n    yield {'rmse': 1}\n")
    ran = cli("check", "toy.toml", "--device", "cpu", **at)
    assert ran.returncode == 0, ran.stdout
    assert "guard" not in ran.stdout


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("mynett:run", "must be importable, but No module named 'mynett'"),
        ("mine:main", "module 'mine' has no 'main'; known are: loss, run."),
        ("mine", "must be a module and a function in it; write 'mine:run'."),
    ],
)
def test_a_name_that_leads_nowhere_is_the_objectives(
    run: str, said: str, cli: Cli, at: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "toy.toml").write_text(STUDY.replace("mine:run", run))
    (tmp_path / "mine.py").write_text(f"import math\nfrom json import dumps\n{RAISES}")
    ran = cli("check", "toy.toml", "--device", "cpu", "--json", **at)
    assert ran.returncode == 3
    (wrong,) = (row for row in json.loads(ran.stdout)["rows"] if row["state"] == "wrong")
    assert wrong["part"] == "objective"
    assert said in wrong["said"]
