"""The whole database in one file, and back, by PostgreSQL's own pg_dump and pg_restore.

A backup holds studies, points, attempts, results and the Optuna studies; no checkpoints, no packs.
Passwords travel in the environment, never in arguments. A backup appears whole or not at all; a
restore is one transaction.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import IO, Any

from optuna.storages._rdb.models import BaseModel
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, func, inspect, select, text

from weightsearch.errors import StorageError
from weightsearch.runtime.safe_text import presentable
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.embedded import postgres_programs
from weightsearch.store.tables import schema
from weightsearch.store.tables.schema import points, studies
from weightsearch.store.tables.states import PointState

SECRET = ("password", "sslpassword")


def backup(database: Database, file: Path) -> dict[str, Any]:
    """Writes the database to a new file, readable by this user only; what is in it.

    Work may go on meanwhile: the backup is of one moment. Raises StorageError.
    """
    if file.exists():
        raise StorageError(f"{file}: a backup overwrites nothing, but this is there; name another.")
    if not file.parent.is_dir():
        raise StorageError(f"{file}: must lie in a folder that exists; make it first.")
    program = postgres_programs.client("pg_dump", _server(database.engine))
    staging = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(staging, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
            _run([program, "--format=custom", "--no-password"], database, written)
            os.fsync(written.fileno())
        _listing(staging)
        try:
            os.link(staging, file)  # unlike a rename, never over another file
        except FileExistsError:
            raise StorageError(
                f"{file}: a backup overwrites nothing, but this is there by now; name another."
            ) from None
        except OSError:  # a disk that knows no links
            staging.rename(file)
    finally:
        staging.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return {"file": str(file), "bytes": file.stat().st_size, **_contents(database.engine)}


def restore(database: Database, file: Path, force: bool = False) -> dict[str, Any]:
    """Fills an empty database from a backup, or with `force` replaces what is in it; what it holds.

    Owners and rights are not restored: everything belongs to who restores, and `migrate` gives the
    other roles their rights. Tables of an older version are upgraded. Raises StorageError.
    """
    if not file.is_file():
        raise StorageError(f"{file}: must be a backup, but there is no such file.")
    listing, engine = _listing(file), database.engine
    server, written_by = _server(engine), _dumped_by(listing)
    if written_by > server:
        raise StorageError(
            f"{file}: was written by PostgreSQL {written_by}, and needs a server of that version or"
            f" newer, but the server is {server}; name another with --storage."
        )
    if not re.search(rf" TABLE \S+ {schema.meta.name} ", listing):
        raise StorageError(f"{file}: must be a backup of weightsearch, but has none of its tables.")
    place = database.place
    if not force and (found := _occupied(engine)):
        raise StorageError(
            f"the database at {place} must be empty, but has {found}; name a fresh one, or replace"
            " what is in it with --force."
        )
    engine.dispose()
    arguments = ["--no-password", "--single-transaction", "--exit-on-error"]
    arguments += ["--clean", "--if-exists", "--no-owner", "--no-privileges", str(file.resolve())]
    _run([postgres_programs.client("pg_restore", server), *arguments], database)
    schema.prepare(engine)
    return {"file": str(file), **_contents(engine)}


def _server(engine: Engine) -> int:
    """The server's major version."""
    with engine.connect() as connection:
        return int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000


def _listing(file: Path) -> str:
    """What pg_restore says is in a backup."""
    program = postgres_programs.client("pg_restore")
    asked = subprocess.run(
        [program, "--list", file.resolve()],
        capture_output=True,
        text=True,
        **postgres_programs.run_as(None),
    )
    if asked.returncode:
        raise StorageError(f"{file}: must be a backup, but {_complaint(program, asked.stderr)}.")
    return str(asked.stdout)


def _dumped_by(listing: str) -> int:
    found = re.search(r"^;\s+Dumped by pg_dump version: (\d+)", listing, re.M)
    return int(found[1]) if found else 0


def _occupied(engine: Engine) -> str | None:
    """What would be lost by a restore; tables of ours without a study are nothing."""
    known = {table.name: table for table in BaseModel.metadata.sorted_tables}
    known |= {table.name: table for table in schema.metadata.sorted_tables}
    with engine.connect() as connection:
        there = connection.execute(
            text(
                "SELECT schemaname || '.' || tablename, tablename FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
            )
        ).all()
        for name, table in there:
            if table not in known and table != "alembic_version":
                return f"the table {name}"
        for name in (studies.name, "studies"):
            if not inspect(connection).has_table(name):
                continue
            number = connection.execute(select(func.count()).select_from(known[name])).scalar_one()
            if number:
                return f"{number} studies"
    return None


def _contents(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        count = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (studies, points)
        ]
        done = connection.execute(
            select(func.count()).select_from(points).where(points.c.state == PointState.DONE)
        ).scalar_one()
    return {"studies": count[0], "points": count[1], "done": done}


def _run(command: list[Path | str], database: Database, output: IO[bytes] | None = None) -> None:
    """Runs a client program on the database. Raises StorageError with what it complains of."""
    told = connecting.parameters(database.url, "backup")
    where = make_conninfo(**{name: value for name, value in told.items() if name not in SECRET})
    # The user's own libpq settings count here as they do for every other connection.
    environment = os.environ | {"LC_ALL": "C"}
    if told.get("password"):
        environment["PGPASSWORD"] = str(told["password"])
    ran = subprocess.run(
        [*command, "--dbname", where],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if ran.returncode:
        program = Path(command[0])
        said = _complaint(program, ran.stderr.decode(errors="replace"))
        raise StorageError(f"{program.name} must reach its end, but {said}; nothing was changed.")


def _complaint(program: Path, said: str) -> str:
    """The first line in which a program says what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if "error:" in line] or lines or ["it left no word"]
    return presentable(wrong[0].removeprefix(f"{program.name}: ").removeprefix("error: ")).rstrip(
        "."
    )
