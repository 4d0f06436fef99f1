"""`delete`, `gc` and the sizes: real files, a real PostgreSQL, real workers."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import func, select, update
from support import fork_server
from support.faulty_servers import wait_until, workers
from support.garbage import left
from support.homes import DAY_S, aged, create, promote, removed, rows, run, show, write
from support.processes import Cli

from weightsearch.commands.home import garbage, study_files
from weightsearch.report import optuna_dashboard
from weightsearch.store import study_removal
from weightsearch.store.administration import migration
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, references, result_spool
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import _optuna_studies
from weightsearch.store.tables.schema import points
from weightsearch.store.tables.states import Rung


def test_gc_removes_optuna_studies_that_show_no_study_and_no_other(
    opened: Database, tmp_path: Path
) -> None:
    """A worker may make one anew just after its study was deleted."""
    study = create(opened)
    show(opened, study)
    migration.prepare_optuna(opened)
    storage = RDBStorage(connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect))
    optuna.create_study(study_name="somebody's", storage=storage).set_user_attr("goal", "mine")
    assert garbage.gc(tmp_path, opened)["optuna_studies"] == []
    before = rows(opened)
    study_removal.delete_study(opened.engine, study)
    _optuna_studies(opened, study)  # as a process that had looked for the study just before
    found = garbage.gc(tmp_path, opened, dry_run=True)
    assert found["optuna_studies"] == ["study", "study-promotion"]
    assert rows(opened)["studies"] == before["studies"] == 3
    assert garbage.gc(tmp_path, opened)["optuna_studies"] == ["study", "study-promotion"]
    assert [s.study_name for s in storage.get_all_studies()] == ["somebody's"]
    storage.remove_session()
    storage.engine.dispose()


def test_a_lease_that_ran_out_holds_nothing(opened: Database, tmp_path: Path) -> None:
    study = create(opened)
    assert leases.claim(opened.engine, study.id, "dead", "cpu", -1.0)
    study_files.delete(tmp_path, opened, study, force=False)


@pytest.mark.parametrize(("answer", "code", "points_left"), [("n", 3, 10), ("y", 0, 0)])
def test_on_a_terminal_the_answer_counts(
    answer: str, code: int, points_left: int, storage: str, opened: Database, tmp_path: Path
) -> None:
    create(opened)
    screen, terminal = pty.openpty()
    asked = fork_server.Forked(
        [sys.executable, "-m", "weightsearch", "delete", "study"],
        env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
        stdin=terminal,
        stderr=subprocess.PIPE,
    )
    assert asked.stderr is not None
    said = ""
    while "Delete it? [y/N]" not in said:
        said += asked.stderr.read(1).decode()
    os.write(screen, f"{answer}\n".encode())
    asked.communicate(timeout=60)
    assert asked.returncode == code
    os.close(screen)
    os.close(terminal)
    with opened.engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(points)).scalar_one()
    assert count == points_left


# gc: checkpoints


def checkpoint(home: Path, study: Study, folder: str, age_s: float = DAY_S) -> Path:
    write(home / "checkpoints" / study.name / folder / "best" / "manifest.json")
    path = home / "checkpoints" / study.name / folder
    aged(path, age_s)
    return path


KEEPS = """
def run(weights, params, context):
    context.folder.mkdir(parents=True)
    (context.folder / "best").touch()
    yield {"rmse": weights["mae"]}
