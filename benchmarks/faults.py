"""Claims that exclude each other, take-over after a kill, and a soak; the long form of the tests.

    python benchmarks/faults.py [--only F1 F2 F24] [--minutes 60]

F1: processes that claim the same points at the same moment; and as a negative control the same
    harness over Optuna with SQLite, which must report doubles.
F2: a worker is killed in the middle of a point, ten times: how long until another has it.
F24: two workers for an hour: memory, connections, transactions left open.

Prints a line each; exit code 1 where one does not pass.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import psutil  # noqa: E402
from sqlalchemy import text  # noqa: E402
from support.faulty_servers import OwnServer, Worker, own_server  # noqa: E402

from weightsearch.store.connection.database import Database, open_database  # noqa: E402
from weightsearch.store.ledger import (  # noqa: E402
    leases,
    studies,
)
from weightsearch.study import loading, planning  # noqa: E402

LEASE_S = 3.0
Claim = Callable[[str, int, Barrier, Any], None]


def study(opened: Database, name: str, points: int, epoch_s: float = 0.0) -> studies.Study:
    spec = loading.parse(
        {
            "goal": "faults",
            "objective": {"run": "weightsearch.study.trivial_objective:run"},
            "loss": {"weights": {"grid": "simplex", "steps": 3}},
            "sampler": {"kind": "random", "trials": points},
            "params": {"epoch_s": epoch_s},
            "train": {"epochs": 1},
        },
        "faults",
    )
    return studies.create(opened.engine, name, spec, planning.plan(spec))


def ours(url: str, rounds: int, ready: Barrier, queue: Any) -> None:
    opened = open_database(url, Path())
    worker = multiprocessing.current_process().name
    for k in range(rounds):
        found = studies.find(opened.engine, f"round {k}")
        ready.wait()
        number = 0
        while lease := leases.claim(opened.engine, found.id, f"{worker} {number}", "cpu", 600):
            queue.put((k, lease.number))
            number += 1
    queue.put(None)


def optunas(url: str, rounds: int, ready: Barrier, queue: Any) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.simplefilter("ignore")
    storage = optuna.storages.RDBStorage(url)
    waiting = optuna.trial.TrialState.WAITING
    for k in range(rounds):
        found = optuna.load_study(study_name=f"round {k}", storage=storage)
        ready.wait()
        while found.get_trials(deepcopy=False, states=(waiting,)):
            trial = found.ask()
            if _queued(trial):
                queue.put((k, round(trial.suggest_float("x", 0, 1e6))))
    queue.put(None)


def _queued(trial: Any) -> bool:
    """Whether the trial is one of the queue, rather than one that Optuna made up beside it."""
    stored = trial.study._storage.get_trial(trial._trial_id)
    return "fixed_params" in stored.system_attrs


def together(claim: Claim, url: str, workers: int, rounds: int) -> Counter[tuple[int, int]]:
    """How often each point of each round was handed out."""
    context = multiprocessing.get_context("spawn")
    ready, queue = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=claim, args=(url, rounds, ready, queue)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    given: Counter[tuple[int, int]] = Counter()
    ended = 0
    while ended < workers:
        item = queue.get()
        if item is None:
            ended += 1
        else:
            given[item] += 1
    for process in processes:
        process.join()
    return given


def exclusive(server: OwnServer, home: Path) -> bool:
    """F1."""
    good = True
    for workers, points, rounds in ((8, 24, 20), (2, 1, 100)):
        fresh(server)
        opened = open_database(server.url("ws"), home)
        for k in range(rounds):
            study(opened, f"round {k}", points)
        opened.engine.dispose()
        given = together(ours, server.url("ws"), workers, rounds)
        doubles = sum(count - 1 for count in given.values())
        missed = points * rounds - len(given)
        good &= not doubles and not missed
        print(
            f"F1 {workers} workers, {points} points, {rounds} rounds: {doubles} doubles,"
            f" {missed} missed",
            flush=True,
        )
    doubles = control(home)
    print(f"F1 control, Optuna on SQLite, 2 workers, 1 point, 60 rounds: {doubles} doubles")
    return good and doubles > 0


def control(home: Path) -> int:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{home / 'control.db'}"
    storage = optuna.storages.RDBStorage(url)
    for k in range(60):
        optuna.create_study(study_name=f"round {k}", storage=storage).enqueue_trial({"x": k})
    given = together(optunas, url, 2, 60)
    return sum(count - 1 for count in given.values())


def killed(server: OwnServer, home: Path, times: int = 10) -> bool:
    """F2: an idle worker is there; the other is killed in the middle of its point."""
    waits = []
    for _ in range(times):
        fresh(server)
        opened = open_database(server.url("ws"), home)
        made = study(opened, "study", 1, epoch_s=60.0)
        query = f"SELECT max(attempt) FROM ws_points WHERE study_id = {made.id}"
        victim = Worker("study", server.url("ws"), home, LEASE_S)
        until(lambda o=opened, q=query: scalar(o, q) == 1)
        other = Worker("study", server.url("ws"), home, LEASE_S)
        until(lambda o=opened: scalar(o, LISTENING) >= 1)
        victim.send_signal(signal.SIGKILL)
        began = time.monotonic()
        until(lambda o=opened, q=query: scalar(o, q) == 2)
        waits.append(time.monotonic() - began)
        for worker in (victim, other):
            worker.kill()
            worker.wait()
        opened.engine.dispose()
    print(
        f"F2 {times} kills, lease {LEASE_S:g} s: another has the point after at most"
        f" {max(waits):.1f} s (median {sorted(waits)[times // 2]:.1f} s)",
        flush=True,
    )
    return max(waits) <= LEASE_S + 0.5 + 1.0


def soak(server: OwnServer, home: Path, minutes: float) -> bool:
    """F24: from the second minute on, when all is imported."""
    fresh(server)
    opened = open_database(server.url("ws"), home)
    study(opened, "study", 100_000, epoch_s=0.2)
    started = [Worker("study", server.url("ws"), home) for _ in range(2)]
    until(lambda: scalar(opened, DONE) >= 20)
    time.sleep(60)  # by then the mirror has imported Optuna, 4 s after the first point
    first = [psutil.Process(w.pid).memory_info().rss for w in started]
    connections, opens, until_s = set(), 0, time.monotonic() + 60 * minutes
    while time.monotonic() < until_s:
        time.sleep(5)
        connections.add(scalar(opened, CONNECTIONS))
        opens += scalar(opened, LEFT_OPEN)
    last = [psutil.Process(w.pid).memory_info().rss for w in started]
    for worker in started:
        worker.terminate()
        worker.wait()
    growth = max(b / a - 1 for a, b in zip(first, last, strict=True))
    print(
        f"F24 {minutes:g} min, {scalar(opened, DONE)} points: memory {100 * growth:+.1f} %,"
        f" connections {min(connections)} to {max(connections)}, transactions left open {opens}",
        flush=True,
    )
    opened.engine.dispose()
    return growth < 0.05 and not opens and max(connections) <= 8


DONE = "SELECT count(*) FROM ws_points WHERE state = 'done'"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ws'"
LISTENING = CONNECTIONS + " AND query LIKE 'LISTEN%'"
LEFT_OPEN = CONNECTIONS + " AND state LIKE 'idle in%' AND state_change < now() - interval '5 s'"


def fresh(server: OwnServer) -> None:
    with server.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS ws WITH (FORCE)")
        admin.execute("CREATE DATABASE ws")


def scalar(opened: Database, query: str) -> Any:
    with opened.engine.connect() as connection:
        return connection.execute(text(query)).scalar()


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 120
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError("waited too long")
        time.sleep(0.02)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--only", nargs="+", choices=["F1", "F2", "F24"], default=["F1", "F2"])
    options.add_argument("--minutes", type=float, default=60.0, help="of F24")
    asked = options.parse_args()
    good = True
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if "F1" in asked.only:
            good &= exclusive(server, home)
        if "F2" in asked.only:
            good &= killed(server, home)
        if "F24" in asked.only:
            good &= soak(server, home, asked.minutes)
    sys.exit(not good)


if __name__ == "__main__":
    main()
