"""What tests share: a real PostgreSQL with a fresh database each, and a clean environment."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from weightsearch.store.administration import migration
from weightsearch.store.connection import database
from weightsearch.store.connection.database import Database
from weightsearch.store.embedded import client

pytest.register_assert_rewrite("support")
pytest_plugins = (
    *("support.password_watch", "support.initdb_template", "support.nights", "support.pages"),
)

from support import fork_server, initdb_template, password_watch  # noqa: E402
from support.embedded_servers import connect  # noqa: E402
from support.processes import Cli  # noqa: E402

# Two test processes on two cores: torch's own threads would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of processes import the same modules: compile them once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


# With files as the unit (`--dist loadfile`), one that takes a minute must not be the last.
LONGEST = (
    *(
        "test_json_golden",
        "test_text_golden",
        "worker/test_faults",
        "launch/test_session",
        "test_old_study",
    ),
    *("store/ledger/test_study_control", "launch/places/test_ray", "launch/places/test_slurm"),
    *("store/embedded/test_sharing", "store/connection/test_outages", "commands/test_commands"),
    *("test_secrets", "worker/test_processes", "store/administration/test_roles"),
    *("data/untrusted/test_hostile_data", "nightly/test_sweep", "depth/test_hostile_checkpoints"),
    "deployment/test_compose_as_processes",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, where several processes share the files out."""
    if hasattr(config, "workerinput"):
        places = {f"{name}.py": place for place, name in enumerate(LONGEST)}
        tests = Path(__file__).parent
        items.sort(key=lambda item: places.get(str(item.path.relative_to(tests)), len(places)))


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture(scope="session")
def _programs() -> Iterator[Path]:
    folder = initdb_template.programs()
    os.environ["WEIGHTSEARCH_PG_BIN"] = str(folder)  # for what is made before a test's environment
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _programs: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WEIGHTSEARCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WEIGHTSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEIGHTSEARCH_PG_BIN", str(_programs))
    monkeypatch.setenv("COLUMNS", "80")  # as several processes of pytest have it, and one has not


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path) -> Iterator[None]:
    """A module that a test wrote is gone after it: the next one may write another of its name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> Iterator[None]:
    yield
    fork_server.stop()


@pytest.fixture(scope="session")
def cluster(_programs: Path) -> Iterator[client.Server]:
    """An embedded server for the whole session, with a template that has our tables."""
    # Not in pytest's folder: that is closed to the server's user, if root runs the tests, and the
    # data would come to lie in /var/lib/weightsearch.
    home = Path(tempfile.mkdtemp(prefix="weightsearch-tests-"))
    home.chmod(0o755)
    found = client.ensure(home)
    with connect(found) as connection:
        connection.execute("CREATE DATABASE ws_template")
        for costly in ("fsync", "full_page_writes", "synchronous_commit"):  # nobody pulls the plug
            connection.execute(f"ALTER SYSTEM SET {costly} = off")
        connection.execute("SELECT pg_reload_conf()")
    template = database.open_database(_url(found, "ws_template"), home)
    migration.prepare_optuna(template)
    template.engine.dispose()
    yield found
    client.release(home)
    with (home / "postgres" / "supervisor.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the server has ended
    password_watch.look_through(home)
    shutil.rmtree(home)


@pytest.fixture
def storage(cluster: client.Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh database with our tables in it."""
    name = f"t{os.getpid()}_{abs(hash(request.node.nodeid)) % 10**9}"
    with connect(cluster) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE ws_template")
    yield _url(cluster, name)
    with connect(cluster) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def opened(storage: str, tmp_path: Path) -> Iterator[Database]:
    """An open database."""
    found = database.open_database(storage, tmp_path)
    yield found
    found.engine.dispose()


def _url(found: client.Server, name: str) -> str:
    return f"postgresql://{found.user}:{found.password}@/{name}?host={found.host}&port={found.port}"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `weightsearch ARGUMENTS` as a process, with its own home."""
    fork_server.start()

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "weightsearch", *map(str, arguments)]
        return fork_server.run(command, env=os.environ | environment, cwd=tmp_path)

    return run
