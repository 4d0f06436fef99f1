"""The dashboard as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from dashboards import serving
from support import fork_server


@contextmanager
def dashboard(storage: str, folder: Path, *options: str, **environment: str) -> Iterator[Dashboard]:
    """A running `weightsearch dashboard`, and the cookie that its token gives."""
    log = folder / "dashboard.log"
    with log.open("w") as errors:
        process = fork_server.Forked(
            [sys.executable, "-m", "weightsearch", "dashboard", "--port", "0", *options],
            env=os.environ | {"WEIGHTSEARCH_STORAGE": storage} | environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), log.read_text()
        port, _, token = address.removeprefix("http://127.0.0.1:").partition("/?token=")
        if file := environment.get(serving.TOKEN_FILE):
            token = Path(file).read_text().strip()
            assert token not in address
        found = Dashboard(process, int(port), token)
        found.cookie = found.ask("GET", f"/?token={token}")[2]["Set-Cookie"].split(";")[0]
        yield found
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    said = log.read_text()
    assert token not in said
    assert found.cookie.partition("=")[2] not in said


@dataclass
class Dashboard:
    """One that runs."""

    process: subprocess.Popen[str]
    port: int
    token: str
    cookie: str = ""

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str, dict]:
        """Status, body and headers of an answer, for somebody who has been let in."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        connection.request(method, path, body or None, {**named, "Cookie": self.cookie, **headers})
        answer = connection.getresponse()
        found = answer.status, answer.read().decode(errors="replace"), dict(answer.headers)
        connection.close()
        return found
