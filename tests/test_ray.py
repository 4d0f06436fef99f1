"""`--on ray`: a real cluster of two nodes on this machine, one of which is lost; and what is refused.

A node is what `ray start` starts. It is lost as a machine is: all of its processes, the worker among
them, are killed at once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, Cli
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, make_url, select, update

from weightsearch.errors import ConfigError, DeviceError, StorageError
from weightsearch.launch import ray, remote
from weightsearch.launch.local import Command
from weightsearch.launch.ray_cluster import Node
from weightsearch.store import ledger, reading
from weightsearch.store.database import Database
from weightsearch.store.schema import points

pytest.importorskip("ray", reason="the extra `ray` is not installed")

PATIENCE_S = 120  # a test that waits longer has failed
STUDY = """
goal = "test"
[objective]
run = "weightsearch.trivial:run"
[loss]
weights = { grid = "simplex", steps = 3 }
[params]
epoch_s = EPOCH_S
[train]
epochs = 2
"""


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it has started, itself first."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a node as a power cut does: its workers first, lest they see it coming."""
    for each in reversed(tree(psutil.Process(process.pid))):
        each.kill()
    process.wait()


class Cluster:
    """A Ray cluster on this machine, away from any other."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wsr"))  # short: sockets lie in it
        self.nodes: list[subprocess.Popen[bytes]] = []
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WEIGHTSEARCH_", "RAY_"))}
        self.environment = kept | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "RAY_TMPDIR": str(self.folder),
            "RAY_AUTH_MODE": "disabled",  # else it writes a token into the home folder
            "RAY_memory_monitor_refresh_ms": "0",  # it would kill for the memory of others
        }
        self.start("--head", "--port=0", "--include-dashboard=false", "--num-cpus=2")
        noted = self.folder / "ray" / "ray_current_cluster"
        wait_until(lambda: noted.exists() and noted.read_text() != "")
        self.address = noted.read_text()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        node = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                *("--disable-usage-stats", "--object-store-memory=80000000", *arguments),
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.nodes.append(node)
        return node

    def settings(self) -> dict[str, str]:
        """What makes a launch use this cluster."""
        ours = ("RAY_TMPDIR", "RAY_AUTH_MODE")
        return {"RAY_ADDRESS": self.address} | {name: self.environment[name] for name in ours}

    def close(self) -> None:
        for node in reversed(self.nodes):
            if node.poll() is None:
                kill(node)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node with two cores."""
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def launch(
    cluster: Cluster, storage: str, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `launch --on ray`, its output in the files `answer` and `said`."""
    started: list[subprocess.Popen[bytes]] = []

    def start(epoch_s: float, *options: str) -> subprocess.Popen[bytes]:
        (tmp_path / "toy.toml").write_text(STUDY.replace("EPOCH_S", str(epoch_s)))
        arguments = ["launch", "toy.toml", "--on", "ray", "--no-promote", "--json", *options]
        with (tmp_path / "answer").open("wb") as answer, (tmp_path / "said").open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "weightsearch", *arguments],
                env=os.environ | cluster.settings() | {"WEIGHTSEARCH_STORAGE": storage},
                cwd=tmp_path,
                stdout=answer,
                stderr=said,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def leased_by(opened: Database, pids: set[int]) -> list[str]:
    """The workers, of these processes, that have a point in hand."""
    with opened.engine.connect() as connection:
        held = select(points.c.worker).where(points.c.state == "leased")
        names = [row.worker for row in connection.execute(held)]
    return [name for name in names if int(name.split("-")[-2]) in pids]


def pids(node: subprocess.Popen[bytes]) -> set[int]:
    return {process.pid for process in tree(psutil.Process(node.pid))}


def test_a_node_that_is_lost_costs_an_attempt_and_nothing_else(
    cluster: Cluster,
    launch: Callable[..., subprocess.Popen[bytes]],
    opened: Database,
    storage: str,
    tmp_path: Path,
) -> None:
    other = cluster.start(f"--address={cluster.address}", "--num-cpus=1")
    wait_until(lambda: any("raylet" in process.name() for process in tree(psutil.Process(other.pid))))
    wait_until(lambda: "Ray runtime started" in logs(cluster, other))
    running = launch(0.3, "--workers", "2")
    wait_until(lambda: bool(leased_by(opened, pids(other))))
    (lost,) = leased_by(opened, pids(other))
    lines = [" ".join(process.cmdline()) for node in cluster.nodes for process in tree(node)]
    kill(other)
    with opened.engine.begin() as connection:  # as if its time had passed
        over = update(points).where(points.c.worker == lost, points.c.state == "leased")
        connection.execute(over.values(lease_until=func.now()))
    assert running.wait(PATIENCE_S) == 0, (tmp_path / "said").read_text()

    found = reading.verify(opened.engine, ledger.find(opened.engine, "toy-grid"))
    assert found["ok"]
    assert (found["starts"], found["lost"]) == (11, 1)
    said = (tmp_path / "said").read_text()
    assert f"2 workers on the Ray cluster at {cluster.address}, each with 1 cores" in said
    assert "was lost with its node; another starts where there is room" in said
    assert json.loads((tmp_path / "answer").read_text())["points"]["done"] == 10
