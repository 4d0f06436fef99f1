"""Points that a worker trains together: each keeps its own lease, end and fence."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from support.faulty_servers import PATIENCE_S, workers
from support.objective_in_lanes import Objective, OutOfMemoryError
from support.processes import Cli
from support.specs import make_spec
from support.trivial_studies import trivial_study

from weightsearch.errors import NonFiniteLoss, ObjectiveError
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, studies, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points
from weightsearch.study import objective_contract, planning
from weightsearch.study.objective_contract import Context, Point, Run
from weightsearch.worker import loop
from weightsearch.worker.process import Worker

RESULT = {"outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1}


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> Objective:
    made = Objective()
    monkeypatch.setitem(objective_contract.sys.modules, made.__name__, made)
    return made


def create(opened: Database, number: int = 4, **tables: Any) -> Study:
    run = {"objective": {"run": "objective_in_lanes:run"}}
    spec = make_spec(**run | {"sampler": {"kind": "grid", "trials": number}} | tables)
    return studies.create(opened.engine, "study", spec, planning.plan(spec))


def work(opened: Database, study: Study, home: Path, lanes: int | None = 4, **more: Any) -> Worker:
    worker = Worker(opened, study, home, **{"device": "cpu", "lanes": lanes} | more)
    loop.run(worker)
    return worker


def rows(opened: Database) -> list[Any]:
    with opened.engine.connect() as connection:
        return list(connection.execute(select(points).order_by(points.c.number)).all())


def starts(opened: Database) -> dict[int, list[str | None]]:
    """How the attempts at each point ended."""
    with opened.engine.connect() as connection:
        found = select(points.c.number, attempts.c.outcome).join(
            points, points.c.id == attempts.c.point_id
        )
        ended: dict[int, list[str | None]] = {}
        for number, outcome in connection.execute(found.order_by(attempts.c.attempt)):
            ended.setdefault(number, []).append(outcome)
    return ended


def test_an_epoch_of_each_in_turn_and_each_point_once(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    study = create(opened, 10)
    work(opened, study, tmp_path)
    assert objective.together == [4, 4, 2]
    first, second = objective.trained[:4], objective.trained[4:8]
    assert {epoch for _, epoch in first} == {1}
    assert second == [(point, 2) for point, _ in first]
    assert verification.verify(opened.engine, study).ok
    assert starts(opened) == {number: ["done"] for number in range(10)}


def test_lanes_share_their_workers_time(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    create_and_work = create(opened, 3)
    objective.at = lambda *_: time.sleep(0.02)
    work(opened, create_and_work, tmp_path)
    with opened.engine.connect() as connection:
        began, ended, charged = connection.execute(
            select(
                func.min(attempts.c.started_at),
                func.max(attempts.c.ended_at),
                func.sum(attempts.c.seconds),
            )
        ).one()
    assert 0 < charged <= (ended - began).total_seconds() + 1e-3
    seconds = [row.result["seconds"] for row in rows(opened)]
    assert sum(seconds) >= 6 * 0.02


def test_one_that_fails_or_diverges_leaves_the_others_alone(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    study = create(opened, 4)
    order: list[int] = []

    def odd(point: int, epoch: int, context: Context) -> None:
        if point not in order:
            order.append(point)
        if (order.index(point), epoch) == (1, 2):
            raise KeyError("depth")
        if (order.index(point), epoch) == (2, 1):
            raise NonFiniteLoss("mae is nan")

    objective.at = odd
    work(opened, study, tmp_path)
    assert [row.state for row in rows(opened)] == ["done", "failed", "done", "done"]
    assert rows(opened)[1].reason.startswith("KeyError: 'depth'")
    assert starts(opened) == {0: ["done"], 1: ["failed"], 2: ["diverged"], 3: ["done"]}
    whole = [rows(opened)[place].result["metrics"]["rmse"] for place in (0, 3)]
    assert whole == [order[place] + 1 / study.spec.train.epochs for place in (0, 3)]


def test_one_that_was_stolen_leaves_without_a_word_in_the_ledger(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    study = create(opened, 4)
    stolen: list[Any] = []
    folders: dict[int, Context] = {}

    def steal(point: int, epoch: int, context: Context) -> None:
        folders[point] = context
        if len(objective.trained) != 2:
            return
        third = rows(opened)[2]
        with opened.engine.begin() as connection:
            past = text("now() - interval '1 second'")
            connection.execute(
                update(points).where(points.c.id == third.id).values(lease_until=past)
            )
        thief = leases.claim(opened.engine, study.id, "thief", "cpu", 0.1)
        assert thief is not None
        assert thief.number == 2
        leases.finish(opened.engine, thief, RESULT)
        stolen.append(rows(opened)[2])

    objective.at = steal
    work(opened, study, tmp_path)
    assert rows(opened)[2] == stolen[0]
    lost = [context.lost() for context in folders.values()]
    assert lost == [False, False, True, False]
    third = [point for point, context in folders.items() if context.lost()]
    assert [epoch for point, epoch in objective.trained if point in third] == [1]
    assert starts(opened) == {0: ["done"], 1: ["done"], 2: ["lost", "done"], 3: ["done"]}
    assert verification.verify(opened.engine, study).ok


def test_memory_that_runs_out_halves_the_lanes_and_costs_nothing(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    study = create(opened, 4)

    def runs_out(point: int, epoch: int, context: Context) -> None:
        if objective.together[-1] > 2 and epoch == 2:
            raise OutOfMemoryError("CUDA out of memory")

    objective.at = runs_out
    worker = work(opened, study, tmp_path)
    assert (objective.together, worker.lanes, worker.most) == ([4, 2, 2], 4, {"{}": 2})
    assert [(row.state, row.spent, row.shrink) for row in rows(opened)] == [("done", 0, 0)] * 4
    assert starts(opened) == {number: ["given back", "done"] for number in range(4)}


def test_memory_that_runs_out_limits_the_lanes_of_its_kind_alone(
    opened: Database, objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parameter `odd` makes no kind: points that differ in it are trained together."""
    study = create(opened, 20, params={"encoder": ["large", "small"], "odd": [1, 2]})
    trained: list[tuple[str, int]] = []
    run_together = objective.run_together

    def noting(these: Sequence[Point], contexts: Sequence[Context]) -> list[Run]:
        trained.append((str(these[0][1]["encoder"]), len(these)))
        return run_together(these, contexts)

    def runs_out(point: int, epoch: int, context: Context) -> None:
        if trained[-1][0] == "large" and trained[-1][1] > 2:
            raise OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(objective, "run_together", noting)
    objective.at = runs_out
    work(opened, study, tmp_path)
    assert {row.state for row in rows(opened)} == {"done"}
    by = {kind: [n for name, n in trained if name == kind] for kind in ("large", "small")}
    assert by["large"][0] == 4
    assert set(by["large"][1:]) == {2}
    assert (
        by["small"].count(4) == sum(row.params["encoder"] == "small" for row in rows(opened)) // 4
    )


