"""A connection to the database: the given PostgreSQL, or the embedded one.

Nothing here ever prints a password: every error that a driver raises about a connection is said
again in our own words.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from weightsearch.errors import StorageError
from weightsearch.store import schema, server

KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 10,  # seconds, like the next two
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


@dataclass(frozen=True)
class Database:
    """Where the ledger and the Optuna study live."""

    engine: Engine
    url: URL
    """What Optuna and other processes connect with; its text form hides the password."""
    embedded: bool


def open_database(storage: str | None, home: Path) -> Database:
    """The database named by `storage` or WEIGHTSEARCH_STORAGE, else the embedded one of `home`.

    Its tables are there, of our version. Raises StorageError.
    """
    storage = storage or os.environ.get("WEIGHTSEARCH_STORAGE") or None
    database = _given(storage) if storage else _embedded(home)
    try:
        schema.prepare(database.engine)
    except BaseException as error:
        database.engine.dispose()
        if isinstance(error, SQLAlchemyError | psycopg.Error):
            raise StorageError(_unreachable(database.url, error)) from None
        raise
    return database


def _given(storage: str) -> Database:
    try:
        url = make_url(storage)
        if _is_postgres(url):
            # A password among the parameters would not be hidden when the URL is shown.
            secret = url.password or str(url.query.get("password", "")) or None
            url = url.set(drivername="postgresql+psycopg", password=secret)
            url = url.difference_update_query(["password"])
    except (ArgumentError, ValueError):  # a ValueError would quote a password in the port's place
        raise StorageError(
            "--storage must be a URL such as postgresql://user:password@host:5432/database, but it"
            " cannot be read as one; characters such as @ / # in the password must be %-encoded."
        ) from None
    if not _is_postgres(url):
        raise StorageError(
            f"--storage must name a PostgreSQL database, but it names '{url.drivername}';"
            " leave it out to use the embedded one."
        )
    engine = create_engine(
        url, pool_size=2, max_overflow=3, pool_pre_ping=True, connect_args=KEEPALIVE
    )
    return Database(engine, url, embedded=False)


def _is_postgres(url: URL) -> bool:
    return url.get_backend_name() in ("postgresql", "postgres")


def _embedded(home: Path) -> Database:
    """Each new connection makes sure that the server runs: clients outlive whoever started it."""
    url = _server_url(server.ensure(home))

    def connect() -> Any:
        for wait_s in (0.1, 0.2, 0.4, 0.0):  # just after a kill it may look alive for a moment
            found = server.ensure(home)
            try:
                return psycopg.connect(
                    host=found.host,
                    port=found.port,
                    user=found.user,
                    password=found.password,
                    dbname=found.dbname,
                    **KEEPALIVE,
                )
            except psycopg.OperationalError:
                if not wait_s:
                    raise
                time.sleep(wait_s)
        raise AssertionError("unreachable")

    engine = create_engine(
        "postgresql+psycopg://", creator=connect, pool_size=2, max_overflow=3, pool_pre_ping=True
    )
    return Database(engine, url, embedded=True)


def _server_url(found: server.Server) -> URL:
    return URL.create(
        "postgresql+psycopg",
        username=found.user,
        password=found.password,
        database=found.dbname,
        query={"host": found.host, "port": str(found.port)},
    )


def _unreachable(url: URL, error: Exception) -> str:
    """One line about a failed connection, without the password."""
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[:1]
    said = re.sub(r"\s+", " ", " ".join(reason)) or type(error).__name__
    if url.password:
        said = said.replace(str(url.password), "***")
    place = url.render_as_string(hide_password=True)
    return f"the database at {place} cannot be used: {said}; check --storage, or leave it out."
