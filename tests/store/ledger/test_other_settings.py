"""A study file that is no longer what the study of its name was planned from."""

from __future__ import annotations

from typing import Any

import pytest
from support.specs import make_spec

from weightsearch.store.ledger.other_settings import refusal

DRAWN = {"sampler": {"kind": "random", "trials": 10, "seed": 0}}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"sampler": {"kind": "random", "trials": 10, "seed": 5}},
            "(sampler.seed was 0, now 5); restore it, or choose another name with --name.",
        ),
        (
            {"train": {"epochs": 9, "lr": 0.5, "batch": 3, "schedule": "cosine"}},
            "; and 1 more); restore them, or choose another name with --name.",
        ),
        (
            {"sampler": {"kind": "random", "trials": 40, "seed": 0}, "answer": {"repeats": 3}},
            "let the study grow with `weightsearch launch name --extend trials=40,repeats=3`, or",
        ),
        (
            {"sampler": {"kind": "random", "trials": 5, "seed": 0}, "answer": {"margin": "9 %"}},
            "(sampler.trials was 10, now 5); restore it, or choose another name with --name.",
        ),
        (
            {"loss": {"weights": [{"mae": k / 99} for k in range(1, 99)]}},
            "...); restore it, or choose",
        ),
        ({"goal": "other words", "promote": {"top": 1}}, "this release computes the same settings"),
    ],
)
def test_a_refusal_names_the_settings_that_differ(tables: dict[str, Any], said: str) -> None:
    told = refusal("name", make_spec(**DRAWN), make_spec(**(DRAWN | tables)))
    assert said in told
    assert len(told) < 450
    assert "\n" not in told
