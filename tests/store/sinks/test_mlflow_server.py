"""A study in MLflow over HTTP: a server process on SQLite, and a sink that is killed over it."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.faulty_servers import free_port, wait_until
from support.mlflow_places import client, counted, expected, found, show_and_kill
from support.tracked_studies import ATTEMPTS, tracked_study

from weightsearch.runtime import failpoints
from weightsearch.store.connection.database import Database
from weightsearch.store.sinks import mlflow_runs

pytestmark = pytest.mark.skipif(
    find_spec("mlflow") is None or find_spec("flask") is None,
    reason="the package `mlflow`, with its server, is not installed",
)

Server = Callable[[int], "subprocess.Popen[bytes]"]
"""Starts one on a port, with its store and its log in the current folder."""
STORE = "sqlite:///mlflow.db"


def program(port: int) -> subprocess.Popen[bytes]:
    """As MLflow's documentation starts it; half a minute of imports on a busy machine."""
    named = {"MLFLOW_BACKEND_STORE_URI": STORE, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = (sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--workers", "1")
    with Path("log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | named,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def application(port: int) -> subprocess.Popen[bytes]:
    """The application that the program serves, without the programs around it."""
    code = (
        "from mlflow.server import app; from werkzeug.serving import run_simple;"
        f"run_simple('127.0.0.1', {port}, app, threaded=True)"
    )
    # What the program says to its workers.
    named = {"_MLFLOW_SERVER_FILE_STORE": STORE, "_MLFLOW_SERVER_ARTIFACT_ROOT": "artifacts"}
    with Path("log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            env=os.environ | named,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def served(server: Server) -> Iterator[str]:
    """The URL of a server with a store of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = server(port)

    def answers() -> bool:
        assert process.poll() is None, Path("log").read_text()
        with suppress(OSError), urllib.request.urlopen(f"{url}/health") as answer:
            return bool(answer.status == 200)
        return False

    try:
        wait_until(answers, patience_s=200)
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in mlflow_runs.DEFAULTS.items():
        monkeypatch.setenv(name, value)


def test_a_server_has_each_run_once_with_the_ledgers_values(
    opened: Database, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tracked_study(opened)
    reached = iter(range(10**6))

    class Killed(BaseException):
        pass

    def die(place: str) -> None:
        if next(reached) == 3 * 5 + 1:
            assert place == "in-track"  # of the sixth run, which is made and has no values
            raise Killed

    with served(application) as url:
        with monkeypatch.context() as patch:
            patch.setattr(failpoints, "reach", die)
            with pytest.raises(Killed):
                mlflow_runs.write(opened.engine, study, url)
        assert mlflow_runs.write(opened.engine, study, url) == ATTEMPTS - 5
        assert found(url) == expected(opened, study)
        assert mlflow_runs.write(opened.engine, study, url) == 0
    assert capfd.readouterr().out == ""  # it belongs to the answer of --json


@pytest.mark.slow
def test_killed_at_ten_random_moments_a_server_has_each_run_once(
    opened: Database, storage: str, tmp_path: Path
) -> None:
    study = tracked_study(opened)
    with served(program) as url:
        client(url).search_experiments()  # its imports are no work of the sink
        calls = counted(lambda: mlflow_runs.write(opened.engine, study, url))
        assert found(url) == expected(opened, study)
        whole = client(url).get_experiment_by_name(study.name)
        client(url).rename_experiment(whole.experiment_id, "shown before")
        show_and_kill(study, storage, tmp_path, url, calls, kills=10)
        left = mlflow_runs.write(opened.engine, study, url)
        assert 0 < left <= ATTEMPTS
        assert found(url) == expected(opened, study)
