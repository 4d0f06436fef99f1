"""`delete`, `gc` and the sizes: real files, a real PostgreSQL, real workers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import func, select, update
from support import fork_server
from support.faulty_servers import own_server, wait_until, workers
from support.processes import Cli
from support.specs import make_spec

from weightsearch.commands.home import disk_usage, garbage, study_files
from weightsearch.data.packs import building
from weightsearch.errors import StorageError, StudyError
from weightsearch.report import optuna_dashboard
from weightsearch.store import study_removal
from weightsearch.store.administration import migration
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database, open_database
from weightsearch.store.ledger import leases, queries, references, result_spool, studies
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import Mirror, _optuna_studies
from weightsearch.store.tables.schema import metadata, points
from weightsearch.store.tables.states import Rung
from weightsearch.study import planning
from weightsearch.worker import loop
from weightsearch.worker.process import Worker

DAY_S = 86400.0
ROOMS = {"frames": 4, "test_frames": 1, "frames_per_room": 2, "height": 48, "width": 64}


def create(database: Database, name: str = "study", **tables: Any) -> Study:
    spec = make_spec(**tables)
    return studies.create(database.engine, name, spec, planning.plan(spec))


def run(database: Database, study: Study, home: Path) -> None:
    """Works on the study, in this process, until nothing is left."""
    loop.run(Worker(database, study, home, "cpu"))


def show(database: Database, study: Study) -> None:
    """Makes the Optuna studies, and brings them up to date."""
    Mirror(database, study).sync(wait=True)


def write(path: Path, content: str = "x" * 100, age_s: float = DAY_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    aged(path.parent, age_s)
    return path


def aged(path: Path, age_s: float = DAY_S) -> None:
    """Makes a folder, and all in it, look as if nobody had used it for so long."""
    then = time.time() - age_s
    for place in (path, *path.rglob("*")):
        os.utime(place, (then, then))


def rows(database: Database) -> dict[str, int]:
    """How many rows each table has, ours and Optuna's."""
    tables = [*metadata.sorted_tables, *study_removal.OPTUNA.values()]
    with database.engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }


def removed(found: dict[str, Any]) -> set[str]:
    return {row["path"] for row in found["removed"]}


def left(found: dict[str, Any]) -> dict[str, str]:
    return {row["path"]: row["why"] for row in found["kept"]}


# delete


def test_delete_leaves_not_a_row_of_the_study_and_all_of_the_other(
    opened: Database, tmp_path: Path
) -> None:
    """The other one is a study that was there before, so that every table has its rows."""
    first = create(opened, "first")
    run(opened, first, tmp_path)
    show(opened, first)
    before = rows(opened)
    second = create(opened, "second")
    run(opened, second, tmp_path)
    show(opened, second)
    assert rows(opened)["trials"] == 2 * before["trials"] > 0
    assert study_removal.delete_study(opened.engine, second).trials == before["trials"]
    assert rows(opened) == before
    assert queries.verify(opened.engine, first).ok


