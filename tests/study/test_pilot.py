"""The pilot of a study that may share its start: what is planned, and what the two orders say."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from support.specs import make_spec

from weightsearch.errors import ConfigError
from weightsearch.stats.rank_agreement import kendall_tau
from weightsearch.study import planning
from weightsearch.study.looks import pilot
from weightsearch.study.looks.decision import Decision, Pilot, Row
from weightsearch.study.looks.pilot import Cell, Group
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.share_spec import Form, ShareSpec

TRUNK, FROZEN = ShareSpec(kind="trunk"), ShareSpec(kind="frozen")
ONE = [Group("", tuple(f"k{i:02d}" for i in range(12)), "equal")]
TWO = [*ONE, Group("other", tuple(f"o{i:02d}" for i in range(10)), "other equal")]

Value = Callable[[Cell], float | None]


def order(cell: Cell) -> float:
    """Both forms agree; the shared one is better throughout."""
    return int(cell[0][1:]) - 100 * (cell[2] == Form.SHARED) if cell[2] != Form.TRUNK else 0


def rest(
    share: ShareSpec, groups: list[Group], repeats: int, value: Value = order
) -> tuple[list[Row], list[Decision]]:
    """Trains what is asked for, and looks whenever a look is due."""
    rows: dict[Cell, Row] = {}
    past: list[Decision] = []
    while True:
        later = [(n.key, n.repeat, n.stage) for d in past for n in d.next]
        for cell in [*pilot.first(share, groups), *later]:
            rows.setdefault(cell, Row(*cell, value(cell)))
        given_rows = list(rows.values())
        assert len(given_rows) == len(pilot.first(share, groups)) + len(later)  # each asked once
        if not pilot.due(share, repeats, groups, given_rows, past):
            return given_rows, past
        past.append(pilot.decide(share, repeats, groups, True, given_rows, past))


def cells(rows: list[Row], form: Form) -> set[tuple[str, int]]:
    return {(row.key, row.repeat) for row in rows if row.stage == form}


@pytest.mark.parametrize("share", [TRUNK, FROZEN], ids=["trunk", "frozen"])
@pytest.mark.parametrize("groups", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_where_the_orders_agree_the_rest_is_shared(
    share: ShareSpec, groups: list[Group], repeats: int
) -> None:
    rows, past = rest(share, groups, repeats)
    every = {(key, r) for group in groups for key in group.keys for r in range(repeats)}
    pilots = {(key, 0) for group in groups for key in group.pilots(8)}
    assert cells(rows, Form.SHARED) == every
    assert cells(rows, Form.SCRATCH) == pilots
    assert len(pilots) == 8 * len(groups)
    trunks = {(group.trunk, r) for group in groups for r in range(repeats)}
    assert cells(rows, Form.TRUNK) == (trunks if share.kind == "trunk" else set())
    found = pilot.outcome(past)
    assert found is not None
    assert found.shared
    assert {a.group for a in found.agreements} == (
        {""} if groups == ONE else {"", "other", "together"}
    )
    # A fork is asked for by a look that comes after its trunk is done.
    planned: set[tuple[str, int]] = {(g.trunk, 0) for g in groups}
    of = {key: group.trunk for group in groups for key in group.keys}
    for decision in past if share.kind == "trunk" else ():
        forks = [n for n in decision.next if n.stage == Form.SHARED]
        assert all((of[n.key], n.repeat) in planned for n in forks)
        planned |= {(n.key, n.repeat) for n in decision.next if n.stage == Form.TRUNK}


@pytest.mark.parametrize("share", [TRUNK, FROZEN], ids=["trunk", "frozen"])
def test_where_the_orders_do_not_agree_the_rest_is_from_scratch(share: ShareSpec) -> None:
    rows, past = rest(share, ONE, 3, lambda c: order(c) * (-1 if c[2] == Form.SHARED else 1))
    assert cells(rows, Form.SCRATCH) == {(key, r) for key in ONE[0].keys for r in range(3)}
    assert cells(rows, Form.SHARED) == {(key, 0) for key in ONE[0].pilots(8)}
    assert len(cells(rows, Form.TRUNK)) == (share.kind == "trunk")
    (agreement,) = past[-1].pilot.agreements if past[-1].pilot else ()
    assert (agreement.n, agreement.tau) == (8, -1)
    assert "trained from scratch" in pilot.told(share, past[-1])


def test_groups_that_agree_each_but_not_together_do_not_share() -> None:
    """As where a frozen encoder turns over which encoder is the better one."""

    def turned(cell: Cell) -> float:
        is_worse = (cell[0][0] == "o") == (cell[2] == Form.SHARED)
        return int(cell[0][1:]) + 100 * is_worse

    _, past = rest(FROZEN, TWO, 1, turned)
    found = pilot.outcome(past)
    assert found is not None
    assert [a.tau for a in found.agreements[:2]] == [1, 1]
    assert found.agreements[2].tau is not None
    assert found.agreements[2].tau < 0
    assert not found.shared


def test_what_diverged_is_the_worst_and_what_failed_does_not_count() -> None:
    keys = ONE[0].pilots(8)
    rows = [
        Row(key, 0, form, None if key == keys[0] else float(i))
        for i, key in enumerate(keys)
        for form in (Form.SCRATCH, Form.SHARED)
    ]
    found = pilot.decide(FROZEN, 1, ONE, True, rows, []).pilot
    assert found is not None
    assert (found.agreements[0].n, found.agreements[0].tau, found.shared) == (8, 1, True)
    one_way = [r for r in rows if (r.key, r.stage) != (keys[0], Form.SHARED)]
    one_way.append(Row(keys[0], 0, Form.SHARED, -1.0))
    odd = pilot.decide(FROZEN, 1, ONE, True, one_way, []).pilot
    assert odd is not None
    assert odd.agreements[0].tau == pytest.approx(1 - 2 * 7 / 28)  # first in one, last in the other
    without = [r for r in rows if r.key != keys[3]]
    assert not pilot.due(FROZEN, 1, ONE, without, [])
    failed = [(keys[3], 0, form) for form in (Form.SCRATCH, Form.SHARED)]
    assert pilot.due(FROZEN, 1, ONE, without, [], failed)
    seven = pilot.decide(FROZEN, 1, ONE, True, without, []).pilot
    assert seven is not None
    assert (seven.agreements[0].n, seven.failed, seven.shared) == (7, (keys[3],), False)
    # It was tried again since: the decision is as it was.
    assert pilot.decide(FROZEN, 1, ONE, True, rows, [], seven.failed).pilot == seven


def test_a_decision_is_a_function_of_its_rows_in_any_order_and_survives_json() -> None:
    rows, past = rest(TRUNK, TWO, 2)
    mixed = random.Random(0).sample(rows, len(rows))
    assert len(past) == 3
    for k, decision in enumerate(past):
        assert pilot.decide(TRUNK, 2, TWO, True, mixed, past[:k]) == decision
        assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision
    with pytest.raises(ValueError, match="left something to plan"):
        pilot.decide(TRUNK, 2, TWO, True, rows, past)
    assert "pilot" not in past[0].to_json()
    assert isinstance(past[1].pilot, Pilot)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_tau_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    found = kendall_tau(a, b)
    if found is None:
        assert len(set(a)) == 1 or len(set(b)) == 1
    else:
        assert found == pytest.approx(kendalltau(a, b).statistic)


def lattice(**tables: object) -> StudySpec:
    """21 directions of three terms."""
    grid = {"weights": {"grid": "simplex", "steps": 5}}
    return make_spec(
        **({"loss": grid, "share": {"kind": "trunk"}, "train": {"epochs": 4}} | tables)
    )


def test_a_plan_begins_with_trunks_and_pilots_alone() -> None:
    spec = lattice(params={"images": [6, 9]}, answer={"repeats": 3})
    plan = planning.plan(spec)
    runs = planning.runs(spec, plan)
    assert [run.stage for run in runs] == [Form.TRUNK] * 2 + [Form.SCRATCH] * 16
    assert {run.repeat for run in runs} == {0}
    trunk = runs[0].point
    assert trunk is not None
    assert {float(w) for w in trunk.weights.values()} == {float(1 / 3)}
    assert {run.place for run in runs[:2]} == {42, 43}  # not in a lattice of fifths
    assert planning.most(spec, plan) == (42 + 2) * 3 + 16  # each repeat has its trunks
    drawn = [run.place for run in runs[2:]]
    assert drawn != list(range(8))  # not the edge that the order begins with
    assert runs == planning.runs(spec, planning.plan(spec))


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"share": {"kind": "trunk", "fraction": 0}}, "share.fraction"),
        ({"share": {"kind": "trunk", "fraction": 1}}, "share.fraction"),
        ({"share": {"kind": "trunk", "pilot": 7}}, "share.pilot"),
        ({"share": {"kind": "trunk", "tau": 1.5}}, "share.tau"),
        ({"share": {"kind": "both"}}, "share.kind"),
        ({"share": {"kind": "none", "tau": 0.9}}, "`tau` is of studies that share"),
        ({"share": {"kind": "frozen", "fraction": 0.3}}, "`fraction` is of kind = 'trunk'"),
        ({"share": {"moments": "kept"}}, "`moments` is of kind = 'trunk', but got kind = 'none'"),
        ({"train": {"epochs": 1}}, "0.5 of train.epochs = 1 makes 0"),
        ({"train": {"epochs": 4, "patience": 2}}, "leave train.patience out"),
        ({"train": {"epochs": 4, "lr": {"low": 0.1, "high": 1}}, "sampler": {
            "kind": "random", "trials": 30}}, "numbers of a range"),
        ({"pruner": {"kind": "rungs"}}, "needs pruner.kind = 'none'"),
        ({"sampler": {"kind": "tpe", "trials": 30}}, "sampler 'tpe' chooses them later"),
        ({"loss": {"weights": {"grid": "simplex", "steps": 5}, "weightings": ["dwa"]}},
         "a learned weighting has no trunk"),
        ({"share": {"kind": "frozen"}, "train": {"epochs": 4, "freeze": "all"}},
         "train.freeze is 'all'"),
    ],
)  # fmt: skip
def test_what_cannot_share_is_refused(tables: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        lattice(**tables)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pilot_of_everything_saves_nothing_and_is_refused() -> None:
    spec = lattice(sampler={"trials": 8})
    with pytest.raises(ConfigError, match="below the configurations, but is 8 of 8"):
        planning.plan(spec)


def test_sharing_is_part_of_what_a_study_is_and_its_absence_of_none() -> None:
    plain = make_spec()
    assert plain.digest() == make_spec(share={"kind": "none"}).digest()
    digests = {
        lattice(share=share).digest()
        for share in (
            {"kind": "none"},
            {"kind": "trunk"},
            {"kind": "trunk", "fraction": 0.25},
            {"kind": "trunk", "moments": "kept"},
            {"kind": "trunk", "pilot": 9},
            {"kind": "frozen"},
            {"kind": "frozen", "tau": 0.9},
        )
    }
    assert len(digests) == 7