def test_memory_that_runs_out_alone_shrinks_the_point(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    study = create(opened, 2)

    def runs_out(point: int, epoch: int, context: Context) -> None:
        if context.shrink == 0:
            raise OutOfMemoryError("CUDA out of memory")

    objective.at = runs_out
    worker = work(opened, study, tmp_path, lanes=2)
    assert (objective.together, worker.lanes, worker.most) == ([2], 2, {"{}": 1})
    assert [(row.state, row.shrink) for row in rows(opened)] == [("done", 1)] * 2


def test_what_is_wrong_with_the_machine_gives_all_back(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    study = create(opened, 4)

    def is_wrong(point: int, epoch: int, context: Context) -> None:
        if len(objective.trained) == 3:
            raise ObjectiveError("no disk")

    objective.at = is_wrong
    with pytest.raises(ObjectiveError, match="no disk"):
        work(opened, study, tmp_path)
    assert [(row.state, row.spent) for row in rows(opened)] == [("waiting", 0)] * 4
    assert starts(opened) == {number: ["given back"] for number in range(4)}


@pytest.mark.parametrize("returned", [lambda *_: [], lambda *_: 1 / 0])
def test_a_run_together_that_does_not_work_is_told_so(
    opened: Database,
    objective: Objective,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    returned: Callable[..., Any],
) -> None:
    monkeypatch.setattr(objective, "run_together", returned)
    study = create(opened, 4)
    with pytest.raises(ObjectiveError, match=r"a run for each of 4 points|ZeroDivisionError"):
        work(opened, study, tmp_path)


def test_one_that_is_ahead_waits_for_those_behind(
    opened: Database, objective: Objective, tmp_path: Path
) -> None:
    """An interrupted point yields its epochs again at once: then all are as far."""
    study = create(opened, 3, train={"epochs": 4})
    order: list[int] = []

    def stop_the_first(point: int, epoch: int, context: Context) -> None:
        order.append(point)
        if (point, epoch) == (order[0], 3):
            raise ObjectiveError("interrupted")

    objective.at = stop_the_first
    with pytest.raises(ObjectiveError):
        work(opened, study, tmp_path, lanes=1)
    objective.at, objective.trained = (lambda *_: None), []
    work(opened, study, tmp_path, lanes=3)
    assert [epoch for _, epoch in objective.trained] == [e for e in range(1, 5) for _ in range(3)]


def test_auto_is_one_on_a_cpu_and_what_measures_fastest_elsewhere(
    opened: Database, objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def fastest(weights: Any, params: Any, context: Context) -> int:
        asked.append(params["kind"])
        return {"wide": 3, "narrow": 1}[params["kind"]]

    monkeypatch.setattr(objective, "fastest_lanes", fastest, raising=False)
    params = {"kind": ["wide", "narrow"], "odd": [1, 2]}
    study = create(opened, 12, params=params)
    work(opened, study, tmp_path, lanes=None, device="cuda:0")
    kinds = [row.params["kind"] for row in rows(opened)]
    assert sorted(asked) == ["narrow", "wide"]  # type: ignore[type-var]  # each once
    wide = kinds.count("wide")
    expected = [3] * (wide // 3) + [wide % 3] * (wide % 3 > 1)
    assert objective.together == expected
    assert verification.verify(opened.engine, study).ok


def test_auto_on_a_cpu_measures_nothing(
    opened: Database, objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "fastest_lanes", None, raising=False)
    work(opened, create(opened, 3), tmp_path, lanes=None)
    assert objective.together == []


def test_a_measurement_that_fails_is_a_warning(
    opened: Database,
    objective: Objective,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(objective, "fastest_lanes", lambda *_: 1 / 0, raising=False)
    with caplog.at_level(logging.WARNING):
        work(opened, create(opened, 2), tmp_path, lanes=None, device="cuda:0")
    assert "ZeroDivisionError" in caplog.text
    assert objective.together == []


def test_an_objective_without_lanes_is_refused_several_and_left_alone_by_auto(
    opened: Database, objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Objective, "run_together")
    study = create(opened, 2)
    with pytest.raises(ObjectiveError, match=r"must have `run_together` .* leave --lanes out"):
        work(opened, study, tmp_path, lanes=2)
    assert starts(opened) == {}
    work(opened, study, tmp_path, lanes=None, device="cuda:0")
    assert verification.verify(opened.engine, study).ok


TRIVIAL = {"objective": {"run": "weightsearch.study.trivial_objective:run"}}


def reported(opened: Database) -> int:
    with opened.engine.connect() as connection:
        lengths = select(func.sum(func.jsonb_array_length(attempts.c.epochs)))
        return connection.execute(lengths).scalar() or 0


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def test_a_kill_costs_each_of_the_points_one_attempt(
    opened: Database, storage: str, tmp_path: Path
) -> None:
    study = create(opened, 10, params={"epoch_s": 0.02}, train={"epochs": 10}, **TRIVIAL)
    with workers(1, "study", storage, tmp_path, 1.0, "4") as (killed,):
        wait_until(lambda: reported(opened) >= 4)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with workers(2, "study", storage, tmp_path, 1.0, "4") as others:
            assert [other.wait(PATIENCE_S) for other in others] == [0, 0]
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.done_once, found.lost) == (True, 10, 4)
    assert found.starts == 10 + 4
    assert [row.spent for row in rows(opened)] == [1] * 4 + [0] * 6


def test_a_stop_gives_all_back(opened: Database, storage: str, tmp_path: Path) -> None:
    study = create(opened, 6, params={"epoch_s": 0.02}, train={"epochs": 1000}, **TRIVIAL)
    with workers(1, "study", storage, tmp_path, 3600.0, "4") as (asked,):
        wait_until(lambda: reported(opened) >= 4)
        asked.terminate()
        assert asked.wait(PATIENCE_S) == 0
        assert asked.said().count("given back") == 4 + 1  # and that it was asked to
    counts = queries.counts(opened.engine, study)
    assert (counts["leased"], counts["paused"], counts["waiting"]) == (0, 4, 2)


def test_one_that_hangs_costs_an_attempt_of_its_own(
    opened: Database, storage: str, tmp_path: Path
) -> None:
    study = create(
        opened, 3, params={"epoch_s": 3600}, retry={"attempts": 3, "epoch_limit_s": 0.3}, **TRIVIAL
    )
    with workers(1, "study", storage, tmp_path, 3600.0, "3") as (hung,):
        assert hung.wait(PATIENCE_S) == 75
    with opened.engine.connect() as connection:
        began, ended = func.min(attempts.c.started_at), func.max(attempts.c.ended_at)
        took = func.extract("epoch", ended - began)
        passed, charged = connection.execute(select(took, func.sum(attempts.c.seconds))).one()
    assert 0 < charged <= float(passed) + 1e-3  # of the worker's time, once
    assert [(row.state, row.spent) for row in rows(opened)] == [
        *(("paused", 1), ("waiting", 0), ("waiting", 0)),
    ]
    assert queries.counts(opened.engine, study)["leased"] == 0


def test_a_launch_hands_its_lanes_to_its_workers(cli: Cli, storage: str, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(trivial_study(0.0))
    asked = ("launch", "toy.toml", "--device", "cpu", "--workers", "1", "--no-promote")
    ran = cli(*asked, "--lanes", "5", WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    (log,) = (tmp_path / "home" / "logs").rglob("*.log")
    said = [line for line in log.read_text().splitlines() if "point" in line]
    assert ["started" in line for line in said[:5]] == [True] * 5
    ran = cli(*asked, "--lanes", "many", WEIGHTSEARCH_STORAGE=storage)
    assert ran.stderr.splitlines()[-1] == (
        "error: --lanes must be auto or a number of at least 1, but got 'many'."
    )
