"""The command line as processes of their own, for the price of one set of imports.

A server that has imported torch and all the rest forks a child for each run. What such a child
starts itself (workers, checks before a launch) is as cold as it is for a user.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from support import password_watch

LIMIT_S = 240  # a run that takes longer waits for ever, and has failed

SERVER = """
import gc, importlib, json, os, signal, sys

for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
from weightsearch.commands.main import main
gc.freeze()
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(asked["limit_s"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor in (1, 2):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(asked["out"] + f".{descriptor}", flags, 0o600), descriptor)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = ["weightsearch", *asked["arguments"]]
        code = 1
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        os._exit(code)  # taking torch down would take a second
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
MODULES = (
    "weightsearch.commands.answers.network_answers",
    "weightsearch.commands.answers.report_pages",
    "weightsearch.commands.answers.study_answers",
    "weightsearch.commands.text.network_text",
    "weightsearch.data.inspection.report",
    "weightsearch.data.readers.registry",
    "weightsearch.depth.evaluation.questions",
    "weightsearch.depth.evaluation.scoring",
    "weightsearch.depth.inference.predict",
    "weightsearch.depth.training.trainer",
    "weightsearch.launch.places",
    "weightsearch.launch.session",
    "weightsearch.nightly.sweep",
    "weightsearch.nightly.verdict_text",
    "weightsearch.store.optuna_mirror",
    "weightsearch.store.study_removal",
    "weightsearch.study.single_run",
    "weightsearch.worker.loop",
)


@dataclass(frozen=True)
class Run:
    arguments: Sequence[object]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    code: int
    """Negative where a signal ended it."""
    out: str
    err: str


class Server:
    """Forks runs of `weightsearch`, one at a time."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weightsearch-runs-"))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVER, json.dumps(MODULES)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def run(self, run: Run, folder: Path, limit_s: int = LIMIT_S) -> Said:
        """What a run of `weightsearch` in that folder says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        out = self.folder / "said"
        asked = {
            "arguments": [str(a) for a in run.arguments],
            "environment": os.environ | run.environment,
            "folder": str(folder),
            "out": str(out),
            "limit_s": limit_s,
        }
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        texts = [Path(f"{out}.{descriptor}").read_text() for descriptor in (1, 2)]
        for text in texts:
            password_watch.look_at(f"the output of weightsearch {asked['arguments']}", text)
        return Said(code, *texts)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()


@cache
def server() -> Server:
    """The server of this test process."""
    return Server()


def run_all(runs: Sequence[Run], folder: Path, limit_s: int = 60) -> list[Said]:
    """What each of these runs of `weightsearch` says, in order."""
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}  # objectives of tests lie in support/
    own = [Run(run.arguments, path | dict(run.environment)) for run in runs]
    return [server().run(run, folder, limit_s) for run in own]
