"""Runs of the command line, one after the other, each a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support import fork_server


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


def run_all(runs: Sequence[Run], folder: Path, limit_s: int = 60) -> list[Said]:
    """What each of these runs of `weightsearch` says, in order."""
    return [_said(run, folder, limit_s) for run in runs]


def _said(run: Run, folder: Path, limit_s: int) -> Said:
    command = [sys.executable, "-m", "weightsearch", *map(str, run.arguments)]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}  # objectives of tests lie in support/
    environment = os.environ | path | dict(run.environment)
    ended = fork_server.run(command, limit_s, env=environment, cwd=folder)
    return Said(ended.returncode, ended.stdout, ended.stderr)
