"""Shell scripts that call `weightsearch`, each call forked (`fork_server.py`)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import fork_server

CALLER = f"""#!{sys.executable} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as there:
    there.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "calls"))
    asked = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd()}}
    there.sendall(json.dumps(asked).encode())
    there.shutdown(socket.SHUT_WR)
    said = json.load(there.makefile())
sys.stdout.write(said["out"])
sys.stderr.write(said["err"])
sys.exit(said["code"])
"""


def run(shell: list[str], script: str, folder: Path, **environment: str) -> Any:
    """What the script came to in that shell: code, output and errors."""
    with _calls() as place:
        path = f"{place}:{os.environ['PATH']}"
        return subprocess.run(
            [*shell, script],
            cwd=folder,
            env=os.environ | {"PATH": path} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def _calls() -> Iterator[str]:
    """A folder with a program `weightsearch` in it, which has its calls forked here."""
    fork_server.start()
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as calls:
        program = Path(place, "weightsearch")
        program.write_text(CALLER)
        program.chmod(0o755)
        calls.bind(f"{place}/calls")
        calls.listen()
        thread = threading.Thread(target=_answer, args=(calls,))
        thread.start()
        yield place
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(f"{place}/calls")
        thread.join()


def _answer(calls: socket.socket) -> None:
    while True:
        with calls.accept()[0] as call:
            text = call.makefile().read()
            if not text:
                return
            call.sendall(json.dumps(_forked(json.loads(text))).encode())


def _forked(asked: Mapping[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "weightsearch", *asked["arguments"]]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = fork_server.run(command, env=asked["environment"] | path, cwd=asked["cwd"])
    return {"code": ended.returncode, "out": ended.stdout, "err": ended.stderr}
