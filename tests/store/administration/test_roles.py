"""Who may do what: the SQL of docs/database.md, `weightsearch migrate`, and each command's role."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from optuna.storages import RDBStorage
from psycopg.errors import InsufficientPrivilege
from support import fork_server
from support.command_runs import Run, run_all
from support.faulty_servers import OwnServer, own_server
from support.paths import ROOT
from support.processes import Cli
from support.specs import make_spec

from weightsearch.commands.answers import study_answers
from weightsearch.errors import StorageError
from weightsearch.store.administration import migration
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import open_database, resolve
from weightsearch.store.ledger import studies
from weightsearch.store.tables import schema
from weightsearch.study import planning

PASSWORDS = {"ws_owner": "1", "ws_worker": "2", "ws_viewer": "3"}
STUDY = """
goal = "test"
objective = { run = "weightsearch.study.trivial_objective:run" }
loss = { weights = { grid = "simplex", steps = 2 } }
train = { epochs = 2 }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """Set up as docs/database.md says, and migrated by its owner."""
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "database.md").read_text(), re.S)
    with own_server() as found:
        for block, dbname in zip(blocks, ("postgres", "weightsearch"), strict=True):
            with found.admin(dbname) as connection:
                for statement in filter(str.strip, block.split(";\n")):
                    connection.execute(statement)
        database = resolve(url(found, "ws_owner"), Path(), "test")
        migration.migrate(database, "ws_worker", "ws_viewer")
        database.engine.dispose()
        yield found


def url(server: OwnServer, role: str, dbname: str = "weightsearch") -> str:
    return server.url(dbname, role=f"{role}:change%20this%20{PASSWORDS[role]}")


def connected(server: OwnServer, role: str) -> psycopg.Connection[Any]:
    return resolve(url(server, role), Path(), "test").connect()


@pytest.fixture
def empty(server: OwnServer) -> Iterator[str]:
    """A database of the owner's without any table."""
    with server.admin() as admin:
        admin.execute("CREATE DATABASE empty OWNER ws_owner")
    yield "empty"
    with server.admin() as admin:
        admin.execute("DROP DATABASE empty WITH (FORCE)")


def test_each_command_works_under_its_role(server: OwnServer, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(STUDY)
    launched = cli(
        *("launch", "mine.toml", "--no-promote", "--workers", 1, "--device", "cpu"),
        WEIGHTSEARCH_STORAGE=url(server, "ws_worker"),
    )
    assert launched.returncode == 0, launched.stderr
    viewing = {"WEIGHTSEARCH_STORAGE": url(server, "ws_viewer")}
    asked = [Run([command, "mine-grid"], viewing) for command in ("status", "best", "verify")]
    asked += [Run([*run.arguments, "--json"], viewing) for run in asked]
    for said in run_all(asked, tmp_path):
        assert (said.code, said.err) == (0, "")
        assert said.out
    database = open_database(url(server, "ws_viewer"), tmp_path)
    storage = RDBStorage(
        connecting.DRIVER,
        engine_kwargs=connecting.pooled(database.connect),
        skip_table_creation=True,
    )
    (study, *_) = [s for s in storage.get_all_studies() if s.study_name == "mine-grid"]
    assert len(storage.get_all_trials(study._study_id)) == 6
    storage.remove_session()
    storage.engine.dispose()
    database.engine.dispose()


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("ws_worker", "DELETE FROM ws_points"),
        ("ws_worker", "TRUNCATE ws_points"),
        ("ws_worker", "DROP TABLE ws_points"),
        ("ws_worker", "ALTER TABLE ws_points ADD more TEXT"),
        ("ws_worker", "CREATE TABLE mine (id INTEGER)"),
        ("ws_worker", "DELETE FROM trials"),
        ("ws_viewer", "INSERT INTO studies (study_name) VALUES ('mine')"),
        ("ws_viewer", "UPDATE ws_studies SET name = 'mine'"),
        ("ws_viewer", "SELECT nextval('ws_studies_id_seq')"),
        ("ws_viewer", "CREATE TABLE mine (id INTEGER)"),
    ],
)
def test_no_role_may_do_more_than_it_needs(server: OwnServer, role: str, statement: str) -> None:
    with connected(server, role) as connection:
        connection.execute("SET default_transaction_read_only = off")  # who wants to, can
        connection.commit()
        with pytest.raises(InsufficientPrivilege, match=f"role '{role}' lacks a right: "):
            connection.execute(statement)


def test_a_worker_works_under_its_role(server: OwnServer, cli: Cli, tmp_path: Path) -> None:
    database = open_database(url(server, "ws_worker"), tmp_path)
    spec = make_spec()
    study = studies.create(database.engine, "worked-on", spec, planning.plan(spec))
    asked = cli(
        *("worker", "worked-on", "--device", "cpu"), WEIGHTSEARCH_STORAGE=url(server, "ws_worker")
    )
    assert asked.returncode == 0, asked.stderr
    assert study_answers.verify(database.engine, study.name).ok
    database.engine.dispose()


