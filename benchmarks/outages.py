"""The database goes away under real workers: restarts, long outages, half-open connections,
too few connections, failover. Prints a table; exit code 1 where a row does not pass.

    python benchmarks/outages.py [--repetitions 3] [--only F6 F7 F8 F15 F16 failover]

Its own PostgreSQL is started and stopped; the workers are processes, on a trivial objective.
Passes: every worker exits 0, every point is done exactly once, nothing is trained twice while the
outage is shorter than the lease, at most one line of log per outage and worker, at most one new
connection a second and worker, no password in any log, and the time is at most that without an
outage, plus the outage, plus the lease.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from sqlalchemy import text  # noqa: E402
from support.faulty_servers import OwnServer, Proxy, Worker, own_server, workers  # noqa: E402

from weightsearch.store.connection.database import Database, open_database  # noqa: E402
from weightsearch.store.connection.outage import retry_while_away  # noqa: E402
from weightsearch.store.ledger import leases, queries, studies, verification  # noqa: E402
from weightsearch.store.ledger.studies import Study  # noqa: E402
from weightsearch.study import loading, planning  # noqa: E402

LEASE_S = 30.0
PHASES = {  # points, epochs, seconds per epoch: what a worker is at nearly all the time
    "idle": (6, 1, 0.05),
    "claim": (400, 1, 0.0),
    "compute": (6, 1, 1.0),
    "report": (12, 40, 0.02),
}
OUTAGES_S = (0.2, 2.0, 10.0)


@dataclass
class Run:
    """One fresh database with a study, and what workers made of it."""

    server: OwnServer
    database: Database
    study: Study
    home: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def count(self, state: str) -> int:
        return retry_while_away(lambda: queries.counts(self.database.engine, self.study)[state])

    def scalar(self, query: str) -> Any:
        def ask() -> Any:
            with self.database.engine.connect() as connection:
                return connection.execute(text(query)).scalar()

        return retry_while_away(ask)

    def judge(self, started: list[Worker], outages: int) -> dict[str, Any]:
        exits = [worker.wait(300) for worker in started]
        found = verification.verify(self.database.engine, self.study)
        logs = "".join(worker.said() for worker in started)
        return {
            "exits": sum(code != 0 for code in exits),
            "missing": found.points - found.done_once,
            "again": found.starts - found.points,
            "lost": found.lost,
            "lines": max(0, *(worker.outages() - outages for worker in started)),
            "password": logs.count(self.server.password),
        }


@contextmanager
def run(server: OwnServer, points: int, epochs: int, epoch_s: float) -> Iterator[Run]:
    with server.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS ws WITH (FORCE)")
        admin.execute("CREATE DATABASE ws")
    spec = loading.parse(
        {
            "goal": "benchmark",
            "objective": {"run": "weightsearch.study.trivial_objective:run"},
            "loss": {"weights": {"grid": "simplex", "steps": 36}},
            "sampler": {"kind": "grid", "trials": points},
            "params": {"epoch_s": epoch_s},
            "train": {"epochs": epochs},
        },
        "benchmark",
    )
    os.environ["WEIGHTSEARCH_STORAGE"] = server.url("ws")
    with tempfile.TemporaryDirectory() as home:
        database = open_database(None, Path(home), "benchmark")
        yield Run(
            server, database, studies.create(database.engine, "study", spec, planning.plan(spec)),
            Path(home),
        )  # fmt: skip
        database.engine.dispose()


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 120
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError("waited too long")
        time.sleep(0.02)


def restarted(server: OwnServer, phase: str, how: str, outage_s: float) -> dict[str, Any]:
    """F6: one outage in a phase; `how` is empty for none."""
    with (
        run(server, *PHASES[phase]) as this,
        workers(2, "study", server.url("ws"), this.home, LEASE_S) as started,
    ):
        held = []
        if phase == "idle":  # all points are somebody else's when the workers come
            names = map("other-{}".format, itertools.count())
            engine, study = this.database.engine, this.study.id
            while lease := leases.claim(engine, study, next(names), "cpu", 3600):
                held.append(lease)
            until(lambda: this.scalar("SELECT count(*) FROM ws_workers") == 2)
        elif phase == "claim":
            until(lambda: this.count("done") >= 20)
        elif phase == "compute":
            until(lambda: this.count("leased") == 2)
            time.sleep(0.3)
        else:
            until(lambda: this.count("done") >= 2)
        began = time.monotonic()
        if how:
            with server.away(how, outage_s):
                pass
        for lease in held:
            retry_while_away(
                lambda lease=lease: leases.give_back(this.database.engine, lease, "", paused=False)
            )
        found = this.judge(started, outages=int(bool(how)))
        found["wall"] = time.monotonic() - began
        found["again"] -= len(held)
        return found


def long_outage(server: OwnServer) -> dict[str, Any]:
    """F7: 8 s without a database, a lease of 2 s; each worker behind a proxy that counts."""
    with run(server, 8, 4, 0.3) as this:
        proxies = [Proxy(server) for _ in range(2)]
        urls = [server.url("ws", host="127.0.0.1", port=p.port, sslmode="disable") for p in proxies]
        with (
            workers(1, "study", urls[0], this.home, 2.0) as one,
            workers(1, "study", urls[1], this.home / "2", 2.0) as two,
        ):
            until(lambda: this.count("done") >= 2)
            before = [len(proxy.accepted) for proxy in proxies]
            for proxy in proxies:
                proxy.refuse()
            time.sleep(8.0)
            tries = [p.accepted[n:] for p, n in zip(proxies, before, strict=True)]
            for proxy in proxies:
                proxy.refuse(False)
            found = this.judge([*one, *two], outages=1)
        for proxy in proxies:
            proxy.close()
        gaps = [b - a for tried in tries for a, b in itertools.pairwise(tried)]
        found["again"] -= found["lost"]  # the lease ran out: that is what it is for
        return found | {"gap": min(gaps), "tries": max(len(tried) for tried in tries)}


def half_open(server: OwnServer) -> dict[str, Any]:
    """F8: all connections of a worker stop forwarding; new ones work. A lease of 20 s.

    Noticed: when the worker has closed the last of them.
    """
    with run(server, 3, 30, 0.5) as this:
        proxy = Proxy(server)
        url = server.url("ws", host="127.0.0.1", port=proxy.port, sslmode="disable")
        with workers(1, "study", url, this.home, 20.0) as started:
            until(lambda: this.scalar("SELECT count(*) FROM ws_points WHERE attempt > 0") == 1)
            query = "SELECT extract(epoch FROM lease_until) FROM ws_points WHERE number = 0"
            proxy.freeze()
            began, leased = time.monotonic(), this.scalar(query)
            until(lambda: not proxy.frozen)
            noticed = time.monotonic() - began
            until(lambda: (this.scalar(query) or float("inf")) > leased)
            renewed = time.monotonic() - began
            found = this.judge(started, outages=1)
        proxy.close()
        return found | {"noticed": noticed, "renewed": renewed}


def few_connections(server: OwnServer) -> dict[str, Any]:
    """F15: 20 workers for 10 connections."""
    with run(server, 60, 2, 0.2) as this:
        with server.admin("ws") as admin:
            if admin.execute("SELECT FROM pg_roles WHERE rolname = 'few'").fetchone() is None:
                admin.execute("CREATE ROLE few LOGIN PASSWORD 'sesame' CONNECTION LIMIT 10")
            admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO few")
            admin.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO few")
            admin.execute("GRANT CREATE ON SCHEMA public TO few")
        with workers(20, "study", server.url("ws", "few:sesame"), this.home, LEASE_S) as started:
            found = this.judge(started, outages=0)
            refused = sum("too many connections" in worker.said() for worker in started)
        return found | {"lines": 0, "refused": refused}


def migrated_at_once(server: OwnServer) -> dict[str, Any]:
    """F16: two migrators of an empty database."""
    with server.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS ws WITH (FORCE)")
        admin.execute("CREATE DATABASE ws")
    command = [sys.executable, "-m", "weightsearch", "migrate", "--json"]
    environment = os.environ | {"WEIGHTSEARCH_STORAGE": server.url("ws")}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [json.loads(process.communicate()[0] or "{}") for process in both]
    with server.admin("ws") as admin:
        rows = [
            admin.execute(f"SELECT count(*) FROM {table}").fetchone()
            for table in ("ws_meta", "version_info", "alembic_version")
        ]
    exits = sum(process.returncode != 0 for process in both)
    return {"exits": exits, "missing": rows != [(1,)] * 3 or answers[0] != answers[1]}


def failed_over(server: OwnServer) -> dict[str, Any]:
    """The first of two addresses dies for good."""
    with run(server, 12, 4, 0.2) as this:
        first, second = Proxy(server), Proxy(server)
        url = server.url(
            "ws",
            host="127.0.0.1,127.0.0.1",
            port=f"{first.port},{second.port}",
            target_session_attrs="read-write",
        )
        with workers(2, "study", url, this.home, LEASE_S) as started:
            until(lambda: this.count("done") >= 2)
            first.close()
            found = this.judge(started, outages=1)
        second.close()
        return found | {"missing": found["missing"] + (not second.accepted)}


def fails(found: dict[str, Any]) -> list[str]:
    """Which criteria a run does not meet."""
    limits = {
        "exits": 0, "missing": 0, "again": 0, "lines": 0, "password": 0,
        "noticed": 10.0, "over": LEASE_S,
    }  # fmt: skip
    over = [name for name, limit in limits.items() if found.get(name, 0) > limit]
    return over + ["gap"] * (found.get("gap", 1.0) < 0.95)


def row(name: str, runs: list[dict[str, Any]]) -> bool:
    """Prints how many runs passed, and the worst of what was measured."""
    bad = [fails(found) for found in runs]
    worst = {n: max(found[n] for found in runs) for n in runs[0] if n not in ("wall", "gap")}
    if "gap" in runs[0]:
        worst["gap"] = min(found["gap"] for found in runs)
    shown = "  ".join(
        f"{n} {v:.2f}" if isinstance(v, float) else f"{n} {v}" for n, v in worst.items()
    )
    passed = sum(not b for b in bad)
    print(f"{name:34s} {passed:3d}/{len(runs)}  {shown}", flush=True)
    return passed == len(runs)


def restarts(server: OwnServer, repetitions: int) -> bool:
    good = True
    for phase in PHASES:
        plain = [restarted(server, phase, "", 0.0) for _ in range(2)]
        ideal = min(found["wall"] for found in plain)
        good &= row(f"F6 {phase}, no outage", plain)
        for how, outage_s in itertools.product(("fast", "immediate"), OUTAGES_S):
            runs = [restarted(server, phase, how, outage_s) for _ in range(repetitions)]
            for found in runs:
                found["over"] = found["wall"] - ideal - outage_s
            good &= row(f"F6 {phase}, {how}, {outage_s:g} s", runs)
    return good


FAULTS = {
    "F7": ("F7 8 s away, lease 2 s", long_outage),
    "F8": ("F8 half-open connections", half_open),
    "F15": ("F15 20 workers, 10 connections", few_connections),
    "F16": ("F16 two migrators", migrated_at_once),
    "failover": ("first of two addresses dies", failed_over),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repetitions", type=int, default=3)
    options.add_argument("--only", nargs="+", choices=["F6", *FAULTS], default=["F6", *FAULTS])
    asked = options.parse_args()
    print("worst of all runs: workers that failed, points not done once, trainings repeated, ...")
    print(f"{'fault':34s} passed", flush=True)
    good = True
    with own_server() as server:
        if "F6" in asked.only:
            good &= restarts(server, asked.repetitions)
        for name, (title, once) in FAULTS.items():
            if name in asked.only:
                good &= row(title, [once(server) for _ in range(asked.repetitions)])
    sys.exit(not good)


if __name__ == "__main__":
    main()
