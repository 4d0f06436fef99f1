"""Workers are killed and stopped, the database crashes: is each point done exactly once?

    python benchmarks/chaos.py [--seeds 20] [--workers 8] [--points 300] [--baseline 2]

Per seed: a fresh database on a PostgreSQL of its own; every second a random worker is killed
(SIGKILL) and another takes its place; others are stopped (SIGSTOP) for up to two leases and go on;
three times in the course of the points the server crashes and stays away for 2 to 20 s. The
trivial objective, no torch.
Passes: `verify` says ok; starts <= points + kills + fenced, where fenced counts what live workers
were told came too late; the Optuna study shows each done point once.

The baseline is the same harness over Optuna's own heartbeat and retry, as its documentation has
them, in a loop that goes on after any error. It prints a table; exit code 1 where a row of ours
does not pass.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from sqlalchemy import Connection, func, select, text  # noqa: E402
from support.faulty_servers import OwnServer, own_server  # noqa: E402

from weightsearch.store.connection.database import open_database  # noqa: E402
from weightsearch.store.connection.outage import retry_while_away  # noqa: E402
from weightsearch.store.ledger import (  # noqa: E402
    queries,
    studies,
)
from weightsearch.store.optuna_mirror import Mirror  # noqa: E402
from weightsearch.store.tables.schema import attempts  # noqa: E402
from weightsearch.study import loading, planning  # noqa: E402

LEASE_S = 3.0
POINT_S = 0.5
LIMIT_S = 420.0
FENCED = ("came too late and was dropped", "its lease was lost")

Start = Callable[[int], "subprocess.Popen[bytes]"]


@dataclass
class Harm:
    """What was done to the workers and the server."""

    kills: list[tuple[float, int]] = field(default_factory=list)
    """When, and which process."""
    stops: int = 0
    away: list[tuple[float, float]] = field(default_factory=list)
    """From when until when the server was away."""

    def away_s(self, since: float = 0.0, until: float = float("inf")) -> float:
        """How much of a time the server was away."""
        return sum(max(0.0, min(b, until) - max(a, since)) for a, b in self.away)


@dataclass
class Chaos:
    """A supervisor that does harm by a seed, until `done` says that all is done."""

    server: OwnServer
    start: Start
    seed: int
    number: int
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    stopped: dict[int, float] = field(default_factory=dict)
    started: int = 0
    harm: Harm = field(default_factory=Harm)

    def run(self, done: Callable[[], float]) -> bool:
        """Whether all was done in time; `done` gives the share of the points that is."""
        source = random.Random(self.seed)
        crashes = sorted(source.uniform(0.05, 0.85) for _ in range(3))
        for _ in range(self.number):
            self._start()
        began = time.time()
        kill_at, stop_at, back_at, share = began + 3.0, began + 3.5, 0.0, 0.0
        try:
            while share < 1 or crashes or back_at:
                now = time.time()
                if now > began + LIMIT_S:
                    return False
                if now >= kill_at:
                    kill_at += 1.0
                    self._kill(source, now)
                if now >= stop_at:
                    stop_at += 2.5
                    self._stop(source)
                if back_at and now >= back_at:
                    self.server.start()
                    self.harm.away[-1] = self.harm.away[-1][0], time.time()
                    back_at = 0.0
                elif not back_at:
                    share = done()
                    if crashes and share >= crashes[0]:
                        crashes.pop(0)
                        self.server.stop("immediate")
                        back_at = now + source.uniform(2, 20)
                        self.harm.away.append((now, back_at))
                self._go_on(now)
                self._replace()
                time.sleep(0.05)
            return True
        finally:
            if back_at:
                self.server.start()
            self._go_on(float("inf"))
            self._end()

    def _start(self) -> None:
        self.started += 1
        self.workers.append(self.start(self.started))

    def _kill(self, source: random.Random, now: float) -> None:
        if self.workers:
            victim = source.choice(self.workers)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.stopped.pop(victim.pid, None)
            self.workers.remove(victim)
            self.harm.kills.append((now, victim.pid))
            self._start()

    def _stop(self, source: random.Random) -> None:
        alive = [w for w in self.workers if w.poll() is None and w.pid not in self.stopped]
        if alive:
            victim = source.choice(alive)
            victim.send_signal(signal.SIGSTOP)
            self.stopped[victim.pid] = time.time() + source.uniform(0.5, 2 * LEASE_S)
            self.harm.stops += 1

    def _go_on(self, now: float) -> None:
        for pid in [pid for pid, until in self.stopped.items() if until <= now]:
            del self.stopped[pid]
            os.kill(pid, signal.SIGCONT)

    def _replace(self) -> None:
        """Workers that ended though there is work: as a supervisor of processes would."""
        for worker in [w for w in self.workers if w.poll() not in (None, 0)]:
            self.workers.remove(worker)
            self._start()

    def _end(self) -> None:
        until = time.monotonic() + 60
        for worker in self.workers:
            try:
                worker.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@contextmanager
def fresh(server: OwnServer) -> Iterator[str]:
    with server.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS ws WITH (FORCE)")
        admin.execute("CREATE DATABASE ws")
    yield server.url("ws")


def ours(server: OwnServer, seed: int, workers: int, number: int, home: Path) -> list[str]:
    spec = loading.parse(
        {
            "goal": "chaos",
            "objective": {"run": "weightsearch.study.trivial_objective:run"},
            "loss": {"weights": {"grid": "simplex", "steps": 36}},
            "sampler": {"kind": "grid", "trials": number},
            "params": {"epoch_s": POINT_S / 2},
            "train": {"epochs": 2},
            "retry": {"attempts": 1000},  # the harm, not the points, is at fault
        },
        "chaos",
    )
    with fresh(server) as url:
        opened = open_database(url, home)
        study = studies.create(opened.engine, "study", spec, planning.plan(spec))
        logs = home / f"logs-{seed}"
        logs.mkdir()

        def start(k: int) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "weightsearch", "worker", "study", "--device", "cpu"]
            with (logs / f"{k}.log").open("w") as output:
                return subprocess.Popen(
                    [*command, "--lease", str(LEASE_S)],
                    env=os.environ
                    | {
                        "WEIGHTSEARCH_STORAGE": url,
                        "WEIGHTSEARCH_HOME": str(home),
                        "PYTHONPATH": str(ROOT),
                    },
                    stderr=output,
                )

        chaos = Chaos(server, start, seed, workers)
        began = time.monotonic()
        in_time = chaos.run(
            lambda: retry_while_away(lambda: queries.counts(opened.engine, study)["done"]) / number
        )
        took_s = time.monotonic() - began
        found = retry_while_away(lambda: queries.verify(opened.engine, study))
        said = "".join(file.read_text() for file in logs.iterdir())
        fenced = sum(said.count(words) for words in FENCED)
        harm = chaos.harm
        bounded = found.starts <= number + len(harm.kills) + fenced
        retry_while_away(lambda: Mirror(opened, study).sync(wait=True))
        with opened.engine.connect() as connection:
            shown = connection.execute(text("SELECT count(*) FROM trials")).scalar_one()
            complete = connection.execute(
                text("SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
            ).scalar_one()
            gap_s = longest_gap(connection, harm)
        mirrored = (shown, complete) == (found.starts, number)
        opened.engine.dispose()
    passes = in_time and found.ok and bounded and mirrored and server.password not in said
    return [
        "ours", *described(seed, harm, took_s), f"{found.done_once}/{number}",
        str(len(found.duplicated)), str(found.starts), str(fenced), f"{gap_s:.1f} s",
        "passes" if passes else "FAILS",
    ]  # fmt: skip


def described(seed: int, harm: Harm, took_s: float) -> list[str]:
    crashes = f"{len(harm.away)} ({harm.away_s():.0f} s)"
    return [str(seed), str(len(harm.kills)), str(harm.stops), crashes, f"{took_s:.0f} s"]


def longest_gap(connection: Connection, harm: Harm) -> float:
    """From a kill to the next attempt at the victim's point, less what the server was away."""
    after = attempts.alias()
    rows = connection.execute(
        select(attempts.c.worker, func.extract("epoch", after.c.started_at)).join(
            after,
            (after.c.point_id == attempts.c.point_id) & (after.c.attempt == attempts.c.attempt + 1),
        )
    ).all()
    killed = {pid: when for when, pid in harm.kills}
    gaps = [0.0]
    for worker, started in rows:
        when = killed.get(int(worker.split("-")[-2]))
        if when is not None and started > when:
            gaps.append(float(started) - when - harm.away_s(when, float(started)))
    return max(gaps)


