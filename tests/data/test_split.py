"""Validation and subsets cut by group, never through one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsearch.data.frames.split import subset, validation
from weightsearch.errors import ConfigError, DataError

frames = st.lists(st.sampled_from([f"block_{i:03d}" for i in range(12)]), min_size=1, max_size=60)
BLOCKS = [f"block_{i // 15:03d}" for i in range(795)]


@given(frames, st.integers(1, 50), st.integers(0, 5))
def test_every_frame_is_on_one_side_and_no_group_on_both(
    groups: list[str], percent: int, seed: int
) -> None:
    try:
        train, val = validation(groups, f"blocks:{percent}%", seed)
    except DataError:
        return
    assert sorted(train + val) == list(range(len(groups)))
    assert not {groups[i] for i in train} & {groups[i] for i in val}
    assert train
    assert 0 < len(val) <= 1.5 * percent * len(groups) / 100


@given(frames, st.integers(1, 50), st.randoms(use_true_random=False))
def test_the_order_of_frames_does_not_decide(
    groups: list[str], percent: int, random: Random
) -> None:
    def held(order: list[str]) -> set[str] | None:
        try:
            return {order[i] for i in validation(order, f"blocks:{percent}%", 0)[1]}
        except DataError:
            return None

    assert held(groups) == held(random.sample(groups, len(groups)))


def test_a_tenth_of_53_blocks_of_15_is_6_blocks() -> None:
    train, val = validation(BLOCKS, "blocks:10%", 0)
    assert (len(train), len(val)) == (705, 90)


def test_a_split_of_no_frames_is_refused() -> None:
    with pytest.raises(DataError, match="taken from training frames, but there are none"):
        validation([], "blocks:10%", 0)


def sized(**sizes: int) -> list[str]:
    return [name for name, count in sizes.items() for _ in range(count)]


@pytest.mark.parametrize("seed", range(6))
def test_a_group_that_dominates_is_never_held_out(seed: int) -> None:
    _, val = validation(sized(large=900, one=50, two=50), "blocks:10%", seed)
    assert val == list(range(900, 1000))


def test_the_share_is_met_as_nearly_as_groups_allow() -> None:
    groups = sized(a=400, b=300, c=260, d=23, e=17)
    held = {len(validation(groups, "blocks:3%", seed)[1]) for seed in range(6)}
    assert held == {23, 40}  # 40 where the seed's own order is near enough, else the nearest to 30


@pytest.mark.parametrize("sizes", [{"a": 50, "b": 50}, {"a": 90, "b": 84, "c": 81}])
def test_groups_that_are_too_large_are_named(sizes: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"groups are too large: a \(\d+%\), b \(\d+%\)"):
        validation(sized(**sizes), "blocks:10%", 0)


def test_the_seed_chooses_the_groups() -> None:
    chosen = {tuple(validation(BLOCKS, "blocks:10%", seed)[1]) for seed in range(4)}
    assert len(chosen) == 4


def test_the_choice_is_the_same_on_every_machine() -> None:
    """A changed choice would make old studies incomparable with new ones."""
    _, val = validation(BLOCKS, "blocks:5%", 0)
    assert sorted({BLOCKS[i] for i in val}) == ["block_015", "block_036", "block_051"]


@pytest.mark.parametrize("groups", [["a"], ["a"] * 10])
def test_fewer_than_two_groups_cannot_be_split(groups: list[str]) -> None:
    with pytest.raises(DataError, match="at least one group on each side"):
        validation(groups, "blocks:10%", 0)


@pytest.mark.parametrize("val", ["blocks:0%", "blocks:100%", "blocks:10", "frames:10%", "", "10%"])
def test_a_share_that_cannot_be_is_refused(val: str) -> None:
    with pytest.raises(ConfigError, match="'blocks:P%'"):
        validation(BLOCKS, val, 0)


@given(frames, st.integers(1, 70))
def test_a_subset_is_whole_groups_within_the_limit(groups: list[str], limit: int) -> None:
    try:
        kept = subset(groups, limit)
    except DataError:
        return
    chosen = {groups[i] for i in kept}
    assert kept == [i for i, group in enumerate(groups) if group in chosen]
    assert len(kept) <= limit
    assert len(chosen) >= 2


def test_a_subset_is_evenly_spread() -> None:
    kept = subset(BLOCKS, 100)
    assert sorted({BLOCKS[i] for i in kept}) == [f"block_{k:03d}" for k in (4, 13, 22, 30, 39, 48)]
    assert len(kept) == 90


def test_a_limit_above_the_whole_keeps_it() -> None:
    assert subset(BLOCKS, 795) == subset(BLOCKS, 10**9) == list(range(795))


@pytest.mark.parametrize(("groups", "limit"), [(BLOCKS, 29), (["a"] * 5, 5), ([], 5), (BLOCKS, 1)])
def test_a_limit_below_two_groups_is_refused(groups: list[str], limit: int) -> None:
    with pytest.raises(DataError, match=r"data\.limit"):
        subset(groups, limit)


@given(frames, st.integers(2, 6), st.integers(0, 3))
def test_each_group_is_in_one_fold(groups: list[str], count: int, seed: int) -> None:
    if len(set(groups)) < count:
        with pytest.raises(DataError, match=f"each of {count} folds must have a group"):
            validation(groups, f"folds:{count}", seed)
        return
    held = [
        {groups[i] for i in validation(groups, f"folds:{count}", seed, k)[1]} for k in range(count)
    ]
    assert set.union(*held) == set(groups)
    assert sum(map(len, held)) == len(set(groups))
    assert all(held)


def test_folds_are_of_one_size_where_groups_allow_it() -> None:
    sizes = [len(validation(BLOCKS, "folds:5", 0, fold)[1]) for fold in range(5)]
    assert (sum(sizes), max(sizes) - min(sizes)) == (795, 15)
    assert validation(BLOCKS, "folds:5", 0, 5) == validation(BLOCKS, "folds:5", 0, 0)
    assert validation(BLOCKS, "folds:5", 0) != validation(BLOCKS, "folds:5", 1)


@pytest.mark.parametrize("val", ["folds:1", "folds:51", "folds:", "folds:-2", "folds:2.5"])
def test_another_number_of_folds_is_refused(val: str) -> None:
    with pytest.raises(ConfigError, match="'folds:K' with K from 2 to 50"):
        validation(BLOCKS, val, 0)


def test_a_share_that_cannot_be_is_told_with_the_smallest_that_can() -> None:
    groups = [f"scene_{k}" for k in range(4) for _ in range(3)]
    with pytest.raises(DataError, match=r"; ask for blocks:20%, or divide the groups\.$"):
        validation(groups, "blocks:10%", 0)
    assert len(validation(groups, "blocks:20%", 0)[1]) == 3
    with pytest.raises(DataError, match=r"too large: a \(90%\), b \(10%\); ask for blocks:10%, or"):
        validation([*"a" * 18, *"b" * 2], "blocks:1%", 0)
    with pytest.raises(DataError, match="takes 1 of 1 group; use more frames, or divide them"):
        validation(["a"] * 9, "blocks:50%", 0)
