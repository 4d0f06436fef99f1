"""What docker-compose.yml says, run as plain processes on a real PostgreSQL.

Each service's own command, environment and secrets, as its user without any capability, with all of
the machine's files read-only but for its volumes: what a container would do, short of the engine.
Only root can become another user and mount things."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.deployed_services import PYTHON, UID, Database, Deployed, finished, install, program
from support.deployment_files import Yaml, command, services
from support.faulty_servers import PATIENCE_S, wait_until
from support.paths import ROOT

from weightsearch.runtime import devices

STUDY = """
goal = "test"
objective = { run = "weightsearch.study.trivial_objective:run" }
params = { epoch_s = 0.1 }
loss = { weights = { grid = "simplex", steps = 3 } }
train = { epochs = 2 }
promote = { top = 2, seeds = [1, 2], epochs = 2 }
"""


def _missing() -> str | None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "only root on Linux can become another user and mount"
    for name in ("setpriv", "unshare", "openssl", "bash"):
        if shutil.which(name) is None:
            return f"needs {name}"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if tried.returncode:
        return "needs the right to make a mount namespace"
    return None if PYTHON else f"user {UID} can run no Python 3.{sys.version_info.minor} here"


MISSING = _missing()
needed = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    # Not in pytest's folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="weightsearch-deployed-"))
    folder.chmod(0o755)
    subprocess.run(["sh", ROOT / "deploy" / "secrets.sh", folder / "secrets"], check=True)
    for name in ("state", "empty"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, UID, UID)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    (folder / "studies").mkdir()
    (folder / "studies" / "mine.toml").write_text(STUDY)
    install(folder / "site")
    (folder / "server").mkdir(mode=0o755)
    found = Deployed(folder, None)  # type: ignore[arg-type]
    found.database = Database(folder / "server", found.secrets_of("postgres"))
    try:
        found.database.initialise()
        found.database.start()
        found.database.make_roles()
        yield found
    finally:
        if found.database.process is not None and found.database.process.poll() is None:
            found.database.stop("immediate")
        shutil.rmtree(folder)


@needed
def test_the_database_is_healthy_and_proves_who_it_is(deployed: Deployed) -> None:
    words = services()["postgres"]["healthcheck"]["test"]
    assert words[:2] == ["CMD", "pg_isready"]
    asked = [
        program("pg_isready", deployed.database),
        *words[2:],
        f"--port={deployed.database.port}",
    ]
    subprocess.run(asked, check=True, capture_output=True)
    key = deployed.database.tmp / "database_key"
    assert key.stat().st_mode & 0o777 == 0o600
    with deployed.database.admin() as admin:
        assert admin.execute("SHOW ssl").fetchone() == ("on",)
        assert admin.execute("SHOW data_checksums").fetchone() == ("on",)


@needed
def test_nothing_can_be_written_but_the_volumes(deployed: Deployed) -> None:
    tried = (
        "import os, re\n"
        "from pathlib import Path\n"
        "import weightsearch\n"
        "def writes(place):\n"
        "    try:\n"
        "        Path(place, 'written').touch()\n"
        "    except OSError:\n"
        "        return False\n"
        "    return True\n"
        "places = ['/', '/var/tmp', '/tmp', Path(weightsearch.__file__).parent, os.getcwd()]\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print([str(p) for p in places if writes(p)], writes(os.environ['WEIGHTSEARCH_HOME']),\n"
        "      os.getuid(), re.findall('(?m)^(?:CapEff|CapBnd|NoNewPrivs).*', status),\n"
        "      weightsearch.__file__)\n"
    )
    ran = finished(deployed.process("worker", [str(PYTHON), "-c", tried], {}))
    none = "0000000000000000"
    status = [f"CapEff:\t{none}", f"CapBnd:\t{none}", "NoNewPrivs:\t1"]
    ours = deployed.folder / "site" / "weightsearch" / "__init__.py"
    assert ran.stdout == f"[] True {UID} {status} {ours}\n", ran.stderr
    (deployed.folder / "state" / "written").unlink()


@needed
def test_a_study_from_the_first_command_to_the_promoted_checkpoint(deployed: Deployed) -> None:
    """The recipe of docs/deploy.md, with a launch that is stopped on the way."""
    made = deployed.ran("migrate")
    assert made.returncode == 0, made.stderr
    assert "role ws_worker may read and write" in made.stdout

    launch = deployed.started("launch", "mine.toml", "--device", "cpu")
    wait_until(
        lambda: (
            launch.poll() is not None
            or deployed.rows("SELECT 1 FROM ws_points WHERE state = 'done' LIMIT 1") != []
        )
    )
    launch.send_signal(signal.SIGTERM)
    stopped = finished(launch)
    assert stopped.returncode == 130, stopped.stderr
    assert "study mine-grid is saved; run the same command to resume it" in stopped.stderr

    (given,) = (w for w in command(services()["worker"]) if w.endswith("-grid"))
    words = ["mine-grid" if w == given else w for w in command(services()["worker"])]
    workers = [deployed.started("worker", *words[1:]) for _ in range(2)]
    for worker in map(finished, workers):
        assert worker.returncode == 0, worker.stderr
    own = len(devices.pick("cpu", None))  # the launch's, of which one may have been too late
    known = len(deployed.rows("SELECT id FROM ws_workers"))
    assert len(workers) < known <= own + len(workers)

    status = deployed.ran("viewer", "status", "mine-grid", "--json")
    assert status.returncode == 0, status.stderr
    assert deployed.ran("viewer", "verify", "mine-grid").returncode == 0
    assert deployed.ran("viewer", "best", "mine-grid").returncode == 0

    again = deployed.ran("launch", "mine.toml", "--device", "cpu", "--json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["points"]["done"] == answer["points"]["total"] == 10
    assert answer["promoted"] is not None

    refused = deployed.started(
        "viewer", "launch", "mine.toml", "--name", "other", "--device", "cpu"
    )
    said = finished(refused)
    assert said.returncode == 1
    assert "read-only" in said.stderr or "lacks a right" in said.stderr

    state = [path.stat() for path in (deployed.folder / "state").rglob("*")]
    assert {found.st_uid for found in state} == {UID}
    everything = "".join(one.stdout + one.stderr for one in (made, stopped, status, again, said))
    everything += deployed.database.log.read_text()
    for file in (deployed.folder / "secrets").glob("*_password"):
        assert file.read_text().strip() not in everything


@needed
def test_the_dashboard_lets_in_who_has_the_token(deployed: Deployed) -> None:
    service: Yaml = services()["dashboard"]
    assert deployed.ran("migrate").returncode == 0
    served = deployed.started("dashboard", *command(service)[1:], "--port", "0")
    try:
        assert served.stdout is not None
        line = served.stdout.readline()
        shown = re.match(r"http://127\.0\.0\.1:(\d+)/\?token=TOKEN, ", line)
        assert shown is not None, line + finished(served).stderr
        port = int(shown[1])

        words = service["healthcheck"]["test"]
        assert words[:2] == ["CMD", "python"]
        check = [w.replace("8080", str(port)) for w in words[2:]]
        healthy = deployed.process("dashboard", [str(PYTHON), *check], {})
        assert finished(healthy).returncode == 0

        token = (deployed.folder / "secrets" / "dashboard_token").read_text().strip()
        assert _get(port, f"/?token={secrets.token_hex(32)}")[0] == 401
        code, headers = _get(port, f"/?token={token}")
        assert code == 303
        cookie = headers["Set-Cookie"].split(";")[0]
        assert _get(port, "/api/studies", Cookie=cookie)[0] == 200
        assert _get(port, "/api/studies", Cookie=cookie, Host="evil.example")[0] == 421
        served.terminate()
        assert finished(served).returncode == 0
    finally:
        served.kill()
        served.wait(PATIENCE_S)
    dead = deployed.process("dashboard", [str(PYTHON), *check], {})
    assert finished(dead).returncode != 0


def _get(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


@needed
def test_a_worker_whose_study_is_not_planned_says_so_in_one_line(deployed: Deployed) -> None:
    assert deployed.ran("migrate").returncode == 0
    lost = deployed.ran("worker")
    assert lost.returncode == 1
    (line,) = lost.stderr.splitlines()
    assert re.match("error: there is no study|error: .* 'quickstart-grid'", line), line
