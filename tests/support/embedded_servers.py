"""Clients of an embedded server, and its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from weightsearch.errors import StorageError
from weightsearch.store.embedded import client as server
from weightsearch.store.embedded import server_folders

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root changes users")

# Says "asking" and then who serves it; again for each further line, until its input ends.
CLIENT = """
import json, sys
from pathlib import Path
from weightsearch.errors import StorageError
from weightsearch.store.embedded import client, server_folders
home = Path(sys.argv[1])
while True:
    print("asking", flush=True)
    try:
        found = client.ensure(home)
    except StorageError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)
    folder = server_folders.server_folder(home)
    print(json.dumps({
        "postmaster": int((folder / "data" / "postmaster.pid").read_text().split()[0]),
        "supervisor": json.loads((folder / "supervisor.lock").read_text())["pid"],
        "host": found.host,
    }), flush=True)
    if not sys.stdin.readline():
        break
"""


class Client:
    """A process that uses the server of a home."""

    def __init__(self, home: Path, script: str = CLIENT, python: str = sys.executable, **how: Any):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [python, "-c", script, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env | how.pop("env", {}),
            **how,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline()).strip()

    def answer(self) -> dict[str, Any]:
        assert self.line() == "asking"
        return dict(json.loads(self.line()))

    def again(self) -> dict[str, Any]:
        self.tell()
        return self.answer()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate()


def remove(home: Path) -> None:
    """Ends the server of a home at once, and removes all of it."""
    server.release(home)
    if not home.exists():
        return
    with contextlib.suppress(StorageError, OSError):
        folder = server_folders.server_folder(home)
        stop(home)
        shutil.rmtree(folder)
    shutil.rmtree(home)


def stop(home: Path) -> None:
    """As a machine that is shut down does it; the next `ensure` starts the server again."""
    pid = supervisor_of(home)
    if pid is not None and pid > 0:  # -1, where it is ending, would be every process there is
        os.kill(pid, signal.SIGTERM)
    until(lambda: supervisor_of(home) is None)


def supervisor_of(home: Path) -> int | None:
    """The process that holds the supervisor's lock, once it has said which it is."""
    try:
        descriptor = os.open(server_folders.server_folder(home) / "supervisor.lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        while not server.locked(descriptor, fcntl.LOCK_EX):
            if "pid" in (word := server.said(descriptor)):
                return int(word["pid"])
            time.sleep(0.01)
        return None
    finally:
        os.close(descriptor)


def supervisors_in(home: Path) -> list[int]:
    """All supervisors of the home, whether they hold a lock or not."""
    folder, found = str(server_folders.server_folder(home)), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "weightsearch.store.embedded.supervisor" in words and folder in words:
                found.append(int(process.name))
    return found


def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended; a process whose new parent has not yet looked at it counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def connect(found: server.Server) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=found.host,
        port=found.port,
        user=found.user,
        password=found.password,
        dbname=found.dbname,
        autocommit=True,
    )


def query(home: Path, text: str) -> Any:
    with connect(server.ensure(home)) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else None
