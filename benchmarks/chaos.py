"""Workers are killed and stopped, the database crashes: is each point done exactly once?

    python benchmarks/chaos.py [--seeds 20] [--workers 8] [--points 300] [--baseline 2] [--lanes 1]
                               [--looks | --share]

Per seed: a fresh database on a PostgreSQL of its own; every second (--every) a worker is killed
(SIGKILL) and another takes its place; others are stopped (SIGSTOP) for up to two leases and go on;
three times in the course of the points the server crashes and stays away for 2 to 20 s. The
trivial objective, no torch.
Passes: `verify` says ok; starts <= points + killed workers x lanes + fenced, where fenced counts
what live workers were told came too late; the Optuna study shows each done point once.

With --looks the points are configurations of a study with two rungs and three looks, and a fourth
of the processes are launches with two workers of their own, which go down with them. It passes
where each decision was taken once too, and is the one that its rows give.

With --share they are of a study whose runs fork from trunks once its pilot is judged, with three
repeats and three looks; the rest is as with --looks.

The baseline is the same harness over Optuna's own heartbeat and retry, as its documentation has
them, in a loop that goes on after any error. It prints a table; exit code 1 where a row of ours
does not pass.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from harm import LEASE_S, LIMIT_S, Chaos, Harm, fresh  # noqa: E402
from sqlalchemy import Connection, func, select, text  # noqa: E402
from support.faulty_servers import OwnServer, own_server  # noqa: E402

from weightsearch.store.connection.database import open_database  # noqa: E402
from weightsearch.store.connection.outage import retry_while_away  # noqa: E402
from weightsearch.store.ledger import (  # noqa: E402
    looked,
    queries,
    studies,
    verification,
)
from weightsearch.store.optuna_mirror import Mirror  # noqa: E402
from weightsearch.store.tables.schema import attempts  # noqa: E402
from weightsearch.store.tables.states import OPEN, PointState  # noqa: E402
from weightsearch.study import loading, planning  # noqa: E402

POINT_S = 0.5
FENCED = ("came too late and was dropped", "its lease was lost")

STUDY = """
goal = "chaos"
objective = {{ run = "weightsearch.study.trivial_objective:run" }}
loss = {{ weights = {{ grid = "simplex", steps = 36 }} }}
sampler = {{ kind = "grid", trials = {number} }}
params = {{ epoch_s = {epoch_s} }}
train = {{ epochs = {epochs} }}
retry = {{ attempts = 1000 }}   # the harm, not the points, is at fault
"""
LOOKS = """
[answer]
repeats = 3
[pruner]
kind  = "rungs"
rungs = [1, 2]
looks = 3
audit = 0.2
"""
SHARE = """
[answer]
repeats = 3
[share]
kind = "trunk"
"""
LAUNCH_EVERY = 4
"""With looks, each fourth process is a launch."""
WORKERS_OF_A_LAUNCH = 2


def ours(
    server: OwnServer,
    seed: int,
    workers: int,
    number: int,
    home: Path,
    more: str,
    every_s: float,
    lanes: int,
) -> list[str]:
    file, looking = home / "study.toml", bool(more)
    study_file = STUDY.format(number=number, epochs=4 if looking else 2, epoch_s=POINT_S / 2)
    file.write_text(study_file + more)
    spec = loading.load(file)
    launches: set[int] = set()
    with fresh(server) as url:
        opened = open_database(url, home)
        study = studies.create(opened.engine, "study", spec, planning.plan(spec))
        logs = home / f"logs-{seed}"
        logs.mkdir()

        def start(k: int) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "weightsearch"]
            is_launch = looking and k % LAUNCH_EVERY == 0
            if is_launch:
                command += ["launch", str(file), "--name", "study"]
                command += ["--workers", str(WORKERS_OF_A_LAUNCH)]
                command += ["--device", "cpu", "--no-promote", "--quiet"]
            else:
                command += ["worker", "study", "--device", "cpu", "--lease", str(LEASE_S)]
            command += ["--lanes", str(lanes)]
            with (logs / f"{k}.log").open("w") as output:
                process = subprocess.Popen(
                    command,
                    env=os.environ
                    | {
                        "WEIGHTSEARCH_STORAGE": url,
                        "WEIGHTSEARCH_HOME": str(home),
                        "PYTHONPATH": str(ROOT),
                    },
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                )
            if is_launch:
                launches.add(process.pid)
            return process

        def share() -> float:
            counts = queries.counts(opened.engine, study)
            if not any(counts[state] for state in OPEN):
                with opened.engine.connect() as connection:
                    if not looked.read(connection, study).is_due():
                        return 1.0
            return min(0.99, counts["done"] / (number * (2 if looking else 1)))

        chaos = Chaos(server, start, seed, workers, every_s)
        began = time.monotonic()
        in_time = chaos.run(lambda: retry_while_away(share))
        took_s = time.monotonic() - began
        found = retry_while_away(lambda: verification.verify(opened.engine, study))
        said = "".join(file.read_text() for file in logs.iterdir())
        fenced = sum(said.count(words) for words in FENCED)
        harm = chaos.harm
        rows = found.points - found.dropped
        bounded = found.starts <= rows + lost(harm, launches) * lanes + fenced
        retry_while_away(lambda: Mirror(opened, study).sync(wait=True))
        with opened.engine.connect() as connection:
            shown = connection.execute(text("SELECT count(*) FROM trials")).scalar_one()
            complete = connection.execute(
                text("SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
            ).scalar_one()
            gap_s = longest_gap(connection, harm)
        counts = queries.counts(opened.engine, study)
        whole = len(queries.done(opened.engine, study))
        if more == SHARE:  # the Optuna study has those from scratch, the pilot's
            whole = study.spec.share.pilot
        mirrored = (shown, complete) == (found.starts + found.dropped, whole)
        in_time &= counts[PointState.DONE] == rows
        decided = f"{found.looks} looks, {found.dropped} dropped; " if looking else ""
        opened.engine.dispose()
    holds = {
        "all is done in time": in_time,
        "verify": found.ok,
        "starts are bounded": bounded,
        f"Optuna's trials ({shown}, {complete} complete) are the ledger's": mirrored,
        "no password is told": server.password not in said,
    }
    failed = [what for what, is_so in holds.items() if not is_so]
    return [
        "ours", *described(seed, harm, took_s), f"{decided}{found.done_once}/{rows}",
        str(len(found.duplicated)), str(found.starts), str(fenced), f"{gap_s:.1f} s",
        f"FAILS: {'; '.join(failed)}" if failed else "passes",
    ]  # fmt: skip


def lost(harm: Harm, launches: Collection[int]) -> int:
    """Workers that were killed. A launch trains nothing itself: only its workers count."""
    return sum(WORKERS_OF_A_LAUNCH if pid in launches else 1 for _, pid in harm.kills)


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
    options.add_argument(
        "--lanes", type=int, default=1, help="points that a worker trains together"
    )
    options.add_argument("--every", type=float, default=1.0, help="seconds from kill to kill")
    kinds = options.add_mutually_exclusive_group()
    kinds.add_argument("--looks", action="store_true", help="of a study with rungs and looks")
    kinds.add_argument("--share", action="store_true", help="of a study whose runs share a trunk")
    asked = options.parse_args()
    print("| " + " | ".join(HEADINGS) + " |", flush=True)
    print("|---" * len(HEADINGS) + "|", flush=True)
    failed = 0
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for k in range(asked.first, asked.first + asked.seeds):
            row = ours(
                server,
                k,
                asked.workers,
                asked.points,
                home,
                LOOKS if asked.looks else SHARE if asked.share else "",
                asked.every,
                asked.lanes,
            )
            failed += row[-1] != "passes"
            print("| " + " | ".join(row) + " |", flush=True)
        for k in range(asked.first, asked.first + asked.baseline):
            row = baseline(server, k, asked.workers, asked.points, home)
            print("| " + " | ".join(row) + " |", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