OPTUNA_WORKER = f"""
import os, time, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    for step in range(2):
        time.sleep({POINT_S / 2})
        trial.report(x, step)
    return x
def storage():
    return optuna.storages.RDBStorage(
        os.environ["URL"], engine_kwargs={{"pool_pre_ping": True}},
        heartbeat_interval=1, grace_period={LEASE_S:.0f},
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(
            inherit_intermediate_values=False),
    )
def stale(study):
    # What optimize does first, so that nobody has to wait for somebody else's trial to end.
    optuna.storages.fail_stale_trials(study)
    return bool(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)))
until = time.monotonic() + {LIMIT_S}
while time.monotonic() < until:
    try:
        study = optuna.load_study(study_name="study", storage=storage())
        while time.monotonic() < until:
            states = [t.state for t in study.get_trials(deepcopy=False)]
            if optuna.trial.TrialState.WAITING in states or stale(study):
                study.optimize(objective, n_trials=1)
            elif optuna.trial.TrialState.RUNNING in states:
                time.sleep(0.5)
            else:
                raise SystemExit(0)
    except SystemExit:
        break
    except BaseException as error:
        print(type(error).__name__, str(error)[:80], flush=True)
        time.sleep(0.5)
"""


def baseline(server: OwnServer, seed: int, workers: int, number: int, home: Path) -> list[str]:
    """Optuna: all points enqueued, heartbeat, retry; a point is done when a trial of it is."""
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    with fresh(server) as url:
        psycopg_url = url.replace("postgresql:", "postgresql+psycopg:")

        def study() -> optuna.Study:
            storage = optuna.storages.RDBStorage(psycopg_url, engine_kwargs={"pool_pre_ping": True})
            return optuna.create_study(study_name="study", storage=storage, load_if_exists=True)

        made = study()
        for k in range(number):
            made.enqueue_trial({"x": k / number})
        logs = home / f"optuna-{seed}"
        logs.mkdir()

        def start(k: int) -> subprocess.Popen[bytes]:
            with (logs / f"{k}.log").open("w") as output:
                return subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-c", OPTUNA_WORKER],
                    env=os.environ | {"URL": psycopg_url},
                    stdout=output,
                    stderr=output,
                )

        asked = {k / number for k in range(number)}

        def values() -> list[float]:
            """The points asked for of which there is a finished trial, once for each trial."""
            trials = made.get_trials(deepcopy=False)
            complete = optuna.trial.TrialState.COMPLETE
            found = [t.params["x"] for t in trials if t.state == complete]
            return [x for x in found if x in asked]

        def share() -> float:
            try:
                return len(set(values())) / number
            except Exception:  # the server has just come back
                return 0.0

        chaos = Chaos(server, start, seed, workers)
        began = time.monotonic()
        chaos.run(share)
        took_s = time.monotonic() - began
        done = values()
        once = len(set(done))
        starts = len(made.get_trials(deepcopy=False))
    fine = once == number == len(done)
    return [
        "optuna", *described(seed, chaos.harm, took_s), f"{once}/{number}", str(len(done) - once),
        str(starts), "", "", "once each" if fine else "not once each",
    ]  # fmt: skip


HEADINGS = ("", "seed", "kills", "stops", "crashes", "took", "done", "twice", "starts", "fenced",
            "gap", "")  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--first", type=int, default=1, help="the first seed")
    options.add_argument("--workers", type=int, default=8)
    options.add_argument("--points", type=int, default=300)
    options.add_argument("--baseline", type=int, default=2, help="seeds for Optuna")
    asked = options.parse_args()
    print("| " + " | ".join(HEADINGS) + " |", flush=True)
    print("|---" * len(HEADINGS) + "|", flush=True)
    failed = 0
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for k in range(asked.first, asked.first + asked.seeds):
            row = ours(server, k, asked.workers, asked.points, home)
            failed += row[-1] != "passes"
            print("| " + " | ".join(row) + " |", flush=True)
        for k in range(asked.first, asked.first + asked.baseline):
            row = baseline(server, k, asked.workers, asked.points, home)
            print("| " + " | ".join(row) + " |", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
