"""Intervals and paired tests: coverage against known truths, scenes and seeds resampled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from weightsearch.stats import comparison as compare


def test_the_interval_of_independent_images_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    low, high = compare.interval(values.tolist()) or (0.0, 0.0)
    known = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(known, abs=0.02)


def test_images_of_one_scene_count_as_one() -> None:
    """Twenty equal images of each scene say no more than one of them."""
    scenes = np.random.default_rng(1).normal(3, 1, 30)
    once = compare.interval(scenes.tolist())
    names = [f"scene {i // 20}" for i in range(600)]
    many = compare.interval(np.repeat(scenes, 20).tolist(), names)
    assert many == pytest.approx(once, abs=0.02)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        scenes = rng.normal(0, 1, 40)[:, None] + rng.normal(0, 0.3, (40, 5))
        names = [f"s{i}" for i in range(40) for _ in range(5)]
        low, high = compare.interval(scenes.ravel().tolist(), names) or (1.0, -1.0)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.98


def test_pairing_finds_what_is_hidden_by_hard_and_easy_images() -> None:
    rng = np.random.default_rng(3)
    hard = rng.gamma(2, 1, 100)
    a = (hard + 0.02 + rng.normal(0, 0.03, (3, 100))).tolist()
    b = (hard + rng.normal(0, 0.03, (3, 100))).tolist()
    found = compare.paired(a, b)
    assert found.verdict == "worse"
    assert found.difference == pytest.approx(0.02, abs=0.01)
    assert (found.images, found.groups, found.seeds) == (100, 100, 3)
    assert compare.paired(b, a).verdict == "better"
    assert compare.paired(a, b, smaller_is_better=False).verdict == "better"


def test_a_difference_of_one_seed_is_no_difference() -> None:
    """One seed of three is much worse; the others are equal: nothing is shown."""
    rng = np.random.default_rng(4)
    b = rng.normal(1, 0.1, (3, 60))
    a = b + rng.normal(0, 0.001, (3, 60))
    a[0] += 0.3
    assert compare.paired(a.tolist(), b.tolist()).verdict == "undecided"


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("groups", [4, 11, 40])
@pytest.mark.parametrize("seed_noise", [0.0, 0.1, 1.0])
def test_no_difference_is_called_one_more_often_than_stated(
    seeds: int, groups: int, seed_noise: float
) -> None:
    """Simulated: scenes and seeds vary, the means do not differ. A percentile bootstrap called a
    winner in up to half of these cases."""
    rng = np.random.default_rng(seeds * 1000 + groups)
    names = [f"s{i // 4}" for i in range(4 * groups)]
    called = 0
    for _ in range(300):
        scenes = np.repeat(rng.normal(0, 0.3, groups), 4) + rng.normal(0, 0.1, 4 * groups)
        runs = rng.normal(0, seed_noise, (seeds, 1))
        a = scenes + runs + rng.normal(0, 0.1, (seeds, 4 * groups))
        found = compare.paired(a.tolist(), np.zeros_like(a).tolist(), names)
        called += found.verdict != "undecided"
    assert called / 300 <= 0.09  # 0.05 stated; 0.09 is three standard errors above


def test_a_stricter_level_is_a_wider_interval() -> None:
    values = np.random.default_rng(6).normal(0, 1, 50).tolist()
    narrow, wide = compare.interval(values), compare.interval(values, level=0.99)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_mean_of_errors_is_not_negative() -> None:
    """Few scenes, one of them hard: Student's interval would begin below 0."""
    errors = [0.0, 0.1, 0.1, 3.0]
    low, high = compare.interval(errors) or (-1.0, -1.0)
    assert low == 0.0
    assert high > np.mean(errors)
    signed = compare.interval([-0.1, *errors])
    assert signed is not None
    assert signed[0] < 0


def test_one_group_gives_no_interval_and_no_verdict() -> None:
    assert compare.interval([1.0, 2.0], ["s", "s"]) is None
    found = compare.paired([[1.0, 2.0]], [[3.0, 4.0]], ["s", "s"])
    assert (found.low, found.high, found.verdict) == (None, None, "undecided")


def test_what_is_not_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="of one shape, but got"):
        compare.paired([[1.0, 2.0]], [[1.0]])


# Folds: each repeat has its own images


def test_repeats_of_the_same_images_are_what_paired_compares() -> None:
    rng = np.random.default_rng(8)
    names = [f"s{i // 3}" for i in range(20)]
    a, b = rng.normal(1, 0.1, (3, 20)), rng.normal(1, 0.1, (3, 20))
    crossed = compare.paired(a.tolist(), b.tolist(), names, margin=0.1)
    assert compare.paired_folds(list(a), list(b), [names] * 3, margin=0.1) == crossed


