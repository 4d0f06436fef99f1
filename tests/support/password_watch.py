"""The suite is watched for the passwords of its databases; one that can be seen fails the run.

Every server that a test starts makes up a password. After the last test of each test process it
must stand in no file below that process's temporary folder but the server's own `password`, in no
captured output, log or child's output, and in no command line that was sampled on the way.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from weightsearch.store.embedded import server_folders

EVERY_S = 0.2


class Watch:
    """What one test process has seen."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.secrets: set[str] = set()
        self.said: list[tuple[str, str]] = []
        self.lines: set[str] = set()
        self.files: list[str] = []
        self.before = set(_processes())
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()
        sys.addaudithook(self._audit)
        self._listen()

    def look(self, where: str, text: str) -> None:
        if text:
            self.said.append((where, text))

    def leaks(self) -> list[str]:
        """Where a password can be seen; to be called once, at the end."""
        self.ended.set()
        self.thread.join()
        base: Path = self.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        self.search(base, *_servers_elsewhere(base))
        found = list(self.files)
        for where, text in self.said:
            found += [f"in {where}" for secret in self.secrets if secret in text]
        for line in self.lines:
            found += [f"in the list of processes: {line}" for s in self.secrets if s in line]
        return sorted({self._masked(leak) for leak in found})

    def _masked(self, leak: str) -> str:
        for secret in self.secrets:
            leak = leak.replace(secret, "***")
        return leak

    def search(self, *places: Path) -> None:
        """Looks for passwords in all files but the servers' own, which say what they are."""
        for place in places:
            for file in (place / "password", *place.rglob("postgres/password")):
                if file.is_file():
                    self.secrets.add(file.read_text().strip())
                    if stat.S_IMODE(file.stat().st_mode) != 0o600:
                        self.files.append(f"in the file {file}, which others may read")
        if self.secrets:
            # `-f -`: the passwords must not stand in grep's own command line.
            grep = ["grep", "-rlaF", "-D", "skip", "--exclude=password", "-f", "-"]
            asked = subprocess.run(
                [*grep, *map(str, places)],
                input="\n".join(self.secrets),
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            self.files += [f"in the file {name}" for name in asked.stdout.splitlines()]

    def _sample(self) -> None:
        while not self.ended.wait(EVERY_S):
            for process in set(_processes()) - self.before:
                try:
                    line = Path("/proc", process, "cmdline").read_bytes()
                except OSError:  # it has ended
                    continue
                self.lines.add(line.replace(b"\0", b" ").decode(errors="replace"))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and not self.ended.is_set():
            self.lines.add(_line(arguments[1]))

    def _listen(self) -> None:
        """Hears what every child says to the test that started it."""
        communicate = subprocess.Popen.communicate

        def heard(process: Any, *arguments: Any, **named: Any) -> Any:
            said = communicate(process, *arguments, **named)
            for output in said:
                text = output.decode(errors="replace") if isinstance(output, bytes) else output
                self.look(f"the output of {_line(process.args)[:200]}", text or "")
            return said

        subprocess.Popen.communicate = heard  # type: ignore[method-assign]


watch: Watch | None = None


def look_through(home: Path) -> None:
    """Searches a folder that will be gone before the end."""
    if watch is not None:
        watch.search(home)


_leaks: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    global watch
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if runs_tests and not config.option.collectonly:
        watch = Watch(config)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Not the traceback of a failed test: it shows the test's own arguments, a URL among them.
    for title, text in report.sections:
        if watch is not None:
            watch.look(f"what {report.nodeid} printed ({title})", text)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _leaks.extend(getattr(node, "workeroutput", {}).get("leaks", []))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if watch is not None:
        _leaks.extend(watch.leaks())
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["leaks"] = _leaks
    if _leaks and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _leaks:
        terminalreporter.section("passwords that can be seen")
        for leak in _leaks:
            terminalreporter.line(leak)


def _line(arguments: str | bytes | os.PathLike[str] | Iterable[Any]) -> str:
    """A command line as one string."""
    if isinstance(arguments, str | bytes | os.PathLike):
        return str(arguments)
    return shlex.join(map(str, arguments))


def _processes() -> Iterator[str]:
    try:
        yield from (name for name in os.listdir("/proc") if name.isdigit())
    except FileNotFoundError:  # no such thing on this system
        return


def _servers_elsewhere(base: Path) -> Iterator[Path]:
    """Folders of embedded servers whose homes are closed to the server's user, when root tests."""
    for pointer in base.rglob("postgres.folder"):
        yield server_folders.SHARED / pointer.read_text().strip()
