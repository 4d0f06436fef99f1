"""The API as a notebook uses it: documented, typed, and the same answer as the commands'."""

from __future__ import annotations

import doctest
import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import fork_server
from support.faulty_servers import wait_until
from support.paths import ROOT
from support.processes import Cli
from support.saved_network import save_network
from support.specs import make_spec
from support.tracked_studies import tracked_study

import weightsearch as ws
from weightsearch.api import opened as opened_databases
from weightsearch.api.study_view import Study
from weightsearch.launch import session
from weightsearch.launch.session import Launched
from weightsearch.runtime import optional_packages
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies, study_control
from weightsearch.store.tables.states import StudyState

pytest.importorskip("pandas", reason="the extra `pandas` is not installed")


@pytest.fixture
def here(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A notebook's process: with a database, in a folder; what it starts is forked."""
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE", storage)
    monkeypatch.chdir(tmp_path)
    fork_server.start()
    monkeypatch.setattr(subprocess, "Popen", fork_server.Forked)
    yield
    opened_databases.close()


@pytest.fixture
def tracked(opened: Database) -> Study:
    return Study(opened, tracked_study(opened).name)


def test_the_page_is_a_doctest_and_the_answer_is_that_of_the_command(here: None, cli: Cli) -> None:
    found = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0
    told = json.loads(cli("best", "toy", "--json").stdout)
    toy = ws.study("toy")
    best = toy.best()
    assert best is not None
    assert json.loads(json.dumps(best.to_json())) == told["ranking"][0]
    assert toy.headline == told["headline"]["sentence"]


def test_the_script_of_the_page_runs(here: None) -> None:
    script = runpy.run_path(str(ROOT / "docs" / "examples" / "from_python.py"))
    value, headline = script["main"]("from-python").splitlines()
    assert float(value.split()[0]) > 0
    assert headline == ws.study("from-python").headline


def test_tables_hold_what_the_ledger_holds(tracked: Study) -> None:
    points = tracked.points()
    assert points["rung"].tolist() == ["search"] * 9 + ["promotion"]
    assert points["number"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 0]
    assert points["outcome"].tolist() == ["done"] * 3 + ["diverged"] + ["done"] * 6
    assert points["rmse"].tolist()[:3] == [0.5 + k / 7 for k in range(3)]
    assert np.isnan(points["rmse"][3])
    assert (points[["weight_mae", "weight_edge", "weight_ssim"]].sum(axis=1) == 1).all()
    assert set(points["encoder"]) == {"a"}
    epochs = tracked.epochs()
    assert len(epochs) == 1 + 9 * 2 + 1 + 1  # given back after one, nine whole, failed, full
    assert epochs[epochs["number"] == 2]["attempt"].tolist()[-1] == 2
    assert tracked.samples().empty


def test_samples_are_a_row_for_each_image(here: None, opened: Database) -> None:
    from weightsearch.store.ledger import leases
    from weightsearch.study import planning

    spec = make_spec()
    made = studies.create(opened.engine, "sampled", spec, planning.plan(spec))
    lease = leases.claim(opened.engine, made.id, "w", "cpu", 60)
    assert lease is not None
    samples = {"rmse": [0.5, 0.7], "rel": [0.1, 0.3]}
    result = {"outcome": "done", "metrics": {"rmse": 0.6}, "samples": samples}
    leases.finish(opened.engine, lease, result | {"groups": ["a", "b"]})
    found = ws.study("sampled").samples()
    assert found[["image", "group", "rmse", "rel"]].values.tolist() == [
        [0, "a", 0.5, 0.1],
        [1, "b", 0.7, 0.3],
    ]


def test_a_study_with_nothing_ranked_has_no_answer_yet(here: None, opened: Database) -> None:
    from weightsearch.study import planning

    spec = make_spec()
    studies.create(opened.engine, "empty", spec, planning.plan(spec))
    empty = ws.study()
    assert (empty.name, empty.best(), empty.headline) == ("empty", None, None)
    assert repr(empty) == "<study empty: 0 of 10 points done>"
    assert empty.spec == spec
    assert empty.points().empty
    with pytest.raises(ws.ConfigError, match="unknown figure 'rankin'; did you mean 'ranking'"):
        empty.figure("rankin")


def test_a_launch_that_fails_raises_when_it_is_waited_for(here: None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def run(weights, params, context):\n"
        "    if context.seed != 99: raise RuntimeError('planted')\n"
        "    yield {'rmse': 1.0}\n"
    )
    spec = make_spec(objective={"run": "mine:run"}, loss={"weights": "equal"})
    launched = ws.launch(spec, name="broken", device="cpu", workers=1)
    with pytest.raises(ws.StudyError, match="must have a finished point to rank"):
        launched.wait()
    assert launched.is_done
    assert repr(launched) == "<launch failed, <study broken: 0 of 1 points done>>"


def test_a_launch_is_stopped_and_resumed(
    here: None, opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> str:
        found = studies.find(opened.engine, "short").id
        return study_control.standing(opened.engine, found).state

    run = session.run

    def run_when_stopped(*given: Any) -> Launched:
        wait_until(lambda: state() == StudyState.STOPPED)
        return run(*given)

    tables: dict[str, Any] = make_spec(params={"epoch_s": 0.2}).resolved()
    with monkeypatch.context() as patched:  # a thread that is late starts no study again
        patched.setattr(session, "run", run_when_stopped)
        launched = ws.launch(tables, name="short", device="cpu", workers=1, promote=False)
        launched.stop()
    assert launched.is_done
    assert state() == StudyState.STOPPED
    with pytest.raises(ws.StudyError, match="stopped from Python"):
        launched.wait()
    again = ws.launch(tables, name="short", device="cpu", workers=1, promote=False)
    assert again.wait().states()["done"] == 10


@pytest.mark.parametrize(
    ("study", "options", "said"),
    [
        ({"goal": "x", "loss": {"weights": "equal"}}, {"name": "x"}, "the study: the table"),
        ({"goal": "x"}, {}, "the study: loss: is missing"),
        ("quickstart", {"on": "moon"}, "on must be one of local, ray, slurm, but got 'moon'"),
        ("quickstrat", {}, "did you mean 'quickstart'"),
    ],
)
def test_what_cannot_be_launched_is_refused_at_once(
    study: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ws.ConfigError, match=said):
        ws.launch(study, **options)


def test_a_study_without_a_file_needs_a_name() -> None:
    with pytest.raises(ws.ConfigError, match="must have a name"):
        ws.launch(make_spec())


def test_a_checkpoint_predicts_as_the_command_does(cli: Cli, tmp_path: Path) -> None:
    folder = save_network(tmp_path / "saved").parent
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "room.png")
    network = ws.load(folder)
    assert not network.training
    found = network.predict(tmp_path / "room.png")
    assert (found.shape, found.dtype) == ((40, 50), np.float32)
    assert np.ptp(found) > 0
    assert (network.predict(rgb) == found).all()
    assert (network.predict(Image.fromarray(rgb)) == found).all()
    ran = cli("predict", folder, "room.png", "--out", "out", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out" / "room.npy"), found, rtol=1e-5)
    with pytest.raises(
        ws.DataError, match=r"rgb \(h, w, 3\) in uint8, but got an array \(40, 50\)"
    ):
        network.predict(rgb[:, :, 0])


def test_tables_without_pandas_say_how_to_install_it(
    tracked: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional_packages, "find_spec", lambda _: None)
    with pytest.raises(ws.ConfigError, match=r"pip install 'weightsearch\[pandas\]'"):
        tracked.points()


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, weightsearch as ws\n"
        "assert callable(ws.launch) and callable(ws.study)\n"
        "heavy = {'torch', 'optuna', 'sqlalchemy', 'pandas', 'plotly', 'pydantic'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_room_is_still_a_room_after_its_function_was_called() -> None:
    with pytest.raises(ws.StudyError, match="there is no study yet"):
        ws.study("no-such")
    import weightsearch.launch.session

    assert weightsearch.launch.session.LOOK_EVERY_S == 0.5  # type: ignore[attr-defined]
    assert callable(ws.launch)
