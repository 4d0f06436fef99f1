"""A launch as a process: to its end, interrupted and continued, refused; and who it leaves."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support import fork_server
from support.processes import Cli
from support.trivial_studies import trivial_study

from weightsearch.launch import session
from weightsearch.runtime import own_traceback
from weightsearch.store.connection import database
from weightsearch.store.connection.database import Database
from weightsearch.store.embedded import client, server_folders
from weightsearch.store.ledger import queries, studies, verification
from weightsearch.store.tables.states import Rung

PROMOTE = """
[promote]
top = 2
seeds = [1, 2]
epochs = 3
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "toy.toml"
    file.write_text(trivial_study(0.0, PROMOTE))
    return file


def test_a_launch_plans_runs_ranks_and_promotes(
    cli: Cli, study: Path, storage: str, opened: Database
) -> None:
    ran = cli(
        "launch", study, "--workers", 2, "--device", "cpu", "--json", WEIGHTSEARCH_STORAGE=storage
    )
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["points"]["done"] == 10
    assert [row["rank"] for row in answer["ranking"]] == list(range(1, 11))
    assert answer["promoted"]["verdict"] in ("winner", "equivalent", "undecided")
    assert answer["promoted"]["lineage"]["seeds"] == [1, 2]
    assert "search: 10/10 points" in ran.stderr
    found = studies.find(opened.engine, "toy-grid")
    assert found.promoted is not None
    assert queries.counts(opened.engine, found, Rung.PROMOTION)["done"] == 4

    again = cli("launch", study, "--device", "cpu", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert again.returncode == 0, again.stderr
    assert verification.verify(opened.engine, found).starts == 10

    status = json.loads(cli("status", "--json", WEIGHTSEARCH_STORAGE=storage).stdout)
    assert status["study"] == "toy-grid"
    assert status["points"]["total"] == sum(
        status["points"][s] for s in ("waiting", "leased", "paused", "done", "failed")
    )
    assert {"equivalent_left_out", "workers", "best"} <= set(status)
    best = json.loads(cli("best", "--json", WEIGHTSEARCH_STORAGE=storage).stdout)
    row = best["ranking"][0]
    assert {"point", "weights", "rmse", "rel", "log10", "images"} <= set(row)
    assert set(row["weights"]) == {"mae", "edge", "ssim"}
    assert sum(row["weights"].values()) == pytest.approx(1)
    assert (best["protocol"], best["split"]) == (None, "val")  # no [data], no protocol
    verified = json.loads(cli("verify", "--json", WEIGHTSEARCH_STORAGE=storage).stdout)
    assert verified["ok"]
    assert {"points", "done_once", "missing", "duplicated"} <= set(verified)
    for command in ("status", "best", "verify"):
        plain = cli(command, "toy-grid", WEIGHTSEARCH_STORAGE=storage)
        assert plain.returncode == 0
        assert "toy-grid" in plain.stdout or "10 of 10" in plain.stdout


def test_a_sampler_and_its_size_can_be_chosen_on_the_command_line(
    cli: Cli, study: Path, storage: str
) -> None:
    for kind in ("random", "qmc", "tpe", "gp", "cmaes", "mixture"):
        ran = cli(
            "launch", study, "--sampler", kind, "--trials", 4, "--seed", 3, "--device", "cpu",
            "--no-promote", "--json", WEIGHTSEARCH_STORAGE=storage,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        answer = json.loads(ran.stdout)
        assert answer["study"] == f"toy-{kind}"
        assert answer["points"]["done"] == 4
        assert answer["promoted"] is None


CPU = ("--device", "cpu")


@pytest.fixture
def running(tmp_path: Path, storage: str) -> Iterator[subprocess.Popen[str]]:
    """A launch with one worker in the middle of its first point."""
    file = tmp_path / "toy.toml"
    file.write_text(trivial_study(0.15, PROMOTE))
    process = fork_server.Forked(
        [sys.executable, "-m", "weightsearch", "launch", "toy.toml", *CPU, "--no-promote"],
        env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    for child in workers_of(process) if process.poll() is None else []:
        child.kill()
    process.kill()
    process.communicate()


def workers_of(launch: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for p in psutil.Process(launch.pid).children() if "worker" in p.cmdline()]


def wait_for_done(opened: Database, at_least: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            study = studies.find(opened.engine, "toy-grid")
        except Exception:
            time.sleep(0.05)
            continue
        if queries.counts(opened.engine, study)["done"] >= at_least:
            return
        time.sleep(0.05)
    raise AssertionError("waited too long")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_launch_says_how_to_go_on_and_going_on_loses_nothing(
    running: subprocess.Popen[str],
    opened: Database,
    storage: str,
    cli: Cli,
    tmp_path: Path,
    number: int,
) -> None:
    wait_for_done(opened, 1)
    workers = workers_of(running)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted: study toy-grid is saved; run the same command to resume it." in said
    assert not any(worker.is_running() for worker in workers)
    study = studies.find(opened.engine, "toy-grid")
    counts = queries.counts(opened.engine, study)
    assert counts["leased"] == 0
    assert counts["done"] < 10
    again = ("launch", tmp_path / "toy.toml", "--device", "cpu", "--no-promote")
    ran = cli(*again, WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert found.starts == 10 + found.given_back


def test_a_killed_worker_is_replaced(
    tmp_path: Path, cli: Cli, study: Path, storage: str, opened: Database
) -> None:
    ran = cli(
        "launch", study, *CPU, "--no-promote",
        WEIGHTSEARCH_STORAGE=storage,
        WEIGHTSEARCH_FAILPOINT=f"after-compute@{tmp_path / 'once'}",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "ended by SIGKILL; starting another" in ran.stderr
    toy = studies.find(opened.engine, "toy-grid")
    # The lease is a minute; who replaces a dead worker need not wait for it.
    (lost,) = [row for row in queries.troubles(opened.engine, toy) if row["outcome"] == "lost"]
    assert lost["reason"] == "its process died"
    found = verification.verify(opened.engine, toy)
    assert found.ok
    assert found.starts == 10 + 1


def test_a_launch_carries_on_when_the_embedded_server_is_killed(tmp_path: Path, cli: Cli) -> None:
    """Its owner is killed with it; the next to connect starts another."""
    (tmp_path / "toy.toml").write_text(trivial_study(0.1, PROMOTE))
    home = tmp_path / "home"
    try:
        launch = fork_server.Forked(
            [sys.executable, "-m", "weightsearch", "launch", "toy.toml", *CPU, "--json"],
            env=dict(os.environ),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        opened = database.open_database(None, home)
        wait_for_done(opened, 1)
        folder = server_folders.server_folder(home)
        supervisor = json.loads((folder / "supervisor.lock").read_text())["pid"]
        os.kill(supervisor, signal.SIGKILL)
        answer = json.loads(launch.communicate(timeout=120)[0])
        assert launch.returncode == 0
        assert answer["points"]["done"] == 10
        assert json.loads(cli("verify", "toy-grid", "--json").stdout)["ok"]
        opened.engine.dispose()
    finally:
        launch.kill()
        client.release(home)
        with (folder / "supervisor.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the server has ended
        if folder.parent == server_folders.SHARED:
            shutil.rmtree(folder)


def test_workers_stop_when_their_launcher_is_killed(
    running: subprocess.Popen[str], opened: Database
) -> None:
    wait_for_done(opened, 1)
    workers = workers_of(running)
    running.kill()
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    study = studies.find(opened.engine, "toy-grid")
    assert queries.counts(opened.engine, study)["leased"] == 0


def test_a_changed_study_under_its_old_name_is_refused(cli: Cli, study: Path, storage: str) -> None:
    study.write_text(study.read_text().replace("steps = 3", "steps = 1"))
    arguments = ("launch", study, "--device", "cpu", "--no-promote")
    where = {"WEIGHTSEARCH_STORAGE": storage}
    assert cli(*arguments, **where).returncode == 0
    study.write_text(study.read_text().replace("epochs = 2", "epochs = 3"))
    refused = cli(*arguments, **where)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(
        "error: study 'toy-grid' was planned from other settings"
    )
    assert cli(*arguments, "--name", "other", **where).returncode == 0


def test_what_is_wrong_with_an_objective_is_said_before_anything_is_planned(
    cli: Cli, study: Path, storage: str, opened: Database
) -> None:
    study.write_text(
        study.read_text().replace("weightsearch.study.trivial_objective:run", "nowhere:run")
    )
    refused = cli("launch", study, "--device", "cpu", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: objective 'nowhere:run' must be")
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM ws_studies").scalar() == 0


def test_an_objective_that_always_fails_ends_the_launch_with_its_own_traceback(
    cli: Cli, study: Path, storage: str, tmp_path: Path
) -> None:
    """Above the error's one line; no frame of ours in it."""
    (tmp_path / "mine.py").write_text(
        "\ndef run(weights, params, context):\n    yield {'rmse': weights['none']}\n"
    )
    text = study.read_text().replace("weightsearch.study.trivial_objective:run", "mine:run")
    study.write_text(text)
    ended = cli("launch", study, "--device", "cpu", "--quiet", WEIGHTSEARCH_STORAGE=storage)
    assert ended.returncode == 1
    assert ended.stdout == ""
    *before, last = ended.stderr.splitlines()
    # Three are enough; another worker may have been at a fourth.
    assert re.match(r"error: the first \d points must not all fail, but did: KeyError", last)
    [trace] = own_traceback.logged(ended.stderr)
    assert f'File "{tmp_path / "mine.py"}", line 3, in run' in trace
    assert "weightsearch/" not in trace
    assert not any(line.startswith("error") for line in before)
    status = cli("status", WEIGHTSEARCH_STORAGE=storage).stdout
    assert "`weightsearch retry toy-grid --failed` and the same launch" in " ".join(status.split())


def test_a_users_own_objective_beside_its_study_file_is_found(
    cli: Cli, study: Path, storage: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "network.py").write_text(
        "def run(weights, params, context):\n    yield {'rmse': weights['ssim']}\n"
    )
    text = study.read_text().replace("weightsearch.study.trivial_objective:run", "network:run")
    (folder / "study.toml").write_text(text.replace("epoch_s = 0.0", ""))
    ran = cli(
        *("launch", folder / "study.toml", "--device", "cpu", "--workers", 2, "--json"),
        WEIGHTSEARCH_STORAGE=storage,
    )
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["ranking"][0]["rmse"] == 0.0
    assert answer["ranking"][0]["interval"] is None  # one number, nothing to resample
    logs = Path(answer["home"], "logs", "study-grid").glob("worker-*.log")
    assert len(list(logs)) == 2


def test_no_gpu_where_one_was_asked_for(cli: Cli, study: Path) -> None:
    refused = cli("launch", study, "--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert refused.returncode == 1
    assert "--device cuda needs a GPU, but this machine shows none" in refused.stderr


@pytest.mark.parametrize(("look_s", "pause_s"), [(0.001, 0.5), (0.1, 1.9), (60.0, 5.0)])
def test_a_launch_rests_longer_between_looks_that_take_long_but_not_for_ever(
    look_s: float, pause_s: float
) -> None:
    assert session._pause_s(look_s) == pytest.approx(pause_s)
