"""`python -m weightsearch ...` without the seconds that its imports take.

A process that has imported torch and the rest forks one that goes on as such a Python would: with
the arguments, the environment, the folder, the files and the process group that it was asked for.
It is a child of who asked, as after `subprocess.Popen`: it has a pid to be sent signals, it can be
waited for, and it may outlive the others. What a launch starts on its way (its check of the
objective, its workers) is forked in the same manner. Whatever else is started is started in full.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

MODULES = (
    *("torch", "timm", "segmentation_models_pytorch", "pytorch_msssim", "safetensors.torch"),
    *("optuna", "sqlalchemy.dialects.postgresql", "psycopg", "plotly.graph_objects"),
    *("scipy.stats", "scipy.stats.qmc", "scipy.io", "skimage.feature", "h5py", "PIL.Image"),
    *("optuna_dashboard", "alembic.command", "rich.progress", "dashboards.serving"),
)
SKIPPED = {"__main__", "ray_cluster", "remote_worker", "slurm_jobs", "supervisor"}
OURS = ("weightsearch", "support")
STARTERS = ("launch", "promote", "nightly", "check")
"""Commands that start more of their kind."""
HUGE_PAGES = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Memory in huge pages: a fork copies a few hundred page-table entries, not 130,000."""
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
NAME_BYTES = 4096
HEAD = struct.Struct("!I")


class Forked(subprocess.Popen[Any]):
    """A process that is forked where it is one of ours, and anything else as ever."""

    def _execute_child(self, *arguments: Any) -> None:
        (command, _, preexec, _, _, cwd, environment, _, _, shell) = arguments[:10]
        (inp, to_inp, from_out, out, from_err, err) = arguments[10:16]
        new_session, group = arguments[-2:]
        server = None if preexec or shell or not is_ours(command) else start()
        if server is None:
            cold: Any = super()
            cold._execute_child(*arguments)
            return
        words = _words(command)
        sys.audit("subprocess.Popen", words[0], words, cwd, environment)
        asked = {
            "arguments": words[2:],
            "safe_path": "-P" in list(command)[1:2],
            "environment": dict(os.environ if environment is None else environment),
            "cwd": os.fspath(cwd or os.getcwd()),
            "new_session": bool(new_session),
            "group": group,
        }
        files = [given if given != -1 else own for own, given in enumerate((inp, out, err))]
        self.pid = server.fork(asked, files)
        self._child_created = True
        self._close_pipe_fds(inp, to_inp, from_out, out, from_err, err)  # type: ignore[attr-defined]


def is_ours(command: Any) -> bool:
    if isinstance(command, str | bytes | os.PathLike):
        return False
    words = _words(command)
    ours = words[:2] == [sys.executable, "-m"] and words[2].split(".")[0] in OURS
    return ours and not words[2].endswith(".supervisor")  # which inherits a lock


def _words(command: Any) -> list[str]:
    """A command without the option that keeps the current folder from the path."""
    words = [os.fspath(word) for word in command]
    return words[:1] + words[2:] if words[1:2] == ["-P"] else words


