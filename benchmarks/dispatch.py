"""How fast points are handed out, against Optuna's queue on the same PostgreSQL in the same run.

    python benchmarks/dispatch.py [--points 100 1000] [--workers 4]

Ours: claim + finish of waiting points (store/ledger.py). Theirs: `enqueue_trial` for all points,
then `ask` + `tell`. Both do no work per point. Prints a table: rates, and the ratio.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna

from weightsearch import config, plan
from weightsearch.store import database, ledger

RESULT = {"outcome": "done", "metrics": {"rmse": 1.0}, "samples": {}, "groups": [], "images": 1}


def ours(home: str, name: str) -> None:
    opened = database.open_database(None, Path(home))
    study = ledger.find(opened.engine, name)
    worker = multiprocessing.current_process().name
    while (lease := ledger.claim(opened.engine, study.id, worker, "cpu", 60)) is not None:
        ledger.finish(opened.engine, lease, RESULT)


def theirs(home: str, name: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=name, storage=_storage(home))
    # As Optuna's documentation has it: until the queue is empty.
    while study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING]):
        trial = study.ask()
        study.tell(trial, sum(trial.suggest_float(n, 0, 1) for n in "abc"))


def _storage(home: str) -> optuna.storages.RDBStorage:
    url = database.open_database(None, Path(home)).url
    return optuna.storages.RDBStorage(url.render_as_string(hide_password=False))


def timed(target: Callable[[str, str], None], home: str, name: str, workers: int) -> float:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=(home, name)) for _ in range(workers)]
    began = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return time.perf_counter() - began


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--points", type=int, nargs="+", default=[100, 500])
    options.add_argument("--workers", type=int, default=4)
    asked = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{asked.workers} workers; start-up of the processes is part of the time on both sides")
    print("points   ours/s   optuna/s   ratio")
    with TemporaryDirectory() as home:
        opened = database.open_database(None, Path(home))
        for points, run in zip(asked.points, itertools.count(), strict=False):
            spec = config.parse(
                {
                    "goal": "benchmark",
                    "objective": {"run": "weightsearch.trivial:run"},
                    "loss": {"weights": {"grid": "simplex", "steps": 3}},
                    "sampler": {"kind": "random", "trials": points},
                },
                "benchmark",
            )
            ledger.create(opened.engine, f"ours-{run}", spec, plan.plan(spec))
            study = optuna.create_study(study_name=f"theirs-{run}", storage=_storage(home))
            for _ in range(points):
                study.enqueue_trial({"a": 0.1, "b": 0.2, "c": 0.3})
            mine = points / timed(ours, home, f"ours-{run}", asked.workers)
            other = points / timed(theirs, home, f"theirs-{run}", asked.workers)
            print(f"{points:6d}   {mine:6.1f}   {other:8.1f}   {mine / other:5.1f}")


if __name__ == "__main__":
    main()
