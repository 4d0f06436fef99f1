"""Full runs and their results, without training."""

from __future__ import annotations

import itertools
import random
from typing import Any

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases as ledger
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study


def result(
    rmse: float, seed: int, parameters: float = 1.0, test: float = 1.0, rel: float | None = None
) -> dict[str, Any]:
    source = random.Random(seed)  # common to all points: hard and easy images
    hard = [source.gauss(0, 0.2) for _ in GROUPS]
    noise = random.Random(f"{seed} {rmse}")
    samples = [rmse + h + noise.gauss(0, 0.01) for h in hard]

    def facts(level: float) -> dict[str, Any]:
        values = [s - rmse + level for s in samples]
        return {
            "metrics": {"rmse": sum(values) / len(values), "parameters": parameters},
            "samples": {"rmse": values}
            | ({} if rel is None else {"rel": [v - level + rel for v in values]}),
            "groups": GROUPS,
            "images": len(GROUPS),
        }

    return facts(rmse) | {
        "outcome": "done", "test": facts(test), "folder": f"folder {rmse} {seed}", "seconds": 1.0,
        "device": "cpu", "epoch": 1, "host": "here",
    }  # fmt: skip


def leases(opened: Database, study: Study) -> list[Lease]:
    def claim(number: int) -> Lease | None:
        return ledger.claim(opened.engine, study.id, f"w{number}", "cpu", 60)

    return [lease for lease in iter(map(claim, itertools.count()).__next__, None) if lease]


GROUPS = [f"scene {i // 2}" for i in range(24)]
