"""What a study is expected to take: said before it is planned, and asked about where it is long."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support import fork_server
from support.processes import Cli
from support.specs import make_spec
from support.trivial_studies import trivial_study

from weightsearch.errors import ObjectiveError
from weightsearch.launch import preparation
from weightsearch.launch.expected_cost import expected, hours
from weightsearch.store.connection.database import Database
from weightsearch.store.tables.schema import studies
from weightsearch.study.budget import Budget
from weightsearch.study.objective_contract import Estimate
from weightsearch.study.preflight import Preflight

RUN = "def run(weights, params, context):\n    yield {'rmse': weights['mae']}\n"
ESTIMATE = "def estimate(spec, device, packed):\n    "
HOUR_LONG = RUN + ESTIMATE + "return {'epoch_s': 3600, 'how': 'guessed'}\n"
LINES = [  # the terminal's 80 columns
    "study toy-grid: 10 points of 2 epochs: about 20 h on 1 worker (measured:",
    "guessed)",
]
SPEC = make_spec()  # 2 epochs; promotes 2 with 2 seeds for 3 epochs
ONE = Estimate(epoch_s=100.0, point_bytes=1e6, full_bytes=2e8)
LAUNCH = (
    *("launch", "toy.toml", "--device", "cpu", "--workers", "1"),
    *("--no-promote", "--json"),
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A study of ten points of an objective whose epochs are said to take an hour each."""
    text = trivial_study(0.0).replace("weightsearch.study.trivial_objective:run", "mine:run")
    (tmp_path / "toy.toml").write_text(text)
    code = tmp_path / "mine.py"
    code.write_text(HOUR_LONG)
    return code


def planned(opened: Database) -> int:
    with opened.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(studies)).scalar_one()


def test_without_a_terminal_a_long_study_is_refused_and_nothing_planned(
    cli: Cli, own: Path, storage: str, opened: Database
) -> None:
    refused = cli(*LAUNCH, WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        *LINES,
        "error: a study of more than 12 h must be confirmed, but this one is expected to take about"
        " 20 h and stdin is not a terminal; add --yes, or bound it with --budget or --trials (the"
        " full runs with --no-promote).",
    ]
    assert planned(opened) == 0


def test_yes_is_asked_for_once(cli: Cli, own: Path, storage: str, opened: Database) -> None:
    """A study that is there was agreed to: its launch is resumed without a word."""
    ran = cli(*LAUNCH, "--yes", WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[:2] == LINES
    assert json.loads(ran.stdout)["points"]["done"] == 10
    again = cli(*LAUNCH, WEIGHTSEARCH_STORAGE=storage)
    assert again.returncode == 0, again.stderr
    assert "about" not in again.stderr


def test_a_budget_below_the_limit_needs_no_yes(cli: Cli, own: Path, storage: str) -> None:
    ran = cli(*LAUNCH, "--budget", "2h", WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    assert "1 of 10 points of 2 epochs: about 2.0 h on 1 worker" in ran.stderr


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--dry-run"], "nothing was planned."),
        ([], "study toy-grid was not planned yet; the same command begins it."),
    ],
)
def test_interrupted_before_it_plans_a_launch_says_that_nothing_is_saved(
    cli: Cli, own: Path, storage: str, opened: Database, options: list[str], left: str
) -> None:
    interrupt = "import os, signal\n    os.kill(os.getppid(), signal.SIGINT)\n    signal.pause()\n"
    own.write_text(RUN + ESTIMATE + interrupt)
    ended = cli(*LAUNCH, *options, WEIGHTSEARCH_STORAGE=storage)
    assert ended.returncode == 130
    assert ended.stderr.splitlines()[-1] == f"interrupted: {left}"
    assert planned(opened) == 0


