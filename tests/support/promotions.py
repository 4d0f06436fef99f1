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
    rmse: float,
    seed: int,
    parameters: float = 1.0,
    test: float = 1.0,
    rel: float | None = None,
    noise: float | None = None,
) -> dict[str, Any]:
    """`noise` of each image beside its hardness, and none of their mean; without it, 0.01."""
    source = random.Random(seed)  # common to all points: hard and easy images
    hard = [source.gauss(0, 0.2) for _ in GROUPS]
    own = random.Random(f"{seed} {rmse}")
    errors = [own.gauss(0, noise or 0.01) for _ in hard]
    middle = sum(errors) / len(errors) if noise else 0.0
    samples = [rmse + h + error - middle for h, error in zip(hard, errors, strict=True)]

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
