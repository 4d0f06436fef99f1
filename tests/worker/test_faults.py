"""Workers and launches that die, hang or fail at a chosen place; what the ledger says afterwards.

The numbers are those of the fault table in docs/faults.md.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import func, select
from support import fork_server
from support.faulty_servers import PATIENCE_S, Worker, workers
from support.processes import Cli
from support.specs import make_spec

from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, studies, study_control, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points
from weightsearch.store.tables.states import Rung
from weightsearch.study import planning
from weightsearch.worker import failure_kinds

SLOW = """
import os, pathlib, time
def run(weights, params, context):
    pathlib.Path('trained').open('a').write(f'{os.getpid()}\\n')
    yield {'rmse': 1.0}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


def create(opened: Database, points: int = 3, **tables: Any) -> Study:
    spec = make_spec(sampler={"kind": "grid", "trials": points}, **tables)
    return studies.create(opened.engine, "study", spec, planning.plan(spec))


def own_objective(home: Path, code: str) -> dict[str, Any]:
    """A study of an objective that lies where its workers start."""
    (home / "mine.py").write_text(code)
    return {"objective": {"run": "mine:run"}}


def dies_at(
    place: str, storage: str, home: Path, monkeypatch: pytest.MonkeyPatch, lease: float = 2.0
) -> int:
    """A worker that dies once at this place, as by kill -9; its process."""
    monkeypatch.setenv("WEIGHTSEARCH_FAILPOINT", place)
    with workers(1, "study", storage, home, lease) as (dead,):
        assert dead.wait(PATIENCE_S) == -signal.SIGKILL
    monkeypatch.delenv("WEIGHTSEARCH_FAILPOINT")
    return dead.pid


def finish(storage: str, home: Path, number: int = 1, lease: float = 2.0) -> str:
    """Workers until nothing is left; what they said."""
    with workers(number, "study", storage, home, lease) as started:
        assert [worker.wait(PATIENCE_S) for worker in started] == [0] * number
        return "".join(worker.said() for worker in started)


@pytest.mark.parametrize(
    ("place", "trained_again", "lost"),
    [  # F3, F4
        ("after-claim", False, 1),  # nothing was trained yet
        ("after-compute", True, 1),
        ("after-spool", False, 0),
        ("after-commit", False, 0),
        ("before-mirror", None, None),
        ("in-mirror", None, None),
    ],
)
def test_a_worker_that_dies_anywhere_costs_at_most_its_attempt(
    opened: Database,
    storage: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    trained_again: bool | None,
    lost: int | None,
) -> None:
    study = create(opened, **own_objective(home, SLOW))
    dies_at(place, storage, home, monkeypatch)
    finish(storage, home)
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert found.starts == 3 + found.lost <= 4
    trained = (home / "trained").read_text().count("\n")
    if trained_again is not None:
        assert trained == 3 + trained_again
        assert found.lost == lost
    assert list((home / "spool").rglob("*.json")) == []
    assert shown(opened) == found.starts  # F17: each attempt once, whatever died when


