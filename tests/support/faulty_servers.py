"""A PostgreSQL that may be stopped, a network that fails, and workers that have to live with it."""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from support import fork_server, password_watch
from weightsearch.store.embedded import postgres_process, postgres_programs, server_folders

PATIENCE_S = 60  # a test that waits longer has failed
SUPERUSER = "postgres"


def wait_until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


class OwnServer:
    """A PostgreSQL on a socket and on 127.0.0.1, with TLS where openssl is there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.sockets = folder, folder / "data", folder / "run"
        self.log, self.account = folder / "log", server_folders.account()
        self.programs = postgres_programs.find(self.data, self.account)
        self.password = secrets.token_urlsafe(12)
        self.port = free_port()
        self.settings: dict[str, Any] = {"max_connections": 60}
        self.process: subprocess.Popen[bytes] | None = None
        self.certificate: Path | None = None
        for made in (self.data, self.sockets):
            made.mkdir(mode=0o700)
            self._give(made)

    def initialise(self) -> None:
        """With the data, and the password, that `initdb` makes once for all of this process."""
        made, self.password = _new_data(self.programs)
        self._copy(made)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        self._give(password)
        if shutil.which("openssl"):
            self._certify()

    def follow(self, primary: OwnServer) -> None:
        """A standby, from the data of a primary that is stopped; nothing is sent to it."""
        self._copy(primary.data)
        (self.data / "standby.signal").touch()
        self._give(self.data / "standby.signal")
        self.password = primary.password

    def _copy(self, data: Path) -> None:
        shutil.copytree(data, self.data, dirs_exist_ok=True)
        for path in (self.data, *self.data.rglob("*")):
            self._give(path)

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def _run(self, program: str, *arguments: object) -> None:
        with self.log.open("ab") as log:
            subprocess.run(
                [str(self.programs / program), *map(str, arguments)],
                stdout=log,
                stderr=log,
                check=True,
                **postgres_programs.run_as(self.account),
            )

    def _certify(self) -> None:
        """A certificate of its own, for the name `localhost` and no other."""
        key, certificate = self.data / "server.key", self.folder / "server.crt"
        subprocess.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
            f" -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key}"
            f" -out {certificate}".split(),
            check=True,
            capture_output=True,
        )
        key.chmod(0o600)
        self._give(key)
        self.settings |= {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
        self.certificate = certificate

    def start(self) -> None:
        settings = self.settings | {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.sockets,
            "fsync": "off",  # the machine does not crash in these tests, the server does
        }
        command = [str(self.programs / "postgres"), "-D", str(self.data)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        arguments = postgres_programs.run_as(self.account)
        arguments["preexec_fn"] = postgres_process._die_too(signal.SIGQUIT)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, process_group=0, **arguments
            )
        postgres_process.await_ready(self.process, self.data, postgres_process.Log(self.log, 0))

    def stop(self, how: str = "fast") -> None:
        """`fast` tells its clients; `immediate` is a crash."""
        assert self.process is not None
        self.process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])
        self.process.wait(PATIENCE_S)

    @contextmanager
    def away(self, how: str, seconds: float) -> Iterator[None]:
        """Stopped for so long at least, and until the block ends."""
        self.stop(how)
        back = time.monotonic() + seconds
        yield
        time.sleep(max(0.0, back - time.monotonic()))
        self.start()

    def admin(self, dbname: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.sockets),
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=dbname,
            autocommit=True,
        )

    def url(self, dbname: str, role: str = "", **query: Any) -> str:
        """By the socket, unless `query` has a host."""
        places = {"host": self.sockets, "port": self.port} | query
        question = "&".join(f"{name}={value}" for name, value in places.items())
        return f"postgresql://{role or f'{SUPERUSER}:{self.password}'}@/{dbname}?{question}"


@functools.cache
def _new_data(programs: Path) -> tuple[Path, str]:
    """A data directory that nothing has used, and the superuser's password in it."""
    # Not in pytest's folder: that is closed to the server's user, if root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="weightsearch-initdb-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    server = OwnServer(folder)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    server._give(password)
    server._run("initdb", "-D", server.data, "-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8",
                "--pwfile", password, "--locale=C", "--no-sync")  # fmt: skip
    return server.data, server.password


