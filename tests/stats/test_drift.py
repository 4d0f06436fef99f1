"""Bands of a night: how often they raise without a change, and what they find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from weightsearch.stats import drift
from weightsearch.stats.night_values import CanaryRuns, NightValues, SearchBest

METRICS = {"rmse": True, "rel": True, "log10": True}
SEEDS, SCENES, IMAGES = 8, 10, 3
FIXED = np.random.default_rng(9).normal(0, 0.2, (2, 1, SCENES, 1, 1))
"""How hard each scene is for each canary: the same frames every night."""


def runs(rng: np.random.Generator) -> NDArray[np.float64]:
    """Of 2 canaries x 8 seeds, 3 metrics that go together: seeds, scenes and images vary."""
    shape = (2, SEEDS, SCENES, IMAGES)
    seed = rng.normal(0, 0.04, (2, SEEDS, 1, 1, 1))
    taste = rng.normal(0, 0.05, (2, SEEDS, SCENES, 1, 1))  # a seed is good at some scenes
    own = rng.normal(0, 0.02, (2, SEEDS, 1, 1, 3))  # what is of one metric only
    noise = rng.normal(0, 0.05, (*shape, 3))
    return np.asarray((0.8 + FIXED + seed + taste + own + noise).mean(axis=(2, 3)))


def night(values: NDArray[np.float64], best: float = 0.7) -> NightValues:
    canaries = {
        name: CanaryRuns(
            seeds={
                str(seed): dict(zip(METRICS, map(float, run), strict=True))
                for seed, run in enumerate(canary)
            }
        )
        for name, canary in zip(("equal", "paper"), values, strict=True)
    }
    return NightValues(canaries, best=SearchBest(best))


def worse(before: NightValues, now: NightValues) -> list[tuple[str | None, str]]:
    rows = drift.compare(before, now, METRICS)
    return [(row.canary, row.metric) for row in rows if row.moved == "worse"]


@pytest.mark.parametrize("in_common", [0.0, 0.5, 0.9])
def test_of_a_thousand_nights_without_a_change_at_most_one_in_twenty_raises(
    in_common: float,
) -> None:
    """Tonight's runs have nothing, half or nearly all of their variance in common with the
    baseline's of the same seeds; 40 baselines, because the noise of one is in all of its nights."""
    rng = np.random.default_rng(1)
    raised = 0
    for _ in range(40):
        seeds = np.sqrt(in_common) * (runs(rng) - 0.8)

        def drawn(seeds: NDArray[np.float64] = seeds) -> NightValues:
            fresh = np.sqrt(1 - in_common) * (runs(rng) - 0.8)
            return night(0.8 + seeds + fresh, 0.7 + rng.normal(0, 0.02))

        baseline = drawn()
        raised += sum(bool(worse(baseline, drawn())) for _ in range(25))
    assert raised <= 50


def test_every_seed_a_little_worse_is_found_and_named() -> None:
    """By one and a half times the spread of the seeds, in one metric of one canary."""
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(50):
        values = runs(rng)
        now = values + rng.normal(0, 0.02, values.shape)
        now[1, :, 1] += 1.5 * values[1, :, 1].std(ddof=1)
        raised = worse(night(values), night(now))
        found += ("paper", "rel") in raised
        assert len(raised) <= 1
    assert found >= 40


def test_the_same_values_and_nearly_the_same_are_no_change() -> None:
    values = runs(np.random.default_rng(3))
    for shift in (0.0, 1e-6):
        rows = drift.compare(night(values), night(values + shift), METRICS)
        assert {row.moved for row in rows} == {"within the band"}
        assert all(row.band > 0 for row in rows)


def test_a_fault_that_scatters_the_seeds_does_not_widen_its_own_band() -> None:
    rng = np.random.default_rng(4)
    values = runs(rng)
    now = values + rng.gamma(1.0, 2.0, values.shape)  # some seeds are as they were
    assert len(worse(night(values), night(now))) == 6


def test_a_better_search_never_raises_and_a_much_worse_one_does() -> None:
    values = runs(np.random.default_rng(5))
    rows = drift.compare(night(values), night(values, best=0.1), METRICS)
    assert [(row.canary, row.moved) for row in rows if row.moved != "within the band"] == [
        (None, "better")
    ]
    assert worse(night(values), night(values, best=0.72)) == []
    assert worse(night(values), night(values, best=1.5)) == [(None, "rmse")]


def test_better_canaries_do_not_raise() -> None:
    values = runs(np.random.default_rng(6))
    assert worse(night(values), night(values - 0.5)) == []


def test_a_run_without_a_number_is_worse() -> None:
    values = runs(np.random.default_rng(7))
    now = night(values)
    paper = now.canaries["paper"]
    broken = replace(paper, seeds={**paper.seeds, "3": {}})
    now = replace(now, canaries={**now.canaries, "paper": broken})
    assert worse(night(values), now) == [("paper", "rmse"), ("paper", "rel"), ("paper", "log10")]


def test_seeds_without_a_spread_give_no_band() -> None:
    values = np.ones((2, SEEDS, 3))
    rows = drift.compare(night(values), night(values + 1), METRICS)
    assert {row.moved for row in rows if row.canary} == {"no spread"}


def test_scenes_are_named_by_how_much_they_moved() -> None:
    before = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    now = [[1.0, 1.5, 0.8], [1.0, 1.7, 1.0]]
    moved = drift.scenes(before, now, ["a", "b", "c"], smaller=True)
    assert [scene for scene, _ in moved] == ["b", "a", "c"]
    assert moved[0][1] == pytest.approx(0.6)