def test_a_viewer_without_tables_is_told_in_one_line(
    server: OwnServer, empty: str, tmp_path: Path
) -> None:
    commands = [["status"], ["best"], ["verify"], ["verify", "--json"]]
    environment = {"WEIGHTSEARCH_STORAGE": url(server, "ws_viewer", empty)}
    with server.admin(empty) as admin:
        admin.execute("GRANT CONNECT ON DATABASE empty TO ws_viewer")
    for said in run_all([Run(command, environment) for command in commands], tmp_path):
        assert (said.code, said.out) == (1, "")
        (line,) = said.err.splitlines()
        assert "role 'ws_viewer' lacks a right: it cannot execute CREATE TABLE" in line
        assert "let the owner of the tables run `weightsearch migrate`" in line
    with server.admin(empty) as admin:
        assert admin.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_a_role_without_the_right_is_told_in_one_line(server: OwnServer, tmp_path: Path) -> None:
    owner = open_database(url(server, "ws_owner"), tmp_path)
    spec = make_spec()
    studies.create(owner.engine, "looked-at", spec, planning.plan(spec))
    owner.engine.dispose()
    asked = fork_server.run(
        [sys.executable, "-m", "weightsearch", "worker", "looked-at", "--device", "cpu"],
        env={"WEIGHTSEARCH_STORAGE": f"{url(server, 'ws_viewer')}&options=-c%20"
             "default_transaction_read_only%3Doff", "PYTHONPATH": str(ROOT),
             "WEIGHTSEARCH_HOME": str(tmp_path)},
    )  # fmt: skip
    assert asked.returncode == 1
    (line,) = asked.stderr.splitlines()
    assert "role 'ws_viewer' lacks a right: permission denied for table" in line


def test_tables_that_are_missing_or_old_are_the_owners_business(
    server: OwnServer, empty: str
) -> None:
    with pytest.raises(StorageError, match=r"denied for schema public; .* `weightsearch migrate`"):
        open_database(url(server, "ws_worker", empty), Path())
    with connected(server, "ws_owner") as owner:
        owner.execute("UPDATE ws_meta SET version = %s", (schema.VERSION - 1,))
    try:
        with pytest.raises(StorageError, match=r"'ws_worker' lacks a right: must be owner"):
            open_database(url(server, "ws_worker"), Path())
    finally:
        with connected(server, "ws_owner") as owner:
            owner.execute("UPDATE ws_meta SET version = %s", (schema.VERSION,))


def test_later_tables_of_the_owner_have_the_same_rights(server: OwnServer) -> None:
    with connected(server, "ws_owner") as owner:
        owner.execute("CREATE TABLE later (id BIGSERIAL, what TEXT)")
        owner.commit()
        with connected(server, "ws_worker") as worker:
            worker.execute("INSERT INTO later (what) VALUES ('made')")
            with pytest.raises(InsufficientPrivilege):
                worker.execute("DELETE FROM later")
        with connected(server, "ws_viewer") as viewer:
            assert viewer.execute("SELECT count(*) FROM later").fetchone() is not None
        owner.execute("DROP TABLE later")


def test_a_role_that_becomes_a_viewer_loses_what_it_had(server: OwnServer) -> None:
    owner = resolve(url(server, "ws_owner"), Path(), "test")
    migration.migrate(owner, viewer="ws_worker")
    with (
        connected(server, "ws_worker") as worker,
        pytest.raises(InsufficientPrivilege, match="denied for table"),
    ):
        worker.execute("UPDATE ws_studies SET name = name")
    migration.migrate(owner, worker="ws_worker")
    with connected(server, "ws_worker") as worker:
        worker.execute("UPDATE ws_studies SET name = name")
    owner.engine.dispose()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--worker", "nobody"], "role 'nobody' must exist"),
        (["--worker", "ws_owner"], "must be other roles than the tables' owner"),
        (["--worker", "ws_viewer", "--viewer", "ws_viewer"], "must be two roles"),
    ],
)
def test_roles_that_cannot_be_given_rights_are_refused(
    server: OwnServer, cli: Cli, options: list[str], said: str
) -> None:
    asked = cli("migrate", *options, WEIGHTSEARCH_STORAGE=url(server, "ws_owner"))
    assert asked.returncode == 1
    (line,) = asked.stderr.splitlines()
    assert said in line


def test_two_who_migrate_at_once_make_one_migration(server: OwnServer, empty: str) -> None:
    command = [sys.executable, "-m", "weightsearch", "migrate", "--json"]
    command += ["--worker", "ws_worker", "--viewer", "ws_viewer"]
    environment = {"WEIGHTSEARCH_STORAGE": url(server, "ws_owner", empty), "PYTHONPATH": str(ROOT)}
    both = [
        fork_server.Forked(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all(json.loads(out)["version"] == schema.VERSION for out, _ in said)
    with server.admin(empty) as admin:
        for table in ("ws_meta", "version_info", "alembic_version"):
            assert admin.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)


def test_optunas_tables_are_upgraded_and_newer_ones_refused(server: OwnServer, empty: str) -> None:
    owner = resolve(url(server, "ws_owner", empty), Path(), "test")
    migration.migrate(owner)
    with server.admin(empty) as admin:
        # As the release before the last change of Optuna's tables left them.
        index = "SELECT indexname FROM pg_indexes WHERE indexname LIKE '%trials_study_id%'"
        (name,) = admin.execute(index).fetchone() or ("",)
        admin.execute(f'DROP INDEX "{name}"')
        admin.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        admin.execute("UPDATE version_info SET library_version = '3.0.0'")
        migration.migrate(owner)
        assert admin.execute(index).fetchone() is not None
        assert admin.execute("SELECT version_num FROM alembic_version").fetchone() != ("v3.0.0.d",)
        admin.execute("UPDATE alembic_version SET version_num = 'v99'")
        admin.execute("UPDATE version_info SET library_version = '99.0.0'")
        with pytest.raises(StorageError, match=r"must be of version .* but they are of v99"):
            migration.migrate(owner)
    owner.engine.dispose()
