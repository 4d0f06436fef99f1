"""A fleet of 200 workers that sleep instead of training, on one PostgreSQL.

    python benchmarks/fleet.py [--workers 200] [--points 2000] [--idle 30]

Each worker is a thread with a database connection of its own (`--processes` share them out) that
claims, renews, reports and finishes as weightsearch/worker/loop.py does; a point takes 1 to 3 s.
One mirror per process keeps the Optuna study fresh. Prints claims per second, claim latency,
connections, processor time of the server, and what 10,000 workers would ask of it at the measured
cost per claim. Then: what idle workers ask, and how soon a new point starts.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import psutil  # noqa: E402
from sqlalchemy import text  # noqa: E402
from support.faulty_servers import OwnServer, own_server  # noqa: E402

from weightsearch.store.connection.database import Database, open_database  # noqa: E402
from weightsearch.store.connection.notifications import Listener  # noqa: E402
from weightsearch.store.connection.outage import retry_while_away  # noqa: E402
from weightsearch.store.ledger import (  # noqa: E402
    leases,
    queries,
    studies,
    study_control,
    verification,
)
from weightsearch.study import loading, planning  # noqa: E402
from weightsearch.worker.background import mirroring, renewing  # noqa: E402

RESULT = {"outcome": "done", "metrics": {"rmse": 1.0}, "samples": {}, "groups": [], "images": 1}
LEASE_S = 60.0


@dataclass
class Seen:
    """What the workers of one process measured."""

    claims_ms: list[float] = field(default_factory=list)
    claimed_at: list[float] = field(default_factory=list)


def worker(url: str, study: studies.Study, name: str, over: Event, seen: Seen) -> None:
    """As weightsearch/worker/loop.py, without an objective."""
    opened = open_database(url, Path(), name)
    changes, source = Listener(opened, study.id), random.Random(name)
    study_control.sign_on(opened.engine, study, name, "here", os.getpid(), "none")
    while not over.is_set():
        began = time.perf_counter()
        lease = retry_while_away(
            lambda: leases.claim(opened.engine, study.id, name, "none", LEASE_S), over.is_set
        )
        seen.claims_ms.append(1000 * (time.perf_counter() - began))
        if lease is None:
            now = retry_while_away(
                lambda: study_control.standing(opened.engine, study.id), over.is_set
            )
            changes.wait(now.expires_s, over.is_set)
            continue
        changes.close()
        seen.claimed_at.append(time.time())
        with renewing(opened, [lease], LEASE_S):
            for epoch in (1, 2):
                over.wait(source.uniform(0.5, 1.5))
                leases.report(opened.engine, lease, epoch, {"rmse": 1.0})
        leases.finish(opened.engine, lease, RESULT)
    changes.close()
    opened.engine.dispose()


def process(url: str, k: int, workers: int, over: Event, queue: Any) -> None:
    logging.disable(logging.WARNING)
    opened = open_database(url, Path(), f"mirror-{k}")
    study, seen = studies.find(opened.engine, "study"), Seen()
    threads = [
        threading.Thread(target=worker, args=(url, study, f"w-{k}-{n}", over, seen))
        for n in range(workers)
    ]
    with mirroring(opened, study, f"w-{k}-0"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    queue.put((seen.claims_ms, seen.claimed_at))


def scalar(opened: Database, query: str) -> Any:
    with opened.engine.connect() as connection:
        return connection.execute(text(query)).scalar()


def server_cpu_s(server: OwnServer) -> float:
    assert server.process is not None
    tree = psutil.Process(server.process.pid)
    total = 0.0
    for one in (tree, *tree.children(recursive=True)):
        try:
            times = one.cpu_times()
            total += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--workers", type=int, default=200)
    options.add_argument("--points", type=int, default=2000)
    options.add_argument("--processes", type=int, default=8)
    options.add_argument("--idle", type=float, default=30.0, help="seconds to watch idle workers")
    asked = options.parse_args()
    logging.disable(logging.WARNING)
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        server.stop()
        server.settings["max_connections"] = 2 * asked.workers + 50
        server.start()
        with server.admin() as admin:
            admin.execute("CREATE DATABASE ws")
        url = server.url("ws")
        opened = open_database(url, Path(folder))
        spec = loading.parse(
            {
                "goal": "fleet",
                "objective": {"run": "weightsearch.study.trivial_objective:run"},
                "loss": {"weights": {"grid": "simplex", "steps": 3}},
                "sampler": {"kind": "random", "trials": asked.points + 1},
                "train": {"epochs": 2},
            },
            "fleet",
        )
        study = studies.create(opened.engine, "study", spec, planning.plan(spec))
        # The last point is held back: it shows how soon an idle fleet starts a new one.
        hold(opened, asked.points, "'leased', worker = 'nobody', lease_until = now() + '1 day'")
        context = multiprocessing.get_context("spawn")
        over, queue = context.Event(), context.Queue()
        each = asked.workers // asked.processes
        fleet = [
            context.Process(target=process, args=(url, k, each, over, queue))
            for k in range(asked.processes)
        ]
        cpu_before, began = server_cpu_s(server), time.time()
        for one in fleet:
            one.start()
        most = 0
        while queries.counts(opened.engine, study)["done"] < asked.points:
            most = max(most, scalar(opened, CONNECTIONS))
            time.sleep(0.5)
        took_s, cpu_s = time.time() - began, server_cpu_s(server) - cpu_before
        found = verification.verify(opened.engine, study)

        time.sleep(12)  # until all listen
        before, at = scalar(opened, TRANSACTIONS), time.time()
        time.sleep(asked.idle)
        idle = (scalar(opened, TRANSACTIONS) - before - 1) / (time.time() - at) / asked.workers
        freed = time.time()
        hold(opened, asked.points, "'waiting', worker = NULL, lease_until = NULL")
        study_control.set_state(opened.engine, study, "running")  # which tells whoever listens
        while queries.counts(opened.engine, study)["done"] < asked.points + 1:
            time.sleep(0.2)
        over.set()
        parts = [queue.get() for _ in fleet]
        for one in fleet:
            one.join()
        opened.engine.dispose()
    claims = [ms for part in parts for ms in part[0]]
    claimed_at = sorted(at for part in parts for at in part[1])
    rate = asked.points / (claimed_at[-2] - claimed_at[0])
    each_s = cpu_s / asked.points
    print(f"{asked.workers} workers, {asked.points} points of 1 to 3 s: {took_s:.0f} s")
    print(f"done once {found.done_once}, starts {found.starts}, duplicated {len(found.duplicated)}")
    print(
        f"claims/s {rate:.1f}; claim p50 {percentile(claims, 0.5):.1f} ms,"
        f" p99 {percentile(claims, 0.99):.1f} ms"
    )
    print(
        f"connections at most {most}; the server took {cpu_s:.1f} s of processor,"
        f" {1000 * each_s:.1f} ms a point"
    )
    print(
        f"idle: {idle:.2f} transactions a second and worker; a new point started"
        f" {1000 * (claimed_at[-1] - freed):.0f} ms after it was free"
    )
    print(
        f"10,000 workers at this cost: points of 2 s (5000 claims/s) {5000 * each_s:.1f} cores;"
        f" points of 10 min (17 claims/s) {10_000 / 600 * each_s:.2f} cores"
    )


def hold(opened: Database, number: int, state: str) -> None:
    with opened.engine.begin() as connection:
        connection.execute(text(f"UPDATE ws_points SET state = {state} WHERE number = {number}"))


CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ws'"
TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'ws'"


if __name__ == "__main__":
    main()
