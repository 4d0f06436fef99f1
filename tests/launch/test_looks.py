"""Looks in a study: taken once, kept to, shown, and computed anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from optuna import load_study
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import select, update
from support import homes
from support.processes import Cli
from support.pruned_studies import racing, rungs
from support.specs import make_spec
from support.trivial_studies import trivial_study

from weightsearch.commands.answers import study_answers
from weightsearch.errors import ConfigError
from weightsearch.report.evidence import answer
from weightsearch.report.evidence.ranking import ranking
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, looked, looks, queries, studies, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import points
from weightsearch.store.tables.schema import studies as table
from weightsearch.study.looks.decision import Why

RACING, RUNGS = racing(4), rungs(3, audit=1.0)


@pytest.fixture(params=["racing", "rungs"])
def study(request: pytest.FixtureRequest, opened: Database, tmp_path: Path) -> Iterator[Study]:
    made = homes.create(opened, **(RACING if request.param == "racing" else RUNGS))
    homes.run(opened, made, tmp_path)
    return made


def test_what_is_dropped_is_not_trained_on(opened: Database, study: Study) -> None:
    with opened.engine.connect() as connection:
        decisions = looked.taken(connection, study)
        rows = connection.execute(select(points).filter_by(study_id=study.id)).all()
    dropped = {drop.key: d.look for d in decisions for drop in d.dropped}
    audited = {n.key for d in decisions for n in d.next if n.audit}
    assert dropped
    assert all(drop.why in (Why.WORSE, Why.BEHIND) for d in decisions for drop in d.dropped)
    last = len(study.spec.stages()) - 1
    repeats = {
        key: sum(r.key == key and r.state == "done" and r.stage == last for r in rows)
        for key in {r.key for r in rows}
    }
    going = repeats.keys() - dropped.keys()
    whole = max(repeats[key] for key in going)
    assert all(repeats[key] == whole for key in going)
    early = {key for key, look in dropped.items() if decisions[look].stopped is None} - audited
    assert all(repeats[key] < whole for key in early)
    assert {r.key for r in rows if r.state == "dropped"} <= dropped.keys()
    found = verification.verify(opened.engine, study)
    assert found.ok, found
    assert found.starts == sum(r.state == "done" for r in rows)
    assert (found.looks, found.wrong_looks) == (len(decisions), [])


def test_a_ranking_is_of_whole_runs(opened: Database, study: Study) -> None:
    done = queries.done(opened.engine, study)
    epochs = {one.result.epochs for one in done}
    assert epochs == {study.spec.train.epochs}
    rows = ranking(study.spec, done)
    with opened.engine.connect() as connection:
        leader = looked.taken(connection, study)[-1].leader
    best = next(d for d in done if d.point.id() == rows[0].point)
    assert best.point.key() == leader
    found = answer.found(opened.engine, study)
    assert best.number not in found.dropped
    assert set(found.dropped) < set(range(10))
    assert len(found.dropped) == len(set(found.dropped)) > 0


def test_the_optuna_study_shows_what_was_dropped(opened: Database, study: Study) -> None:
    homes.show(opened, study)
    with opened.engine.connect() as connection:
        rows = connection.execute(select(points).filter_by(study_id=study.id)).all()
    storage = RDBStorage(connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect))
    trials = load_study(study_name=study.name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    last = len(study.spec.stages()) - 1
    pruned = sum(r.state == "dropped" or r.stage < last for r in rows)
    states = [trial.state for trial in trials]
    assert states.count(TrialState.PRUNED) == pruned > 0
    assert states.count(TrialState.COMPLETE) == len(rows) - pruned
    said = [t.user_attrs.get("fail_reason", "") for t in trials if t.state == TrialState.PRUNED]
    dropped = [r for r in rows if r.state == "dropped"]
    assert sum("look" in text for text in said) == len(dropped)


def test_status_says_what_each_look_decided(opened: Database, study: Study, tmp_path: Path) -> None:
    found = study_answers.status(opened.engine, study.name, tmp_path)
    assert found.coverage == 1.0
    assert [look["look"] for look in found.looks] == list(range(len(found.looks)))
    assert any("dropped (" in look["told"] for look in found.looks)
    if study.spec.pruner.audit == 1.0:
        assert sum(len(look["audits"]) for look in found.looks) > 0
    json.dumps(found.to_json())


def test_a_decision_that_its_rows_do_not_give_is_found(opened: Database, study: Study) -> None:
    with opened.engine.begin() as connection:
        stored = connection.execute(select(table.c.looks).filter_by(id=study.id)).scalar_one()
        at = next(k for k, look in enumerate(stored) if look["dropped"])
        stored[at]["dropped"] = stored[at]["dropped"][1:]
        connection.execute(update(table).filter_by(id=study.id).values(looks=stored))
    found = verification.verify(opened.engine, study)
    assert at in found.wrong_looks
    assert not found.ok


def test_an_audit_that_failed_and_was_tried_again_makes_no_look_wrong(
    opened: Database, tmp_path: Path
) -> None:
    study = homes.create(opened, **RUNGS)
    homes.run(opened, study, tmp_path)
    with opened.engine.begin() as connection:
        stored = connection.execute(select(table.c.looks).filter_by(id=study.id)).scalar_one()
        gone = {drop["key"] for drop in stored[0]["dropped"]}
        # As if this one's row had failed before the second look, and was done after it.
        key = next(n["key"] for n in stored[1]["next"] if n["audit"] and n["key"] in gone)
        for look in stored[1:]:
            look["next"] = [n for n in look["next"] if n["key"] != key]
        late = (points.c.key == key) & ((points.c.stage > 1) | (points.c.repeat > 0))
        connection.execute(points.delete().where(points.c.study_id == study.id, late))
        connection.execute(update(table).filter_by(id=study.id).values(looks=stored))
    assert verification.verify(opened.engine, study).wrong_looks == []


def test_a_look_is_taken_once_however_many_ask(opened: Database) -> None:
    study = homes.create(opened, **RACING)
    while lease := leases.claim(opened.engine, study.id, "w", "cpu", 60):
        assert lease.point is not None
        value = 1.0 + lease.number
        samples = [value + 0.01 * (k % 3) for k in range(12)]
        result = {"outcome": "done", "metrics": {"rmse": value}, "samples": {"rmse": samples}}
        assert not looks.take(opened.engine, study, 0)
        assert leases.finish(opened.engine, lease, result | {"groups": [], "images": 12})
    assert verification.verify(opened.engine, study).look_due
    with ThreadPoolExecutor(4) as pool:
        took = list(pool.map(lambda _: looks.take(opened.engine, study, 0), range(4)))
    assert took == [True] * 4  # whoever came late sees that there is more to do
    with opened.engine.connect() as connection:
        (decision,) = looked.taken(connection, study)
    asked = len(decision.next)
    counts = queries.counts(opened.engine, study)
    assert (counts["waiting"], counts["dropped"]) == (asked, 10 - asked)
    assert not looks.take(opened.engine, study, 1)


def test_a_study_that_has_looked_cannot_grow(
    cli: Cli, storage: str, opened: Database, study: Study
) -> None:
    refused = cli("launch", "study", "--extend", "repeats=9", WEIGHTSEARCH_STORAGE=storage)
    assert "whose looks have dropped configurations cannot grow" in refused.stderr
    assert queries.counts(opened.engine, study)["waiting"] == 0


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "mixture"])
@pytest.mark.parametrize("pruner", ["racing", "rungs"])
def test_every_sampler_may_be_pruned(
    opened: Database, tmp_path: Path, sampler: str, pruner: str
) -> None:
    tables: dict[str, Any] = {"answer": {"repeats": 2}, "pruner": {"kind": pruner}}
    tables |= {"sampler": {"kind": sampler} | ({} if sampler == "grid" else {"trials": 11})}
    study = homes.create(opened, **tables)
    homes.run(opened, study, tmp_path)
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert found.looks == (1 if pruner == "racing" else 2)
    assert ranking(study.spec, queries.done(opened.engine, study))


def test_a_launch_prunes_as_it_is_asked(cli: Cli, tmp_path: Path, storage: str) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(trivial_study(0.0, "[pruner]\nkind = 'rungs'\n"))
    there = {"WEIGHTSEARCH_STORAGE": storage, "WEIGHTSEARCH_HOME": str(tmp_path / "home")}
    plain = ("--workers", 2, "--device", "cpu", "--no-promote", "--pruner", "racing")
    refused = cli("launch", file, *plain, **there)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "raise it (`--repeats 3`)" in refused.stderr
    ran = cli("launch", file, *plain, "--repeats", 3, **there)
    assert ran.returncode == 0, ran.stderr
    verified = cli("verify", "toy-grid", **there)
    assert (verified.returncode, verified.stdout[:3]) == (0, "ok:")
    assert "looks," in verified.stdout
    assert "look 1: " in cli("status", "toy-grid", **there).stdout


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"pruner": {"kind": "racing"}}, "answer.repeats must be 2 or more, but is 1"),
        ({"pruner": {"kind": "rungs", "rungs": [2, 1]}}, "`rungs` must grow"),
        ({"pruner": {"kind": "rungs", "rungs": [2]}}, "must be below train.epochs = 2"),
        ({"pruner": {"kind": "halving"}}, "pruner.kind"),
        ({"pruner": {"kind": "rungs"}, "train": {"epochs": 1}}, "must be below train.epochs = 1"),
    ],
)
def test_what_cannot_be_pruned_is_refused(tables: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_spec(**tables)


def test_pruning_is_part_of_what_a_study_is() -> None:
    assert make_spec(pruner={"kind": "none"}).digest() == make_spec().digest()
    assert make_spec(**RACING).digest() != make_spec(**(RACING | {"pruner": {}})).digest()
    assert studies.planning.runs(make_spec(**RACING), studies.planning.plan(make_spec(**RACING)))