@contextmanager
def own_server(primary: OwnServer | None = None) -> Iterator[OwnServer]:
    """A new one; or a standby of one that is stopped."""
    # Not in pytest's folder: that is closed to the server's user, if root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="weightsearch-own-"))
    folder.chmod(0o755)
    server = OwnServer(folder)
    try:
        if primary is None:
            server.initialise()
        else:
            server.follow(primary)
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop("immediate")
        password_watch.look_through(folder)
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Proxy:
    """Forwards TCP to the server, until it is told to do worse."""

    def __init__(self, server: OwnServer) -> None:
        self.target = ("127.0.0.1", server.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.accepted: list[float] = []
        self.refuses = self.closed = False
        self.peers: dict[socket.socket, socket.socket] = {}
        self.frozen: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.closed:
            watched = [self.listener, *self.peers]
            for ready in select.select(watched, [], [], 0.02)[0]:
                with self.lock:
                    if ready is self.listener:
                        self._accept()
                    elif ready in self.peers:
                        self._forward(ready)

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        self.accepted.append(time.monotonic())
        try:
            if self.refuses:
                raise ConnectionRefusedError
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
        else:
            self.peers |= {client: server, server: client}

    def _forward(self, source: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = source.recv(65536)
            if data and source not in self.frozen:
                self.peers[source].sendall(data)
        if not data:
            self._cut(source)

    def _cut(self, end: socket.socket) -> None:
        for closed in (end, self.peers[end]):
            del self.peers[closed]
            self.frozen.discard(closed)
            closed.close()

    def freeze(self) -> None:
        """What is connected now is acknowledged, and goes nowhere: a half-open connection."""
        with self.lock:
            self.frozen |= set(self.peers)

    def refuse(self, refuses: bool = True) -> None:
        """Cuts what is connected; what comes is accepted, and cut at once."""
        with self.lock:
            self.refuses = refuses
            while self.peers:
                self._cut(next(iter(self.peers)))

    def close(self) -> None:
        """Nobody listens any more."""
        self.closed = True
        self.thread.join()
        self.listener.close()
        self.refuse()


class Worker(fork_server.Forked):
    """`weightsearch worker NAME` as a process, and what it writes to stderr."""

    def __init__(
        self, name: str, storage: str, home: Path, lease: float = 30.0, lanes: str = "1"
    ) -> None:
        home.mkdir(exist_ok=True)
        self.log = home / f"worker-{secrets.token_hex(4)}.log"
        command = [sys.executable, "-m", "weightsearch", "worker", name, "--device", "cpu"]
        with self.log.open("w") as output:
            super().__init__(
                [*command, "--lease", str(lease), "--lanes", lanes],
                env=os.environ | {"WEIGHTSEARCH_STORAGE": storage, "WEIGHTSEARCH_HOME": str(home)},
                cwd=home,
                stderr=output,
            )

    def said(self) -> str:
        return self.log.read_text()

    def outages(self) -> int:
        return self.said().count("the database is away")


@contextmanager
def workers(
    number: int, name: str, storage: str, home: Path, lease: float = 30.0, lanes: str = "1"
) -> Iterator[list[Worker]]:
    """So many of them; what is left in the end is killed."""
    started: list[Worker] = []
    try:
        started += [Worker(name, storage, home, lease, lanes) for _ in range(number)]
        yield started
    except BaseException:
        for worker in started:
            print(worker.said()[-3000:], file=sys.stderr)
        raise
    finally:
        for worker in started:
            worker.kill()
            worker.wait()
