"""Serves optuna-dashboard, behind the front, over HTTP.

The standard library's server, with three changes: a thread for each connection, so that one slow
picture keeps nobody waiting; so long and no longer for a request to arrive and an answer to leave,
so that a connection that says nothing holds no thread for ever; and no line per request, because
the first one has the token in it. For more than a team's worth of browsers, or for TLS, a proxy
stands in front (docs/browsing.md).
"""

from __future__ import annotations

import io
import ipaddress
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from sqlalchemy import inspect

from dashboards import pages
from dashboards.access_control import HOST, LOOPBACK, Access, guarded
from weightsearch.errors import ConfigError, StorageError, StudyError, WeightsearchError
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

TOKEN_FILE = "WEIGHTSEARCH_DASHBOARD_TOKEN_FILE"
SHORTEST_TOKEN = 16
REQUEST_S = 10.0
ANSWER_S = 60.0
CONNECTIONS = 64

log = logging.getLogger(__name__)


def serve(
    database: Database,
    port: int,
    bind: str = "127.0.0.1",
    names: Sequence[str] = (),
    writable: bool = False,
    artifacts: Path | None = None,
    study: str | None = None,
) -> None:
    """Serves the studies of a database until KeyboardInterrupt; prints the addresses to open: the
    front page and optuna-dashboard, or a `study`'s report and its trials.

    `names` are hosts to answer under besides this machine's own; files below `artifacts` can be
    downloaded. The database role need only be able to read, unless `writable`. Raises
    StorageError, ConfigError, StudyError, and WeightsearchError where the port is taken.
    """
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    file = os.environ.get(TOKEN_FILE)
    token = _read_token(Path(file)) if file else secrets.token_urlsafe(32)
    host = _host(bind)
    access = Access(token, LOOPBACK | {host} | {_allowed(name) for name in names}, writable)
    store = FileSystemArtifactStore(artifacts) if artifacts else None
    try:
        server = _Server((bind, port), _Handler)
    except OSError as error:
        raise WeightsearchError(
            f"{bind}:{port} must be an address of this machine with a free port, but"
            f" {error.strerror}; choose another with --port or --bind."
        ) from None
    with server:
        dashboard = wsgi(_storage(database, writable), artifact_store=store)
        pages.add_to(dashboard, database)
        paths = _paths(database, study)
        server.set_app(guarded(dashboard, access))
        if not _is_loopback(bind):
            log.warning(
                "the dashboard can be reached from other machines, without encryption; put a proxy"
                " with TLS before it."
            )
        shown = f"TOKEN, where TOKEN is what {file} holds" if file else token
        for path in paths:
            print(f"http://{host}:{server.server_port}{path}?token={shown}", flush=True)
        server.serve_forever()


def _paths(database: Database, study: str | None) -> tuple[str, str]:
    """Of what to look at: our page, then optuna-dashboard's."""
    if study is None:
        return "/", "/dashboard"
    name = studies.find(database.engine, study).name
    known = {row["name"]: row["number"] for row in queries.listed(database.engine)}
    if name not in known:
        raise StudyError(
            f"study '{name}' must be in Optuna's tables to be browsed, but no worker has begun with"
            " it yet; wait until one has, or leave the name out."
        )
    return f"/reports/{known[name]}", f"/dashboard/studies/{known[name]}"


def _storage(database: Database, writable: bool) -> RDBStorage:
    """Optuna's view of the database, by which nothing is made or upgraded.

    Unless `writable`, the server itself refuses to change anything through it, whatever the role.
    """
    from optuna.storages import RDBStorage

    def looking() -> connecting.Connection:
        connection = database.connect()
        connection.read_only = True
        return connection

    if not inspect(database.engine).has_table("studies"):
        raise StorageError(
            "the database must hold a study to be browsed, but has none yet; plan one with"
            " `weightsearch launch`, or make the tables with `weightsearch migrate`."
        )
    try:
        return RDBStorage(
            connecting.DRIVER,
            engine_kwargs=connecting.pooled(database.connect if writable else looking)
            | {"max_overflow": 5},
            skip_table_creation=True,
        )
    except RuntimeError as error:
        raise StorageError(
            "Optuna's tables must be of the installed Optuna's version, but are not"
            f" ({str(error).splitlines()[0]}); run `weightsearch migrate`."
        ) from None


def _read_token(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"{TOKEN_FILE} must name a file with the dashboard's token, but {file} cannot be read"
            f" ({why}); correct it, or unset it."
        ) from None
    if len(token) < SHORTEST_TOKEN or not re.fullmatch(r"[\w-]+", token, re.ASCII):
        raise ConfigError(
            f"the token in {file} must be at least {SHORTEST_TOKEN} letters, digits, - or _, but is"
            " not; make one with `openssl rand -hex 32`."
        )
    return token


def _host(bind: str) -> str:
    """What a browser on this machine calls the address."""
    if bind in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{bind}]".lower() if ":" in bind else bind.lower()


def _allowed(name: str) -> str:
    if not HOST.fullmatch(name.lower()):
        raise ConfigError(
            f"--allowed-host must be a name without scheme, port and path, but got '{name}'; give"
            " what stands between `//` and the next `:` or `/` of the address."
        )
    return name.lower()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.slots = threading.BoundedSemaphore(CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """As WSGIServer's, without asking the name service who we are: it may not answer."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()


class _Handler(WSGIRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Punctual(self.connection, REQUEST_S))

    def handle(self) -> None:
        with suppress(TimeoutError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """No line per request: the first has the token in it."""


class _Punctual(io.RawIOBase):
    """What comes in over a connection until a deadline, however slowly it trickles."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection, self.deadline = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(ANSWER_S)  # for all of an answer at once