@pytest.mark.parametrize(("answer", "code", "there"), [("n", 3, 0), ("y", 0, 1)])
def test_on_a_terminal_the_answer_counts(
    answer: str, code: int, there: int, own: Path, storage: str, opened: Database, tmp_path: Path
) -> None:
    screen, terminal = pty.openpty()
    asked = fork_server.Forked(
        [sys.executable, "-m", "weightsearch", *LAUNCH],
        env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
        cwd=tmp_path,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert asked.stderr is not None
    said = ""
    while "Launch it? [y/N]" not in said:
        more = asked.stderr.read(1).decode()
        assert more, said
        said += more
    assert said.splitlines()[:2] == LINES
    assert planned(opened) == 0
    os.write(screen, f"{answer}\n".encode())
    out, rest = asked.communicate(timeout=60)
    os.close(screen)
    os.close(terminal)
    assert asked.returncode == code, rest
    assert planned(opened) == there
    if there:
        assert json.loads(out)["points"]["done"] == 10
    else:
        assert rest.decode().endswith("nothing was planned\n")


def test_an_objective_that_does_not_estimate_is_not_asked_about(
    cli: Cli, own: Path, storage: str
) -> None:
    own.write_text(RUN)
    ran = cli(*LAUNCH, WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    assert "about" not in ran.stderr
    assert "study toy-grid: 10 points; planned" in ran.stderr


KILLED = "import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print('7')\n    return {}['epoch_s']\n", "KeyError: 'epoch_s'"),
        (KILLED, "the estimate ended by SIGKILL: it said nothing"),
        ("return {'epoch_s': -1}\n", "ObjectiveError: `estimate` must return a mapping"),
    ],
)
def test_an_estimate_that_fails_is_a_warning(
    body: str, said: str, own: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Killed for its memory, for one: what the check found before is known all the same."""
    own.write_text(RUN + ESTIMATE + body)
    spec = make_spec(objective={"run": "mine:run"})
    monkeypatch.setattr(subprocess, "Popen", fork_server.Forked)
    with Preflight(spec, "cpu", [str(own.parent)], threads=1) as asked:
        assert asked.check(None) is None
    assert f"how long the study takes is not known: {said}" in caplog.text


@pytest.mark.parametrize(
    ("on", "wanted", "placed", "threads"),
    [
        ("local", True, "cuda:0", 2),
        ("local", False, "cuda:0", None),  # a night, which has a budget and nobody to ask
        ("slurm", True, "cpu", None),
    ],
)
def test_only_this_machine_is_measured_and_only_for_somebody_who_decides(
    on: str,
    wanted: bool,
    placed: str,
    threads: int | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    asked: list[Preflight] = []
    monkeypatch.setattr(Preflight, "check", lambda self, packed: asked.append(self))
    monkeypatch.setattr("weightsearch.launch.places.local.cores", lambda: 4)
    agree = (lambda cost: None) if wanted else None
    request = preparation.Request(name="toy", home=Path(), on=on, agree=agree, path=("here",))
    made = preparation._preflight(SPEC, request, ["cuda:0", "cuda:1"])
    assert preparation._checked(made, request, None) is None
    [given] = asked
    assert (given.device, given.path, given.threads, given.lanes) == (placed, ("here",), threads, 1)
    assert ("not estimated: workers run elsewhere, on slurm" in caplog.text) == (on == "slurm")


@pytest.mark.parametrize(
    "said", [None, 3, {}, {"epoch_s": "soon"}, {"epoch_s": float("nan")}, {"epoch_s": 1, "eta": 2}]
)
def test_what_is_no_estimate_is_refused(said: object) -> None:
    with pytest.raises(ObjectiveError, match="must return a mapping with `epoch_s`"):
        Estimate.of(said)


@pytest.mark.parametrize(
    ("placed", "budget", "seconds"),
    [
        (["cpu"], None, 10 * 200 + 4 * 300),
        (["cpu", "cpu", "cpu"], None, 4 * 200 + 2 * 300),  # 4 rounds of 10 points; 2 of 4 runs
        (["cpu"] * 99, None, 3 * 200 + 300),  # four cores
        (["cuda:0", "cuda:0"], None, 10 * 200 + 4 * 300),
        (["cuda:0", "cuda:1", "cuda:0"], None, 5 * 200 + 2 * 300),
        (["cpu"], Budget(points=3), 3 * 200 + 4 * 300),
        (["cpu"], Budget(points=1), 200 + 2 * 300),  # one finalist
        (["cpu"], Budget(seconds=50), 50 + 2 * 300),  # time for one point, so one finalist
        (["cpu"], Budget(seconds=5000), 10 * 200 + 4 * 300),
        (["cpu", "cpu"], Budget(device_seconds=300), 150 + 2 * 300),
    ],
)
def test_rounds_of_points_are_counted_and_a_budget_bounds_the_search(
    placed: list[str], budget: Budget | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weightsearch.launch.expected_cost.cores", lambda: 4)
    assert expected(ONE, SPEC, 10, placed, budget).seconds == seconds


def test_a_search_that_time_ends_has_fewer_points_and_bytes() -> None:
    placed, one = ["cpu", "cpu"], Estimate(epoch_s=1000.0, point_bytes=1e6)
    found = expected(one, SPEC, 100, placed, Budget(seconds=3600))
    assert (found.points, found.planned) == (4, 100)  # two rounds of 2 epochs begin within it
    assert found.bytes == 4e6
    assert found.told().startswith("4 of 100 points of 2 epochs")


def test_it_is_told_in_one_line() -> None:
    own = replace(ONE, full_epoch_s=200.0)  # as where a point's encoder is frozen for longer
    assert (
        expected(own, SPEC, 10, ["cpu"], None).full_s
        == 2 * expected(ONE, SPEC, 10, ["cpu"], None).full_s
    )
    found = expected(ONE, SPEC, 10, ["cuda:0", "cuda:0"], None)
    assert found.told() == (
        "10 points of 2 epochs, then 4 full runs of up to 3 (about 20 min): about 53 min on 2"
        " workers that share one device, 810 MB of checkpoints"
    )
    alone = SPEC.model_copy(update={"promote": None})
    assert expected(Estimate(epoch_s=0), alone, 10, ["cpu"], None).told() == (
        "10 points of 2 epochs: about 1 min on 1 worker"
    )


def test_hours_have_no_more_digits_than_an_estimate() -> None:
    shown = [hours(seconds) for seconds in (0, 59, 1500, 3600, 18_700, 50_000, 1_122_000)]
    assert shown == ["1 min", "1 min", "25 min", "1.0 h", "5.2 h", "14 h", "310 h (13 days)"]


def test_a_launch_of_lanes_that_cannot_be_is_refused_before_anything_is_planned(
    cli: Cli, tmp_path: Path, storage: str, opened: Database
) -> None:
    (tmp_path / "alone.py").write_text(
        "def run(weights, params, context):\n    yield {'rmse': 1}\n"
    )
    file = tmp_path / "toy.toml"
    file.write_text(trivial_study(0.0).replace("weightsearch.study.trivial_objective", "alone"))
    refused = cli("launch", file, "--lanes", 4, "--device", "cpu", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert "must have `run_together` in its module" in refused.stderr
    with opened.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(studies)).scalar() == 0
