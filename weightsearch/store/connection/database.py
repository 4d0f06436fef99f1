"""The database: the given PostgreSQL, or the embedded one.

Nothing here ever prints a password: every error that a driver raises about a connection is said
again in our own words.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from weightsearch.errors import ConfigError, StorageError
from weightsearch.runtime.safe_text import hide, presentable
from weightsearch.store.connection import connecting as connect
from weightsearch.store.connection import outage
from weightsearch.store.connection.connecting import Connect, Connection
from weightsearch.store.embedded import client
from weightsearch.store.tables import schema

OPTION, VARIABLE = "--storage", "WEIGHTSEARCH_STORAGE"
PASSWORD_FILE = "WEIGHTSEARCH_STORAGE_PASSWORD_FILE"

RECOVERS_S = 30.0
"""Within this time an embedded server that crashes just now is back."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Database:
    """Where the ledger and the Optuna study live."""

    engine: Engine
    url: URL
    """What other processes connect with; its text form hides the password."""
    embedded: bool
    connect: Connect
    """Makes a new connection, in the one way that all are made."""
    cautions: tuple[str, ...] = ()
    """What is unwise about how it is named, though it works."""
    place: str = ""
    """The URL as it was given, without the password."""
    named_by: str = ""
    """The option or variable that gave it; none where the database is the embedded one."""


def open_database(storage: str | None, home: Path, command: str = "python") -> Database:
    """The database named by `storage` or WEIGHTSEARCH_STORAGE, else the embedded one of `home`.

    Its tables are there, of our version. The server lists its connections under `command`. Raises
    StorageError, and ConfigError where the password's file cannot be used.
    """
    database = resolve(storage, home, command)
    try:
        until = time.monotonic() + (RECOVERS_S if database.embedded else 0.0)
        outage.retry_while_away(
            lambda: schema.prepare(database.engine), lambda: time.monotonic() > until
        )
    except BaseException as error:
        database.engine.dispose()
        if isinstance(error, SQLAlchemyError | psycopg.Error):
            raise unreachable(database, error) from error
        raise
    caution(database)
    return database


def resolve(storage: str | None, home: Path, command: str) -> Database:
    """The same, before anybody has looked whether it is there, and what is in it."""
    if storage is not None:
        if not storage:
            raise ConfigError(
                f"{OPTION} must be a URL, but is empty; leave it out to use {VARIABLE}, or the"
                " embedded database."
            )
        return _given(storage, command, OPTION)
    storage = os.environ.get(VARIABLE)
    return _given(storage, command, VARIABLE) if storage else _embedded(home, command)


def caution(database: Database) -> None:
    """Warns of what is unwise about a database that works: beside an error it would distract."""
    for line in database.cautions:
        _warn(line)


@functools.cache
def _warn(line: str) -> None:
    """Says it once, however often the database is opened."""
    log.warning("%s", line)


def unreachable(database: Database, error: Exception) -> StorageError:
    """One line about a database that cannot be used, without the password."""
    said = " ".join(outage.reason(error).split()).rstrip(".")
    if database.url.password:  # also where it is too short to be hidden everywhere
        said = said.replace(str(database.url.password), "***")
    by = database.named_by
    advice = f"; check {by}, or {_without(by)}" if by and "lacks a right" not in said else ""
    place = database.place
    return StorageError(presentable(f"the database at {place} cannot be used: {said}{advice}."))


def _without(named_by: str) -> str:
    """What to do to be given the embedded database."""
    return "leave it out" if named_by == OPTION else "unset it to use the embedded database"


def _given(storage: str, command: str, named_by: str) -> Database:
    url, cautions = _url(storage, named_by), []
    place = url.set(drivername=make_url(storage).drivername).render_as_string(hide_password=True)
    if named_by == OPTION and url.password is not None:
        cautions.append(
            "the password in --storage can be read by every user of this machine; put the URL into"
            f" WEIGHTSEARCH_STORAGE, or the password into the file that {PASSWORD_FILE} names."
        )
    if url.password is None and (file := os.environ.get(PASSWORD_FILE)):
        url = url.set(password=_password(Path(file)))
    told = connect.parameters(url, command)
    if host := connect.unverified(told):
        cautions.append(
            f"the database's host '{host}' must prove who it is, but the connection's sslmode lets"
            " another pose as it; add sslmode=verify-full and sslrootcert=FILE to the URL."
        )
    made = _database(url, lambda: connect.connect(told), False)
    return replace(made, cautions=tuple(cautions), place=place, named_by=named_by)


def _database(url: URL, make: Connect, embedded: bool) -> Database:
    hide(url.password)
    make = connect.paced(make)
    engine = create_engine(connect.DRIVER, **connect.pooled(make))
    place = url.set(drivername="postgresql").render_as_string(hide_password=True)
    return Database(engine, url, embedded, make, place=place)


def _url(storage: str, named_by: str) -> URL:
    try:
        url = make_url(storage)
        if url.get_backend_name() in ("postgresql", "postgres"):
            # A password among the parameters would not be hidden when the URL is shown.
            secret = url.password or _last(url, "password")
            url = url.set(drivername="postgresql+psycopg", password=secret)
            url = url.difference_update_query(["password"])
            hide(_last(url, "sslpassword"))
            connect.parameters(url, "")  # ports that are none, two ways of naming hosts
            if "@" not in (url.host or ""):  # else that is the end of a password
                return url
            raise ValueError
    except (ArgumentError, ValueError):  # a ValueError would quote a password in the port's place
        raise StorageError(
            f"{named_by} must be a URL such as postgresql://user:password@host:5432/database, but"
            " it cannot be read as one; characters such as @ / # in the password must be"
            " %-encoded."
        ) from None
    raise StorageError(
        f"{named_by} must name a PostgreSQL database, but it names '{url.drivername}'; give the URL"
        f" of one, or {_without(named_by)}."
    )


def _last(url: URL, name: str) -> str | None:
    """A parameter of the URL; of several the last, as libpq has it."""
    found = url.normalized_query.get(name)
    return found[-1] if found else None


def _password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"{PASSWORD_FILE} must name a file with the database's password, but {file} cannot be"
            f" read ({why}); correct it, or unset it."
        ) from None
    if not password:
        raise ConfigError(
            f"{PASSWORD_FILE} must name a file with the database's password, but {file} is empty;"
            " write the password into it, or unset it."
        )
    return password


def _embedded(home: Path, command: str) -> Database:
    """Each new connection makes sure that the server runs: clients outlive whoever started it."""
    url = _server_url(client.ensure(home))

    def make() -> Connection:
        for wait_s in (0.1, 0.2, 0.4, 0.0):  # just after a kill it may look alive for a moment
            try:
                found = client.ensure(home)
                return connect.connect(connect.parameters(_server_url(found), command))
            except StorageError as error:  # it was there, and may be again
                raise psycopg.OperationalError(str(error)) from None
            except psycopg.OperationalError:
                if not wait_s:
                    raise
                time.sleep(wait_s)
        raise AssertionError("unreachable")

    return _database(url, make, embedded=True)


def _server_url(found: client.Server) -> URL:
    return URL.create(
        "postgresql+psycopg",
        username=found.user,
        password=found.password,
        database=found.dbname,
        query={"host": found.host, "port": str(found.port)},
    )
