"""No password is shown: in no error, log, traceback, list of processes, file or study."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support import fork_server
from support.command_runs import Run, run_all
from support.faulty_servers import OwnServer, own_server
from support.paths import ROOT

from weightsearch.runtime import safe_text as module
from weightsearch.runtime.safe_text import Presentable, hide, presentable

SECRET = "s3same-0pen"
NOWHERE = "127.0.0.1:1/ws"


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_secrets", set())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/db is away", "postgresql://me:***@host/db is away"),
        ("postgresql+psycopg://me:a@b@host/db", "postgresql+psycopg://me:***@host/db"),
        ("HTTP://me:a/b:c@host", "HTTP://me:***@host"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("a:b@c, file:///x", "a:b@c, file:///x"),
        ("\x1b[2Jred\r\b", "\\x1b[2Jred\\r\\x08"),
        ("two\nlines\tand\u2028more", "two\\nlines\\tand\\u2028more"),
        ("a name \u202egnp.exe", "a name \\u202egnp.exe"),
        ("\udcff is no text", "\\udcff is no text"),
        ("zwölf Bäume 木", "zwölf Bäume 木"),
    ],
)
def test_what_must_not_be_shown_is_not(text: str, shown: str) -> None:
    assert presentable(text) == shown


def test_a_known_secret_is_hidden_wherever_it_stands() -> None:
    hide("sesame-1")
    hide("sesame-1-and-more")
    hide("abc")
    hide(None)
    assert presentable("port 'sesame-1', sesame-1-and-more, abc") == "port '***', ***, abc"


def test_what_is_logged_is_presentable(caplog: pytest.LogCaptureFixture) -> None:
    def formatted(*arguments: object, error: BaseException | None = None) -> str:
        record = logging.LogRecord(
            "x", logging.INFO, "x.py", 1, "at %s", arguments,
            (type(error), error, error.__traceback__) if error else None,
        )  # fmt: skip
        assert Presentable().filter(record)
        return logging.Formatter("%(message)s").format(record)

    assert formatted("a\x1bb") == "at a\\x1bb"
    assert formatted("100%") == "at 100%"
    try:
        try:
            raise ValueError("postgresql://me:secret@host")
        except ValueError as cause:
            raise RuntimeError("\x1b[31m") from cause
    except RuntimeError as error:
        told = formatted("b", error=error)
    assert "ValueError: postgresql://me:***@host\n" in told
    assert told.endswith("RuntimeError: \\x1b[31m")
    assert len(told.splitlines()) > 8


CRASHES = """
import logging, sys, threading
from weightsearch.runtime.safe_text import guard, hide

logging.basicConfig()
guard()
hide("s3same-0pen")

def crash(where):
    raise ValueError(f"{where}: s3same-0pen, postgresql://me:other@host, \\x1b[2J")

thread = threading.Thread(target=crash, args=("in a thread",), name="renewing")
thread.start()
thread.join()
try:
    crash("caught")
except ValueError:
    logging.exception("logged")
crash("uncaught")
"""


def test_no_traceback_shows_one() -> None:
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHES],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert crashed.returncode == 1
    for where in ("in thread renewing: Traceback", "in a thread", "caught", "uncaught"):
        assert where in crashed.stderr
    said = "ValueError: {}: ***, postgresql://me:***@host, \\x1b[2J"
    for where in ("in a thread", "caught", "uncaught"):
        assert said.format(where) in crashed.stderr
    for secret in ("s3same-0pen", "other", "\x1b"):
        assert secret not in crashed.stderr


def stored(url: str) -> dict[str, str]:
    return {"WEIGHTSEARCH_STORAGE": url}


def test_no_form_of_a_url_shows_its_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    urls = {
        "in its place": f"postgresql://me:{SECRET}@{NOWHERE}",
        "as a parameter": f"postgresql://me@{NOWHERE}?password={SECRET}",
        "of a key": f"postgresql://me@{NOWHERE}?sslmode=disable&sslpassword={SECRET}",
        "twice": f"postgresql://me@{NOWHERE}?password=a&password={SECRET}",
        "for a port": f"postgresql://me:{SECRET}/ws",
        "after a port": f"postgresql://me@127.0.0.1:1:{SECRET}/ws",
        "for a port in the parameters": f"postgresql://me@/ws?port={SECRET}",
        "with @": f"postgresql://me:{SECRET}@{SECRET}@{NOWHERE}",
        "with /": f"postgresql://me:/{SECRET}@{NOWHERE}",
        "with a space": f"postgresql://me:x {SECRET}@{NOWHERE}",
        "of another database": f"mysql://me:{SECRET}@{NOWHERE}",
        "%-encoded": f"postgresql://me:{SECRET.replace('-', '%2D')}@{NOWHERE}",
        "without a scheme": f"me:{SECRET}@{NOWHERE}",
    }
    runs = [Run(["status"], stored(url)) for url in urls.values()]
    # Where it must not be, it is not repeated either.
    runs += [Run(["status", "--storage", url]) for url in (urls["in its place"], urls["with @"])]
    runs.append(
        Run(["status"], stored(f"postgresql://me@{NOWHERE}")
            | {"WEIGHTSEARCH_STORAGE_PASSWORD_FILE": str(file)})
    )  # fmt: skip
    for run, said in zip(runs, run_all(runs, tmp_path), strict=True):
        assert said.code == 1, run
        assert said.out == ""
        assert SECRET not in said.err
        assert "s3same" not in said.err, run
        warned = ["the password in --storage can be read"] if "--storage" in run.arguments else []
        *before, line = said.err.splitlines()
        assert line.startswith("error: "), run
        assert all(other.startswith(tuple(warned)) for other in before), said.err


# A whole study


STUDY = """
goal = "test"
objective = { run = "mine:run" }
loss = { terms = ["a", "b"], weights = { grid = "simplex", steps = 3 } }
train = { epochs = 2 }
"""
OBJECTIVE = """
import logging, os

