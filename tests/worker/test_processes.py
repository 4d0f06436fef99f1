"""Workers as real processes: killed, stopped, asked twice; and what the ledger says afterwards."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, make_url, select
from support import fork_server
from support.specs import make_spec

from weightsearch.runtime import own_traceback
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, result_spool, studies, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points
from weightsearch.study import planning

PATIENCE_S = 60  # a test that waits longer has failed


class Process(fork_server.Forked):
    """A worker process and what it writes to stderr."""

    log: Path

    def said(self) -> str:
        return self.log.read_text()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def start(storage: str, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `weightsearch worker NAME`; what is left of it is killed in the end."""
    started: list[Process] = []

    def worker(name: str, lease: float = 2.0) -> Process:
        log = tmp_path / f"worker-{len(started)}.log"
        with log.open("w") as output:
            process = Process(
                [
                    sys.executable,
                    "-m",
                    "weightsearch",
                    "worker",
                    name,
                    "--device",
                    "cpu",
                    "--lease",
                    str(lease),
                ],
                env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
                cwd=tmp_path,
                stderr=output,
            )
        process.log = log
        started.append(process)
        return process

    yield worker
    for process in started:
        process.kill()
        process.wait()


def create(opened: Database, **tables: Any) -> Study:
    spec = make_spec(**tables)
    return studies.create(opened.engine, "study", spec, planning.plan(spec))


def count(opened: Database, study: Study, state: str) -> int:
    return queries.counts(opened.engine, study)[state]


def test_two_of_four_workers_killed_on_200_points_cost_nothing_but_their_attempts(
    opened: Database, start: Callable[..., Process]
) -> None:
    study = create(
        opened,
        loss={"weights": {"grid": "simplex", "steps": 36}},
        sampler={"kind": "grid", "trials": 200},
        params={"epoch_s": 0.02},
        train={"epochs": 1},
    )
    workers = [start("study") for _ in range(4)]
    for killed, done in zip(workers[:2], (40, 90), strict=True):
        wait_until(lambda done=done: count(opened, study, "done") >= done)  # type: ignore[misc]
        killed.send_signal(signal.SIGKILL)
    for worker in workers[2:]:
        assert worker.wait(PATIENCE_S) == 0
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert found.done_once == found.points == 200
    assert found.starts <= 200 + 2  # points + kills
    assert found.lost == found.starts - 200


def test_a_killed_workers_point_is_run_next_by_whoever_is_there(
    opened: Database, start: Callable[..., Process]
) -> None:
    study = create(opened, params={"epoch_s": 0.5}, train={"epochs": 4})
    first = start("study")
    wait_until(lambda: count(opened, study, "leased") == 1)
    first.send_signal(signal.SIGKILL)
    second = start("study")

    def taken_over() -> bool:
        with opened.engine.connect() as connection:
            return (
                connection.execute(
                    select(attempts.c.point_id)
                    .join(points)
                    .where(points.c.number == 0, attempts.c.attempt == 2)
                ).first()
                is not None
            )

    wait_until(taken_over)
    second.terminate()
    assert second.wait(PATIENCE_S) == 0
    assert verification.verify(opened.engine, study).lost == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_worker_gives_its_point_back_and_exits_0(
    opened: Database, start: Callable[..., Process], number: int
) -> None:
    study = create(opened, params={"epoch_s": 0.2}, train={"epochs": 1000})
    worker = start("study", lease=3600)
    wait_until(lambda: bool(reported(opened)))
    worker.send_signal(number)
    assert worker.wait(PATIENCE_S) == 0
    counts = queries.counts(opened.engine, study)
    assert (counts["leased"], counts["paused"]) == (0, 1)
    assert "given back" in worker.said()
    assert queries.present(opened.engine, study) == []


def reported(opened: Database) -> int:
    """How many epochs the running attempts have reported."""
    with opened.engine.connect() as connection:
        lengths = select(func.sum(func.jsonb_array_length(attempts.c.epochs)))
        return connection.execute(lengths).scalar() or 0


def test_a_second_signal_stops_in_the_middle_of_an_epoch(
    opened: Database, start: Callable[..., Process]
) -> None:
    study = create(opened, params={"epoch_s": 3600}, train={"epochs": 1})
    worker = start("study", lease=3600)
    wait_until(lambda: count(opened, study, "leased") == 1)
    worker.terminate()
    wait_until(lambda: "a second signal stops at once" in worker.said())
    worker.terminate()
    assert worker.wait(PATIENCE_S) == 0
    assert count(opened, study, "waiting") == 10


