"""Looks: what goes on, what is dropped, and that a decision is a function of its rows alone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsearch.stats.margin import Margin
from weightsearch.study.looks import audit, deciding, schedule
from weightsearch.study.looks.decision import Decision, Drop, Next, Row, Why
from weightsearch.study.looks.pruner_spec import PrunerSpec

MARGIN = Margin(0.01, "")
SCENES = [f"scene {i // 2}" for i in range(24)]

Train = Callable[[str, int, int], Row]


@dataclass(frozen=True)
class Race:
    """A study that was looked at until nothing was due."""

    rows: list[Row]
    past: list[Decision]
    asked: set[tuple[str, int, int]]


def rows_of(
    level: Callable[[str, int], float],
    seed: int = 0,
    seed_sd: float = 0.002,
    scene_sd: float = 0.01,
) -> Train:
    """Runs around a level by configuration and stage, with noise of seeds and scenes."""

    def train(key: str, repeat: int, stage: int) -> Row:
        rng = np.random.default_rng([seed, repeat, stage, *key.encode()])
        hard = np.random.default_rng([seed, repeat]).normal(0, 0.3, 12)  # alike for all
        scenes = hard + rng.normal(0, scene_sd, 12)
        samples = level(key, stage) + rng.normal(0, seed_sd) + np.repeat(scenes, 2)
        return Row(key, repeat, stage, float(samples.mean()), samples.tolist(), SCENES)

    return train


def raced(
    pruner: PrunerSpec,
    repeats: int,
    keys: Sequence[str],
    train: Train,
    failed: Collection[str] = (),
    smaller: bool = True,
) -> Race:
    """Trains what is asked for, and looks whenever a look is due."""
    stages, rows, past = len(pruner.rungs) + 1, {}, list[Decision]()
    while True:
        wanted = schedule.asked(keys, past)
        for key, repeat, stage in sorted(wanted - rows.keys()):
            if key not in failed or (len(key) > 1 and repeat + stage == 0):
                rows[key, repeat, stage] = train(key, repeat, stage)
        given_rows, look = list(rows.values()), len(past)
        setting = (pruner, repeats, stages)
        if not schedule.due(*setting, look, given_rows, past, keys=keys, failed=failed):
            return Race(given_rows, past, wanted)
        past.append(
            deciding.decide(*setting, MARGIN, smaller, look, given_rows, past, failed=failed)
        )


PRUNERS = st.one_of(
    st.builds(PrunerSpec, kind=st.just("none"), looks=st.integers(1, 4)),
    st.builds(
        PrunerSpec,
        kind=st.just("racing"),
        looks=st.integers(1, 4),
        audit=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    ),
    st.builds(
        PrunerSpec,
        kind=st.just("rungs"),
        looks=st.integers(2, 4),
        rungs=st.sampled_from([(1,), (1, 3)]),
        keep=st.sampled_from([0.1, 1 / 3, 0.5, 1.0]),
        audit=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    ),
)


@settings(max_examples=40, deadline=None)
@given(
    pruner=PRUNERS,
    repeats=st.integers(1, 7),
    many=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    smaller=st.booleans(),
    with_samples=st.booleans(),
)
def test_what_holds_of_every_race(
    pruner: PrunerSpec, repeats: int, many: int, seed: int, smaller: bool, with_samples: bool
) -> None:
    source = random.Random(seed)
    keys = ["abcdefghijkl"[k] * source.choice((1, 2)) for k in range(many)]
    levels = {key: 1 + 0.2 * source.random() for key in keys}
    failed = {key for key in keys if source.random() < 0.15}
    diverged = {key for key in keys if source.random() < 0.15}
    around = rows_of(lambda key, _: levels[key], seed)

    def train(key: str, repeat: int, stage: int) -> Row:
        row = around(key, repeat, stage)
        if key in diverged and repeat + stage > 0:
            return replace(row, value=None, samples=None)
        return row if with_samples else replace(row, samples=None, groups=())

    race = raced(pruner, repeats, keys, train, failed, smaller)
    past, last = race.past, len(pruner.rungs)
    assert len(past) <= pruner.looks
    assert [d.look for d in past] == list(range(len(past)))

    stopped = {d.stopped for d in past[:-1]}
    assert stopped <= {None}
    gone: dict[str, int] = {}
    for decision in past:
        assert decision.leader not in gone
        assert not {n.key for n in decision.next if not n.audit} & gone.keys()
        for drop in decision.dropped:
            assert drop.key not in gone
            assert drop.key != decision.leader
            gone[drop.key] = decision.look
        for asked in decision.next:
            assert asked.audit == (asked.key in gone)
            assert not asked.audit or deciding.is_audited(asked.key, pruner.audit)
    assert {row.key for row in race.rows} | failed | gone.keys() == set(keys)
    if past and not past[-1].stopped:
        leader = audit.best_of_left(race.rows, past, smaller)
        assert leader not in gone
        for key in {n.key for n in past[-1].next if not n.audit}:  # every repeat, once
            whole = sorted(c for c in race.asked if c[0] == key and c[2] == last)
            assert whole == [(key, repeat, last) for repeat in range(repeats)]
    for found in audit.audited(race.rows, past, smaller):
        assert found.key in gone
        assert found.key != found.against

    # A function of its arguments alone: any order of rows, and rows and decisions of later looks.
    mixed = source.sample(race.rows, len(race.rows))
    setting = (pruner, repeats, last + 1, MARGIN, smaller)
    for decision in past:
        again = deciding.decide(*setting, decision.look, mixed, past, failed=failed)
        assert again == decision
        assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


def test_the_batches_of_all_pruners_make_every_repeat() -> None:
    racing = PrunerSpec(kind="racing")
    assert schedule.batches(PrunerSpec(), 5, 1) == (((0, 0),), ((1, 0), (2, 0), (3, 0), (4, 0)))
    assert [len(b) for b in schedule.batches(racing, 5, 1)] == [1, 1, 1, 1, 1]
    assert [len(b) for b in schedule.batches(racing, 10, 1)] == [1, 2, 2, 2, 3]
    assert [len(b) for b in schedule.batches(racing, 1, 1)] == [1]
    rungs = PrunerSpec(kind="rungs", rungs=(1, 3))
    assert schedule.batches(rungs, 5, 3) == (
        ((0, 0),),
        ((0, 1),),
        ((0, 2),),
        ((1, 2), (2, 2)),
        ((3, 2), (4, 2)),
    )
    spent = PrunerSpec(kind="rungs", rungs=(1, 3), looks=2)
    assert schedule.batches(spent, 3, 3) == (((0, 0),), ((0, 1),), ((0, 2), (1, 2), (2, 2)))
    with pytest.raises(ValueError, match="2 rungs must make one stage more, but got 1"):
        schedule.batches(rungs, 5, 1)


def test_a_race_drops_the_worse_and_keeps_what_is_within_the_margin() -> None:
    levels = {"best": 1.0, "close": 1.004, "far": 1.03, "hopeless": 3.0}
    levels |= {f"level {k}": 1.002 for k in range(8)}
    race = raced(
        PrunerSpec(kind="racing", audit=0), 5, list(levels), rows_of(lambda k, _: levels[k])
    )
    drops = {drop.key: (d.look, drop) for d in race.past for drop in d.dropped}
    assert set(drops) == {"far", "hopeless"}
    assert drops["hopeless"][0] == 0
    look, far = drops["far"]
    assert look == 1  # by one repeat nothing says how far seeds are apart
    assert (far.why, far.against) == (Why.WORSE, race.past[1].leader)
    assert far.difference == pytest.approx(0.03, abs=0.01)
    assert far.low is not None
    assert far.low > 0.01  # the margin
    assert race.past[1].level == pytest.approx(0.05 / 4 / 10)  # looks x rivals
    assert len([c for c in race.asked if c[0] == "far"]) == 2


def test_a_race_stops_where_no_rival_can_be_better_by_the_margin() -> None:
    race = raced(
        PrunerSpec(kind="racing"), 9, ["a", "b"], rows_of(lambda k, _: 1.0, scene_sd=0.0005)
    )
    assert race.past[-1].stopped == "no rival is better than the leader by more than the margin"
    assert len(race.asked) < 18
    assert not schedule.due(
        PrunerSpec(kind="racing"), 9, 1, len(race.past), race.rows, race.past, keys=["a", "b"]
    )


def test_seeds_that_are_far_apart_drop_nobody() -> None:
    """The scenes of one repeat say that two of four are much worse; the seeds say it is chance."""
    levels = {"a": 1.0, "b": 1.02, "c": 1.04, "d": 1.06}
    noisy = rows_of(lambda key, _: levels[key], seed_sd=0.1, scene_sd=0.001)
    race = raced(PrunerSpec(kind="racing"), 3, list(levels), noisy)
    assert not [drop for d in race.past for drop in d.dropped]


def test_a_race_drops_one_that_is_within_the_margin_in_few_cases() -> None:
    """Twelve configurations of one level, five folds, four looks; 5 % stated, of all together."""
    wrong = 0
    for seed in range(60):
        train = rows_of(lambda *_: 1.0, seed, seed_sd=0.02)
        race = raced(PrunerSpec(kind="racing", audit=0), 5, list("abcdefghijkl"), train)
        wrong += any(d.dropped for d in race.past)
    assert wrong <= 7  # three standard errors above 3


def test_rungs_keep_a_third_and_whoever_is_not_shown_to_be_worse() -> None:
    levels = {key: 1 + 0.05 * k for k, key in enumerate("abcdef")}
    levels["c"] = levels["b"] + 0.0001
    pruner = PrunerSpec(kind="rungs", rungs=(1,), audit=0)
    train = rows_of(lambda key, stage: levels[key] + 1 - stage)
    race = raced(pruner, 2, list(levels), train)
    first = race.past[0]
    assert {drop.key for drop in first.dropped} == {"c", "d", "e", "f"}
    level = rows_of(lambda key, _: 1.0, scene_sd=0.05)
    assert not raced(pruner, 1, list("ab"), level).past[0].dropped
    bare = raced(pruner, 2, list(levels), lambda *cell: replace(train(*cell), samples=None)).past[0]
    assert {drop.key for drop in bare.dropped} == {"c", "d", "e", "f"}
    assert {(drop.low, drop.why) for drop in bare.dropped} == {(None, Why.BEHIND)}


def test_what_diverged_or_failed_drops_out_by_itself() -> None:
    rows = [Row("a", 0, 0, 1.0), Row("b", 0, 0, None), Row("d", 0, 0, float("nan"))]
    found = deciding.decide(PrunerSpec(), 2, 1, MARGIN, True, 0, rows, [], failed=["c"])
    assert found.dropped == (
        Drop("b", Why.DIVERGED),
        Drop("c", Why.FAILED),
        Drop("d", Why.DIVERGED),
    )
    assert found.next == (Next("a", 1, 0),)
    none = deciding.decide(PrunerSpec(), 2, 1, MARGIN, True, 0, rows[1:], [], failed=["c"])
    assert (none.leader, none.next) == (None, ())
    assert none.stopped == "no configuration has a value"


def test_a_look_waits_for_every_row_but_those_that_failed() -> None:
    setting = (PrunerSpec(kind="racing"), 3, 1, 0)
    rows = [Row("a", 0, 0, 1.0)]
    assert not schedule.due(*setting, rows, [], keys=["a", "b"])
    assert schedule.due(*setting, rows, [], keys=["a", "b"], failed=["b"])
    assert not schedule.due(PrunerSpec(), 1, 1, 0, rows, [], keys=["a"])  # nothing to decide on
    with pytest.raises(ValueError, match="look 1 must follow on 1 looks"):
        deciding.decide(PrunerSpec(), 3, 1, MARGIN, True, 1, rows, [])


def test_audits_are_a_share_that_is_trained_to_the_end_and_told() -> None:
    keys = [f"k{i}" for i in range(400)]
    share = sum(deciding.is_audited(key, 0.1) for key in keys) / len(keys)
    assert share == pytest.approx(0.1, abs=0.045)
    # Three that are worse in the first repeat only: they are dropped wrongly.
    unlucky = rows_of(lambda key, _: 2.0, scene_sd=0.05), rows_of(lambda key, _: 0.9)
    level = rows_of(lambda key, _: 1.0, scene_sd=0.05)

    def train(key: str, repeat: int, stage: int) -> Row:
        return (unlucky[repeat > 0] if key.startswith("k") else level)(key, repeat, stage)

    race = raced(PrunerSpec(kind="racing", audit=1), 5, ["k1", "k2", "k3", *"abcdefgh"], train)
    assert {drop.key for drop in race.past[0].dropped} == {"k1", "k2", "k3"}
    found = audit.audited(race.rows, race.past)[:3]
    assert [(one.key, one.look, one.is_shown_better) for one in found] == [
        (f"k{i}", 0, True) for i in (1, 2, 3)
    ]
    assert {one.against for one in found} == {audit.best_of_left(race.rows, race.past)}
    assert {one.compared.seeds for one in found} == {4}  # those after the drop
    assert found[0].compared.difference == pytest.approx(-0.1, abs=0.03)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"kind": "rungs", "rungs": (3, 1)}, "`rungs` must grow, but got [3, 1]"),
        ({"kind": "rungs", "rungs": (2, 2)}, "`rungs` must grow"),
        ({"kind": "rungs"}, "`rungs` must name epochs where the kind is 'rungs', and only there"),
        ({"kind": "racing", "rungs": (1,)}, "and only there, but got kind = 'racing'"),
        ({"kind": "rungs", "rungs": (1, 2, 3), "looks": 2}, "must not be more than the looks"),
        ({"looks": 5}, "less than or equal to 4"),
        ({"keep": 0}, "greater than 0"),
        ({"audit": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_pruner_that_does_not_hold_is_refused(table: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        PrunerSpec.model_validate(table)


def test_rungs_end_before_the_run_does() -> None:
    pruner = PrunerSpec(kind="rungs", rungs=(1, 3))
    pruner.check(4)
    assert pruner.stages(9) == (1, 3, 9)
    with pytest.raises(ValueError, match=r"below train.epochs = 3, but got \[1, 3\]"):
        pruner.check(3)


def test_many_that_have_failed_alike_do_not_make_the_others_look_sure() -> None:
    """Nine of twelve collapsed; of the three that learned nothing is known after one seed."""
    values = [0.400, 0.405, 0.45, *(1.2 + 1e-4 * k for k in range(9))]
    rows = [Row(f"k{k:02d}", 0, 0, value) for k, value in enumerate(values)]
    found = deciding.decide(PrunerSpec(kind="racing"), 5, 1, MARGIN, True, 0, rows, [])
    assert found.stopped is None
    assert not {drop.key for drop in found.dropped} & {"k00", "k01", "k02"}
