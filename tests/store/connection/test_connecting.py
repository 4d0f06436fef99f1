"""How connections are made: none waits for ever, secrets stay secret, the server is the right one.

With a PostgreSQL of their own, behind proxies that fail in the ways in which networks fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from support.faulty_servers import SUPERUSER, OwnServer, Proxy, own_server
from support.processes import Cli

from weightsearch.errors import ConfigError, StorageError
from weightsearch.store.connection import connecting, outage
from weightsearch.store.connection.connecting import Connection
from weightsearch.store.connection.database import Database, _warn, caution, open_database, resolve
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.tables.schema import meta


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as found:
        with found.admin() as connection:
            connection.execute("CREATE DATABASE ws")
        open_database(found.url("ws"), Path()).engine.dispose()
        yield found


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    _warn.cache_clear()


@pytest.fixture
def proxy(server: OwnServer) -> Iterator[Proxy]:
    made = Proxy(server)
    yield made
    made.close()


def opened(url: str) -> Database:
    return open_database(url, Path(), "test")


def version(database: Database) -> Any:
    with database.engine.connect() as connection:
        return connection.execute(select(meta.c.version)).scalar_one()


@pytest.mark.parametrize(
    "exchange",
    [
        lambda c: c.execute("SELECT 1"),
        lambda c: c.commit(),
        lambda c: c.rollback(),
        lambda c: c.cursor().executemany("SELECT %s", [(1,), (2,)]),
    ],
    ids=["execute", "commit", "rollback", "executemany"],
)
def test_nothing_waits_for_ever_on_a_network_that_has_gone_silent(
    server: OwnServer,
    proxy: Proxy,
    exchange: Callable[[Connection], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Connection, "silence_s", 0.3)
    with resolve(
        server.url("ws", host="127.0.0.1", port=proxy.port), Path(), "test"
    ).connect() as it:
        it.execute("SELECT 1")
        proxy.freeze()
        with pytest.raises(psycopg.OperationalError, match=r"no answer for 0\.3 s"):
            exchange(it)
        assert it.closed


def test_a_statement_that_sends_its_result_slowly_is_no_silence(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "silence_s", 0.4)
    # More than the server gathers before it sends, every 0.1 s, for longer than the limit.
    query = "SELECT repeat('x', 20000), pg_sleep(0.1) FROM generate_series(1, 8)"
    with resolve(server.url("ws"), Path(), "test").connect() as connection:
        assert len(connection.execute(query).fetchall()) == 8  # type: ignore[arg-type]


def test_an_engine_notices_half_open_connections_and_makes_new_ones(
    server: OwnServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(server.url("ws", host="127.0.0.1", port=proxy.port))
    monkeypatch.setattr(Connection, "silence_s", 0.3)
    version(database)
    before = len(proxy.accepted)
    proxy.freeze()
    assert retry_while_away(lambda: version(database))  # the first statement finds out
    assert len(proxy.accepted) == before + 1
    with database.engine.connect() as inside:
        inside.execute(text("SELECT 1"))
        proxy.freeze()
        with pytest.raises(OperationalError, match="no answer"):
            inside.execute(text("SELECT 1"))
    assert version(database)
    database.engine.dispose()


def test_maintenance_may_take_longer_than_the_rest(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(server.url("ws"))
    monkeypatch.setattr(connecting, "SILENCE_S", 0.3)
    monkeypatch.setattr(Connection, "silence_s", 0.3)
    with connecting.unhurried(database.engine) as connection:
        connection.execute(text("SELECT pg_sleep(0.6)"))
        for name in connecting.SETTINGS:
            assert connection.execute(text(f"SHOW {name}")).scalar_one() == "10min"
    with (
        pytest.raises(OperationalError, match="no answer"),
        database.engine.connect() as connection,
    ):
        connection.execute(text("SELECT pg_sleep(0.6)"))
    with database.engine.connect() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "6s"
    database.engine.dispose()


def test_the_server_is_told_who_is_there_and_when_to_give_up(server: OwnServer) -> None:
    database = opened(server.url("ws", options="-c%20work_mem=5MB"))
    settings = connecting.SETTINGS | {"work_mem": "5MB"}
    with database.engine.connect() as connection:
        found = {s: connection.execute(text(f"SHOW {s}")).scalar_one() for s in settings}
        name = connection.execute(text("SHOW application_name")).scalar_one()
    assert found == settings | {"statement_timeout": "1min"}
    assert name.startswith("weightsearch-test-")
    database.engine.dispose()


def test_an_idle_program_keeps_one_connection(server: OwnServer) -> None:
    database = opened(server.url("ws", application_name="few"))
    three = [database.engine.connect() for _ in range(3)]
    for connection in three:
        connection.execute(text("SELECT 1"))
    for connection in three:
        connection.close()
    with server.admin() as admin:
        listed = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'few'"
        until = time.monotonic() + 10
        while admin.execute(listed).fetchone() != (1,):
            assert time.monotonic() < until
    database.engine.dispose()


def test_optuna_gets_its_connections_from_the_same_place(server: OwnServer) -> None:
    database = opened(server.url("ws"))
    storage = RDBStorage(connecting.DRIVER, engine_kwargs=connecting.pooled(database.connect))
    assert storage.get_all_studies() == []
    with storage.engine.connect() as connection:
        assert isinstance(connection.connection.driver_connection, Connection)
    assert server.password not in repr(vars(storage)) + str(storage.engine.url)
    storage.remove_session()
    storage.engine.dispose()
    database.engine.dispose()


def test_work_goes_on_at_another_address(server: OwnServer) -> None:
    first, second = Proxy(server), Proxy(server)
    places = f"{first.port},{second.port}"
    database = opened(
        server.url("ws", host="127.0.0.1,127.0.0.1", port=places, target_session_attrs="read-write")
    )
    assert (len(first.accepted), len(second.accepted)) == (1, 0)
    first.close()
    assert retry_while_away(lambda: version(database))
    assert len(second.accepted) == 1
    database.engine.dispose()
    second.close()


def test_sqlalchemys_way_to_name_several_hosts_is_understood(server: OwnServer) -> None:
    proxy = Proxy(server)
    nobody = Proxy(server)
    nobody.close()
    url = f"postgresql://{SUPERUSER}:{server.password}@/ws"
    database = opened(f"{url}?host=127.0.0.1:{nobody.port}&host=127.0.0.1:{proxy.port}")
    assert len(proxy.accepted) == 1
    database.engine.dispose()
    proxy.close()


# Secrets


def test_the_password_may_lie_in_a_file(
    server: OwnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text(server.password + "\n")
    file.chmod(0o644)  # as a container's secrets are; libpq would ignore it
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE_PASSWORD_FILE", str(file))
    database = opened(server.url("ws", role=SUPERUSER, host="127.0.0.1"))
    assert version(database)
    assert server.password not in repr(database) + str(database.url)
    database.engine.dispose()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, r"cannot be read \(No such file"), (b"\n", "is empty"), (b"\xff", "it is no text")],
)
def test_a_password_file_that_cannot_be_used_is_one_line(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE_PASSWORD_FILE", str(file))
    with pytest.raises(ConfigError, match=said) as caught:
        opened("postgresql://user@127.0.0.1:1/ws")
    assert "\n" not in str(caught.value)


def test_libpqs_own_password_file_works(
    server: OwnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text(f"127.0.0.1:{server.port}:ws:{SUPERUSER}:{server.password}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    database = opened(server.url("ws", role=SUPERUSER, host="127.0.0.1"))
    assert version(database)
    database.engine.dispose()


def test_a_password_among_the_arguments_is_warned_of(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened(server.url("ws")).engine.dispose()
    assert "can be read by every user of this machine" in caplog.text
    caplog.clear()
    _warn.cache_clear()
    with pytest.raises(StorageError):
        opened(server.url("nowhere"))
    assert caplog.text == ""
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE", server.url("ws"))
    open_database(None, Path()).engine.dispose()
    assert caplog.text == ""


# TLS


@pytest.mark.parametrize(
    ("host", "said"),
    [("localhost", None), ("127.0.0.1", 'does not match host name "127.0.0.1"')],
)
def test_the_servers_name_is_verified(server: OwnServer, host: str, said: str | None) -> None:
    if server.certificate is None:
        pytest.skip("openssl is not installed")
    url = server.url("ws", host=host, sslmode="verify-full", sslrootcert=server.certificate)
    if said is None:
        database = opened(url)
        with database.engine.connect() as connection:
            used = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert connection.execute(used).scalar_one() is True
        database.engine.dispose()
        return
    with pytest.raises(StorageError, match=said) as caught:
        opened(url)
    assert "\n" not in str(caught.value)
    assert not outage.is_away(caught.value)


@pytest.mark.parametrize(
    ("query", "warned"),
    [
        ("host=db.example.org", "db.example.org"),
        ("host=db.example.org&sslmode=require", "db.example.org"),
        ("host=localhost,db.example.org", "db.example.org"),
        ("host=db.example.org&sslmode=verify-full", None),
        ("host=db.example.org&sslrootcert=system", None),
        ("host=localhost", None),
        ("host=127.0.0.1", None),
        ("host=/run/postgresql", None),
        ("", None),
    ],
)
def test_a_host_that_need_not_prove_itself_is_warned_of(
    query: str,
    warned: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE", f"postgresql://user:sesame@/ws?{query}")
    found = resolve(None, Path(), "test")
    assert caplog.text == ""  # not before it works: an error is one line
    caution(found)
    caution(found)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (warned is not None)
    assert all(f"host '{warned}'" in line and "sesame" not in line for line in said)


# Which errors are an outage


def test_who_will_never_get_in_is_told_at_once(server: OwnServer, cli: Cli) -> None:
    for url in (
        server.url("ws", role=f"{SUPERUSER}:sesame"),
        server.url("nowhere"),
        server.url("ws", sslmode="wrong"),
        server.url("ws", unknown="1"),
        server.url("ws", host="127.0.0.1", sslmode="verify-full", sslrootcert="/nowhere"),
    ):
        with pytest.raises(StorageError) as caught:
            retry_while_away(lambda url=url: opened(url))  # type: ignore[misc]
        assert "\n" not in str(caught.value)
        assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "away"),
    [
        ("08006", True),  # connection failure
        ("53300", True),  # too many connections
        ("53100", True),  # the server's disk is full
        ("57P01", True),  # shutting down
        ("57P03", True),  # starting up
        ("57014", True),  # the statement took too long
        ("40P01", True),  # deadlock
        ("55P03", True),  # somebody holds the lock
        ("57P04", False),  # database dropped
        ("42501", False),  # insufficient privilege
        ("42P01", False),  # no such table
        ("23505", False),  # not unique
        ("22003", False),  # out of range
        ("25006", False),  # read-only
    ],
)
def test_what_the_server_says_decides(server: OwnServer, state: str, away: bool) -> None:
    database = resolve(server.url("ws"), Path(), "test")
    with database.connect() as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(f"DO $$ BEGIN RAISE 'said' USING ERRCODE = '{state}'; END $$")
    assert caught.value.sqlstate == state
    assert outage.is_away(caught.value) is away
    wrapped = StorageInternalError("during the commit")  # as Optuna's storage has it
    wrapped.__cause__ = OperationalError("INSERT", {}, caught.value)
    assert outage.is_away(wrapped) is away


def test_a_connection_that_the_server_closed_is_replaced_unseen_and_no_statement_asks(
    server: OwnServer,
) -> None:
    database = opened(server.url("ws"))
    asked = "SELECT pg_backend_pid(), xact_commit FROM pg_stat_database WHERE datname = 'ws'"

    def backend() -> int:
        with database.engine.connect() as connection:
            return int(connection.execute(text(asked)).one()[0])

    first = backend()
    assert backend() == first  # kept
    with server.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
    assert backend() != first
    database.engine.dispose()