"""


def test_the_folder_that_a_worker_uses_has_the_name_that_gc_knows(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keeps.py").write_text(KEEPS)
    monkeypatch.chdir(tmp_path)
    study = create(opened, objective={"run": "keeps:run"})
    run(opened, study, tmp_path)
    promote(opened, study, queries.planned(opened.engine, study)[:1])
    run(opened, study, tmp_path)
    for rung in (Rung.SEARCH, Rung.PROMOTION):
        for done in queries.done(opened.engine, study, rung):
            assert Path(done.result.folder) == (
                tmp_path
                / "checkpoints"
                / "study"
                / references.checkpoint_folder(done.point, done.seed, rung)
            )


def test_gc_keeps_what_is_not_done_the_best_and_the_finalists(
    opened: Database, tmp_path: Path
) -> None:
    study = create(opened, sampler={"kind": "grid", "trials": 6})
    named = queries.planned(opened.engine, study)
    run(opened, study, tmp_path)
    finalists = named[:2]
    promote(opened, study, finalists)
    run(opened, study, tmp_path)
    with opened.engine.begin() as connection:
        for number, state in ((4, "failed"), (5, "paused")):
            connection.execute(
                update(points)
                .where(points.c.number == number, points.c.rung == Rung.SEARCH)
                .values(state=state, result=None)
            )
    best = queries.leader(opened.engine, study)
    assert best is not None
    of_search = [checkpoint(tmp_path, study, f"{p.id()}-s0") for p in named]
    of_finalists = [
        checkpoint(tmp_path, study, f"{p.id()}-s{s}-full") for p in finalists for s in (1, 2)
    ]
    unknown = ("0123456789-s0", "0123456789-s0-trunk", "0123456789-s0-shared")
    strange = [checkpoint(tmp_path, study, name) for name in unknown]
    mine = write(tmp_path / "checkpoints" / "study" / "notes" / "mine.txt")
    kept = {f"{best[0].id()}-s0", f"{named[4].id()}-s0", f"{named[5].id()}-s0"}
    expected = {str(path) for path in [*of_search, *strange] if path.name not in kept}
    assert len(kept) == 3
    planned = garbage.gc(tmp_path, opened, dry_run=True)
    assert removed(planned) == expected
    assert all(path.exists() for path in (*of_search, *strange))
    found = garbage.gc(tmp_path, opened)
    assert (removed(found), found["bytes"]) == (expected, 100 * len(expected))
    assert {path.name for path in of_search if path.exists()} == kept
    assert all(path.exists() for path in (*of_finalists, mine))
    assert removed(garbage.gc(tmp_path, opened)) == set()


def test_gc_leaves_the_checkpoint_of_a_point_that_is_being_trained(
    storage: str, opened: Database, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    study = create(opened, sampler={"kind": "grid", "trials": 1}, params={"epoch_s": 3600.0})
    with workers(1, "study", storage, home):
        wait_until(lambda: queries.counts(opened.engine, study)["leased"] == 1)
        (point,) = queries.planned(opened.engine, study)
        used = checkpoint(home, study, f"{point.id()}-s0")
        assert removed(garbage.gc(home, opened, unused_s=0)) == set()
        assert used.exists()


def test_what_was_written_a_short_while_ago_stays(opened: Database, tmp_path: Path) -> None:
    """It may be of a launch that has not planned its study yet."""
    study = create(opened)
    study_removal.delete_study(opened.engine, study)
    path = checkpoint(tmp_path, study, "0123456789-s0")
    fresh = path / "best" / "fresh"
    fresh.touch()
    aged(path)
    os.utime(fresh)
    found = garbage.gc(tmp_path, opened)
    assert removed(found) == set()
    assert left(found)[str(path)].endswith("was used a short while ago")
    assert removed(garbage.gc(tmp_path, opened, unused_s=0)) == {str(path)}


def test_nobody_plans_a_study_while_gc_decides(opened: Database, tmp_path: Path) -> None:
    """With `hold` a plan waits; without, as for a dry run, it does not."""
    impatient = {"options": "-c lock_timeout=200ms"}
    other = connecting.connect({**connecting.parameters(opened.url, "test"), **impatient})
    plans = (
        "INSERT INTO ws_studies (name, spec, digest, equivalent_left_out) VALUES ('b', '{}', '', 0)"
    )
    with other, references.referred(opened.engine, hold=True):
        with pytest.raises(connecting.psycopg.errors.LockNotAvailable):
            other.execute(plans)
        other.rollback()
    with connecting.connect(connecting.parameters(opened.url, "test")) as free:
        with references.referred(opened.engine, hold=False):
            free.execute(plans)
        free.rollback()


def test_a_removal_that_died_half_way_is_finished(opened: Database, tmp_path: Path) -> None:
    half = write(tmp_path / "checkpoints" / ".0123456789-s0.ab12cd34.gone" / "last" / "file")
    aged(half.parents[1], 0.0)
    gone = str(half.parents[1])
    assert removed(garbage.gc(tmp_path, opened)) == {gone}
    assert not half.parents[1].exists()


def test_gc_removes_pictures_of_trials_that_are_gone_and_no_other(
    opened: Database, tmp_path: Path
) -> None:
    study = create(opened)
    run(opened, study, tmp_path)
    show(opened, study)
    with opened.engine.connect() as connection:
        number = connection.execute(
            select(func.min(study_removal.OPTUNA["trials"].c.trial_id))
        ).scalar()
    picture = write(tmp_path / "best.png")
    assert optuna_dashboard.attach(opened, tmp_path / "artifacts", number, [picture]) == 1
    (kept,) = (tmp_path / "artifacts").iterdir()
    lost = write(tmp_path / "artifacts" / "0b0f0c0d-1111-2222-3333-444455556666")
    mine = write(tmp_path / "artifacts" / "holiday.png")
    aged(tmp_path / "artifacts")
    found = garbage.gc(tmp_path, opened)
    assert [row["path"] for row in found["removed"] if "artifacts" in row["path"]] == [str(lost)]
    assert (kept.exists(), lost.exists(), mine.exists()) == (True, False, True)
    study_removal.delete_study(opened.engine, study)
    garbage.gc(tmp_path, opened)
    assert (kept.exists(), mine.exists()) == (False, True)


# gc: spool, logs, another database


def test_gc_reports_a_result_that_is_not_delivered_and_never_removes_it(
    opened: Database, tmp_path: Path
) -> None:
    study = create(opened)
    results = result_spool.folder(opened.engine, tmp_path)
    waiting, refused, late, done = (
        leases.claim(opened.engine, study.id, f"w{i}", "cpu", 60.0) for i in range(4)
    )
    assert waiting and refused and late and done  # noqa: PT018
    ours = result_spool.write(results, waiting, {"metrics": {}}, "done")
    bad = result_spool.write(results, refused, {"metrics": {}}, "done")
    bad = bad.rename(bad.with_suffix(".bad"))
    unneeded = result_spool.write(results, done, {"metrics": {}}, "done")
    leases.finish(opened.engine, done, {"metrics": {}})
    unreadable = write(results / "1-1.bad", "{")
    torn = write(results / ".7-1.json.123.tmp")
    foreign = write(tmp_path / "spool" / "another" / "1-1.json", ours.read_text())
    aged(tmp_path / "spool")
    found = garbage.gc(tmp_path, opened)
    assert removed(found) == {str(unneeded), str(unreadable), str(torn)}
    assert left(found) == {
        str(ours): "a result that the next worker here delivers",
        str(bad): "a result that the database refused",
        str(foreign): "a result for another database",
    }
    assert ours.exists()
    assert result_spool.replay(opened.engine, results) == 1


def test_what_may_be_another_databases_stays_until_that_is_ruled_out(
    opened: Database, rooms: tuple[Path, str], tmp_path: Path
) -> None:
    (tmp_path / "spool" / "another").mkdir(parents=True)
    study = create(opened)
    path = checkpoint(tmp_path, study, "0123456789-s0")
    log = write(tmp_path / "logs" / "study" / "worker-1-1.log")
    aged(tmp_path)
    assert str(path) in left(garbage.gc(tmp_path, opened))  # the other's study has the same name
    found = study_files.delete(tmp_path, opened, study, force=False)
    assert [row["path"] for row in found["kept"]] == [
        str(tmp_path / kind / "study") for kind in ("checkpoints", "logs")
    ]
    assert path.exists()
    found = garbage.gc(tmp_path, opened)
    assert removed(found) == set()
    assert "another database that was used with this home (spool/another)" in left(found)[str(path)]
    assert str(rooms[0]) in left(found)
    found = garbage.gc(tmp_path, opened, only_database=True)
    assert {str(path), str(log), str(rooms[0])} <= removed(found)


def test_logs_go_with_their_study_or_after_a_month(opened: Database, tmp_path: Path) -> None:
    create(opened)
    old = write(tmp_path / "logs" / "study" / "worker-1-1.log")
    recent = write(tmp_path / "logs" / "study" / "worker-2-1.log")
    os.utime(old, (0, 0))
    assert removed(garbage.gc(tmp_path, opened)) == {str(old)}
    assert recent.exists()


def test_gc_as_a_command_says_each_and_the_total(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    path = write(tmp_path / "home" / "checkpoints" / "gone" / "0123456789-s0" / "last" / "file")
    (tmp_path / "home" / "checkpoints" / "gone" / "0123456789-s1").mkdir()
    aged(tmp_path / "home")
    told = {"WEIGHTSEARCH_STORAGE": storage}
    shown = cli("gc", "--dry-run", **told)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines == [
        f"    100 B  {path.parents[1]}  study 'gone' does not exist",
        "      0 B  1 that are empty (--json names them)",
        "100 B would be freed: checkpoints 100 B",
    ]
    ran = json.loads(cli("gc", "--json", **told).stdout)
    assert (ran["dry_run"], ran["bytes"], len(ran["removed"])) == (False, 100, 2)
    assert not path.exists()
