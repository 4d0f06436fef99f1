"""`weightsearch dashboard` as a process: over HTTP, in a browser, as a role that can only look."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import optuna
import psycopg
import pytest
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb.models import BaseModel
from optuna_dashboard import wsgi
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from support.dashboard_processes import Dashboard, dashboard
from support.dashboard_requests import ask as ask_app
from support.dashboard_requests import fill, what_a_write_says, writes
from support.processes import Cli
from support.specs import make_spec

from dashboards import serving
from weightsearch.errors import ConfigError, WeightsearchError
from weightsearch.store.administration import migration
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database, open_database
from weightsearch.store.ledger import leases
from weightsearch.store.ledger import studies as studies_module
from weightsearch.store.optuna_mirror import Mirror
from weightsearch.study import planning


def make_study(database: Database) -> tuple[int, int]:
    """A study with a finished and a running trial; their ids: of the study, of the running one."""
    migration.prepare_optuna(database)
    storage = RDBStorage(connecting.DRIVER, engine_kwargs=connecting.pooled(database.connect))
    study = optuna.create_study(study_name="shown", storage=storage)
    study.add_trial(optuna.create_trial(value=0.5))
    study.ask()
    running = storage.get_all_trials(study._study_id)[1]._trial_id
    storage.remove_session()
    storage.engine.dispose()
    return study._study_id, running


def rows(database: Database) -> list[object]:
    """What stands in all of Optuna's tables."""
    with database.engine.connect() as connection:
        tables = connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        )
        return [
            connection.execute(text(f"SELECT * FROM {name} ORDER BY 1, 2")).all()
            if name != "alembic_version" and name != "ws_meta"
            else None
            for name in tables.scalars()
        ]


@pytest.fixture
def viewer(opened: Database, storage: str) -> Iterator[str]:
    """The URL of a role that may do nothing but look, given its rights by `migrate`."""
    name, password = f"viewer_{secrets.token_hex(4)}", secrets.token_hex(16)
    with opened.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
    migration.migrate(opened, viewer=name)
    url = make_url(storage).set(username=name, password=password)
    yield url.render_as_string(hide_password=False)
    with opened.engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP ROLE {name}"))


def test_it_shows_what_the_ledger_holds(storage: str, opened: Database, tmp_path: Path) -> None:
    spec = make_spec()
    study = studies_module.create(opened.engine, "shown", spec, planning.plan(spec))
    lease = leases.claim(opened.engine, study.id, "w", "cpu", 60)
    assert lease is not None
    result = {
        "outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1
    }  # fmt: skip
    leases.finish(opened.engine, lease, result)
    mirror = Mirror(opened, study)
    mirror.sync()
    with dashboard(storage, tmp_path) as shown:
        status, body, headers = shown.ask("GET", "/api/studies")
        assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
        studies = json.loads(body)["study_summaries"]
        assert {s["study_name"] for s in studies} == {"shown", "shown-promotion"}
        number = next(s["study_id"] for s in studies if s["study_name"] == "shown")
        trials = json.loads(shown.ask("GET", f"/api/studies/{number}")[1])["trials"]
        assert [t["state"] for t in trials] == ["Complete"]
        assert shown.ask("GET", "/dashboard")[0] == 200