def test_a_paused_worker_that_comes_back_changes_nothing(
    opened: Database, start: Callable[..., Process]
) -> None:
    study = create(
        opened,
        loss={"weights": {"mae": 1, "edge": 0, "ssim": 0}},
        params={"epoch_s": 1.0},
        train={"epochs": 2},
    )
    zombie = start("study", lease=1.0)
    wait_until(lambda: count(opened, study, "leased") == 1)
    zombie.send_signal(signal.SIGSTOP)
    other = start("study")
    assert other.wait(PATIENCE_S) == 0
    assert count(opened, study, "done") == 1
    with opened.engine.connect() as connection:
        before = connection.execute(select(points)).all()
    zombie.send_signal(signal.SIGCONT)
    assert zombie.wait(PATIENCE_S) == 0
    with opened.engine.connect() as connection:
        assert connection.execute(select(points)).all() == before
    assert "lost" in zombie.said()
    assert verification.verify(opened.engine, study).ok


def test_a_result_on_disk_is_committed_by_the_next_process(
    opened: Database, start: Callable[..., Process], tmp_path: Path
) -> None:
    """As if the first worker had died between spooling its result and committing it."""
    study = create(opened)
    lease = leases.claim(opened.engine, study.id, "dead", "cpu", 3600)
    assert lease is not None
    folder = result_spool.folder(opened.engine, tmp_path / "home")
    result = {
        "outcome": "done", "metrics": {"rmse": 0.125}, "samples": {}, "groups": [], "images": 1
    }  # fmt: skip
    result_spool.write(folder, lease, result, "done")
    worker = start("study")
    assert worker.wait(PATIENCE_S) == 0
    first = queries.done(opened.engine, study)[0]
    assert first.result.metrics == {"rmse": 0.125}
    assert verification.verify(opened.engine, study).starts == 10
    assert list(folder.glob("*")) == []


def test_a_diverged_point_is_done_and_not_ranked(
    opened: Database, start: Callable[..., Process]
) -> None:
    study = create(opened, params={"diverge_above": 0.9})
    assert start("study").wait(PATIENCE_S) == 0
    done = queries.done(opened.engine, study)
    diverged = [d for d in done if d.diverged()]
    assert [d.result.reason for d in diverged] == ["the first term is not a number."]
    assert verification.verify(opened.engine, study).ok


def test_a_guard_that_is_no_number_costs_neither_its_point_nor_later_workers(
    opened: Database, start: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "def run(w, p, c):\n    yield {'rmse': [1.0, 2.0], 'rel': [0.1, float('nan')]}\n"
    )
    study = create(opened, objective={"run": "mine:run"})
    assert start("study").wait(PATIENCE_S) == 0
    first = queries.done(opened.engine, study)[0].result
    assert (set(first.metrics), set(first.samples)) == ({"rmse"}, {"rmse"})
    assert verification.verify(opened.engine, study).ok


def test_a_spooled_file_that_cannot_be_read_is_set_aside(
    opened: Database, start: Callable[..., Process], tmp_path: Path
) -> None:
    study = create(opened)
    folder = result_spool.folder(opened.engine, tmp_path / "home")
    (folder / "1-1.json").write_text("{")
    (folder / "2-1.json").write_text('{"lease": {"point_id": 2}, "result": {}}')
    assert start("study").wait(PATIENCE_S) == 0
    assert verification.verify(opened.engine, study).ok
    assert sorted(p.name for p in folder.iterdir()) == ["1-1.bad", "2-1.bad"]


def test_an_adaptive_study_with_too_few_configurations_ends(
    opened: Database, start: Callable[..., Process]
) -> None:
    study = create(
        opened,
        loss={"terms": ["mae"], "weights": {"grid": "simplex", "steps": 1}},
        sampler={"kind": "tpe", "trials": 2},
    )
    assert start("study").wait(PATIENCE_S) == 0
    assert count(opened, study, "done") == 1
    (failed,) = queries.failed(opened.engine, study)
    assert failed["reason"] == "every configuration of the study was tried already"


class Outage:
    """The test's database refuses everybody, as in a restart; and is back again."""

    def __init__(self, storage: str) -> None:
        self.url = make_url(storage).set(drivername="postgresql+psycopg")
        self.admin = create_engine(self.url.set(database="postgres"), isolation_level="AUTOCOMMIT")

    def __enter__(self) -> None:
        self._allow(False)

    def __exit__(self, *error: object) -> None:
        self._allow(True)
        self.admin.dispose()

    def _allow(self, allowed: bool) -> None:
        name = self.url.database
        with self.admin.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )


