"""Repeats in a launch: claimed, ranked by their means, and a study that grows."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sqlalchemy import update
from support import homes
from support.processes import Cli
from support.specs import make_spec
from support.trivial_studies import trivial_study

from weightsearch.launch import promotion
from weightsearch.report.evidence import answer
from weightsearch.report.evidence.ranking import ranking
from weightsearch.stats import comparison
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, studies, verification
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.results import Evaluation, Result
from weightsearch.store.tables.schema import studies as studies_table
from weightsearch.store.tables.states import Outcome
from weightsearch.study import planning, search_space
from weightsearch.study.answer_spec import AnswerSpec
from weightsearch.study.search_space import Point, exact

REPEATED = """
[answer]
repeats = 2
"""


def ran(opened: Database, home: Path, **tables: Any) -> studies.Study:
    study = homes.create(opened, **tables)
    homes.run(opened, study, home)
    return study


def test_a_ranking_is_by_the_means_of_repeats(opened: Database, tmp_path: Path) -> None:
    study = ran(
        opened, tmp_path, answer={"repeats": 3}, loss={"weights": {"grid": "simplex", "steps": 2}}
    )
    done = queries.done(opened.engine, study)
    assert len(done) == 18
    found = answer.found(opened.engine, study)
    best = found.rows[0]
    mine = [d for d in done if d.point.id() == best.point]
    assert [d.seed for d in mine] == [0, 1000, 2000]
    assert best.value == pytest.approx(fmean(d.result.metrics["rmse"] for d in mine))
    assert [row.repeats for row in found.rows] == [3] * 6
    assert found.rows[1].comparison is not None
    assert found.rows[1].comparison.seeds == 3
    assert found.reliability is not None
    assert found.headline is not None
    assert "(3 runs of the search)" in found.headline.sentence
    led = queries.leader(opened.engine, study)
    assert led is not None
    assert (led[0].id(), led[1]) == (best.point, pytest.approx(best.value))
    assert verification.verify(opened.engine, study).ok


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_chosen_point_is_repeated_as_it_was_chosen(
    opened: Database, tmp_path: Path, kind: str
) -> None:
    study = ran(opened, tmp_path, answer={"repeats": 2}, sampler={"kind": kind, "trials": 6})
    done = queries.done(opened.engine, study)
    assert len(done) == 12
    by_place: dict[int, set[str]] = {}
    for one in done:
        by_place.setdefault(one.place, set()).add(one.point.key())
    assert sorted(by_place) == list(range(6))
    assert all(len(keys) == 1 for keys in by_place.values())


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_finished_study_grows_under_its_name(
    cli: Cli, tmp_path: Path, storage: str, opened: Database, kind: str
) -> None:
    file = tmp_path / "toy.toml"
    sampler = f'[sampler]\nkind = "{kind}"\ntrials = 4\n'
    file.write_text(trivial_study(0.0, sampler))
    there = {"WEIGHTSEARCH_STORAGE": storage, "WEIGHTSEARCH_HOME": str(tmp_path / "home")}
    plain = ("--workers", 1, "--device", "cpu", "--no-promote", "--json")
    assert cli("launch", file, *plain, **there).returncode == 0
    name = f"toy-{kind}"
    before = queries.done(opened.engine, studies.find(opened.engine, name))
    ask = ("launch", name, "--extend", "trials=6,repeats=2")
    ahead = cli(*ask, "--dry-run", **there)
    assert "a launch has it grow to 12 points" in ahead.stdout
    assert queries.counts(opened.engine, studies.find(opened.engine, name))["total"] == 4
    grown = cli(*ask, *plain, **there)
    assert grown.returncode == 0, grown.stderr
    assert json.loads(grown.stdout)["points"]["done"] == 12
    study = studies.find(opened.engine, name)
    done = queries.done(opened.engine, study)
    assert [d for d in done if d.number < 4] == before
    assert {d.place for d in done if d.repeat == 1} == set(range(6))
    (entry,) = study.history
    assert entry["changed"] == {"sampler.trials": [4, 6], "answer.repeats": [1, 2]}
    assert entry["digest"] != study.spec.digest()
    assert verification.verify(opened.engine, study).ok
    status = cli("status", name, **there)
    said = " ".join(status.stdout.split())
    assert "answer.repeats 1 to 2, sampler.trials 4 to 6" in said
    assert "n = 12 samples, means over 2 seeds" in said
    again = cli("launch", name, "--extend", "trials=6,repeats=2", *plain, **there)
    assert json.loads(again.stdout)["points"]["done"] == 12
    assert len(studies.find(opened.engine, name).history) == 1


@pytest.mark.parametrize("asked", ["trials=40", "trials=40,repeats=3"])
def test_a_grid_has_no_more_points_than_it_has(
    cli: Cli, storage: str, opened: Database, asked: str
) -> None:
    homes.create(opened)
    refused = cli("launch", "study", "--extend", asked, WEIGHTSEARCH_STORAGE=storage)
    assert "'study' has 10 in all and got trials=40" in refused.stderr
    assert studies.find(opened.engine, "study").history == []


def test_what_an_older_release_did_not_have_is_no_change(opened: Database) -> None:
    study = homes.create(opened)
    old = {part: table for part, table in study.spec.resolved().items() if part != "pruner"}
    with opened.engine.begin() as connection:
        connection.execute(update(studies_table).values(spec=old))
    spec = study.spec.model_copy(update={"answer": AnswerSpec(repeats=2)})
    grown = studies.extend(opened.engine, "study", spec, planning.plan(spec))
    (entry,) = grown.history
    assert entry["changed"] == {"answer.repeats": [1, 2]}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("trials=9", "must not shrink a study, but study 'study' has trials=10"),
        ("repeats=1", "has repeats=2 and got 'repeats=1'"),
        ("epochs=9", "must read trials=N, repeats=N, or both"),
        ("trials=x", "must read trials=N, repeats=N, or both"),
        ("repeats=200", "answer.repeats"),
    ],
)
def test_what_does_not_grow_a_study_is_refused(
    cli: Cli, storage: str, opened: Database, asked: str, says: str
) -> None:
    homes.create(opened, answer={"repeats": 2}, sampler={"kind": "random", "trials": 10})
    refused = cli("launch", "study", "--extend", asked, WEIGHTSEARCH_STORAGE=storage)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert says in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert studies.find(opened.engine, "study").history == []


def test_a_study_that_is_not_there_or_would_be_another_is_not_extended(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    missing = cli("launch", "nobody", "--extend", "trials=9", WEIGHTSEARCH_STORAGE=storage)
    assert "there is no study yet" in missing.stderr
    mixed = {"kind": "mixture", "trials": 14}
    homes.create(opened, sampler=mixed)
    other = cli("launch", "study", "--extend", "repeats=2", WEIGHTSEARCH_STORAGE=storage)
    assert "must keep what it has" in other.stderr
    assert studies.find(opened.engine, "study").history == []


def test_a_repeat_waits_until_its_first_run_is_chosen(opened: Database) -> None:
    study = homes.create(opened, answer={"repeats": 2}, sampler={"kind": "tpe", "trials": 2})

    def claim(worker: str) -> leases.Lease | None:
        return leases.claim(opened.engine, study.id, worker, "cpu", 60)

    first, second = claim("a"), claim("b")
    assert first is not None
    assert second is not None
    assert claim("c") is None
    point = Point(
        search_space.canonical({"mae": exact(1), "edge": exact(0), "ssim": exact(0)}, True), {}
    )
    assert leases.fill(opened.engine, first, point)
    repeat = claim("c")
    assert repeat is not None
    assert (repeat.place, repeat.repeat) == (first.place, 1)
    assert leases.chosen(opened.engine, repeat) == point


def test_an_extended_study_chooses_its_finalists_anew(opened: Database, tmp_path: Path) -> None:
    sampler = {"kind": "random", "trials": 3}
    study = ran(opened, tmp_path, sampler=sampler, promote={"top": 1, "seeds": [1], "epochs": 3})
    before = promotion.plan(opened.engine, study)
    homes.run(opened, study, tmp_path)
    assert promotion.plan(opened.engine, study) == before
    spec = study.spec.model_copy(
        update={"sampler": study.spec.sampler.model_copy(update={"trials": 30})}
    )
    study = studies.extend(opened.engine, "study", spec, planning.plan(spec))
    homes.run(opened, study, tmp_path)
    after = promotion.plan(opened.engine, study)
    best = answer.found(opened.engine, study).rows[0].point
    assert [point.id() for point in after] == [best] != [point.id() for point in before]
    homes.run(opened, study, tmp_path)
    assert promotion.plan(opened.engine, study) == after
    assert verification.verify(opened.engine, study).ok


def run_of(value: float, seed: int, fold: int, weights: dict[str, float]) -> Done:
    direction = {term: exact(weight) for term, weight in weights.items()}
    point = Point(search_space.canonical(direction, True), {})
    samples = [value + 0.01 * k for k in range(6)]
    metrics = {"rmse": fmean(samples)}
    groups = [f"{fold} {k // 2}" for k in range(6)]
    found = Evaluation(metrics, {"rmse": samples}, groups, 6)
    return Done(0, 0, seed, point, Result(Outcome.DONE, found), fold=fold)


def test_what_lacks_repeats_is_placed_by_its_differences() -> None:
    a = {"mae": 1.0, "edge": 0.0, "ssim": 0.0}
    b = {"mae": 0.0, "edge": 1.0, "ssim": 0.0}
    spec = make_spec(answer={"repeats": 2})
    done = [run_of(0.4, 0, 0, a), run_of(1.0, 1000, 1, a), run_of(0.45, 0, 0, b)]
    first, second = ranking(spec, done)
    assert second.value - first.value == pytest.approx(0.05)  # though its only fold is the easy one
    assert second.interval is not None
    assert second.interval[0] < second.value < second.interval[1]
    assert first.interval is not None
    assert first.interval[0] == 0.0  # of an error, of two folds that are far apart


def test_folds_of_one_scene_each_count_as_samples() -> None:
    values = [[1.0, 1.1], [1.2, 1.3], [1.1, 1.0]]
    scenes = [["a", "a"], ["b", "b"], ["c", "c"]]
    bounds = comparison.interval_of_repeats(values, scenes)
    half = stats.t.ppf(0.975, 2) * np.std([1.05, 1.25, 1.05], ddof=1) / 3**0.5
    assert bounds == pytest.approx((3.35 / 3 - half, 3.35 / 3 + half))
    assert comparison.interval_of_repeats(values[:2], [["a", "a"], ["a", "a"]]) is None


def test_the_margin_is_part_of_what_a_study_is_where_it_drops_by_it() -> None:
    def digest(margin: str, **tables: Any) -> str:
        return make_spec(answer={"repeats": 2, "margin": margin}, **tables).digest()

    assert digest("1 %") == digest("20 %")
    racing = {"pruner": {"kind": "racing"}}
    assert digest("1 %", **racing) != digest("20 %", **racing)
