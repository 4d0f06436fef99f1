"""A user sees the traceback of their own code: their frames, none of ours, and no password."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.specs import make_spec

from weightsearch.errors import ObjectiveError
from weightsearch.launch.places.local import Command, Fleet
from weightsearch.launch.places.remote_worker import ConsecutiveWorkerDeaths, Ended
from weightsearch.runtime import child_python, own_traceback
from weightsearch.study import objective_contract, preflight, single_run

SECRET = "s3same-0pen"
URL = f"postgresql://me:{SECRET}@host/db"


@pytest.fixture
def objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes the module of an objective `mine:run`, where it is found."""
    monkeypatch.setenv(child_python.FOLDERS, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(code: str) -> Path:
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        file = tmp_path / "mine.py"
        file.write_text(code)
        return file

    return write


def frames(trace: str) -> list[str]:
    """The files that a traceback names, with the line."""
    return [line.strip() for line in trace.splitlines() if line.strip().startswith('File "')]


RUN = "def run(weights, params, context):\n    yield {'rmse': 1.0}\n"
BROKEN = {
    "on import": (
        f"{RUN}raise ValueError('{URL}\\n and more')\n",
        "be importable, but ValueError: ",
        [3],
    ),
    "what it imports": (
        f"{RUN}import nowhere_at_all\n",
        "be importable, but ModuleNotFoundError: No module named 'nowhere_at_all'.",
        [3],
    ),
    "no Python": (f"{RUN}run run\n", "be importable, but SyntaxError: invalid syntax", [3]),
    "exits": (f"{RUN}import sys\nsys.exit(2)\n", "be importable, but SystemExit: 2.", [4]),
    "its check": (
        f"{RUN}def check(spec, device, packed):\n    print('no answer')\n    inner()\n"
        "def inner():\n    try:\n        {}['size']\n    except KeyError as error:\n"
        "        raise TypeError from error\n",
        "pass its check, but TypeError.",
        [8, 5, 10],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_check_before_a_study_shows_the_objective_s_own_frames(
    case: str, objective: Callable[[str], Path], tmp_path: Path
) -> None:
    code, said, lines = BROKEN[case]
    file = objective(code)
    found = preflight.answer(make_spec(objective={"run": "mine:run"}), "cpu", tmp_path)
    assert found is not None
    assert found["error"].startswith(f"objective 'mine:run' must {said}")
    assert len(found["error"].splitlines()) == 1
    assert [frame.split(", in")[0] for frame in frames(found["trace"])] == [
        f'File "{file}", line {number}' for number in lines
    ]
    assert SECRET not in found["trace"]


def test_what_the_process_of_the_check_found_is_raised_here(
    objective: Callable[[str], Path],
) -> None:
    file = objective(f"print('hello')\n{RUN}1 / 0\n")
    spec = make_spec(objective={"run": "mine:run"})
    with (
        pytest.raises(ObjectiveError, match="ZeroDivisionError: division by zero") as raised,
        preflight.Preflight(spec, "cpu") as asked,
    ):
        asked.check(None)
    assert frames(raised.value.trace) == [f'File "{file}", line 4, in <module>']


def test_a_single_run_shows_it_too(objective: Callable[[str], Path], tmp_path: Path) -> None:
    file = objective("def run(weights, params, context):\n    yield {'rmse': weights['none']}\n")
    spec = make_spec(objective={"run": "mine:run"}, loss={"weights": {"mae": 1.0}})
    with pytest.raises(ObjectiveError, match="must not fail, but KeyError: 'none'") as raised:
        list(single_run.train(spec, tmp_path, None, "cpu", tmp_path / "out"))
    assert frames(raised.value.trace) == [f'File "{file}", line 2, in run']


def test_our_own_fault_is_shown_whole() -> None:
    with pytest.raises(AttributeError) as raised:
        objective_contract.summarise(None)  # type: ignore[arg-type]
    raised.value.__traceback__ = raised.value.__traceback__.tb_next  # type: ignore[union-attr]
    shown = frames(own_traceback.of(raised.value))
    assert len(shown) == 1
    assert shown[0].startswith(f'File "{objective_contract.__file__}"')


def test_an_error_that_cannot_say_what_it_is_has_a_line() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert own_traceback.line(Mute()) == "Mute: <its message cannot be read>"
    assert own_traceback.line(ValueError("\n  two\nlines")) == "ValueError: two"
    assert own_traceback.line(ValueError()) == "ValueError"
    assert "Mute: <exception str() failed>" in own_traceback.of(Mute())


def test_a_launch_shows_one_traceback_of_all_that_its_workers_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    says = tmp_path / "says"
    shown = [own_traceback.shown(f"Traceback\n  File {n}\n\nKeyError: {n}") for n in (1, 2)]
    says.write_text("".join(f"point {n} failed, {text}\nnext\n" for n, text in enumerate(shown)))
    script = "import os, sys; sys.stderr.write(open(os.environ['SAYS']).read())"
    monkeypatch.setattr(child_python, "command", lambda *_: [sys.executable, "-Sc", script])
    fleet = Fleet(Command("s", None, {"SAYS": str(says)}, tmp_path / "logs"))
    for _ in range(2):  # the second writes on in the log of the first
        fleet.start(["cpu"])
        fleet.processes[-1].popen.wait()
    with caplog.at_level(logging.WARNING):
        assert not fleet.check(0)
    assert [record.getMessage().partition(", ")[2] for record in caplog.records] == shown[:1]


def test_so_does_one_whose_workers_are_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    deaths = ConsecutiveWorkerDeaths()
    with caplog.at_level(logging.WARNING):
        for failure in (None, "KeyError: 1", "KeyError: 2"):
            assert not deaths.replace(1, Ended(0, "", "node", Path("w.log"), failure))
    said = "a point failed (all: w.log on node), in the objective:\n  KeyError: 1"
    assert [record.getMessage() for record in caplog.records] == [said]