def test_delete_removes_the_files_of_the_study_and_no_other(
    opened: Database, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    study, other = create(opened, "study"), create(opened, "study-2")
    mine = [write(home / kind / "study" / "a" / "file") for kind in ("checkpoints", "logs")]
    others = [write(home / kind / "study-2" / "a" / "file") for kind in ("checkpoints", "logs")]
    for owner, files in ((study, mine), (other, others)):
        lease = leases.claim(opened.engine, owner.id, "w", "cpu", 0.0)
        assert lease is not None
        files.append(
            result_spool.write(result_spool.folder(opened.engine, home), lease, {}, "done")
        )
    size = sum(path.stat().st_size for path in mine)
    found = study_files.deletion_preview(home, opened, study)
    assert (found["bytes"], found["undelivered"]) == (size, 1)
    assert study_files.delete(home, opened, study, force=False)["bytes"] == size
    assert not any(path.exists() for path in mine)
    assert all(path.exists() for path in others)
    assert sorted(p.name for p in (home / "checkpoints").iterdir()) == ["study-2"]


def test_delete_does_not_follow_a_name_out_of_the_home(opened: Database, tmp_path: Path) -> None:
    home, outside = tmp_path / "home", write(tmp_path / "precious" / "file")
    (home / "checkpoints").mkdir(parents=True)
    for name in ("../../precious", ".."):
        study_files.delete(home, opened, create(opened, name), force=False)
    (home / "checkpoints" / "link").symlink_to(outside.parent)
    study_files.delete(home, opened, create(opened, "link"), force=False)
    assert outside.exists()
    assert home.exists()


def test_a_study_with_held_points_is_deleted_by_force_only_and_its_worker_leaves(
    storage: str, opened: Database, tmp_path: Path
) -> None:
    study = create(opened, params={"epoch_s": 0.3}, train={"epochs": 3})
    migration.prepare_optuna(opened)  # its tables, which `rows` counts too
    with workers(1, "study", storage, tmp_path / "home") as (worker,):
        wait_until(lambda: queries.counts(opened.engine, study)["leased"] == 1)
        with pytest.raises(StudyError, match=r"1 of its points are held by workers .*--force"):
            study_files.delete(tmp_path / "home", opened, study, force=False)
        assert queries.counts(opened.engine, study)["total"] == 10
        study_files.delete(tmp_path / "home", opened, study, force=True)
        assert worker.wait(60) == 0, worker.said()
    assert all(n == 0 for name, n in rows(opened).items() if name in ("ws_studies", "ws_attempts"))


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


def test_what_a_delete_that_died_has_left_is_removed_by_gc(
    opened: Database, tmp_path: Path
) -> None:
    study = create(opened)
    lease = leases.claim(opened.engine, study.id, "w", "cpu", 0.0)
    assert lease is not None
    assert lease.point is not None
    results = result_spool.folder(opened.engine, tmp_path)
    files = [
        write(tmp_path / "checkpoints" / "study" / f"{lease.point.id()}-s0" / "last" / "file"),
        write(tmp_path / "logs" / "study" / "worker-1-1.log"),
        result_spool.write(results, lease, {}, "done"),
    ]
    aged(tmp_path)
    study_removal.delete_study(opened.engine, study)  # and no further
    found = garbage.gc(tmp_path, opened)
    assert len(found["removed"]) == 3
    assert not any(path.exists() for path in files)
    assert not (tmp_path / "checkpoints" / "study").exists()
    assert not (tmp_path / "logs" / "study").exists()


def test_a_role_that_may_not_delete_is_told_before_it_is_asked(tmp_path: Path) -> None:
    with own_server() as server:
        owner = open_database(server.url("postgres"), tmp_path)
        study = create(owner)
        with server.admin() as admin:
            admin.execute("CREATE ROLE ws_worker LOGIN PASSWORD '2'")
        migration.migrate(owner, worker="ws_worker")
        with_role = open_database(server.url("postgres", role="ws_worker:2"), tmp_path)
        with pytest.raises(StorageError, match="role 'ws_worker' may not; name the owner"):
            study_files.deletion_preview(tmp_path, with_role, study)
        owner.engine.dispose()
        with_role.engine.dispose()


def test_delete_asks_on_a_terminal_and_wants_yes_elsewhere(
    cli: Cli, storage: str, opened: Database
) -> None:
    create(opened)
    told = {"WEIGHTSEARCH_STORAGE": storage}
    refused = cli("delete", "study", **told)
    assert refused.returncode == 1
    assert "study study: 0 of 10 points done\nnothing was promoted" in refused.stderr
    assert refused.stderr.splitlines()[-1].endswith("stdin is not a terminal; add --yes.")
    deleted = cli("delete", "study", "--yes", "--json", **told)
    assert deleted.returncode == 0, deleted.stderr
    assert json.loads(deleted.stdout)["points"]["total"] == 10
    again = cli("delete", "study", "--yes", **told)
    assert (again.returncode, "error: there is no study yet" in again.stderr) == (1, True)


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
    write(home / "checkpoints" / study.name / folder / "last" / "manifest.json")
    path = home / "checkpoints" / study.name / folder
    aged(path, age_s)
    return path


def test_the_folder_that_a_worker_uses_has_the_name_that_gc_knows(
    opened: Database, tmp_path: Path
) -> None:
    study = create(opened)
    run(opened, study, tmp_path)
    studies.add_promotion(opened.engine, study, queries.planned(opened.engine, study)[:1])
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
    studies.add_promotion(opened.engine, study, finalists)
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
    strange = checkpoint(tmp_path, study, "0123456789-s0")
    mine = write(tmp_path / "checkpoints" / "study" / "notes" / "mine.txt")
    kept = {f"{best[0].id()}-s0", f"{named[4].id()}-s0", f"{named[5].id()}-s0"}
    expected = {str(path) for path in of_search if path.name not in kept} | {str(strange)}
    assert len(kept) == 3
    planned = garbage.gc(tmp_path, opened, dry_run=True)
    assert removed(planned) == expected
    assert all(path.exists() for path in (*of_search, strange))
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
    fresh = path / "last" / "fresh"
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


# gc: packs


@pytest.fixture
def rooms(tmp_path: Path) -> tuple[Path, str]:
    """A pack, long unused, and its digest."""
    path = building.ensure("synthetic", None, ROOMS, tmp_path)
    building.training_copy(path, (32, 32), tmp_path)
    building.training_copy(path, (32, 48), tmp_path)
    aged(tmp_path / "packs")
    with building.Pack(path) as opened:
        return path, opened.digest


def with_data(database: Database, name: str, digest: str | None) -> Study:
    study = create(
        database,
        name,
        data={"source": "synthetic", "size": [32, 48], "val": "blocks:50%"},
        model={"encoder": "resnet10t"},
    )
    if digest:
        studies.record_data(database.engine, study, digest)
    return study


def test_gc_keeps_the_pack_of_a_study_and_its_copy_of_that_size(
    opened: Database, rooms: tuple[Path, str], tmp_path: Path
) -> None:
    path, digest = rooms
    study = with_data(opened, "study", digest)
    found = garbage.gc(tmp_path, opened)
    assert removed(found) == {str(path.with_name(f"{path.stem}-32x32.h5"))}
    with_data(opened, "undecided", None)
    study_removal.delete_study(opened.engine, study)
    assert removed(garbage.gc(tmp_path, opened)) == set()  # it may be the other's
    study_removal.delete_study(opened.engine, studies.find(opened.engine, "undecided"))
    size = path.stat().st_size + path.with_name(f"{path.stem}-32x48.h5").stat().st_size
    assert garbage.gc(tmp_path, opened)["bytes"] == size
    assert list((tmp_path / "packs").iterdir()) == []


def test_a_pack_that_is_found_again_counts_as_used(
    opened: Database, rooms: tuple[Path, str], tmp_path: Path
) -> None:
    path = building.ensure("synthetic", None, ROOMS, tmp_path)
    copy = building.training_copy(path, (32, 32), tmp_path)
    found = garbage.gc(tmp_path, opened)
    assert set(left(found)) == {str(path), str(copy)}
    assert removed(found) == {str(path.with_name(f"{path.stem}-32x48.h5"))}


def test_a_pack_that_goes_while_it_is_read_is_read_to_the_end(
    opened: Database, rooms: tuple[Path, str], tmp_path: Path
) -> None:
    path, _ = rooms
    with building.Pack(path) as reading_it:
        assert str(path) in removed(garbage.gc(tmp_path, opened))
        assert not path.exists()
        assert len(reading_it.read(range(len(reading_it)))[0]) == 5
    assert building.ensure("synthetic", None, ROOMS, tmp_path) == path
    assert path.exists()


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


def test_gc_keeps_the_copies_of_every_searched_size(opened: Database) -> None:
    from support.depth_studies import depth_spec

    spec = depth_spec(params={"size": ["32x64", "48x64"]})
    study = studies.create(opened.engine, "sizes", spec, planning.plan(spec))
    studies.record_data(opened.engine, study, "d")
    with references.referred(opened.engine, hold=False) as known:
        assert known.data == {("d", (32, 64)), ("d", (48, 64))}


def test_gc_removes_what_a_killed_packer_left_and_not_what_one_writes(
    opened: Database, tmp_path: Path
) -> None:
    abandoned = write(tmp_path / "packs" / "synthetic-0123456789ab.partial")
    written = write(tmp_path / "packs" / "synthetic-ba9876543210.partial")
    damaged = write(tmp_path / "packs" / "synthetic-aaaaaaaaaaaa.h5")
    somebodys = write(tmp_path / "packs" / "mine.h5")
    with written.open() as packer:
        fcntl.flock(packer, fcntl.LOCK_EX)
        found = garbage.gc(tmp_path, opened)
    assert removed(found) == {str(abandoned), str(damaged)}
    assert written.exists()
    assert somebodys.exists()


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
    study_removal.delete_study(opened.engine, study)
    path = checkpoint(tmp_path, study, "0123456789-s0")
    log = write(tmp_path / "logs" / "study" / "worker-1-1.log")
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
        "100 B would be freed",
    ]
    ran = json.loads(cli("gc", "--json", **told).stdout)
    assert (ran["dry_run"], ran["bytes"], len(ran["removed"])) == (False, 100, 2)
    assert not path.exists()


# disk


def test_disk_counts_bytes_by_what_they_are_of(opened: Database, tmp_path: Path) -> None:
    home = tmp_path / "not" / "there" / "yet"
    assert {
        kind: disk_usage.disk(home, opened.engine)[kind] for kind in disk_usage.KINDS
    } == dict.fromkeys(disk_usage.KINDS, 0)
    for number, kind in enumerate(disk_usage.KINDS, start=1):
        write(home / kind / "a" / "b", "x" * number)
        write(home / kind / "c", "x" * number)
    found = disk_usage.disk(home, opened.engine)
    assert [found[kind] for kind in disk_usage.KINDS] == [2, 4, 6, 8, 10]
    assert found["database"] > 1_000_000
    assert 0 < found["free"] <= shutil.disk_usage(tmp_path).total