def shown(opened: Database) -> int:
    storage = optuna.storages.RDBStorage(
        connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect), skip_table_creation=True
    )
    trials = optuna.load_study(study_name="study", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    ended = [t.state.is_finished() for t in trials]
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    with opened.engine.connect() as connection:
        done = select(func.count()).select_from(points).where(points.c.state == "done")
        assert len(complete) == connection.execute(done).scalar()
    assert all(ended)
    return len(trials)


def test_a_zombies_spooled_result_is_dropped_with_a_word(
    opened: Database, storage: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create(opened, points=1)
    dies_at("after-spool", storage, home, monkeypatch, lease=1.0)
    other = home / "other"  # another machine: another spool
    finish(storage, other, lease=1.0)
    with opened.engine.connect() as connection:
        before = connection.execute(select(points)).all()
    assert "came too late and was dropped" in finish(storage, home)
    with opened.engine.connect() as connection:
        assert connection.execute(select(points)).all() == before
    assert verification.verify(opened.engine, study).ok


def test_a_worker_clock_that_is_wrong_changes_nothing(  # F13
    opened: Database, storage: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create(opened, points=6, params={"epoch_s": 0.1})
    started = []
    for hours in (-1, 1):
        folder = home / f"clock{hours}"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            f"import time\nreal = time.time\ntime.time = lambda: real() + {hours} * 3600\n"
        )
        monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
        started.append(Worker("study", storage, home, lease=2.0))
        monkeypatch.undo()
        monkeypatch.setenv("WEIGHTSEARCH_HOME", str(home))
    assert [worker.wait(PATIENCE_S) for worker in started] == [0, 0]
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.starts) == (True, 6)


# F10: failures by class

POISON = """
import os, time
class OutOfMemoryError(RuntimeError):
    pass
def run(weights, params, context):
    if weights['ssim'] == 1.0:
        BODY
    yield {'rmse': 1.0 + weights['mae'], 'shrink': float(context.shrink)}
"""


@pytest.mark.parametrize(
    ("body", "code", "state", "starts", "reason"),
    [
        ("if context.shrink < 2: raise OutOfMemoryError('CUDA out of memory')", 0, "done", 3, None),
        ("raise OutOfMemoryError('CUDA out of memory')", 0, "failed", 3, "CUDA out of memory"),
        ("raise RuntimeError('CUDA error: unspecified launch failure')", 75, "paused", 1, None),
        ("raise KeyError('depth')", 0, "failed", 1, "KeyError: 'depth'"),
        ("yield {'rmse': float('nan')}", 0, "done", 1, None),
        ("time.sleep(3600)", 75, "paused", 1, None),
    ],
    ids=["memory once", "memory always", "device", "code", "nan", "hang"],
)
def test_failures_are_told_apart(
    opened: Database,
    storage: str,
    home: Path,
    body: str,
    code: int,
    state: str,
    starts: int,
    reason: str | None,
) -> None:
    study = create(
        opened,
        points=10,
        retry={"attempts": 3, "epoch_limit_s": 1.5},
        **own_objective(home, POISON.replace("BODY", body)),
    )
    with workers(1, "study", storage, home) as (worker,):
        assert worker.wait(PATIENCE_S) == code
    with opened.engine.connect() as connection:
        row = connection.execute(select(points).where(points.c.weights["ssim"].astext == "1")).one()
        begun = connection.execute(
            select(attempts).where(attempts.c.point_id == row.id).order_by(attempts.c.attempt)
        ).all()
    assert (row.state, len(begun)) == (state, starts)
    assert reason is None or reason in row.reason
    if code == 0:
        assert queries.counts(opened.engine, study)["done"] == 10 - (state == "failed")
    else:
        assert begun[0].outcome == "failed"
        expected = "CUDA error" if "CUDA" in body else "an epoch took longer than 1.5 s"
        assert expected in begun[0].reason
    if body.startswith("if"):
        assert row.result["metrics"]["shrink"] == row.result["shrink"] == 2


def test_a_point_whose_device_always_fails_is_given_up_and_the_rest_goes_on(
    opened: Database, cli: Cli, storage: str, tmp_path: Path
) -> None:
    body = "raise RuntimeError('CUDA error: unspecified launch failure')"
    (tmp_path / "mine.py").write_text(POISON.replace("BODY", body))
    (tmp_path / "toy.toml").write_text(
        'goal = "test"\n[objective]\nrun = "mine:run"\n'
        '[loss]\nweights = { grid = "simplex", steps = 2 }\n[train]\nepochs = 1\n'
    )
    ran = cli(
        "launch", "toy.toml", "--device", "cpu", "--no-promote", "--json",
        WEIGHTSEARCH_STORAGE=storage,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    counts = json.loads(ran.stdout)["points"]
    assert (counts["done"], counts["failed"]) == (5, 1)
    status = cli("status", WEIGHTSEARCH_STORAGE=storage).stdout
    assert "unspecified launch failure (tried 3 times)" in " ".join(status.split())


def test_the_kinds_of_failure() -> None:
    class AcceleratorError(RuntimeError):
        pass

    class OutOfMemoryError(RuntimeError):
        pass

    for error, kind in (
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (MemoryError(), "memory"),
        (AcceleratorError("CUDA error: an illegal memory access was encountered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (ValueError("CUDA error"), "code"),
        (RuntimeError("The size of tensor a must match"), "code"),
    ):
        assert failure_kinds.kind(error) == kind


# F11, F12: launches

TOY = """
goal = "test"
[objective]
run = "weightsearch.study.trivial_objective:run"
[loss]
weights = { grid = "simplex", steps = 2 }
[train]
epochs = 1
[promote]
top = 2
seeds = [1, 2]
epochs = 2
"""


def test_two_launches_at_once_do_the_work_once(  # F11
    opened: Database, storage: str, tmp_path: Path
) -> None:
    (tmp_path / "toy.toml").write_text(TOY)
    command = [sys.executable, "-m", "weightsearch", "launch", "toy.toml", "--device", "cpu"]
    both = [
        fork_server.Forked(
            [*command, "--json"],
            env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = []
    for launch in both:
        out, said = launch.communicate(timeout=PATIENCE_S)
        assert launch.returncode == 0, said
        answers.append(json.loads(out))
    assert answers[0]["promoted"]["point"] == answers[1]["promoted"]["point"]
    study = studies.find(opened.engine, "toy-grid")
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.points, found.starts) == (True, 6, 6)
    assert queries.counts(opened.engine, study, Rung.PROMOTION)["done"] == 4


def test_a_launcher_that_dies_at_any_step_is_continued_and_promotes_once(  # F12
    opened: Database, storage: str, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "toy.toml").write_text(TOY)
    command = ("launch", "toy.toml", "--device", "cpu", "--json")
    for place in ("after-plan", "after-search", "after-promotion-plan", "after-promotion-runs"):
        died = cli(*command, WEIGHTSEARCH_STORAGE=storage, WEIGHTSEARCH_FAILPOINT=place)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert died.stdout == ""
    ended = cli(*command, WEIGHTSEARCH_STORAGE=storage)
    assert ended.returncode == 0, ended.stderr
    study = studies.find(opened.engine, "toy-grid")
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.starts) == (True, 6)
    with opened.engine.connect() as connection:
        runs = connection.execute(
            select(func.count())
            .select_from(attempts)
            .join(points, points.c.id == attempts.c.point_id)
            .where(points.c.rung == Rung.PROMOTION, attempts.c.outcome == "done")
        ).scalar()
    assert runs == 4


def test_a_replaced_worker_takes_over_at_once(
    opened: Database, storage: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows that a worker's process is gone need not wait for its lease to run out."""
    study = create(opened)
    study_control.sign_on(opened.engine, study, "dead", "here", 7, "cpu")
    assert leases.claim(opened.engine, study.id, "dead", "cpu", 3600) is not None
    monkeypatch.setenv("WEIGHTSEARCH_REPLACES", "dead")
    finish(storage, home)
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.starts, found.lost) == (True, 4, 1)


def test_a_replaced_workers_result_on_disk_is_not_lost(
    opened: Database, storage: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create(opened, points=1, **own_objective(home, SLOW))
    monkeypatch.setenv("WEIGHTSEARCH_WORKER", "dead")
    dead = dies_at("after-spool", storage, home, monkeypatch, lease=3600)
    monkeypatch.delenv("WEIGHTSEARCH_WORKER")
    monkeypatch.setenv("WEIGHTSEARCH_REPLACES", f"{platform.node()}-{dead}-dead")
    finish(storage, home)
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.starts, found.lost) == (True, 1, 0)
    assert (home / "trained").read_text().count("\n") == 1


# F1: claims exclude each other


def test_two_workers_never_get_one_point(opened: Database, storage: str, home: Path) -> None:
    study = create(opened, points=24, loss={"weights": {"grid": "simplex", "steps": 12}})
    finish(storage, home, number=3)
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.starts) == (True, 24)