def run(weights, params, context):
    logging.warning("I use %s", os.environ["WEIGHTSEARCH_STORAGE"])
    yield {"rmse": weights["a"]}
    if weights["a"] == 1:
        raise OSError(f"cannot reach {os.environ['WEIGHTSEARCH_STORAGE']}")
    yield {"rmse": weights["a"] / 2}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as found:
        with found.admin() as admin:
            admin.execute("CREATE DATABASE ws")
        yield found


def test_a_study_leaves_its_databases_password_nowhere(server: OwnServer, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(STUDY)
    (tmp_path / "mine.py").write_text(OBJECTIVE)
    home = tmp_path / "home"
    environment = os.environ | stored(server.url("ws")) | {"WEIGHTSEARCH_HOME": str(home)}
    environment["PYTHONPATH"] = str(ROOT)
    process = fork_server.Forked(
        [sys.executable, "-m", "weightsearch", "launch", "mine.toml", "--no-promote",
         "--workers", "1", "--device", "cpu"],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines: set[str] = set()
    watched = threading.Thread(target=watch, args=(process.pid, lines))
    watched.start()
    out, error = process.communicate()
    watched.join()
    assert process.returncode == 0, error
    assert any(" worker mine-grid" in line for line in lines)
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert any(b"I use postgresql+psycopg://postgres:***@" in content for content in files)
    for shown in (out, error, *lines):
        assert server.password not in shown
    for content in files:
        assert server.password.encode() not in content
    with server.admin("ws") as admin:
        tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = {
            name: admin.execute(f"SELECT x::text FROM {name} x").fetchall()
            for (name,) in tables.fetchall()
        }
    assert "cannot reach postgresql+psycopg://postgres:***@" in str(rows["ws_points"])
    assert "cannot reach" in str(rows["trial_user_attributes"])
    assert {name for name, found in rows.items() if server.password in str(found)} == set()


def watch(pid: int, lines: set[str]) -> None:
    """The command lines of a process and of all that it starts, as `ps` shows them."""
    try:
        top = psutil.Process(pid)
        while top.is_running() and top.status() != psutil.STATUS_ZOMBIE:
            for process in (top, *top.children(recursive=True)):
                try:
                    lines.add(" ".join(process.cmdline()))
                except (psutil.NoSuchProcess, psutil.ZombieProcess):
                    continue
    except psutil.NoSuchProcess:
        return


# The suite's own watch


PLANTED = """
import logging, subprocess, sys, time
from pathlib import Path

import pytest

SECRET = "{secret}"


@pytest.fixture(autouse=True)
def _server(tmp_path):
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "password").touch(mode={mode})
    (folder / "password").write_text(SECRET)


def test_nothing():
    pass


def test_one(tmp_path):
    {leak}
"""
LEAKS = {
    "a file": ('(tmp_path / "log").write_text(f"x{SECRET}x")', "in the file "),
    "a print": ("print(SECRET)", "what test_planted.py::test_one printed (Captured stdout call)"),
    "a log": ('logging.getLogger("x").warning(SECRET)', "printed (Captured log call)"),
    "arguments": (
        'subprocess.run([sys.executable, "-c", "", SECRET], check=True)',
        "in the list of processes: ",
    ),
    "a grandchild's arguments": (
        "subprocess.run(['sh', '-c', 'read x; \"$0\" -c \"import time; time.sleep(2)\" $x; true',"
        " sys.executable], input=SECRET, text=True, check=True)",
        "in the list of processes: ",
    ),
    "a child's output": (
        'subprocess.run(["cat"], input=SECRET.encode(), capture_output=True, check=True)',
        "in the output of cat",
    ),
}


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Where the watch over this run does not look."""
    folder = Path(tempfile.mkdtemp(prefix="weightsearch-planted-"))
    yield folder
    shutil.rmtree(folder)


def planted(
    folder: Path, leak: str, *options: str, mode: int = 0o600
) -> tuple[subprocess.CompletedProcess[str], str]:
    """A run of a suite that is watched, in which one test leaks; and what must not be shown."""
    secret = secrets.token_hex(12)
    hooks = 'pytest_plugins = ("support.password_watch",)\n'
    assert '"support.password_watch"' in (ROOT / "tests" / "conftest.py").read_text()
    (folder / "conftest.py").write_text(hooks)
    code = PLANTED.format(secret="{secret}", leak=leak, mode=mode).replace("{secret}", secret)
    (folder / "test_planted.py").write_text(code)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:jaxtyping", *options,
         "--basetemp", str(folder / "base"), "test_planted.py"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ran, secret


def test_a_suite_that_leaks_nothing_passes(elsewhere: Path) -> None:
    ran, _ = planted(elsewhere, "print('nothing')", "-n", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "passwords that can be seen" not in ran.stdout


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_suite_that_leaks_fails_and_says_where(elsewhere: Path, processes: str) -> None:
    leaks = "\n    ".join(leak for leak, _ in LEAKS.values())
    ran, secret = planted(elsewhere, leaks, "-n", processes)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
    report = ran.stdout.partition("passwords that can be seen")[2]
    for _, where in LEAKS.values():
        assert where in report
    assert secret not in report
    assert "***" in report


def test_a_servers_password_that_others_may_read_fails_the_suite(elsewhere: Path) -> None:
    ran, _ = planted(elsewhere, "pass", "-n", "0", mode=0o644)
    assert ran.returncode == 1
    assert "password, which others may read" in ran.stdout
