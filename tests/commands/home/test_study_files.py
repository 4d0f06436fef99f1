"""Deleting a study: its rows and files, and no others."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from support.faulty_servers import own_server, wait_until, workers
from support.homes import aged, create, rows, run, show, write
from support.processes import Cli

from weightsearch.commands.home import garbage, study_files
from weightsearch.errors import DataError, StorageError, StudyError
from weightsearch.store import study_removal
from weightsearch.store.administration import migration
from weightsearch.store.connection.database import Database, open_database
from weightsearch.store.ledger import leases, queries, result_spool, studies, verification

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
    assert verification.verify(opened.engine, first).ok


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


def test_files_that_cannot_be_removed_are_told_of_with_what_is_done(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create(opened)
    write(tmp_path / "logs" / "study" / "worker-1-1.log")

    def read_only(path: Path, _: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "rename", read_only)
    told = r"logs/study: study 'study' is gone from the database, but its files cannot be removed"
    with pytest.raises(DataError, match=told):
        study_files.delete(tmp_path, opened, study, force=False)
    assert not rows(opened)["studies"]


def test_two_studies_of_which_one_is_named_as_the_others_promotion_are_refused(
    opened: Database,
) -> None:
    spec = create(opened).spec
    with pytest.raises(StudyError, match="'study-promotion' must not be named as what Optuna"):
        studies.is_planned(opened.engine, "study-promotion", spec)
    create(opened, "full-promotion")
    with pytest.raises(StudyError, match="'full' must not be named as what Optuna shows"):
        studies.is_planned(opened.engine, "full", spec)
    assert not studies.is_planned(opened.engine, "other-promotion", spec)


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
    assert "study study: 0 of 10 points done\nno promoted checkpoint" in refused.stderr
    assert refused.stderr.splitlines()[-1].endswith("stdin is not a terminal; add --yes.")
    deleted = cli("delete", "study", "--yes", "--json", **told)
    assert deleted.returncode == 0, deleted.stderr
    assert json.loads(deleted.stdout)["points"]["total"] == 10
    again = cli("delete", "study", "--yes", **told)
    assert (again.returncode, "error: there is no study yet" in again.stderr) == (1, True)
