"""Many runs of the command line, each a process of its own, for the price of one set of imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FORKS = """
import gc, importlib, json, os, signal, sys

where, asked = sys.argv[1], json.load(sys.stdin)
for name in asked["modules"]:
    importlib.import_module(name)
import weightsearch.commands.main
gc.freeze()
for number, (arguments, environment) in enumerate(asked["runs"]):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # one that waits for ever is one that failed
        for descriptor in (1, 2):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(f"{where}/{number}.{descriptor}", flags, 0o600), descriptor)
        os.environ.update(environment)
        sys.argv = ["weightsearch", *arguments]
        code = 1
        try:
            weightsearch.commands.main.main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        os._exit(code)  # taking torch down would take a second
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


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


def run_all(runs: Sequence[Run], folder: Path, modules: Sequence[str] = ()) -> list[Said]:
    """What each of these runs of `weightsearch` says; `modules` are imported once for all."""
    asked = [([str(a) for a in run.arguments], dict(run.environment)) for run in runs]
    child = subprocess.run(
        [sys.executable, "-c", FORKS, str(folder)],
        input=json.dumps({"modules": modules, "runs": asked}),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=True,
    )
    codes = [int(line) for line in child.stdout.splitlines()]
    return [
        Said(code, *((folder / f"{number}.{descriptor}").read_text() for descriptor in (1, 2)))
        for number, code in enumerate(codes)
    ]
