"""Repeats and folds: which runs a study has, with which seeds, on which frames."""

from __future__ import annotations

import pytest
from support.specs import make_spec

from weightsearch.errors import ConfigError
from weightsearch.study import planning
from weightsearch.study.spec import StudySpec

DATA = {"source": "synthetic", "size": [48, 64], "val": "folds:3"}


def repeated(repeats: int, **tables: object) -> StudySpec:
    return make_spec(answer={"repeats": repeats}, **tables)


def test_every_configuration_is_run_once_before_any_is_repeated() -> None:
    spec = repeated(3, data=DATA)
    plan = planning.plan(spec)
    runs = planning.runs(spec, plan)
    assert [r.repeat for r in runs] == [r for r in range(3) for _ in plan.points]
    for repeat in range(3):
        own = [r for r in runs if r.repeat == repeat]
        assert [r.place for r in own] == list(range(len(plan.points)))
        assert {(r.seed, r.fold) for r in own} == {(1000 * repeat, repeat)}


def test_more_repeats_than_folds_begin_again_at_the_first() -> None:
    spec = repeated(4, data=DATA)
    assert [spec.fold_of(r) for r in range(4)] == [0, 1, 2, 0]
    assert make_spec().fold_of(2) is None


def test_repeats_are_part_of_what_a_study_is() -> None:
    assert repeated(1).digest() == make_spec().digest()
    assert len({repeated(n).digest() for n in (1, 2, 3)}) == 3


@pytest.mark.parametrize("kind", ["random", "tpe", "mixture"])
def test_places_that_are_filled_later_are_repeated_too(kind: str) -> None:
    spec = repeated(2, sampler={"kind": kind, "trials": 14})
    runs = planning.runs(spec, planning.plan(spec))
    assert len(runs) == 28
    assert [r.point for r in runs[:14]] == [r.point for r in runs[14:]]
    assert [r.seed for r in runs] == [0] * 14 + [1000] * 14


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"promote": {"seeds": [1, 2000]}}, "promote.seeds must be fresh, but 2000 is a seed"),
        ({"train": {"seed": 2**31 - 1500}}, "needs seeds up to 2147484148, but"),
        ({"answer": {"repeats": 0}}, "answer.repeats"),
        ({"data": DATA | {"val": "folds:1"}}, "'folds:K' with K from 2 to 50"),
        ({"data": DATA | {"val": "folds:x"}}, "'folds:K' with K from 2 to 50"),
    ],
)
def test_what_cannot_be_repeated_is_refused(tables: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_spec(**({"answer": {"repeats": 3}} | tables))
