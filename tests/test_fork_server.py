"""What the fork server forks is like a Python that was started in full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import fork_server
from support.paths import ROOT

SAYS = """
import json, os, sys

if sys.argv[1:] == ["wait"]:
    print("ready", flush=True)
    import time
    time.sleep(300)
if sys.argv[1:] == ["fail"]:
    raise KeyError("planted")
if sys.argv[1:] == ["words"]:
    sys.exit("in words")
if sys.argv[1:] == ["threads"]:
    import torch
    sys.exit(torch.get_num_threads())
print(json.dumps({
    "argv": sys.argv[1:], "cwd": os.getcwd(), "path": sys.path[:2], "name": __name__,
    "has": os.environ.get("HAS"), "home": os.environ.get("HOME"), "parent": os.getppid(),
    "session": os.getsid(0) == os.getpid(),
    "files": sorted(os.listdir("/proc/self/fd"))[:3], "python": sys.executable,
}))
sys.stderr.write("an error")
sys.exit(3)
"""
Popen = type[subprocess.Popen[Any]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A module of its own that counts as ours: nothing knows it beforehand."""
    monkeypatch.setattr(fork_server, "is_ours", lambda command: command[:2] == start)
    start = [sys.executable, "-m"]
    (tmp_path / "says.py").write_text(SAYS)
    return [*start, "says"]


def test_it_has_what_it_was_given_as_a_cold_one(command: list[str], tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "HAS": "this"}

    def said(kind: Popen, **options: Any) -> tuple[Any, ...]:
        with kind(
            [*command, "one", "a b"], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        ) as process:  # fmt: skip
            return *process.communicate(), process.returncode

    for options in ({}, {"start_new_session": True}):
        cold = said(subprocess.Popen, **options)
        if not options:
            assert cold[1:] == ("an error", 3)
        assert said(fork_server.Forked, **options) == cold


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_is_a_process_of_who_asked_with_a_name(
    command: list[str], number: signal.Signals, tmp_path: Path
) -> None:
    words = [*command, "wait"]
    with (tmp_path / "errors").open("w") as errors:
        process = fork_server.Forked(
            words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        seen = psutil.Process(process.pid)
        assert seen.ppid() == os.getpid()
        assert [word for word in seen.cmdline() if word] == words
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == -number


def test_errors_are_told_as_python_tells_them(command: list[str], tmp_path: Path) -> None:
    failed = fork_server.run([*command, "fail"], cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "KeyError: 'planted'"
    told = fork_server.run([*command, "words"], cwd=tmp_path)
    assert (told.returncode, told.stderr) == (1, "in words\n")


def test_torch_has_one_thread(command: list[str], tmp_path: Path) -> None:
    assert fork_server.run([*command, "threads"], cwd=tmp_path).returncode == 1
