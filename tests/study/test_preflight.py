"""The process that answers what is asked before a study is planned."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support import fork_server
from support.specs import make_spec

from weightsearch.errors import ObjectiveError
from weightsearch.study.preflight import Preflight

CODE = """
import os
from pathlib import Path

def told(name, *about):
    with Path(__file__).with_suffix(".told").open("a") as file:
        print(os.getpid(), name, *about, file=file)

def run(weights, params, context):
    yield {"rmse": 1.0}

def check_model(spec, device):
    told("check_model", device)
    os.write(1, b"7\\n")
    print("no answer")

def check(spec, device, packed):
    try:
        input()
    except EOFError:
        told("check", packed)

def estimate(spec, device, packed):
    told("estimate", os.environ["OMP_NUM_THREADS"])
    return {"epoch_s": 3.0}
"""
SPEC = make_spec(objective={"run": "mine:run"})


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(subprocess, "Popen", fork_server.Forked)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path


def test_one_process_answers_all_questions_whatever_the_objective_prints_or_reads(
    own: Path,
) -> None:
    with Preflight(SPEC, "cpu", [str(own)], threads=3) as asked:
        asked.check_model()
        found = asked.check(own / "pack.h5")
    assert found is not None
    assert found.epoch_s == 3.0
    assert asked.process is not None
    assert asked.process.returncode == 0
    pid = asked.process.pid
    assert (own / "mine.told").read_text().splitlines() == [
        f"{pid} check_model cpu",
        f"{pid} check {own / 'pack.h5'}",
        f"{pid} estimate 3",
    ]


def test_without_a_question_nothing_is_started(own: Path) -> None:
    with Preflight(SPEC, "cpu", [str(own)]) as asked:
        pass
    assert asked.process is None


def test_an_error_of_the_launcher_s_ends_the_process(own: Path) -> None:
    asked = Preflight(SPEC, "cpu", [str(own)])

    def interrupted() -> None:
        with asked:
            asked.check_model()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert asked.process is not None
    assert asked.process.returncode is not None


def test_after_one_that_was_killed_while_the_launcher_packed_another_one_answers(
    own: Path,
) -> None:
    with Preflight(SPEC, "cpu", [str(own)]) as asked:
        asked.check_model()
        first = asked.process
        assert first is not None
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        asked.check(own / "pack.h5")
        assert asked.process is not None
        pids = first.pid, asked.process.pid
    assert (own / "mine.told").read_text().splitlines() == [
        f"{pids[0]} check_model cpu",
        f"{pids[1]} check {own / 'pack.h5'}",
    ]


DIES = """
import os, signal

def run(weights, params, context):
    yield {"rmse": 1.0}

def check(spec, device, packed):
    print("the last words")
    forked = os.fork()
    if forked == 0:
        signal.pause()
    with open(__file__ + ".forked", "w") as file:
        file.write(str(forked))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_that_dies_is_an_error_with_its_last_words_though_what_it_forked_lives(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    (own / "mine.py").write_text(DIES)
    with (
        pytest.raises(ObjectiveError, match="its check ended by SIGKILL: the last words"),
        Preflight(SPEC, "cpu", [str(own)]) as asked,
    ):
        asked.check(own / "pack.h5")
    os.kill(int((own / "mine.py.forked").read_text()), signal.SIGKILL)
