"""`--on ray`: a real cluster of two nodes on this machine, one of which is lost; what is refused.

A node is what `ray start` starts. It is lost as a machine is: all of its processes are killed at
once, the worker among them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, make_url, select, text, update
from support import fork_server, password_watch
from support.faulty_servers import wait_until
from support.paths import ROOT
from support.processes import Cli
from support.trivial_studies import trivial_study

from weightsearch.errors import ConfigError, DeviceError, StorageError, WeightsearchError
from weightsearch.launch.places import ray, remote_worker
from weightsearch.launch.places.local import REPLACED, Command, WorkersKeepDying
from weightsearch.launch.places.ray_cluster import Node
from weightsearch.launch.places.remote_worker import ConsecutiveWorkerDeaths, Ended
from weightsearch.runtime import devices
from weightsearch.runtime.safe_text import counted
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies, verification
from weightsearch.store.tables.schema import points

pytest.importorskip("ray", reason="the extra `ray` is not installed")

PATIENCE_S = 120  # a test that waits longer has failed
Launch = Callable[..., "subprocess.Popen[bytes]"]


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all that it has started, itself first."""
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        return [first, *first.children(recursive=True)]
    return []


def signalled(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def lines(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join(process.cmdline()))
    return found


class Cluster:
    """A Ray cluster on this machine, away from any other."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wsr"))  # short: sockets lie in it
        self.nodes: list[subprocess.Popen[bytes]] = []
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WEIGHTSEARCH_", "RAY_"))}
        self.settings = {
            "RAY_TMPDIR": str(self.folder),
            "RAY_AUTH_MODE": "disabled",  # where the home folder has a token, Ray would ask for it
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0",  # it would kill for the memory of others
        }
        self.environment = kept | self.settings | {"PYTHONPATH": str(ROOT)}
        head = self.start("--head", "--port=0", "--include-dashboard=false", "--num-cpus=1")
        wait_until(lambda: self.ready(head))
        current = self.folder / "ray" / "ray_current_cluster"
        wait_until(lambda: current.is_file() and current.read_text() != "")  # after it says so
        self.address = current.read_text()
        self.settings["RAY_ADDRESS"] = self.address

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"node-{len(self.nodes)}").open("wb") as output:
            node = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                    *("--object-store-memory=80000000", *arguments),
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.nodes.append(node)
        return node

    def ready(self, node: subprocess.Popen[bytes]) -> bool:
        said = (self.folder / f"node-{self.nodes.index(node)}").read_text()
        assert node.poll() is None, said
        return "Ray runtime started" in said

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """Ends a node as a power cut does: none of its processes sees it coming."""
        processes = tree(node)
        signalled(processes, signal.SIGSTOP)
        signalled(processes, signal.SIGKILL)
        node.wait()
        self.nodes.remove(node)

    def close(self) -> None:
        for node in self.nodes[::-1]:
            self.lose(node)
        password_watch.look_through(self.folder)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def rays() -> Iterator[Cluster]:
    """A cluster of one node with one core."""
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def launch(storage: str, tmp_path: Path) -> Iterator[Launch]:
    """Starts `launch --on ray`; what it says goes to the files `answer` and `said`."""
    started: list[subprocess.Popen[bytes]] = []

    def start(settings: dict[str, str], epoch_s: float, *options: str) -> subprocess.Popen[bytes]:
        (tmp_path / "toy.toml").write_text(trivial_study(epoch_s))
        arguments = ["launch", "toy.toml", "--on", "ray", "--no-promote", "--json", *options]
        ours = {"WEIGHTSEARCH_STORAGE": storage, "PYTHONPATH": str(ROOT)}
        with (tmp_path / "answer").open("wb") as answer, (tmp_path / "said").open("wb") as said:
            process = fork_server.Forked(
                [sys.executable, "-m", "weightsearch", *arguments],
                env=os.environ | settings | ours,
                cwd=tmp_path,
                stdout=answer,
                stderr=said,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        signalled(tree(process), signal.SIGKILL)
        process.wait()


def leased_by(opened: Database, node: subprocess.Popen[bytes]) -> list[str]:
    """The workers on a node that have a point in hand."""
    pids = {process.pid for process in tree(node)}
    with opened.engine.connect() as connection:
        held = connection.execute(select(points.c.worker).where(points.c.state == "leased"))
        names = [row.worker for row in held]
    return [name for name in names if pid(name) in pids]


def statements_under_way(opened: Database) -> int:
    """What the server still works at, whoever asked for it and is stopped by now."""
    under_way = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND pid <> pg_backend_pid()"
    )
    with opened.engine.connect() as connection:
        return connection.execute(under_way).scalar_one()


def pid(worker: str) -> int:
    """From its name: HOST-PID-RANDOM."""
    return int(worker.split("-")[-2])


def test_a_node_that_is_lost_costs_an_attempt_and_nothing_else(
    rays: Cluster, launch: Launch, opened: Database, storage: str, tmp_path: Path
) -> None:
    head, other = rays.nodes[0], rays.start(f"--address={rays.address}", "--num-cpus=1")
    wait_until(lambda: rays.ready(other))
    running = launch(rays.settings, 0.3)
    wait_until(lambda: bool(leased_by(opened, head)))
    waits = pid(leased_by(opened, head)[0])
    os.kill(waits, signal.SIGSTOP)  # else it might do all the rest
    wait_until(lambda: bool(leased_by(opened, other)))
    processes = [process for started in (running, head, other) for process in tree(started)]
    secret = make_url(storage).password
    assert secret
    assert not any(secret in line for line in lines(processes))

    def stopped_at_a_point() -> list[str]:
        signalled(tree(other), signal.SIGSTOP)
        wait_until(lambda: not statements_under_way(opened))  # one may be the point's end
        if not (held := leased_by(opened, other)):
            signalled(tree(other), signal.SIGCONT)
        return held

    wait_until(lambda: bool(stopped_at_a_point()))
    (lost,) = leased_by(opened, other)
    rays.lose(other)
    os.kill(waits, signal.SIGCONT)
    with opened.engine.begin() as connection:  # as if its time had passed
        over = update(points).where(points.c.worker == lost, points.c.state == "leased")
        assert connection.execute(over.values(lease_until=func.to_timestamp(0))).rowcount == 1
    assert running.wait(PATIENCE_S) == 0, (tmp_path / "said").read_text()

    found = verification.verify(opened.engine, studies.find(opened.engine, "toy-grid"))
    assert found.ok
    assert (found.starts, found.lost, found.given_back) == (11, 1, 0)
    assert json.loads((tmp_path / "answer").read_text())["points"]["done"] == 10
    said = (tmp_path / "said").read_text()
    assert f"2 workers on the Ray cluster at {rays.address}, each with 1 core" in said
    assert "was lost with its node; another starts where there is room" in said


def test_a_killed_worker_is_replaced_and_an_interrupted_launch_gives_points_back(
    rays: Cluster, launch: Launch, opened: Database, tmp_path: Path
) -> None:
    (head,) = rays.nodes
    running = launch(rays.settings, 0.3)
    wait_until(lambda: bool(leased_by(opened, head)))
    (first,) = leased_by(opened, head)
    os.kill(pid(first), signal.SIGKILL)
    wait_until(lambda: any(name != first for name in leased_by(opened, head)))
    wait_until(lambda: "with code -9; see" in (tmp_path / "said").read_text())
    workers = [p for p in tree(head) if any("weightsearch worker" in line for line in lines([p]))]
    assert len(workers) >= 2  # the task, and what it runs
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE_S) == 130
    said = (tmp_path / "said").read_text()
    assert "interrupted: study toy-grid is saved; run the same command to resume it." in said
    assert psutil.wait_procs(workers, timeout=PATIENCE_S)[1] == []
    with opened.engine.connect() as connection:
        held = connection.execute(select(points.c.worker).where(points.c.state == "leased"))
        assert [row.worker for row in held] in ([], [first])  # whose lease has not run out yet


def test_without_a_cluster_an_instance_of_this_machine_is_started_and_ended(
    rays: Cluster, launch: Launch, opened: Database, tmp_path: Path
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="wsr"))
    settings = {k: v for k, v in rays.settings.items() if k != "RAY_ADDRESS"}
    running = launch(settings | {"RAY_TMPDIR": str(folder)}, 0.0, "--device", "cpu")
    wait_until(lambda: any("raylet" in line for line in lines(tree(running))))
    processes = tree(running)
    assert running.wait(PATIENCE_S) == 0, (tmp_path / "said").read_text()
    said = (tmp_path / "said").read_text()
    many = counted(min(10, devices.most_on_cpu()), "worker")
    assert f"{many} on a Ray instance of this machine" in said
    assert verification.verify(opened.engine, studies.find(opened.engine, "toy-grid")).ok
    assert psutil.wait_procs(processes, timeout=PATIENCE_S)[1] == []
    password_watch.look_through(folder)
    shutil.rmtree(folder)


def test_what_is_missing_is_said_in_one_line(cli: Cli, storage: str, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(trivial_study(0))

    def refusal(*options: str, **environment: str) -> str:
        environment |= {"WEIGHTSEARCH_STORAGE": storage}
        refused = cli("launch", "toy.toml", "--on", "ray", *options, **environment)
        assert refused.returncode == 1
        return refused.stderr.splitlines()[-1]

    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        assert refusal(RAY_ADDRESS=address).startswith(
            f"error: RAY_ADDRESS must be HOST:PORT of a Ray cluster's head, but {address} does not"
            " answer ("
        )
    assert "but nonsense does not answer" in refusal(RAY_ADDRESS="nonsense")
    assert refusal("--device", "cuda:1") == (
        "error: --device must be auto, cpu or cuda where Ray chooses the GPU, but got 'cuda:1'."
    )
    without = tmp_path / "without"
    without.mkdir()
    (without / "ray.py").write_text("raise ImportError")
    assert refusal(PYTHONPATH=f"{without}:{ROOT}") == (
        "error: --on ray needs Ray, which is not installed; pip install 'weightsearch[ray]'."
    )
    elsewhere = cli("launch", "toy.toml", "--on", "moon", WEIGHTSEARCH_STORAGE=storage)
    assert elsewhere.stderr.splitlines()[-1] == (
        "error: --on must be one of local, ray, slurm, but got 'moon'."
    )


@pytest.mark.parametrize(
    "argument",
    ["--storage=postgresql://me:hidden@host/db", "postgresql://host/db?password=hidden"],
)
def test_a_password_among_the_arguments_is_refused_as_ray_would_show_it(
    argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["weightsearch", "launch", argument])
    with pytest.raises(ConfigError, match="WEIGHTSEARCH_STORAGE") as refused:
        ray.placed("cpu", 1)
    assert "hidden" not in str(refused.value)


def test_the_embedded_database_serves_only_nodes_of_this_machine(tmp_path: Path) -> None:
    here, other = Node(socket.gethostname(), 1, 0), Node("other", 1, 0)
    embedded = Command("study", None, {"WEIGHTSEARCH_HOME": str(tmp_path)}, tmp_path)
    ray.check_database([here, here], embedded)
    with pytest.raises(StorageError, match="embedded one is not on other; set WEIGHTSEARCH_STOR"):
        ray.check_database([here, other], embedded)
    shared = Command("study", None, {"WEIGHTSEARCH_STORAGE": "postgresql://host/db"}, tmp_path)
    ray.check_database([here, other], shared)


@pytest.mark.parametrize(
    ("nodes", "devices", "demand"),
    [
        ([(4, 0), (4, 0)], ["cpu"] * 2, "4 cores"),
        ([(4, 0), (2, 0)], ["cpu"] * 3, "2 cores"),
        ([(1, 0)], ["cpu"] * 3, "0.3333 cores"),
        ([(16, 2), (16, 2), (8, 0)], ["cuda:0"] * 4, "1 GPU and 8 cores"),
        ([(16, 2)], ["cuda:0"] * 8, "0.25 GPU and 2 cores"),
    ],
)
def test_workers_share_the_cluster_in_equal_parts(
    nodes: list[tuple[int, int]], devices: list[str], demand: str
) -> None:
    assert str(ray.demanded([Node("n", *node) for node in nodes], devices)) == demand


def test_a_worker_asks_for_all_gpus_that_it_takes() -> None:
    nodes = [Node("a", 16, 4), Node("b", 16, 8), Node("c", 64, 0)]
    for each, demand in ((2, "2 GPU and 4 cores"), ("auto", "8 GPU and 16 cores")):
        assert str(ray.demanded(nodes, ["cuda:0"] * 2, each)) == demand
    with pytest.raises(DeviceError, match="need 9 GPUs each"):
        ray.demanded(nodes, ["cuda:0"], 9)


def test_a_cluster_without_what_workers_need_is_refused() -> None:
    with pytest.raises(DeviceError, match="need a GPU"):
        ray.demanded([Node("n", 4, 0)], ["cuda:0"])
    with pytest.raises(DeviceError, match="need cores"):
        ray.demanded([Node("n", 0, 0)], ["cpu"])


@given(st.lists(st.integers(0, 16), min_size=1, max_size=5), st.integers(1, 40))
def test_the_part_of_each_worker_is_the_largest_of_which_all_fit(
    each: list[int], workers: int
) -> None:
    def fits(part: float) -> bool:
        return sum(int(amount / part + 1e-9) for amount in each) >= workers

    part = remote_worker.share(each, workers, max(each))
    if not any(each):
        assert part == 0.0
        return
    assert fits(part)
    if part >= 1:
        assert part == int(part)
        assert part == max(each) or not fits(part + 1)
    else:
        assert not fits(1.0)
        assert not fits(1 / (round(1 / part) - 1))


def test_workers_that_die_again_and_again_end_the_launch() -> None:
    losses, killed = ConsecutiveWorkerDeaths(), Ended(-9, "", "node", Path("worker.log"))
    for finished in range(REPLACED):  # something comes of it in between
        losses.look(finished)
        assert losses.replace(1, killed)
    for _ in range(REPLACED - 2):
        assert losses.replace(1, killed)
    with pytest.raises(WorkersKeepDying, match=r"on node with code -9; see worker\.log"):
        losses.replace(1, killed)
    with pytest.raises(WeightsearchError, match=r"no data\. \(on node\)"):
        losses.replace(1, Ended(1, "error: no data.", "node", None))
    assert not losses.replace(1, Ended(0, "", "node", None))
