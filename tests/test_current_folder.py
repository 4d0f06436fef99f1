"""No file that only lies in the current folder, or beside a study, is executed in place of an
installed module: processes are started in full, in folders of such files."""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

from weightsearch.launch.places.local import Command
from weightsearch.runtime import child_python
from weightsearch.study import loading, objective_contract
from weightsearch.study.preflight import Preflight

HOSTILE = (
    *("sqlalchemy", "optuna", "torch", "sitecustomize", "usercustomize", "psycopg", "pydantic"),
    *("numpy", "typer", "plotly", "random", "socket", "alembic", "bottle", "rich", "jinja2"),
)
OBJECTIVE = """
import helper, sqlalchemy
def run(weights, params, context):
    assert hasattr(sqlalchemy, "select")
    yield {"rmse": helper.OFFSET + weights["mae"]}
"""
STUDY = """
goal = "test"
objective = { run = "mine:run" }
loss = { weights = { grid = "simplex", steps = 1 } }
train = { epochs = 1 }
[nightly]
seeds = [1, 2, 3]
canaries = [{ name = "equal", weights = "equal" }]
"""
PYTHON = {
    "-m": [sys.executable, "-m", "weightsearch"],
    "script": [str(Path(sys.executable).parent / "weightsearch")],
}


class Trap:
    """Two folders of hostile files: one to be in, and one of a study."""

    def __init__(self, folder: Path) -> None:
        self.sprung, self.here, self.study = folder / "sprung", folder / "here", folder / "study"
        for place in (self.here, self.study):
            place.mkdir()
            for name in HOSTILE:
                (place / f"{name}.py").write_text(
                    f"open({str(self.sprung)!r}, 'a').write('{place.name}/{name}.py\\n')\n"
                    "raise SystemExit(9)\n"
                )
        (self.study / "mine.py").write_text(OBJECTIVE)
        (self.study / "helper.py").write_text("OFFSET = 1.0\n")
        (self.study / "mine.toml").write_text(STUDY)
        known = ("PATH", "WEIGHTSEARCH_PG_BIN")
        self.environment = {name: os.environ[name] for name in known if name in os.environ}
        self.environment["PYTHONPATH"] = str(ROOT)

    def start(self, words: list[str], start: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PYTHON[start], *words], cwd=self.here, env=self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, words: list[str], start: str = "script", **environment: str) -> tuple[int, str]:
        """The exit code and what was said."""
        with self.start(words, start, **environment) as process:
            said, errors = process.communicate(timeout=240)
        assert not self.sprung.exists(), self.sprung.read_text()
        return process.returncode, said + errors


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


@pytest.fixture
def home() -> Iterator[Path]:
    """Of an embedded server, in a folder that the server's user may enter."""
    made = Path(tempfile.mkdtemp(prefix="weightsearch-folder-"))
    made.chmod(0o755)
    yield made
    with (made / "postgres" / "supervisor.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the server has ended
    shutil.rmtree(made)


def test_the_check_of_an_objective_executes_no_file_of_the_current_folder(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study's own module is found beside its file, and so is what that imports."""
    monkeypatch.chdir(trap.here)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}")  # empty at its end: the current folder
    spec = loading.load(trap.study / "mine.toml")
    with Preflight(spec, "cpu", [str(trap.here), str(trap.study)]) as asked:
        asked.check(None)
    assert not trap.sprung.exists(), trap.sprung.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("start", PYTHON)
def test_no_command_executes_a_file_of_the_current_folder(
    trap: Trap, home: Path, start: str
) -> None:
    """With the embedded server, whose supervisor is started too."""
    where, study = {"WEIGHTSEARCH_HOME": str(home)}, str(trap.study / "mine.toml")
    launch = ["launch", study, "--device", "cpu", "--quiet"]
    assert trap.run([*launch, "--budget", "1 points"], start, **where)[0] == 0
    shutil.copy(trap.study / "mine.py", trap.here)  # `worker` looks in the current folder
    shutil.copy(trap.study / "helper.py", trap.here)
    assert trap.run(launch, start, **where)[0] == 0
    assert trap.run(["worker", "mine-grid", "--device", "cpu"], start, **where)[0] == 0
    assert trap.run(["verify", "mine-grid"], start, **where)[0] == 0
    code, said = trap.run(["nightly", study, "--device", "cpu", "--quiet"], start, **where)
    assert code in (0, 4), said
    with trap.start(["dashboard", "--port", "0"], start, **where) as served:
        assert served.stdout is not None
        assert served.stdout.readline().startswith("http://127.0.0.1:")
        served.send_signal(signal.SIGTERM)
    assert not trap.sprung.exists(), trap.sprung.read_text()


def test_a_child_searches_no_folder_that_nobody_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}/given{os.pathsep}")  # empty: the current one
    found = child_python.environment(["/study", str(tmp_path)])
    assert found["PYTHONPATH"] == "/given"
    assert found[child_python.FOLDERS] == f"/study{os.pathsep}{tmp_path}"
    monkeypatch.setattr(sys, "path", ["", "/given", str(tmp_path), str(ROOT), "/study"])
    monkeypatch.setenv(child_python.FOLDERS, "/study")
    assert child_python.search_path() == ["/given", str(ROOT)]  # of the supervisor


@pytest.mark.parametrize("own", ["mine", "sqlalchemy_but_own", "json_of_mine.run"])
def test_an_objective_is_found_and_what_it_imports_is_the_installed_one(
    own: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = tmp_path / f"{own.replace('.', '/')}.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text("import this_helper, statistics\ndef run(*_):\n    yield {}\n")
    (tmp_path / "this_helper.py").touch()
    (tmp_path / "statistics.py").write_text("raise SystemExit(9)\n")
    monkeypatch.setenv(child_python.FOLDERS, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("statistics", "this_helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert objective_contract.load(f"{own}:run").__module__ == own
    assert Path(sys.modules["this_helper"].__file__ or "").parent == tmp_path


def test_a_study_s_own_module_comes_before_an_installed_one_of_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "this.py").write_text("def run(*_):\n    yield {}\n")  # the Zen of Python, too
    monkeypatch.setenv(child_python.FOLDERS, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "this", raising=False)
    assert objective_contract.load("this:run").__module__ == "this"
    monkeypatch.delitem(sys.modules, "this")


def test_a_worker_is_where_the_launch_was_called_and_there_is_one_way_to_start_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every list that begins with `sys.executable` is `child_python`'s, or has `-P` in it."""
    found = {}
    for file in (*ROOT.glob("weightsearch/**/*.py"), *ROOT.glob("dashboards/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.List) and node.elts:
                words = [ast.unparse(word) for word in node.elts]
                if words[0] == "sys.executable":
                    found[file.name] = words[1:2]
    assert found == {"child_python.py": ["'-P'"], "slurm_jobs.py": ["'-P'"]}
    script = "import os; open(os.environ['SAYS'], 'w').write(os.getcwd())"
    monkeypatch.setattr(child_python, "command", lambda *_: [sys.executable, "-Sc", script])
    here = tmp_path / "here"
    here.mkdir()
    for folder, expected in ((str(here), here), ("/is/not/here", Path.cwd())):
        says = tmp_path / "says"
        command = Command("s", None, {"SAYS": str(says)}, tmp_path / "logs", folder=folder)
        assert command.start("cpu", 1, 1).popen.wait() == 0
        assert Path(says.read_text()) == expected
