"""Whether claiming and finishing a point take longer as more points are done, beside Optuna.

    python benchmarks/growth.py [--done 1000 10000 100000]

One worker claims and finishes a plan to its end; the times of each decade of points done are set
against the first; so are those of plain Optuna where as many trials are complete (RandomSampler, no
queue: nothing dispatched exactly once). The CPU time of the worker's own backend is what other
processes on the machine disturb least.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from dispatch import RESULT, fresh, optuna_storage, percentile, plan_ours  # noqa: E402
from support.faulty_servers import OwnServer, own_server  # noqa: E402

from weightsearch.store.connection import database  # noqa: E402
from weightsearch.store.embedded import postgres_process  # noqa: E402
from weightsearch.store.ledger import leases, studies  # noqa: E402

WARM = 20
"""Pairs before the clock starts: statements are prepared at the sixth use, plans kept later."""
RIVALS = 200
"""Of Optuna's trials for each row; a hundred thousand would take an hour."""


@dataclass(frozen=True)
class Times:
    """Of one kind of call, in ms."""

    mean: float
    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        ms = sorted(1000 * s for s in seconds)
        return cls(statistics.mean(ms), percentile(ms, 0.5), percentile(ms, 0.99))

    def cells(self, first: Times) -> list[str]:
        each = [(self.mean, first.mean), (self.p50, first.p50), (self.p99, first.p99)]
        return [
            " / ".join(f"{mine:.2f}" for mine, _ in each),
            " / ".join(f"{mine / theirs:.2f}" for mine, theirs in each),
        ]


def ours_grown(server: OwnServer, done: list[int]) -> Iterator[tuple[Times, Times, float]]:
    """Claims and finishes of one worker, from each number of points done to the next: their times,
    and the backend's CPU time in ms for a pair."""
    url = fresh(server)
    plan_ours(url, max(done) + WARM + 1)
    opened = database.open_database(url, Path())
    study = studies.find(opened.engine, f"ours{max(done) + WARM + 1}")

    def pair() -> tuple[float, float]:
        began = time.perf_counter()
        lease = leases.claim(opened.engine, study.id, "w", "cpu", 60)
        claimed = time.perf_counter()
        assert lease is not None
        leases.finish(opened.engine, lease, RESULT)
        return claimed - began, time.perf_counter() - claimed

    for _ in range(WARM):
        pair()
    with opened.engine.connect() as connection:  # the only one that it has
        backend = psutil.Process(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    for begin, end in pairwise([0, *done]):
        before = sum(backend.cpu_times()[:2])
        claims, finishes = zip(*(pair() for _ in range(begin, end)), strict=True)
        cpu_ms = 1000 * (sum(backend.cpu_times()[:2]) - before) / (end - begin)
        yield Times.of(list(claims)), Times.of(list(finishes)), cpu_ms
    opened.engine.dispose()


FILL = (  # copies of the first trial, as Optuna leaves them
    "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)"
    " SELECT n, study_id, state, datetime_start, datetime_complete"
    " FROM trials, generate_series(%(first)s::int, %(last)s::int) AS n WHERE number = 0",
    "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)"
    " SELECT t.trial_id, param_name, param_value, distribution_json FROM trial_params AS p"
    " JOIN trials AS f USING (trial_id), trials AS t"
    " WHERE f.number = 0 AND t.number BETWEEN %(first)s AND %(last)s",
    "INSERT INTO trial_values (trial_id, objective, value, value_type)"
    " SELECT t.trial_id, objective, value, value_type FROM trial_values AS v"
    " JOIN trials AS f USING (trial_id), trials AS t"
    " WHERE f.number = 0 AND t.number BETWEEN %(first)s AND %(last)s",
    "ANALYZE",
)


def optuna_grown(server: OwnServer, done: list[int]) -> Iterator[Times]:
    """`ask` + `suggest_float` + `tell` where so many trials are complete, and have been read."""
    import optuna

    url = fresh(server)
    optuna.create_study(study_name="rival", storage=optuna_storage(url))
    number = 0
    for complete in done:
        sampler = optuna.samplers.RandomSampler(seed=0)
        study = optuna.load_study(study_name="rival", storage=optuna_storage(url), sampler=sampler)
        times: list[float] = []
        for k in range(WARM + RIVALS):
            if k == 1 and complete - RIVALS > number:
                with server.admin("ws") as admin:
                    for statement in FILL:
                        admin.execute(statement, {"first": number + 1, "last": complete - RIVALS})
            began = time.perf_counter()
            trial = study.ask()
            study.tell(trial, trial.suggest_float("a", 0, 1))
            times.append(time.perf_counter() - began)
            number = trial.number
        yield Times.of(times[WARM:])


def print_grown(server: OwnServer, done: list[int]) -> None:
    """Mean, median and 99th percentile, and each as a multiple of the first row's."""
    with server.admin() as admin:  # as the embedded server has it
        naptime = postgres_process.SETTINGS["autovacuum_naptime"]
        admin.execute(f"ALTER SYSTEM SET autovacuum_naptime = '{naptime}'")
        admin.execute("SELECT pg_reload_conf()")
    headings = ("done", "claim ms", "finish ms", "server CPU ms", "Optuna ask + tell ms")
    print("\n| " + " | ratio | ".join(headings).replace("done | ratio", "done") + " | ratio |")
    print("|---" * 9 + "|")
    first: tuple[Times, Times, float, Times] | None = None
    theirs = list(optuna_grown(server, done))
    for (begin, end), (claim, finish, cpu_ms), rival in zip(
        pairwise([0, *done]), ours_grown(server, done), theirs, strict=True
    ):
        first = first or (claim, finish, cpu_ms, rival)
        cells = [*claim.cells(first[0]), *finish.cells(first[1])]
        cells += [f"{cpu_ms:.2f}", f"{cpu_ms / first[2]:.2f}", *rival.cells(first[3])]
        print(f"| {begin + 1} to {end} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--done", type=int, nargs="+", default=[1000, 10_000, 100_000])
    with own_server() as server:
        print_grown(server, sorted(options.parse_args().done))


if __name__ == "__main__":
    main()