def test_an_outage_costs_no_result_and_no_attempt(
    opened: Database, storage: str, start: Callable[..., Process]
) -> None:
    study = create(opened, params={"epoch_s": 0.1}, train={"epochs": 4})
    workers = [start("study", lease=30), start("study", lease=30)]
    wait_until(lambda: count(opened, study, "done") >= 1)
    with Outage(storage):
        wait_until(lambda: all("the database is away" in w.said() for w in workers))
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0]
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert found.starts == found.points == 10


def test_a_stop_in_an_outage_ends_the_worker_and_fails_no_point(
    opened: Database, storage: str, start: Callable[..., Process]
) -> None:
    study = create(opened, params={"epoch_s": 0.1}, train={"epochs": 1000})
    worker = start("study", lease=30)
    wait_until(lambda: bool(reported(opened)))
    with Outage(storage):
        wait_until(lambda: "the database is away" in worker.said())
        worker.terminate()
        assert worker.wait(PATIENCE_S) == 0
    counts = queries.counts(opened.engine, study)
    assert (counts["failed"], counts["done"]) == (0, 0)


def test_an_objective_that_raises_fails_its_points_and_the_rest_goes_on(
    opened: Database, start: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(
        "def run(weights, params, context):\n"
        "    if weights['mae'] == 1.0:\n"
        "        raise RuntimeError('no such kernel')\n"
        "    yield {'rmse': 1.0}\n"
    )
    study = create(opened, objective={"run": "broken:run"})
    started = start("study")
    assert started.wait(PATIENCE_S) == 0
    assert count(opened, study, "done") == 9
    assert "study study has no point left to run" in started.said()
    failed = queries.failed(opened.engine, study)
    assert [f["reason"] for f in failed] == ["RuntimeError: no such kernel"]
    [trace] = own_traceback.logged(started.said())
    first, *frame, last = trace.splitlines()
    assert first == "Traceback (most recent call last):"
    assert frame[0] == f'  File "{tmp_path / "broken.py"}", line 3, in run'
    assert "weightsearch/" not in trace
    assert last == "RuntimeError: no such kernel"
    folders = {done.result.folder for done in queries.done(opened.engine, study)}
    assert folders == {None}  # it has written no file
    assert len(verification.verify(opened.engine, study).missing) == 1


def test_a_study_that_fails_everywhere_is_stopped_with_the_reason(
    opened: Database, start: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(
        "def run(weights, params, context):\n    yield {'rmse': 1 / 0}\n"
    )
    study = create(opened, objective={"run": "broken:run"})
    worker = start("study")
    assert worker.wait(PATIENCE_S) == 1
    assert "ZeroDivisionError: division by zero" in worker.said().splitlines()[-1]
    counts = queries.counts(opened.engine, study)
    assert (counts["failed"], counts["waiting"]) == (3, 7)
    late = start("study")
    assert late.wait(PATIENCE_S) == 0
    assert "study study is stopped; run its launch to continue" in late.said()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def run(w, p, c):\n    yield {'mse': 1.0}\n", "must yield the metric 'rmse'"),
        ("def run(w, p, c):\n    yield {'rmse': 'low'}\n", "must yield numbers"),
        ("def run(w, p, c):\n    yield {'rmse': [1.0], 'rel': [1.0, 2.0]}\n", "one length"),
        ("def run(w, p, c):\n    yield from ()\n", "at least one epoch"),
        ("def run(w, p, c):\n    return 1\n", "must be a generator function"),
        ("def ran(w, p, c):\n    yield {}\n", "has no 'run'; did you mean 'ran'?"),
        ("from json import dump as ron\ndef go():\n    yield {}\n", "no 'run'; known are: go."),
        ("import json as run_json\n", "has no 'run'; it defines no function; write 'run' there."),
        ("import nowhere\n", "must be importable, but ModuleNotFoundError: No module named"),
    ],
)
def test_an_objective_that_breaks_the_contract_is_told_so_and_uses_up_nothing(
    opened: Database,
    start: Callable[..., Process],
    tmp_path: Path,
    code: str,
    said: str,
) -> None:
    (tmp_path / "mine.py").write_text(code)
    study = create(opened, objective={"run": "mine:run"})
    worker = start("study")
    assert worker.wait(PATIENCE_S) == 1
    last = worker.said().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert count(opened, study, "waiting") == 10
