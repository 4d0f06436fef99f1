"""A sweep that trains in milliseconds, with faults to plant in it."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from weightsearch.errors import NonFiniteLoss
from weightsearch.launch.places.local import Command
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, studies
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.study import objective_contract

OURS = '''
"""Depth from five features by gradient descent on mean and slope errors; `fault` names a fault."""

from pathlib import Path

import numpy as np

from weightsearch.errors import NonFiniteLoss

FAULT = Path(__file__).with_name("fault")


def frames(fault):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (24, 30, 5))
    scenes = np.repeat(rng.normal(0, 0.03, (8, 1, 5)), 3, axis=0)
    depth = np.exp(1 + (x * (np.linspace(0.1, 0.5, 5) + scenes)).sum(2) / 2)
    return x, depth, depth * (1.1 if fault == "loader" else 1.0)


def run(weights, params, context):
    fault = FAULT.read_text() if FAULT.exists() else ""
    if fault == "crash":
        raise RuntimeError("planted")
    x, depth, learned = frames(fault)
    rng = np.random.default_rng(context.seed)
    w, order = rng.normal(0, 0.3, 6), rng.permutation(16)
    lr = 0.2 / (30 if fault == "lr" else 1)
    sign = {t: -1.0 if fault == "sign" and t == "fit" else 1.0 for t in weights}
    for epoch in range(8):
        for i in order:
            with_one = np.c_[x[i], np.ones(30)]
            p = np.exp(np.clip(with_one @ w, -3, 3))
            fit = np.sign(p - learned[i])
            slope = np.sign(np.diff(p) - np.diff(learned[i]))
            pull = sign["fit"] * weights["fit"] * fit
            pull[1:] += sign["slope"] * weights["slope"] * slope
            pull[:-1] -= sign["slope"] * weights["slope"] * slope
            w = w - lr / (1 + epoch) * ((pull * p)[:, None] * with_one).mean(0)
    if fault == "nan" and context.seed == 2:
        raise NonFiniteLoss("planted")
    p = np.exp(np.clip(np.concatenate([x[16:], np.ones((8, 30, 1))], 2) @ w, -3, 3))
    apart = p - depth[16:]
    yield {
        "rmse": np.sqrt((apart**2).mean(1)).tolist(),
        "rel": (np.abs(apart) / depth[16:]).mean(1).tolist(),
        "groups": [f"scene {i // 2}" for i in range(8)],
    }
'''

STUDY = """
goal = "test"
objective = { run = "ours:run", metric = "rmse", guards = ["rel"] }
params = { size = ["one", "two"] }
loss = { terms = ["fit", "slope"], weights = { grid = "simplex", steps = 3 } }
train = { epochs = 1 }

[nightly]
seeds = [1, 2, 3, 4, 5, 6, 7, 8]
trials = 3
canaries = [
    { name = "equal", weights = "equal", params = { size = "one" } },
    { name = "fit", weights = { fit = 1.0 }, params = { size = "one" } },
]
"""


def sweep(folder: Path, **replaced: str) -> Path:
    """The study file, in a folder with its objective; `replaced` are lines of it by their start."""
    (folder / "ours.py").write_text(textwrap.dedent(OURS))
    lines = STUDY.splitlines()
    for start, line in replaced.items():
        lines = [line if text.startswith(f"{start} ") else text for text in lines]
    file = folder / "ours.toml"
    file.write_text("\n".join(lines))
    return file


def here(database: Database, before: Callable[[], None] = lambda: None) -> Any:
    """A launcher that does the work itself; `before` is called first."""

    @contextlib.contextmanager
    def launched(
        command: Command, devices: Sequence[str], patience_s: float
    ) -> Iterator[Callable[[int], bool]]:
        before()
        study = studies.find(database.engine, command.study)
        while lease := leases.claim(database.engine, study.id, "here", "cpu", 60):
            _do(database, study, lease)
        yield lambda finished: False

    return launched


def _do(database: Database, study: Study, lease: Lease) -> None:
    assert lease.point is not None
    weights = {term: float(weight) for term, weight in lease.point.weights.items()}
    result: dict[str, Any] = {"outcome": "done", "device": "cpu", "host": "here", "metrics": {}}
    context = SimpleNamespace(seed=lease.seed, epochs=study.spec.train.epochs)
    try:
        *_, last = objective_contract.load("ours:run")(weights, lease.point.params, context)  # type: ignore[arg-type]
    except NonFiniteLoss:
        result["outcome"] = "diverged"
    except RuntimeError as error:
        leases.fail(database.engine, lease, str(error))
        return
    else:
        summary = objective_contract.summarise(last)
        result |= {"metrics": summary.metrics, "samples": summary.samples}
        result |= {"groups": summary.groups}
    assert leases.finish(database.engine, lease, result, result["outcome"])