class Server:
    """The end of a fork server that its one user holds."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def fork(self, asked: Mapping[str, Any], files: Sequence[int]) -> int:
        with self.lock, _adopting():
            message = json.dumps(asked).encode()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
            self.connection.sendmsg([HEAD.pack(len(message))], rights)
            self.connection.sendall(message)
            return int(HEAD.unpack(_exactly(self.connection, HEAD.size))[0])


_server: Server | None = None


def start() -> Server | None:
    """The fork server of this process, ready, where the system can have one."""
    global _server
    if _server is None and sys.platform == "linux":
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).parents[2])
        # Its name is overwritten by what each child is; `-P`: not this folder on its path.
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno()), " " * NAME_BYTES],
            env=os.environ
            | {"PYTHONPATH": root, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
            | HUGE_PAGES,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        assert ours.recv(1)  # now, so that nothing that is forked waits for its imports
        _server = Server(ours)
        _server.process = process
    return _server


def stop() -> None:
    """What was forked goes on."""
    global _server
    if _server is not None and _server.process is not None:
        _server.connection.close()
        _server.process.wait()
        _server = None


def run(
    command: Sequence[str], timeout_s: float = 240, **options: Any
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with captured text, but forked where it is one of ours."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Forked(command, text=True, **pipes | options) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Makes a grandchild whose parent ends a child of this process."""
    control = ctypes.CDLL(None).prctl
    control(SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        control(SUBREAPER, 0, 0, 0, 0)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def serve(connection: socket.socket, path: Sequence[str]) -> None:
    """Forks what it is asked for until its user is gone; returns in each child, to run it."""
    while True:
        head, files, _, _ = socket.recv_fds(connection, HEAD.size, 3)
        if not head:
            os._exit(0)
        asked = json.loads(_exactly(connection, HEAD.unpack(head)[0]))
        said, told = os.pipe(), os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child != 0:
                os.write(said[1], HEAD.pack(child))
                os._exit(0)
            os.close(told[1])
            os.read(told[0], 1)  # until its parent is the one who asked
            become(asked, files, path)
        os.waitpid(between, 0)
        pid = os.read(said[0], HEAD.size)
        for descriptor in (*said, *told, *files):
            os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(pid)


def become(asked: Mapping[str, Any], files: Sequence[int], path: Sequence[str]) -> NoReturn:
    """Goes on as a new Python would that was started so."""
    for descriptor, file in enumerate([os.dup(file) for file in files]):
        os.dup2(file, descriptor)
    os.closerange(3, 256)
    if asked["new_session"]:
        os.setsid()
    elif asked["group"] >= 0:
        os.setpgid(0, asked["group"])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environment: dict[str, str] = asked["environment"]
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(asked["cwd"])
    named = [name for name in environment.get("PYTHONPATH", "").split(os.pathsep) if name]
    sys.path[:] = [*([] if asked["safe_path"] else [asked["cwd"]]), *named, *path]
    importlib.invalidate_caches()
    sys.argv = ["-m", *asked["arguments"][1:]]
    sys.orig_argv = [sys.executable, "-m", *asked["arguments"]]
    _rename(sys.orig_argv)
    if "PYTHONUNBUFFERED" in environment:
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    if asked["arguments"][1:] and asked["arguments"][1] in STARTERS:
        _nest(path)
    _run(asked["arguments"][0])


def _rename(words: Sequence[str]) -> None:
    """What `ps` shows, as the suite looks for passwords there."""
    facts = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(facts[45]), int(facts[46])
    name = b"\0".join(word.encode() for word in words) + b"\0"
    ctypes.memmove(begin, name.ljust(end - begin, b"\0"), end - begin)


def _nest(path: Sequence[str]) -> None:
    """A fork server of its own, for what this process starts."""
    global _server
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _rename(["fork server"])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for descriptor in range(3):  # or who reads our output would wait for its end
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        serve(theirs, path)
    theirs.close()
    _server = Server(ours)
    subprocess.Popen = Forked  # type: ignore[misc]


def _run(module: str) -> NoReturn:
    code: Any = 0
    try:
        for name in (module, f"{module}.__main__"):
            sys.modules.pop(name, None) if name != "weightsearch" else None
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code or 0)  # taking torch down would take a second


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    root = os.environ["PYTHONPATH"]
    for name in MODULES:
        importlib.import_module(name)
    package = importlib.import_module("weightsearch")
    for found in pkgutil.walk_packages(package.__path__, "weightsearch."):
        if found.name.rpartition(".")[2] not in SKIPPED:
            importlib.import_module(found.name)
    # Each would build the same commands out of the same functions, in 0.1 s.
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(importlib.import_module("weightsearch.commands.main").app)
    gc.collect()
    gc.freeze()
    connection.sendall(b"+")
    serve(connection, [name for name in sys.path if name != root])


if __name__ == "__main__":
    sys.modules["support.fork_server"] = sys.modules["__main__"]
    main()
