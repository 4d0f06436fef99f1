"""Results and verdicts that other versions stored are read, and printed as they are stored."""

from __future__ import annotations

import json
from typing import Any

from support.verdicts import beaten, finalist, promotion

from weightsearch.stats.comparison_result import Verdict
from weightsearch.stats.night_values import Moved, NightValues
from weightsearch.store.ledger.results import Result
from weightsearch.store.ledger.stored_night import NightVerdict, NightWord
from weightsearch.store.ledger.stored_promotion import Promoted, PromotionVerdict
from weightsearch.store.tables.states import Outcome

TESTED = {"test": {"rmse": 0.6}, "test_images": 9, "test_interval": [0.5, 0.7]}


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_a_verdict_is_read_as_it_was_written() -> None:
    for made in (promotion(comparisons=[beaten()]), promotion(finalists=[finalist(**TESTED)])):
        assert PromotionVerdict.from_json(through_json(made.to_json())).to_json() == through_json(
            made.to_json()
        )


def test_a_promotion_of_another_version_is_read_without_its_optional_keys() -> None:
    stored = through_json(promotion(comparisons=[beaten()]).to_json())
    for name in ("guards", "harmed", "p", "seeds_needed"):
        del stored["comparisons"][0][name]
    for name in ("validation_images", "validation_interval", "parameters"):
        del stored["finalists"][0][name]
    for name in ("host", "incomplete", "split"):
        del stored[name]
    for name in ("coverage", "commit", "versions", "data_digest"):
        del stored["lineage"][name]
    stored["of a later version"] = 1
    found = PromotionVerdict.from_json(stored)
    assert found.verdict is Promoted.WINNER
    assert found.comparisons[0].deciding.verdict is Verdict.BETTER
    assert (found.comparisons[0].guards, found.comparisons[0].harmed) == ({}, [])
    assert found.chosen().validation_interval is None
    assert found.lineage.versions is None
    assert list(found.to_json().items()) == list(stored.items())


def test_a_result_is_read_with_and_without_a_test_split() -> None:
    diverged = Result.from_json({"outcome": "diverged", "metrics": {}, "reason": "nan"})
    assert (diverged.outcome, diverged.reason, diverged.metrics) == (Outcome.DIVERGED, "nan", {})
    split = {"metrics": {"rmse": 1.0}, "samples": {"rmse": [1.0]}, "groups": ["a"], "images": 1}
    found = Result.from_json({"outcome": "done", **split, "test": {**split, "about": {"x": 1}}})
    assert found.metrics == {"rmse": 1.0}
    assert found.test is not None
    assert (found.test.samples, found.test.about) == ({"rmse": [1.0]}, {"x": 1})


def test_a_night_is_read_and_printed_as_it_is_stored() -> None:
    row = {"canary": "equal", "metric": "rmse", "baseline": 1.0, "tonight": None, "moved": "worse",
           "difference": None, "band": 0.1, "paired_band": None, "seeds": 3, "worse_seeds": 3,
           "limit": 0.1}  # fmt: skip
    stored = {"verdict": "regression", "night": "n", "sweep": "s", "commit": "c", "level": 0.98,
              "began_at": "2026-01-01", "rows": [row], "measured": {"canaries": {}}}  # fmt: skip
    found = NightVerdict.from_json(stored)
    assert (found.verdict, found.rows[0].moved) == (NightWord.REGRESSION, Moved.WORSE)
    assert list(found.to_json().items()) == list(stored.items())
    assert NightValues.from_json({}) == NightValues()
