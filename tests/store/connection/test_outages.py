"""The database goes away: restarted, crashed, cut off, full, moved. Work goes on, and says so once.

Short forms with real processes and a PostgreSQL of their own; benchmarks/outages.py has the long
ones.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from support.faulty_servers import PATIENCE_S, OwnServer, Proxy, own_server, wait_until, workers
from support.specs import make_spec

from weightsearch.store.connection.connecting import Connection
from weightsearch.store.connection.database import Database, open_database, resolve
from weightsearch.store.connection.outage import is_away, retry_while_away
from weightsearch.store.ledger import leases, queries, studies, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables import schema
from weightsearch.store.tables.schema import points
from weightsearch.study import planning
from weightsearch.worker import background


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as found:
        with found.admin() as connection:
            connection.execute("CREATE ROLE few LOGIN PASSWORD 'sesame' CONNECTION LIMIT 3")
        yield found


@pytest.fixture
def dbname(server: OwnServer) -> Iterator[str]:
    with server.admin() as connection:
        connection.execute("CREATE DATABASE ws")
    yield "ws"
    with server.admin() as connection:
        connection.execute("DROP DATABASE ws WITH (FORCE)")


@pytest.fixture
def opened(server: OwnServer, dbname: str, tmp_path: Path) -> Iterator[Database]:
    database = open_database(server.url(dbname), tmp_path)
    yield database
    database.engine.dispose()


def create(opened: Database, points: int = 10, epochs: int = 2, epoch_s: float = 0.05) -> Study:
    spec = make_spec(
        loss={"weights": {"grid": "simplex", "steps": 36}},
        sampler={"kind": "grid", "trials": points},
        params={"epoch_s": epoch_s},
        train={"epochs": epochs},
    )
    return studies.create(opened.engine, "study", spec, planning.plan(spec))


def count(opened: Database, study: Study, state: str) -> int:
    return retry_while_away(lambda: queries.counts(opened.engine, study)[state])


def test_restarts_and_crashes_cost_no_result_and_no_attempt(
    server: OwnServer, opened: Database, dbname: str, tmp_path: Path
) -> None:
    study = create(opened, points=12, epochs=4, epoch_s=0.1)
    with workers(2, "study", server.url(dbname), tmp_path / "home") as started:
        for done, how, seconds in ((1, "fast", 0.2), (4, "immediate", 1.5)):
            wait_until(lambda done=done: count(opened, study, "done") >= done)  # type: ignore[misc]
            with server.away(how, seconds):
                pass
        assert [worker.wait(PATIENCE_S) for worker in started] == [0, 0]
        verified = verification.verify(opened.engine, study)
        assert verified.ok
        assert verified.starts == verified.points == 12
        assert all(1 <= worker.outages() <= 2 for worker in started)


def test_an_outage_longer_than_the_lease_costs_no_result(
    server: OwnServer, opened: Database, dbname: str, tmp_path: Path
) -> None:
    study = create(opened, points=3, epochs=2, epoch_s=0.4)
    proxy = Proxy(server)
    url = server.url(dbname, host="127.0.0.1", port=proxy.port, sslmode="disable")
    in_the_middle = "FROM ws_attempts WHERE outcome IS NULL AND jsonb_array_length(epochs) = 1"
    expired = "FROM ws_points WHERE state = 'leased' AND lease_until < now()"
    with workers(1, "study", url, tmp_path / "home", lease=1.0) as (worker,):
        wait_until(lambda: found(opened, in_the_middle) == 1)
        proxy.refuse()
        began = len(proxy.accepted)
        wait_until(lambda: found(opened, expired) == 1)
        wait_until(lambda: len(proxy.accepted) >= began + 2)
        tries = proxy.accepted[began:]
        proxy.refuse(False)
        assert worker.wait(PATIENCE_S) == 0
        assert worker.outages() == 1
        assert server.password not in worker.said()
    # Several threads want in, and yet a second lies between two tries.
    assert min(b - a for a, b in itertools.pairwise(tries)) > 0.9
    verified = verification.verify(opened.engine, study)
    assert verified.ok
    assert verified.starts == 3 + verified.lost
    proxy.close()


def found(opened: Database, what: str) -> int:
    with opened.engine.connect() as connection:
        return connection.execute(text(f"SELECT count(*) {what}")).scalar_one()


def test_a_half_open_connection_is_noticed_and_the_lease_renewed_on_a_new_one(
    server: OwnServer,
    opened: Database,
    dbname: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Connection, "silence_s", 0.5)
    study = create(opened)
    proxy = Proxy(server)
    behind = open_database(server.url(dbname, host="127.0.0.1", port=proxy.port), tmp_path)
    lease = leases.claim(behind.engine, study.id, "worker", "cpu", lease_s=4.0)
    assert lease is not None

    def lease_until() -> Any:
        with opened.engine.connect() as connection:
            wanted = select(points.c.lease_until).filter_by(id=lease.point_id)
            return connection.execute(wanted).scalar_one()

    with background.renewing(behind, [lease], lease_s=4.0):
        before, connections = lease_until(), len(proxy.accepted)
        proxy.freeze()
        wait_until(lambda: lease_until() > before)
        assert len(proxy.accepted) > connections
    assert leases.give_back(opened.engine, lease, "done with it", paused=False)  # it is still ours
    behind.engine.dispose()
    proxy.close()


def test_more_workers_than_connections_get_everything_done(
    server: OwnServer, opened: Database, dbname: str, tmp_path: Path
) -> None:
    study = create(opened, points=12, epochs=1, epoch_s=0.2)
    with server.admin(dbname) as admin:
        admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO few")
        admin.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO few")
        admin.execute("GRANT CREATE ON SCHEMA public TO few")
    try:
        home = tmp_path / "home"
        with workers(5, "study", server.url(dbname, role="few:sesame"), home) as started:
            assert [worker.wait(PATIENCE_S) for worker in started] == [0] * 5
            assert any("too many connections" in worker.said() for worker in started)
            assert all("sesame" not in worker.said() for worker in started)
    finally:
        with server.admin(dbname) as admin:
            admin.execute("DROP OWNED BY few")
    # Whoever comes next shows in the Optuna study what they had no connection for.
    with workers(1, "study", server.url(dbname), home) as (last,):
        assert last.wait(PATIENCE_S) == 0
    verified = verification.verify(opened.engine, study)
    assert verified.ok
    assert verified.starts == verified.points == 12


def test_a_worker_refuses_newer_tables_at_once(
    server: OwnServer, opened: Database, dbname: str, tmp_path: Path
) -> None:
    create(opened)
    with opened.engine.begin() as connection:
        connection.execute(schema.meta.update().values(version=schema.VERSION + 1))
    with workers(1, "study", server.url(dbname), tmp_path / "home") as (worker,):
        assert worker.wait(PATIENCE_S) == 1
        (line,) = worker.said().splitlines()
        assert f"but it is {schema.VERSION + 1}" in line
        assert "use the weightsearch release that made it" in line


def test_one_outage_is_one_line_however_many_threads_are_in_it(
    opened: Database, server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    started, over = threading.Barrier(5), threading.Event()
    answers = []

    def asked() -> int:
        with opened.engine.connect() as connection:
            return connection.execute(text("SELECT 1")).scalar_one()

    def ask() -> None:
        started.wait()
        while not over.is_set():
            answers.append(retry_while_away(asked))
            over.wait(0.01)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    with server.away("immediate", 1.0):
        wait_until(lambda: "is away" in caplog.text)
    wait_until(lambda: "is back" in caplog.text)
    over.set()
    for thread in threads:
        thread.join()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, said
    assert set(answers) == {1}


def test_who_is_to_give_up_does_so_in_the_middle_of_a_wait(server: OwnServer) -> None:
    nowhere = resolve(server.url("nowhere", host="127.0.0.1", port=1), Path(), "test")
    asked = threading.Event()
    threading.Timer(0.3, asked.set).start()
    began = time.monotonic()
    with pytest.raises(DBAPIError):
        retry_while_away(lambda: nowhere.engine.connect(), asked.is_set)
    assert time.monotonic() - began < PATIENCE_S / 10
    nowhere.engine.dispose()


def test_a_failover_is_waited_out_and_a_standby_left(
    server: OwnServer, opened: Database, dbname: str, tmp_path: Path
) -> None:
    study = create(opened)
    opened.engine.dispose()
    server.stop()
    with own_server(server) as standby:
        server.start()
        there = resolve(
            server.url(dbname, host=standby.sockets, port=standby.port), tmp_path, "test"
        )
        with there.connect() as connection:  # made before somebody demoted it, as it were
            with pytest.raises(psycopg.OperationalError, match="the server is a standby") as caught:
                connection.execute("UPDATE ws_studies SET name = name")
            assert is_away(caught.value)
            assert connection.closed
        ports = f"{server.port},{standby.port}"
        url = server.url(
            dbname, host="127.0.0.1,127.0.0.1", port=ports, target_session_attrs="read-write"
        )
        both = open_database(url, tmp_path)
        claims = []

        def claim() -> None:
            claims.append(
                retry_while_away(lambda: leases.claim(both.engine, study.id, "worker", "cpu", 60))
            )

        claim()
        server.stop("immediate")
        working = threading.Thread(target=claim)
        working.start()
        with standby.admin() as admin:
            admin.execute("SELECT pg_promote()")
        working.join()
        # A standby that is sent nothing knows nothing of the first claim, nor of its worker's.
        assert [claim.number for claim in claims if claim is not None] == [0, 0]
        with both.connect() as connection:
            assert connection.info.port == standby.port
        both.engine.dispose()
    server.start()


def test_who_may_only_read_is_no_outage(server: OwnServer) -> None:
    with resolve(server.url("postgres"), Path(), "test").connect() as connection:
        connection.execute("SET default_transaction_read_only = on")
        connection.commit()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction) as caught:
            connection.execute("CREATE TABLE mine (id INTEGER)")
        assert not is_away(caught.value)
        assert not connection.closed