def test_over_http_strangers_are_refused(storage: str, opened: Database, tmp_path: Path) -> None:
    study, running = make_study(opened)
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    token = {serving.TOKEN_FILE: str(file)}
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (tmp_path / "secret").write_text("s3cret")
    with dashboard(storage, tmp_path, "--artifacts", str(artifacts), **token) as shown:
        before = rows(opened)
        assert shown.ask("GET", "/api/studies")[0] == 200
        assert shown.ask("GET", "/api/studies", Cookie="")[0] == 401
        assert shown.ask("GET", "/?token=wrong", Cookie="")[0] == 401
        assert shown.ask("GET", "/api/studies", Host="evil.example")[0] == 421
        assert shown.ask("GET", "/api/studies", Origin="http://evil.example")[0] == 403
        assert shown.ask("GET", "/api/studies", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
        for method, rule in writes(wsgi(InMemoryStorage())):
            path, body = fill(rule, study, running), json.dumps(what_a_write_says())
            assert shown.ask(method, path, body)[0] == 405, path
            assert shown.ask(method, path, body, Cookie="")[0] == 401, path
        for name in (
            "../../secret", "..%2f..%2fsecret", "%2e%2e/%2e%2e/secret", "%252e%252e/secret",
            "..%5csecret", "..%c0%afsecret", "/etc/passwd", "%2fetc%2fpasswd", "x%00",
        ):  # fmt: skip
            status, body, _ = shown.ask("GET", f"/artifacts/{study}/{name}")
            assert (status, "s3cret" in body, "root:" in body) == (404, False, False)
        assert rows(opened) == before


def test_an_empty_or_short_token_is_one_line(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    make_study(opened)
    file = tmp_path / "token"
    file.write_text("short")
    answer = cli("dashboard", WEIGHTSEARCH_STORAGE=storage, **{serving.TOKEN_FILE: str(file)})
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "must be at least 16" in answer.stderr
    assert answer.stderr.count("\n") == 1
    for content in (b"", b"a b" * 9, "\xe9".encode() * 20):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="must be at least 16"):
            serving._read_token(file)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(ConfigError, match="cannot be read"):
        serving._read_token(file)


def test_a_role_that_can_only_look_is_enough(viewer: str, opened: Database, tmp_path: Path) -> None:
    study, _ = make_study(opened)
    with dashboard(viewer, tmp_path, "--writable") as shown:
        before = rows(opened)
        for path in ("/api/studies", f"/api/studies/{study}", "/dashboard", f"/csv/{study}"):
            assert shown.ask("GET", path)[0] == 200
        for path in ("param_importances", "plot/timeline"):
            assert shown.ask("GET", f"/api/studies/{study}/{path}")[0] in (200, 400)
        note = json.dumps({"version": 1, "body": "a note"})
        assert shown.ask("PUT", f"/api/studies/{study}/note", note)[0] == 500
        assert rows(opened) == before


@pytest.mark.parametrize(
    ("role", "writable", "refusal"),
    [
        ("viewer", True, psycopg.errors.InsufficientPrivilege),
        ("owner", False, psycopg.errors.ReadOnlySqlTransaction),
    ],
)
def test_past_the_front_the_database_refuses(
    storage: str,
    viewer: str,
    opened: Database,
    tmp_path: Path,
    role: str,
    writable: bool,
    refusal: type[psycopg.Error],
) -> None:
    study, running = make_study(opened)
    before = rows(opened)
    theirs = open_database(viewer if role == "viewer" else storage, tmp_path)
    seen = serving._storage(theirs, writable)
    bare = wsgi(seen)
    answers = set()
    for method, rule in writes(bare):
        path, body = fill(rule, study, running), what_a_write_says()
        answer = ask_app(bare, method, path, body, content_type="application/json")
        # 302: the upgrade, which finds nothing to upgrade; 400: nothing to upload to, or to ask;
        # 404: nothing of that name to restore or remove.
        assert answer.status in (500, 400, 302, 404), path
        assert rows(opened) == before, path
        answers.add(answer.status)
    assert 500 in answers
    for statement in (
        "DELETE FROM studies", "UPDATE trial_values SET value = -999", "TRUNCATE trials CASCADE",
        "INSERT INTO studies (study_name) VALUES ('new')", "DROP TABLE studies",
        "CREATE TABLE mine (x int)", "DELETE FROM ws_studies",
        "UPDATE ws_points SET reason = 'x'",
    ):  # fmt: skip
        with seen.engine.connect() as connection, pytest.raises(DBAPIError) as raised:
            connection.execute(text(statement))
        assert isinstance(raised.value.orig, refusal), statement
    assert rows(opened) == before
    seen.remove_session()
    seen.engine.dispose()
    theirs.engine.dispose()


def test_a_writable_dashboard_takes_a_note(storage: str, opened: Database, tmp_path: Path) -> None:
    study, _ = make_study(opened)
    with dashboard(storage, tmp_path, "--writable") as shown:
        note = json.dumps({"version": 1, "body": "a note"})
        path = f"/api/studies/{study}/note"
        assert shown.ask("PUT", path, note, Origin="http://evil.example")[0] == 403
        assert shown.ask("PUT", path, note)[0] == 200
        assert "a note" in shown.ask("GET", f"/api/studies/{study}")[1]
        assert shown.ask("DELETE", f"/api/studies/{study}", "{}")[0] == 405


def test_nothing_secret_can_be_seen_in_the_list_of_processes(
    storage: str, opened: Database, tmp_path: Path
) -> None:
    make_study(opened)
    with dashboard(storage, tmp_path) as shown:
        line = Path(f"/proc/{shown.process.pid}/cmdline").read_bytes()
        assert shown.token.encode() not in line
        assert str(make_url(storage).password).encode() not in line


def test_without_a_study_it_says_how_to_make_one(cli: Cli, storage: str, opened: Database) -> None:
    BaseModel.metadata.drop_all(opened.engine)  # as before the first launch
    answer = cli("dashboard", "--port", 0, WEIGHTSEARCH_STORAGE=storage)
    assert answer.returncode == 1
    assert "must hold a study to be browsed" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line(cli: Cli, storage: str, opened: Database) -> None:
    make_study(opened)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = cli("dashboard", "--port", port, WEIGHTSEARCH_STORAGE=storage)
    assert answer.returncode == 1
    assert f"127.0.0.1:{port} must be an address of this machine with a free port" in answer.stderr
    with pytest.raises(WeightsearchError, match=r"192\.0\.2\.1:0 must be an address of this mach"):
        serving.serve(opened, 0, bind="192.0.2.1")
    missing = cli("dashboard", "--artifacts", "absent", WEIGHTSEARCH_STORAGE=storage)
    assert missing.returncode == 1
    assert "--artifacts must be a folder" in missing.stderr


def test_a_name_to_answer_under_is_a_name(opened: Database) -> None:
    for name in ("https://depth.example", "depth.example:443", "depth.example/x", "", "a b", "::1"):
        with pytest.raises(ConfigError, match="--allowed-host must be a name without scheme, port"):
            serving.serve(opened, 0, names=[name])


@pytest.mark.parametrize(
    ("bind", "host"),
    [
        ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"),
        ("", "127.0.0.1"), ("::1", "[::1]"), ("192.0.2.1", "192.0.2.1"), ("Here", "here"),
    ],
)  # fmt: skip
def test_the_printed_address_is_one_that_answers(bind: str, host: str) -> None:
    assert serving._host(bind) == host
    assert serving._is_loopback(bind) == (bind in ("127.0.0.1", "::1"))


# The server


@contextmanager
def server(app: Callable[..., list[bytes]]) -> Iterator[int]:
    with serving._Server(("127.0.0.1", 0), serving._Handler) as found:
        found.set_app(app)
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found.server_port
        finally:
            found.shutdown()
            thread.join()


def plain(environ: object, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]


def get(port: int) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    body = connection.getresponse().read()
    connection.close()
    return body


def test_who_says_nothing_keeps_nobody_waiting() -> None:
    with server(plain) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        silent[0].sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Sl")
        assert get(port) == b"here"
        for connection in silent:
            connection.close()


def test_who_trickles_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 0.2)
    monkeypatch.setattr(serving, "CONNECTIONS", 2)
    with server(plain) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        for connection in slow:
            connection.settimeout(30)
            connection.sendall(b"GET / HTTP/1.1\r\n")
        # Both places are taken; this one is served when the first of them is sent away.
        assert get(port) == b"here"
        for connection in slow:
            assert connection.recv(1) == b""
            connection.close()


