"""How a connection to PostgreSQL is made; every one of this program is made here.

Nothing waits for ever. A network that has gone silent (a cable, a firewall, a proxy that no longer
forwards but still acknowledges) is noticed by the connection itself: where a statement is under way
and no byte has come for `SILENCE_S`, it is broken off. Keep-alives and TCP's user timeout see less,
but also what happens between statements. On the server's side a wait for a lock ends earlier, with
an error that says so, and a transaction that its client has left open is ended, so that a stopped
worker blocks nobody for long.

What the user's URL says goes to libpq as it is (sslmode, sslrootcert, several hosts with
target_session_attrs, ...) and comes before what is set here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from psycopg import pq
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import DisconnectionError

DRIVER = "postgresql+psycopg://"
"""All that SQLAlchemy and Optuna are told: the rest, secrets among it, stays in `connect`."""

SILENCE_S = 8.0
UNHURRIED_S = 600.0
PAUSE_S = 1.0

SETTINGS = {
    "lock_timeout": "6s",  # below SILENCE_S: the server says why before this side hangs up
    "statement_timeout": "60s",  # sending a large result over a slow line is part of it
    "idle_in_transaction_session_timeout": "10s",
}
LIBPQ: Mapping[str, Any] = {
    "connect_timeout": 8,  # seconds, for each host
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,  # ms; TCP only, like the three above
}

T = TypeVar("T")
Connect = Callable[[], "Connection"]


class Connection(psycopg.Connection[Any]):
    """One that is broken off where the server has not answered for `silence_s`."""

    silence_s: float = SILENCE_S

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's, through which every exchange with the server goes; without a `timeout` the
        silence is limited. (Waiting for a notification is no silence: give it one.)"""
        try:
            return super().wait(gen if timeout is not None else self._heard(gen), interval, timeout)
        except psycopg.errors.InsufficientPrivilege as error:
            error.args = (
                f"role '{self.info.user}' lacks a right: {error.diag.message_primary}; let the"
                " owner of the tables run `weightsearch migrate`, which grants what is needed",
            )
            raise
        except psycopg.errors.ReadOnlySqlTransaction as error:
            if self.info.parameter_status("in_hot_standby") != "on":
                error.args = (
                    f"role '{self.info.user}' lacks a right: it {error.diag.message_primary}; take"
                    " a worker's role, or let the owner of the tables run `weightsearch migrate`",
                )
                raise
            self.close()  # after a failover: a new connection may find the new primary
            raise psycopg.OperationalError(f"the server is a standby: {error}") from None

    def _heard(self, gen: PQGen[T]) -> PQGen[T]:
        """The same exchange, ended by OperationalError after too long a silence.

        psycopg calls in at every `interval` in which nothing could be read or written.
        """
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.silence_s:
                    self.close()
                    raise psycopg.OperationalError(f"no answer for {self.silence_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def parameters(url: URL, command: str) -> dict[str, Any]:
    """What libpq is told: what the URL says, and for the rest our settings.

    `command` becomes part of the name under which the server lists the connection.
    """
    _, told = url.get_dialect()().create_connect_args(url)
    settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    name = os.environ.get("PGAPPNAME") or f"weightsearch-{command}-{os.getpid()}"
    return {
        **LIBPQ,
        "application_name": name,
        **told,
        "options": f"{settings} {told.get('options', '')}".strip(),
    }


def connect(told: Mapping[str, Any]) -> Connection:
    """A new connection; raises psycopg.OperationalError."""
    return Connection.connect(**told)


def paced(connect: Connect) -> Connect:
    """The same; but where it failed, all threads take that for the answer until a second is over.

    However many of them want in, a server that comes back, or is full, hears of this process once a
    second.
    """
    lock = threading.Lock()
    failure, failed_at = psycopg.OperationalError(), -PAUSE_S

    def at_most_once_a_second() -> Connection:
        nonlocal failure, failed_at
        with lock:
            if time.monotonic() < failed_at + PAUSE_S:
                raise psycopg.OperationalError(str(failure))
            try:
                return connect()
            except psycopg.OperationalError as error:
                failure, failed_at = error, time.monotonic()
                raise

    return at_most_once_a_second


def pooled(connect: Connect) -> dict[str, Any]:
    """Arguments of `create_engine`, also of Optuna's: connections from here, few of them.

    One is kept; two more exist while a worker renews its lease and follows the Optuna study at
    once.
    """
    return {
        "creator": connect,
        "pool_size": 1,
        "max_overflow": 2,
        "pool_events": [(_look, "checkout")],
    }


def _look(connection: psycopg.Connection[Any], *rest: object) -> None:
    """Whether the server has hung up on an idle connection, as `pool_pre_ping` finds out by a
    statement: that would be every second one of ours. Nobody sends anything unasked but a server
    that says goodbye, so it is enough to look whether there is something to read.
    """
    connected, ready = connection.pgconn, select.poll()
    for _ in range(4):  # its last words, and the end
        if connected.status != pq.ConnStatus.OK:
            raise DisconnectionError("the server has closed the connection")
        ready.register(connected.socket, select.POLLIN)
        if not ready.poll(0):
            return
        with contextlib.suppress(psycopg.OperationalError):
            connected.consume_input()


@contextlib.contextmanager
def unhurried(engine: Engine) -> Iterator[sqlalchemy.Connection]:
    """A transaction whose statements may take `UNHURRIED_S`: a migration, a plan of thousands of
    points, waiting for a lock that somebody holds for long."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, Connection)
        driver.silence_s = UNHURRIED_S
        try:
            with connection.begin():
                for name in SETTINGS:
                    connection.execute(text(f"SET LOCAL {name} = '{UNHURRIED_S:.0f}s'"))
                yield connection
        finally:
            driver.silence_s = SILENCE_S


def unverified(told: Mapping[str, Any]) -> str | None:
    """The host on another machine of which nobody makes sure that it is the right one; or None.

    Below `sslmode=verify-full`, whoever is in between can pose as the server.
    """
    defaults = {o.keyword.decode(): o.val.decode() for o in pq.Conninfo.get_defaults() if o.val}
    known = defaults | {name: str(value) for name, value in told.items()}
    if known.get("sslmode") == "verify-full" or known.get("sslrootcert") == "system":
        return None
    hosts = (known.get("hostaddr") or known.get("host") or "").split(",")
    return next((host for host in hosts if not _local(host)), None)


def _local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):  # the last two: a socket
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
