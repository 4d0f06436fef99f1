"""`--on slurm`, against Slurm's programs as fake_slurm.py plays them: the elements are real."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import func, make_url, select, update
from support import fake_slurm, fork_server
from support.fake_slurm import Element
from support.faulty_servers import wait_until
from support.paths import ROOT
from support.processes import Cli
from support.specs import make_spec
from support.trivial_studies import trivial_study

from weightsearch.errors import ConfigError, WeightsearchError
from weightsearch.launch.places import slurm, slurm_jobs
from weightsearch.launch.places.local import Command
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import points
from weightsearch.study import planning

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")


@pytest.fixture
def cluster_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Makes a cluster with room for so many elements at once; the folder of what it knows."""
    home = tmp_path / "slurm"

    def make(room: int) -> Path:
        home.mkdir()
        (home / "room").write_text(str(room))
        fake_slurm.install(tmp_path / "bin")
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_SLURM", str(home))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setattr(fake_slurm, "HOME", home)
        return home

    yield make
    for file in home.glob("*/daemon"):
        try:
            daemon = psutil.Process(int(file.read_text()))
        except psutil.NoSuchProcess:
            continue
        fake_slurm.send([daemon, *daemon.children(recursive=True)], signal.SIGKILL)


@pytest.fixture
def launch(storage: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `launch --on slurm`; what it says goes to the files `answer` and `said`."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        (tmp_path / "toy.toml").write_text(trivial_study(0.2))
        arguments = ["launch", "toy.toml", "--on", "slurm", "--no-promote", "--json", *options]
        with (tmp_path / "answer").open("wb") as answer, (tmp_path / "said").open("wb") as said:
            process = fork_server.Forked(
                [sys.executable, "-m", "weightsearch", *arguments],
                env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
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


def holds(opened: Database, element: Element) -> bool:
    """Whether the worker of an element has a point in hand."""
    with opened.engine.connect() as connection:
        held = connection.execute(select(points.c.worker).where(points.c.state == "leased"))
        names = [row.worker for row in held]
    pids = {str(process.pid) for process in element.processes()}
    return any(name.split("-")[-2] in pids for name in names)


def read(home: Path, pattern: str) -> str:
    return "\n".join(file.read_text() for file in sorted(home.glob(pattern)))


def test_an_element_near_its_time_limit_is_requeued_and_goes_on(
    cluster_of: Callable[..., Path],
    launch: Callable[..., subprocess.Popen[bytes]],
    opened: Database,
    storage: str,
    tmp_path: Path,
) -> None:
    home, element, other = cluster_of(room=2), Element("1_0"), Element("1_1")
    running = launch("--workers", "2")
    wait_until(lambda: holds(opened, element) and holds(opened, other))
    fake_slurm.send(other.processes(), signal.SIGSTOP)  # else it might do all the rest
    secret = make_url(storage).password
    assert secret
    lines = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert not any(secret in line for line in lines)
    fake_slurm.scancel("--signal=USR2", "1_0")  # as Slurm does `--signal` seconds before the limit
    wait_until(lambda: element.read("runs") == "2")
    fake_slurm.send(other.processes(), signal.SIGCONT)
    assert running.wait(60) == 0, (tmp_path / "said").read_text()

    study = studies.find(opened.engine, "toy-grid")
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert found.lost == 0  # its point was given back, unless it was in its last epoch
    assert found.starts == 10 + found.given_back
    assert json.loads((tmp_path / "answer").read_text())["points"]["done"] == 10
    assert "2 workers submitted to Slurm as job 1" in (tmp_path / "said").read_text()
    assert not list(home.glob("2*"))  # the requeued element is the old one

    script = read(home, "1.sh")
    assert "#SBATCH --array=0-1%2" in script
    assert "#SBATCH --requeue" in script
    assert secret not in script
    assert secret not in read(home, "1.environment")
    assert "WEIGHTSEARCH" not in read(home, "1.environment")
    (folder,) = (tmp_path / "home" / "slurm").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(folder.glob("*.pkl*"))  # which held the password


def test_an_interrupted_launch_leaves_nothing_in_the_queue_and_goes_on_later(
    cluster_of: Callable[..., Path],
    launch: Callable[..., subprocess.Popen[bytes]],
    opened: Database,
    tmp_path: Path,
) -> None:
    cluster_of(room=1)
    running = launch("--workers", "2")
    both = Element("1_0"), Element("1_1")
    wait_until(lambda: any(holds(opened, element) for element in both))
    processes = [process for element in both for process in element.processes()]
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert "run the same command to resume it" in (tmp_path / "said").read_text()
    assert psutil.wait_procs(processes, timeout=60)[1] == []
    wait_until(lambda: {element.read("state") for element in both} == {"CANCELLED", "COMPLETED"})
    study = studies.find(opened.engine, "toy-grid")
    assert queries.counts(opened.engine, study)["leased"] == 0
    assert verification.verify(opened.engine, study).lost == 0

    # An element that still waits in the queue must not keep the launch from ending.
    again = launch("--workers", "2")
    both = Element("2_0"), Element("2_1")
    wait_until(lambda: any(holds(opened, element) for element in both))
    Element("").write("room", 0)  # in one piece: elements read it all the time
    assert again.wait(60) == 0, (tmp_path / "said").read_text()
    assert verification.verify(opened.engine, study).ok
    wait_until(lambda: {element.read("state") for element in both} == {"CANCELLED", "COMPLETED"})


@pytest.fixture
def study(opened: Database) -> Study:
    spec = make_spec(params={"epoch_s": 0.2})
    return studies.create(opened.engine, "study", spec, planning.plan(spec))


@pytest.fixture
def command(storage: str, tmp_path: Path) -> Command:
    environment = {"WEIGHTSEARCH_HOME": str(tmp_path), "WEIGHTSEARCH_STORAGE": storage}
    return Command("study", None, environment, tmp_path / "logs")


def finished(opened: Database, study: Study) -> int:
    return queries.counts(opened.engine, study)["done"]


def follow(check: Callable[[int], bool], opened: Database, study: Study) -> None:
    wait_until(lambda: not check(finished(opened, study)))


def test_an_element_that_is_lost_with_its_node_is_replaced(
    cluster_of: Callable[..., Path],
    command: Command,
    study: Study,
    opened: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster_of(room=2)
    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.2)
    with slurm.workers(command, ["cpu"], 30) as check:
        lost = Element("1")  # a single one is no array
        wait_until(lambda: holds(opened, lost))
        fake_slurm.fail("1")
        with opened.engine.begin() as connection:  # as if its time had passed
            over = update(points).where(points.c.state == "leased")
            held = connection.execute(over.values(lease_until=func.to_timestamp(0))).rowcount
        follow(check, opened, study)
    assert lost.read("state") == "NODE_FAIL"
    wait_until(lambda: Element("2").read("state") == "COMPLETED")
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert (found.starts, found.lost) == (10 + held, held)


def test_an_element_that_its_owner_cancels_gives_its_point_back_and_is_not_replaced(
    cluster_of: Callable[..., Path],
    command: Command,
    study: Study,
    opened: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    home = cluster_of(room=2)
    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.2)
    with slurm.workers(command, ["cpu", "cpu"], 30) as check:
        cancelled, other = Element("1_0"), Element("1_1")
        wait_until(lambda: holds(opened, cancelled) and holds(opened, other))
        fake_slurm.send(other.processes(), signal.SIGSTOP)  # else it might do all the rest
        subprocess.run(["scancel", "1_0"], check=True)
        wait_until(lambda: check(0) and "worker 1 was cancelled in Slurm" in caplog.text)
        fake_slurm.send(other.processes(), signal.SIGCONT)
        follow(check, opened, study)
    assert cancelled.read("state") == "CANCELLED"
    assert not list(home.glob("2*"))
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert (found.lost, found.starts) == (0, 10 + found.given_back)


def test_what_a_worker_states_ends_the_launch(
    cluster_of: Callable[..., Path], command: Command, opened: Database
) -> None:
    cluster_of(room=1)
    stated = pytest.raises(WeightsearchError, match=r"there is no study yet.* \(on .*\)")
    with stated, slurm.workers(command, ["cpu"], 30) as check:  # there is no study of that name
        wait_until(lambda: not check(0))


def test_an_element_asks_for_as_many_gpus_as_its_worker_takes() -> None:
    for said, each, gpus in (("", 4, "4"), ("", "auto", "1"), ("--gpus-per-node=2", "auto", "2")):
        asked = slurm_jobs.options(said, "cuda", each)["additional_parameters"]
        assert asked["gpus-per-node"] == gpus


@pytest.mark.parametrize(
    ("said", "device", "expected"),
    [
        ("", "cpu", {"requeue": True}),
        ("", "cuda", {"requeue": True, "gpus-per-node": "1"}),
        (
            "--partition=gpu",
            "cuda",
            {"requeue": True, "partition": "gpu", "gpus-per-node": "1"},
        ),
        ("--gres=gpu:a100:1", "cuda", {"requeue": True, "gres": "gpu:a100:1"}),
        (
            "--partition=long --exclusive --comment='two words'",
            "cpu",
            {"requeue": True, "partition": "long", "exclusive": True, "comment": "two words"},
        ),
    ],
)
def test_options_of_sbatch_come_from_the_environment(
    said: str, device: str, expected: dict[str, Any]
) -> None:
    found = slurm_jobs.options(said, device)
    assert found["additional_parameters"] == expected
    assert found["time"] == slurm_jobs.TIME_MIN
    assert slurm_jobs.options(f"{said} --time=90", device)["time"] == 90


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("-p gpu", "got '-p'; each is --NAME=VALUE"),
        ("gpu", "got 'gpu'; each is --NAME=VALUE"),
        ("--array=0-9", "got '--array=0-9'; that one is set by weightsearch"),
        ("--comment='open", "a quotation in it does not end"),
        ("--time=1-00:00:00", "--time must be whole minutes, but got '1-00:00:00'"),
        ("--time", "--time must be whole minutes, but got ''"),
    ],
)
def test_other_options_are_refused(said: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        slurm_jobs.options(said, "cpu")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_missing_is_said_in_one_line(
    cluster_of: Callable[..., Path], cli: Cli, storage: str, tmp_path: Path
) -> None:
    (tmp_path / "toy.toml").write_text(trivial_study(0.2))

    def refusal(**environment: str) -> str:
        refused = cli("launch", "toy.toml", "--on", "slurm", "--no-promote", **environment)
        assert refused.returncode == 1
        return refused.stderr.splitlines()[-1]

    url = {"WEIGHTSEARCH_STORAGE": storage}
    assert refusal(**url) == (
        "error: --on slurm needs Slurm's programs, but sbatch is not on the PATH; launch from a"
        " machine that submits jobs."
    )
    home = cluster_of(room=1)
    without = tmp_path / "without"
    without.mkdir()
    (without / "submitit.py").write_text("raise ImportError")
    assert refusal(**url, PYTHONPATH=f"{without}:{ROOT}") == (
        "error: --on slurm needs submitit, which is not installed; pip install"
        " 'weightsearch[slurm]'."
    )
    assert "WEIGHTSEARCH_SLURM must hold" in refusal(**url, WEIGHTSEARCH_SLURM="--nodes=2")
    (home / "refuses").write_text("invalid partition specified: gpu")
    assert refusal(**url) == (
        "error: Slurm must accept the job, but says: sbatch: error: invalid partition specified:"
        " gpu; WEIGHTSEARCH_SLURM holds the options of sbatch."
    )


def test_the_embedded_database_is_refused(
    cluster_of: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    cluster_of(room=1)
    embedded = Command("study", None, {"WEIGHTSEARCH_HOME": str(tmp_path)}, tmp_path / "logs")
    refused = pytest.raises(WeightsearchError, match="embedded one is on this machine alone")
    with refused, slurm.workers(embedded, ["cpu"], 1):
        pass