def test_a_slow_answer_keeps_nobody_waiting() -> None:
    asked, answer = threading.Event(), threading.Event()

    def app(environ: dict[str, str], start_response: Callable[..., object]) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            asked.set()
            answer.wait(30)
        return plain(environ, start_response)

    with server(app) as port:
        slow = HTTPConnection("127.0.0.1", port, timeout=30)
        slow.request("GET", "/slow")
        assert asked.wait(30)
        assert get(port) == b"here"
        answer.set()
        assert slow.getresponse().read() == b"here"
        slow.close()


# In a browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def test_it_can_be_browsed_in_chromium(storage: str, opened: Database, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("browsing needs Chromium, and there is none on the PATH")
    study, _ = make_study(opened)

    def open_page(shown: Dashboard, path: str) -> tuple[str, str]:
        """The page as it is after its scripts ran, and what the console said."""
        found = subprocess.run(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-extensions",
                f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=15000",
                "--enable-logging=stderr", "--dump-dom",
                f"http://127.0.0.1:{shown.port}{path}?token={shown.token}",
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        # Chromium itself tells there how it draws without a graphics card.
        console = [
            line for line in found.stderr.splitlines() if "CONSOLE" in line and "WebGL" not in line
        ]
        return found.stdout, "\n".join(console)

    with dashboard(storage, tmp_path) as shown:
        page, console = open_page(shown, "/dashboard")
        assert "shown" in page
        assert "MINIMIZE" in page
        assert console == ""
        page, console = open_page(shown, f"/dashboard/studies/{study}")
        assert "main-svg" in page  # plotly has drawn
        assert "Best Trial" in page
        assert console == ""
        page, console = open_page(shown, f"/dashboard/studies/{study}/trials")
        assert "trial_id=1" in page
        assert "Running" in page
        assert console == ""
