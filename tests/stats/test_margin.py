"""Verdicts by a margin: what is better, what comes to the same, and what is undecided."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from weightsearch.stats import comparison as compare
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.stats.margin import Margin
from weightsearch.stats.night_values import Moved, Row

ZERO = [[0.0] * 60] * 3


def shifted(by: float, noise: float = 0.1, seed: int = 0) -> list[list[float]]:
    """Three seeds of 60 images whose mean is exactly that."""
    values = np.random.default_rng(seed).normal(0, noise, (3, 60))
    return (values - values.mean() + by).tolist()


@pytest.mark.parametrize(
    ("by", "noise", "margin", "said"),
    [
        (-0.2, 0.1, 0.1, "better"),
        (0.2, 0.1, 0.1, "worse"),
        (0.0, 0.1, 0.1, "equivalent"),
        (-0.05, 0.1, 0.2, "better, within the margin"),
        (0.05, 0.1, 0.2, "worse, within the margin"),
        (0.01, 1.0, 0.1, "undecided"),
        (0.0, 0.1, None, "undecided"),
        (-0.2, 0.1, None, "better"),
    ],
)
def test_the_verdict_is_read_off_two_intervals_and_the_margin(
    by: float, noise: float, margin: float | None, said: str
) -> None:
    found = compare.paired(shifted(by, noise), ZERO, margin=margin)
    assert (found.verdict, found.margin) == (said, margin)
    assert Comparison.from_json(found.to_json()) == found
    other_way = compare.paired(ZERO, shifted(by, noise), margin=margin)
    turned = found.reversed()
    assert (turned.verdict, turned.reversed()) == (other_way.verdict, found)
    assert turned.interval == pytest.approx(other_way.interval)


def test_equivalent_means_that_the_90_percent_interval_lies_within_the_margin() -> None:
    inner = compare.paired(shifted(0.03), ZERO, level=0.90)
    assert inner.high is not None
    for margin, is_equivalent in ((inner.high * 1.001, True), (inner.high * 0.999, False)):
        found = compare.paired(shifted(0.03), ZERO, margin=margin)
        assert found.is_equivalent == is_equivalent
        assert found.p_equivalent == pytest.approx(0.05, abs=0.002)
    outside = compare.paired(shifted(0.3), ZERO, margin=0.1)
    assert outside.p_equivalent is not None
    assert outside.p_equivalent > 0.5


def test_identical_configurations_are_equivalent_however_small_the_margin() -> None:
    assert compare.paired(ZERO, ZERO, margin=1e-9).verdict == "equivalent"


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("seed_noise", [0.0, 0.05, 0.2])
def test_at_the_margin_nothing_is_called_equivalent_more_often_than_stated(
    seeds: int, seed_noise: float
) -> None:
    """Simulated: the true difference is the margin, so that "equivalent" is wrong."""
    rng = np.random.default_rng(seeds)
    groups, margin, times = 12, 0.3, 300
    names = [f"s{i // 3}" for i in range(3 * groups)]
    wrong = 0
    for _ in range(times):
        scenes = np.repeat(rng.normal(0, 0.1, groups), 3)
        noise = rng.normal(0, 0.1, (seeds, 3 * groups)) + rng.normal(0, seed_noise, (seeds, 1))
        a = margin + scenes + noise
        found = compare.paired(a.tolist(), np.zeros_like(a).tolist(), names, margin=margin)
        wrong += found.is_equivalent
    assert wrong / times <= 0.09  # 0.05 stated; 0.09 is three standard errors above


def test_two_seeds_give_an_interval_that_covers_and_can_exclude_zero() -> None:
    """One degree of freedom for everything covered in every case, and never said anything."""
    rng = np.random.default_rng(0)
    covered = shown = 0
    for _ in range(300):
        values = rng.normal(0, 0.1, 20) + rng.normal(0, 0.02, (2, 1)) + rng.normal(0, 0.05, (2, 20))
        zero = np.zeros_like(values).tolist()
        found = compare.paired(values.tolist(), zero)
        assert found.interval is not None
        covered += found.interval[0] <= 0 <= found.interval[1]
        shown += compare.paired((values - 0.2).tolist(), zero).verdict == "better"
    assert 0.92 <= covered / 300 < 1
    assert shown / 300 > 0.7


def test_what_is_undecided_names_the_seeds_or_the_scenes_that_would_settle_it() -> None:
    rng = np.random.default_rng(3)
    apart = rng.normal(0.1, 0.02, (3, 60)) + rng.normal(0, 0.1, (3, 1))
    by_seeds = compare.paired(apart.tolist(), ZERO, margin=0.01)
    assert by_seeds.verdict == "undecided"
    assert by_seeds.groups_needed is None
    assert by_seeds.settled_by() == f"about {by_seeds.seeds_needed} seeds would decide"
    scenes = np.repeat(rng.normal(0.1, 0.5, 20), 3)
    names = [f"s{i // 3}" for i in range(60)]
    by_scenes = compare.paired([scenes.tolist()], [ZERO[0]], names, margin=0.01)
    assert by_scenes.seeds_needed is None
    assert by_scenes.groups_needed is not None
    assert by_scenes.settled_by() == f"about {by_scenes.groups_needed} scenes would decide"
    of_groups = f"about {by_scenes.groups_needed} groups would decide"
    assert by_scenes.settled_by("sample") == of_groups  # an own objective's
    assert compare.paired(shifted(0.5), ZERO, margin=0.01).settled_by() == ""
    few = scenes[::3].tolist()
    by_images = compare.paired([few], [[0.0] * 20], margin=0.01)  # without groups
    assert by_images.settled_by() == f"about {by_images.groups_needed} images would decide"
    apart -= apart.mean()
    by_neither = compare.paired(apart.tolist(), ZERO, margin=1e-6)
    assert by_neither.settled_by() == "neither more seeds nor more images alone would decide"
    in_scenes = compare.paired(apart.tolist(), ZERO, names, margin=1e-6)
    assert in_scenes.settled_by() == "neither more seeds nor more scenes alone would decide"
    shown = dataclasses.replace(by_neither, low=0.1, high=0.2)  # undecided by Holm, or for a guard
    assert shown.settled_by() == ""


def test_so_many_scenes_do_settle_it() -> None:
    """The same values over again, as often as it says."""
    values = np.asarray(shifted(0.0, 1.0)[0])
    found = compare.paired([values.tolist()], [ZERO[0]], margin=0.1)
    assert found.verdict == "undecided"
    assert found.groups_needed is not None
    times = -(-found.groups_needed // 60)
    for often, said in ((times, "equivalent"), (times // 2, "undecided")):
        more = np.tile(values, often)
        assert compare.paired([more.tolist()], [(0 * more).tolist()], margin=0.1).verdict == said


def test_a_guard_that_is_worse_within_its_margin_does_no_harm() -> None:
    def judged(margin: float | None) -> tuple[Verdict, list[str]]:
        found = {
            "rmse": compare.paired(shifted(-0.2), ZERO, margin=0.01),
            "rel": compare.paired(shifted(0.05, seed=1), ZERO, margin=margin),
        }
        return compare.judge(found, {"rmse": True, "rel": True}, "rmse")

    assert judged(0.2) == ("better", [])
    assert judged(0.01) == ("undecided", ["rel"])


def test_a_stored_comparison_of_before_the_margin_is_read_as_undecided() -> None:
    old = compare.paired(shifted(0.0), ZERO).to_json()
    for new in ("margin", "p_equivalent", "groups_needed"):
        del old[new]
    found = Comparison.from_json(old | {"verdict": "not distinguishable"})
    assert (found.verdict, found.margin) == (Verdict.UNDECIDED, None)


# The margin itself


@pytest.mark.parametrize(
    ("written", "of_two", "of_a_guard"),
    [("1 %", 0.02, 0.02), ("2.5%", 0.05, 0.05), ("0.01 m", 0.01, None), (0.01, 0.01, None)],
)
def test_a_margin_is_a_share_of_the_best_or_an_amount(
    written: str | float, of_two: float, of_a_guard: float | None
) -> None:
    margin = Margin.parse(written)
    assert margin.of(2.0) == pytest.approx(of_two)
    assert margin.of(2.0, is_deciding=False) == of_a_guard
    assert Margin.parse(str(margin)) == margin


@pytest.mark.parametrize(
    "written", [0, -1, "0 %", "-1 %", "nan", "inf %", "1 km", "", "e", True, float("nan"), "1 % %"]
)
def test_a_margin_that_is_not_above_0_is_refused(written: str | float) -> None:
    with pytest.raises(ValueError, match="must be above 0, in per cent of the best"):
        Margin.parse(written)


# A night's rows


@pytest.mark.parametrize(
    ("difference", "moved", "margin", "said"),
    [
        (0.01, Moved.WITHIN_THE_BAND, 0.2, "equivalent"),
        (0.01, Moved.WITHIN_THE_BAND, 0.1, "undecided"),
        (0.01, Moved.WITHIN_THE_BAND, None, "undecided"),
        (0.3, Moved.WORSE, 0.2, "worse"),
        (0.15, Moved.WORSE, 0.3, "worse, within the margin"),
        (-0.3, Moved.BETTER, 0.2, "better"),
        (-0.15, Moved.BETTER, 0.3, "better, within the margin"),
        (0.0, Moved.NO_SPREAD, 0.2, "undecided"),
        (None, Moved.WORSE, 9.0, "worse"),
    ],
)
def test_a_nights_row_has_a_verdict_by_its_band_and_the_margin(
    difference: float | None, moved: Moved, margin: float | None, said: str
) -> None:
    tonight = None if difference is None else 1.0 + difference
    row = Row("equal", "rmse", 1.0, tonight, difference, 0.1, None, 3, 3, moved, 0.1, margin=margin)
    assert row.to_json()["verdict"] == said
    assert Row.from_json(row.to_json()) == row
