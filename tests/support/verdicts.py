"""Verdicts of promotions, without runs."""

from __future__ import annotations

from typing import Any

from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.stored_promotion import (
    FinalistComparison,
    FinalistScores,
    Lineage,
    Promoted,
    PromotionVerdict,
)


def finalist(point: str = "abc", **facts: Any) -> FinalistScores:
    plain: dict[str, Any] = {
        "params": {}, "weights": {"mae": 1.0}, "validation": {"rmse": 0.5}, "seeds": 2,
    }  # fmt: skip
    return FinalistScores(point=point, **plain | facts)


def beaten(verdict: Verdict = Verdict.BETTER, harmed: tuple[str, ...] = ()) -> FinalistComparison:
    """What the best did against another finalist."""
    test = Comparison(-0.5, -0.75, -0.25, verdict, 24, 12, 3, 0.95)
    return FinalistComparison("abc", "other", test, harmed=harmed)


def promotion(**facts: Any) -> PromotionVerdict:
    """Of a study without a test split, unless said otherwise."""
    lineage = Lineage(study="nyu", digest="d1", search_points=24, seeds=[1, 2])
    plain: dict[str, Any] = {
        "verdict": Promoted.WINNER, "point": "abc", "params": {}, "weights": {"mae": 1.0},
        "checkpoint": "nowhere", "seed": 2, "metric": "rmse", "protocol": None,
        "finalists": [finalist()], "comparisons": [], "lineage": lineage,
        "decided_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return PromotionVerdict(**plain | facts)
