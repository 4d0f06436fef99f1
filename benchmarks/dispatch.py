"""How fast points are handed out, against Optuna on the same PostgreSQL in the same run.

    python benchmarks/dispatch.py [--points 100 1000 5000] [--workers 1 4 16] [--seconds 6]

Ours: claim + finish (store/ledger/leases.py). Theirs: `enqueue_trial` for all points, then `ask` +
`tell`; and GridSampler over as many points, `ask` + `tell`. Nobody does any work per point. Each
worker is a process, connected and warm before the clock starts; rates are over the first seconds,
or until nothing is left. Statements are counted in the server's log, BEGIN and COMMIT included: per
point of claim + finish, and per point of 25 reported epochs run by a real worker, mirror included.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.faulty_servers import OwnServer, own_server  # noqa: E402

from weightsearch.store.connection import database  # noqa: E402
from weightsearch.store.ledger import (  # noqa: E402
    leases,
    studies,
)
from weightsearch.study import loading, planning  # noqa: E402
from weightsearch.study.spec import StudySpec  # noqa: E402

RESULT = {"outcome": "done", "metrics": {"rmse": 1.0}, "samples": {}, "groups": [], "images": 1}
EPOCHS = 25

Worker = Callable[[str, int, Barrier, float], "Dispatched"]


@dataclass(frozen=True)
class Dispatched:
    """What one worker did."""

    points: int
    seconds: float
    claims_ms: list[float]


def ours(url: str, points: int, ready: Barrier, seconds: float) -> Dispatched:
    opened = database.open_database(url, Path())
    study = studies.find(opened.engine, f"ours{points}")
    worker = multiprocessing.current_process().name
    done, claims = 0, []
    ready.wait()
    began = now = time.perf_counter()
    while now < began + seconds:
        lease = leases.claim(opened.engine, study.id, worker, "cpu", 60)
        claims.append(1000 * (time.perf_counter() - now))
        if lease is None:
            break
        leases.finish(opened.engine, lease, RESULT)
        done, now = done + 1, time.perf_counter()
    return Dispatched(done, now - began, claims)


def enqueued(url: str, points: int, ready: Barrier, seconds: float) -> Dispatched:
    import optuna

    study = optuna.load_study(study_name=f"enqueued{points}", storage=optuna_storage(url))
    return _ask_and_tell(study, ready, seconds, points)


def grid(url: str, points: int, ready: Barrier, seconds: float) -> Dispatched:
    import optuna

    sampler = optuna.samplers.GridSampler({"a": [k / points for k in range(points)]})
    study = optuna.load_study(
        study_name=f"grid{points}", storage=optuna_storage(url), sampler=sampler
    )
    return _ask_and_tell(study, ready, seconds, points)


def _ask_and_tell(study: Any, ready: Barrier, seconds: float, points: int) -> Dispatched:
    done, claims = 0, []
    ready.wait()
    began = now = time.perf_counter()
    while now < began + seconds and done < points:
        trial = study.ask()
        value = trial.suggest_float("a", 0, 1)
        claims.append(1000 * (time.perf_counter() - now))
        with contextlib.suppress(RuntimeError):  # GridSampler's last one wants to stop `optimize`
            study.tell(trial, value)
        done, now = done + 1, time.perf_counter()
    return Dispatched(done, now - began, claims)


def optuna_storage(url: str) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return optuna.storages.RDBStorage(url.replace("postgresql:", "postgresql+psycopg:"))


def plan_ours(url: str, points: int) -> None:
    opened = database.open_database(url, Path())
    spec = study_spec(points)
    studies.create(opened.engine, f"ours{points}", spec, planning.plan(spec))
    opened.engine.dispose()


def plan_enqueued(url: str, points: int) -> None:
    import optuna

    study = optuna.create_study(study_name=f"enqueued{points}", storage=optuna_storage(url))
    for k in range(points):
        study.enqueue_trial({"a": k / points})


def plan_grid(url: str, points: int) -> None:
    import optuna

    optuna.create_study(study_name=f"grid{points}", storage=optuna_storage(url))


def study_spec(points: int, epochs: int = 1) -> StudySpec:
    return loading.parse(
        {
            "goal": "benchmark",
            "objective": {"run": "weightsearch.study.trivial_objective:run"},
            "loss": {"weights": {"grid": "simplex", "steps": 3}},
            "sampler": {"kind": "random", "trials": points},
            "params": {"epoch_s": 0.02 if epochs > 1 else 0.0},
            "train": {"epochs": epochs},
        },
        "benchmark",
    )


SIDES: dict[str, tuple[Callable[[str, int], None], Worker]] = {
    "ours": (plan_ours, ours),
    "enqueue": (plan_enqueued, enqueued),
    "GridSampler": (plan_grid, grid),
}


def run(work: Worker, url: str, points: int, ready: Barrier, seconds: float, queue: Any) -> None:
    queue.put(work(url, points, ready, seconds))


def measure(server: OwnServer, side: str, points: int, workers: int, seconds: float) -> Dispatched:
    """All workers together, on a fresh database: how many points, over the longest time."""
    make, work = SIDES[side]
    url = fresh(server)
    make(url, points)
    context = multiprocessing.get_context("spawn")
    ready, queue = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=run, args=(work, url, points, ready, seconds, queue))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    found = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    return Dispatched(
        sum(f.points for f in found),
        max(f.seconds for f in found),
        sorted(ms for f in found for ms in f.claims_ms),
    )


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*):")


def statements(server: OwnServer, work: Callable[[str], int]) -> float:
    """How many statements the server logs for each of the points that `work` says it did."""
    url = fresh(server)
    begins = server.log.stat().st_size
    done = work(url)
    with server.log.open("rb") as log:
        log.seek(begins)
        return len(STATEMENT.findall(log.read().decode(errors="replace"))) / done


def logged(server: OwnServer, on: bool) -> None:
    with server.admin() as admin:
        admin.execute(f"ALTER SYSTEM SET log_statement = '{'all' if on else 'none'}'")
        admin.execute("SELECT pg_reload_conf()")
    time.sleep(0.5)


def claim_and_finish(server: OwnServer) -> Callable[[str], int]:
    def work(url: str) -> int:
        plan_ours(url, 200)
        logged(server, True)
        opened = database.open_database(url, Path())
        study = studies.find(opened.engine, "ours200")
        for _ in range(200):
            lease = leases.claim(opened.engine, study.id, "w", "cpu", 60)
            assert lease is not None
            leases.finish(opened.engine, lease, RESULT)
        logged(server, False)
        return 200

    return work


def whole_points(server: OwnServer, home: Path, points: int = 20) -> Callable[[str], int]:
    """A real worker on points of 25 epochs, its start-up and the mirror included."""

    def work(url: str) -> int:
        opened = database.open_database(url, Path())
        spec = study_spec(points, EPOCHS)
        studies.create(opened.engine, "study", spec, planning.plan(spec))
        opened.engine.dispose()
        logged(server, True)
        subprocess.run(
            [sys.executable, "-m", "weightsearch", "worker", "study", "--device", "cpu"],
            env=os.environ
            | {
                "WEIGHTSEARCH_STORAGE": url,
                "WEIGHTSEARCH_HOME": str(home),
                "PYTHONPATH": str(ROOT),
            },
            check=True,
            capture_output=True,
        )
        logged(server, False)
        return points

    return work


def optunas_points(server: OwnServer, points: int = 20) -> Callable[[str], int]:
    """The same with Optuna alone: ask, 25 reports, 20 attributes, tell."""

    def work(url: str) -> int:
        import optuna

        study = optuna.create_study(storage=optuna_storage(url))
        logged(server, True)
        for _ in range(points):
            trial = study.ask()
            value = sum(trial.suggest_float(name, 0, 1) for name in ("mae", "edge", "ssim"))
            for step in range(EPOCHS):
                trial.report(value, step)
            for k in range(12):
                trial.set_user_attr(f"attribute {k}", k)
            study.tell(trial, value)
        logged(server, False)
        return points

    return work


def fresh(server: OwnServer) -> str:
    with server.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS ws WITH (FORCE)")
        admin.execute("CREATE DATABASE ws")
    return server.url("ws")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--points", type=int, nargs="+", default=[100, 1000, 5000])
    options.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--sides", nargs="+", default=list(SIDES))
    asked = options.parse_args()
    headings = ["workers", "queued", "ours/s", "p50 ms", "p99 ms"]
    for side in asked.sides[1:]:
        headings += [f"{side}/s", "ratio"]
    print("| " + " | ".join(headings) + " |")
    print("|---" * len(headings) + "|")
    with own_server() as server, tempfile.TemporaryDirectory() as home:
        for workers in asked.workers:
            for points in asked.points:
                found = {
                    side: measure(server, side, points, workers, asked.seconds)
                    for side in asked.sides
                }
                rates = {side: f.points / f.seconds for side, f in found.items()}
                mine = found["ours"].claims_ms
                cells = [f"{rates['ours']:.0f}"]
                cells += [f"{percentile(mine, share):.1f}" for share in (0.5, 0.99)]
                for side in asked.sides[1:]:
                    cells += [f"{rates[side]:.1f}", f"{rates['ours'] / rates[side]:.0f}"]
                print(f"| {workers} | {points} | " + " | ".join(cells) + " |", flush=True)
        print("\nstatements a point, BEGIN and COMMIT included:")
        print(f"  claim + finish {statements(server, claim_and_finish(server)):.2f}")
        whole = statements(server, whole_points(server, Path(home)))
        theirs = statements(server, optunas_points(server))
        print(f"  {EPOCHS} epochs, mirror included {whole:.1f}; Optuna alone {theirs:.1f}")


if __name__ == "__main__":
    main()