@pytest.mark.parametrize("seed_noise", [0.0, 0.05, 0.3])
def test_folds_call_no_difference_more_often_than_stated(seed_noise: float) -> None:
    """Five folds of seven scenes, each under a seed of its own."""
    rng = np.random.default_rng(9)
    groups = [[f"s{fold} {i // 4}" for i in range(28)] for fold in range(5)]
    called = 0
    for _ in range(300):
        a = [
            np.repeat(rng.normal(0, 0.1, 7), 4) + rng.normal(0, 0.1, 28) + rng.normal(0, seed_noise)
            for _ in groups
        ]
        found = compare.paired_folds(a, [np.zeros(28)] * 5, groups)
        assert (found.images, found.groups, found.seeds) == (140, 35, 5)
        called += found.verdict != "undecided"
    assert called / 300 <= 0.09


def test_a_repeat_of_other_images_is_refused() -> None:
    with pytest.raises(ValueError, match="must be of the same images"):
        compare.paired_folds([[1.0, 2.0]], [[1.0, 2.0, 3.0]], [["s", "t"]])


# Several metrics, and more seeds


def shifted(by: float, seeds: int = 3, seed_noise: float = 0.0, seed: int = 0) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    values: np.ndarray = (
        by + rng.normal(0, 0.1, (seeds, 60)) + rng.normal(0, seed_noise, (seeds, 1))
    )
    return values.tolist()


ZERO = [[0.0] * 60] * 3
SMALLER = {"rmse": True, "rel": True, "log10": True, "delta1": False}


def test_holm_keeps_the_level_of_all_metrics_together() -> None:
    """Without any difference, four metrics at once say something in 5 % of cases, not in 18 %."""
    rng = np.random.default_rng(5)
    said = alone = 0
    for _ in range(400):
        found = {
            name: compare.paired(rng.normal(0, 1, (1, 30)).tolist(), [[0.0] * 30])
            for name in SMALLER
        }
        alone += any(c.verdict != "undecided" for c in found.values())
        corrected = compare.holm(found, SMALLER)
        said += any(c.verdict != "undecided" for c in corrected.values())
    assert said / 400 <= 0.08
    assert alone / 400 > 0.1


def test_holm_gives_each_step_what_is_left() -> None:
    def comparison(p: float) -> compare.Comparison:
        return compare.Comparison(-1.0, -2.0, -0.1, "better", 10, 10, 3, 0.95, p)

    found = {"rmse": comparison(0.012), "rel": comparison(0.02), "log10": comparison(0.04)}
    got = compare.holm(found, SMALLER)
    assert {c.verdict for c in got.values()} == {"better"}  # 0.05/3, 0.05/2, 0.05/1
    found["rmse"] = comparison(0.018)
    assert {c.verdict for c in compare.holm(found, SMALLER).values()} == {"undecided"}


def test_better_at_the_expense_of_a_guard_is_no_improvement() -> None:
    def compared(**by: float) -> dict[str, compare.Comparison]:
        return {
            name: compare.paired(shifted(d, seed=k), ZERO, smaller_is_better=SMALLER[name])
            for k, (name, d) in enumerate(by.items())
        }

    assert compare.judge(compared(rmse=-0.2, delta1=0.2), SMALLER, "rmse") == ("better", [])
    verdict, harmed = compare.judge(compared(rmse=-0.2, delta1=-0.2), SMALLER, "rmse")
    assert (verdict, harmed) == ("undecided", ["delta1"])
    assert compare.judge(compared(rmse=0.2, rel=-0.2), SMALLER, "rmse")[0] == "worse"


def test_the_number_of_seeds_that_would_settle_a_difference() -> None:
    unsettled = compare.paired(shifted(0.1, 3, 0.08, seed=1), ZERO)
    assert unsettled.verdict == "undecided"
    assert unsettled.seeds_needed is not None
    assert 3 < unsettled.seeds_needed <= 20
    assert compare.paired(shifted(0.2), ZERO).seeds_needed is None  # settled
    # Scenes differ so much that no number of seeds helps.
    rng = np.random.default_rng(2)
    scenes = np.repeat(rng.normal(0, 1, 6), 10)
    values = (0.01 + scenes + rng.normal(0, 0.01, (3, 60))).tolist()
    names = [f"s{i // 10}" for i in range(60)]
    assert compare.paired(values, ZERO, names).seeds_needed is None


def test_p_is_students() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 50)
    found = compare.paired([values.tolist()], [[0.0] * 50])
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.02)
    assert compare.paired([[1.0, 1.0]], [[1.0, 1.0]]).p == 1


def test_a_metric_of_which_more_is_better_is_read_so() -> None:
    assert compare.smaller_is_better("rel", "rmse", True)
    assert not compare.smaller_is_better("delta1", "rmse", True)
    assert not compare.smaller_is_better("accuracy", "accuracy", False)
    assert compare.smaller_is_better("rmse", "delta1", False)  # whatever the objective's way
    assert not compare.smaller_is_better("recall", "accuracy", False)  # not known: its way
