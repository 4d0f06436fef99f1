"""Studies whose runs share their start: one form, once, shown as what it is."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna import load_study
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Row, select, update
from support import homes
from support.processes import Cli
from support.trivial_studies import trivial_study

from weightsearch.commands.answers import study_answers
from weightsearch.errors import ConfigError, StudyError
from weightsearch.launch import promotion
from weightsearch.report.evidence import answer, records
from weightsearch.report.pages import study_page
from weightsearch.report.pages.comparison_page import sides
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import full_runs, looks, queries, references, studies, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import points
from weightsearch.store.tables.schema import studies as table
from weightsearch.store.tables.states import Rung
from weightsearch.study import objective_contract, planning
from weightsearch.study.tables.share_spec import Form

GRID = {"weights": {"grid": "simplex", "steps": 3}}
OWN = {"run": "support.sharing_objectives:remembering"}


def tables(kind: str, repeats: int = 2, **more: Any) -> dict[str, Any]:
    """Ten directions, four epochs, two of them the trunk's."""
    found = {"share": {"kind": kind}, "answer": {"repeats": repeats}, "train": {"epochs": 4}}
    return {"objective": OWN, "loss": GRID, **found, **more}


CONTRARY: dict[str, Any] = {"params": {"contrary": 1}}
CASES = {
    "trunk": tables("trunk"),
    "frozen": tables("frozen"),
    "no agreement": tables("trunk", **CONTRARY),
}


@pytest.fixture(params=CASES)
def study(request: pytest.FixtureRequest, opened: Database, tmp_path: Path) -> Iterator[Study]:
    made = homes.create(opened, **CASES[request.param])
    homes.run(opened, made, tmp_path)
    return made


def rows_of(database: Database, study: Study) -> list[Row[Any]]:
    with database.engine.connect() as connection:
        asked = select(points).filter_by(study_id=study.id).order_by(points.c.number)
        return list(connection.execute(asked).all())


def shares(study: Study) -> bool:
    return not study.spec.params


def values(database: Database, study: Study) -> dict[tuple[str, int, int], float]:
    return {
        (r.key, r.repeat, r.stage): r.result["metrics"]["rmse"] for r in rows_of(database, study)
    }


def test_every_run_is_of_one_form_and_done_once(opened: Database, study: Study) -> None:
    rows = rows_of(opened, study)
    counts = {form: sum(row.stage == form for row in rows) for form in Form}
    trunks = study.spec.share.kind == "trunk"
    if shares(study):
        assert counts == {Form.SCRATCH: 8, Form.TRUNK: 2 * trunks, Form.SHARED: 20}
    else:
        assert counts == {Form.SCRATCH: 20, Form.TRUNK: 1, Form.SHARED: 8}
    epochs = {form: {r.result["epochs"] for r in rows if r.stage == form} for form in Form}
    assert epochs == {Form.SCRATCH: {4}, Form.TRUNK: {2} if trunks else set(), Form.SHARED: {4}}
    told = {r.stage: r.result.get("shared", {}).get("form") for r in rows}
    shared = "forked" if trunks else "frozen encoder"
    wanted = {Form.SCRATCH: None, Form.TRUNK: "trunk", Form.SHARED: shared}
    assert told == {form: wanted[form] for form in told}
    found = verification.verify(opened.engine, study)
    assert found.ok, found
    assert found.starts == len(rows) == found.done_once
    assert found.looks == {"trunk": 3 if shares(study) else 2, "frozen": 1}[study.spec.share.kind]
    assert full_runs.epoch_seconds(opened.engine, study) is not None


def test_one_form_is_ranked_and_told(opened: Database, study: Study, tmp_path: Path) -> None:
    done = queries.done(opened.engine, study)
    assert len(done) == 20
    assert {bool(one.result.shared) for one in done} == {shares(study)}
    found = answer.found(opened.engine, study)
    assert found.sharing is not None
    assert found.sharing.pilot is not None
    assert found.sharing.pilot.shared == shares(study)
    first, *more = found.sharing.sentences()
    assert re.search(r"^Kendall's tau of shared and scratch runs -?[01]\.\d\d \(n = 8\): ", first)
    assert len(more) == shares(study)
    assert all("compare with each other alone" in sentence for sentence in more)
    if study.spec.share.kind == "trunk" and shares(study):
        assert (found.sharing.epochs, found.sharing.from_scratch) == (8 * 4 + 2 * 2 + 20 * 2, 80)
    assert found.headline is not None
    form = {"trunk": ", forked after 2 epochs, moments reset)", "frozen": ", frozen encoder)"}
    assert (form[study.spec.share.kind] in found.headline.sentence) == shares(study)
    json.dumps(found.to_json())
    told = study_answers.status(opened.engine, study.name, tmp_path)
    assert any("Kendall's tau" in look["told"] for look in told.looks)
    json.dumps(told.to_json())
    page = study_page.answer(records.read(opened.engine, study.name))
    assert first in page


def test_optuna_has_the_runs_from_scratch_alone(opened: Database, study: Study) -> None:
    homes.show(opened, study)
    storage = RDBStorage(connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect))
    trials = load_study(study_name=study.name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    rows = rows_of(opened, study)
    complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
    assert complete == sum(row.stage == Form.SCRATCH for row in rows)
    assert sum(trial.state == TrialState.PRUNED for trial in trials) == len(rows) - complete


def test_a_fork_whose_trunk_is_elsewhere_trains_it_again_and_says_so(
    opened: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = homes.create(opened, "here", **CASES["trunk"])
    with caplog.at_level(logging.WARNING):
        homes.run(opened, here, tmp_path)
    assert not [r for r in caplog.records if "is not here" in r.message]
    take = looks.take

    def away(engine: Any, study: Study, known: int) -> bool:
        shutil.rmtree(tmp_path / "checkpoints" / "there", ignore_errors=True)
        return take(engine, study, known)

    monkeypatch.setattr(looks, "take", away)
    there = homes.create(opened, "there", **CASES["trunk"])
    with caplog.at_level(logging.WARNING):
        homes.run(opened, there, tmp_path)
    said = {r.message for r in caplog.records if "is not here" in r.message}
    assert len(said) == 20
    assert all("first 2 epochs is not here; it starts anew, as its trunk did" in s for s in said)
    assert values(opened, there) == values(opened, here)
    assert verification.verify(opened.engine, there).ok
    costs = [answer.found(opened.engine, one).sharing for one in (here, there)]
    spared, paid = (one.epochs for one in costs if one is not None)
    assert paid == spared + 20 * 2  # each fork has trained the two epochs of its trunk


def test_trunks_are_kept_until_nothing_forks_from_them(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    take = looks.take

    def noted(engine: Any, study: Study, known: int) -> bool:
        with references.referred(engine, hold=False) as found:
            names = found.checkpoints[study.name]
        there = {f.name for f in (tmp_path / "checkpoints" / study.name).glob("*-trunk")}
        seen.append(bool(there) and there <= names)
        return take(engine, study, known)

    monkeypatch.setattr(looks, "take", noted)
    study = homes.create(opened, **CASES["trunk"])
    homes.run(opened, study, tmp_path)
    assert seen == [True, True, True, False]
    left = {f.name.rpartition("-")[2] for f in (tmp_path / "checkpoints" / study.name).iterdir()}
    assert left == {"trunk"}  # what runs go on from is gone with them; these, `gc` removes


def test_a_pilot_that_was_judged_otherwise_is_found(opened: Database, study: Study) -> None:
    with opened.engine.begin() as connection:
        stored = connection.execute(select(table.c.looks).filter_by(id=study.id)).scalar_one()
        at = next(k for k, look in enumerate(stored) if "pilot" in look)
        stored[at]["pilot"]["agreements"][0]["tau"] = 0.5
        connection.execute(update(table).filter_by(id=study.id).values(looks=stored))
    found = verification.verify(opened.engine, study)
    assert found.wrong_looks == [at]
    assert not found.ok


def test_finalists_are_trained_from_scratch(opened: Database, study: Study, tmp_path: Path) -> None:
    promotion.plan(opened.engine, study)
    homes.run(opened, study, tmp_path)
    full = queries.done(opened.engine, study, Rung.PROMOTION)
    assert len(full) == 4
    assert {one.result.form for one in full} == {"from scratch"}
    assert {one.result.epochs for one in full} == {3}
    folders = {f.name for f in (tmp_path / "checkpoints" / study.name).glob("*-full")}
    assert len(folders) == 4
    assert verification.verify(opened.engine, study).ok


def test_runs_of_two_forms_are_not_compared(opened: Database, tmp_path: Path) -> None:
    for name in ("trunk", "no agreement"):
        made = homes.create(opened, name, **CASES[name])
        homes.run(opened, made, tmp_path)
    one, other = (records.read(opened.engine, name) for name in ("trunk", "no agreement"))
    with pytest.raises(StudyError, match="one form of training to be compared, but have 'forked "):
        sides(one, None, other, None)


def test_a_study_that_shares_cannot_grow(opened: Database) -> None:
    study = homes.create(opened, **CASES["trunk"])
    more = study.spec.model_copy(
        update={"answer": study.spec.answer.model_copy(update={"repeats": 5})}
    )
    with pytest.raises(StudyError, match=r"with \[share\] cannot grow"):
        studies.extend(opened.engine, study.name, more, planning.plan(more))


def test_an_objective_that_does_not_know_of_it_is_refused() -> None:
    spec = homes.make_spec(**tables("trunk", objective={"run": "support.specs:make_spec"}))
    with pytest.raises(ConfigError, match="must name 'trunk' in SHARES of its module"):
        objective_contract.check_shares(spec)
    objective_contract.check_shares(homes.make_spec(objective={"run": "support.specs:make_spec"}))


def test_a_launch_and_its_killed_workers_share_once(cli: Cli, tmp_path: Path, storage: str) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(trivial_study(0.0, "[share]\nkind = 'trunk'\n[answer]\nrepeats = 2\n"))
    there = {"WEIGHTSEARCH_STORAGE": storage, "WEIGHTSEARCH_HOME": str(tmp_path / "home")}
    dry = cli("launch", file, "--dry-run", "--device", "cpu", **there)
    assert "30 points" in dry.stdout + dry.stderr
    plain = ("--workers", 2, "--device", "cpu", "--no-promote")
    failing = {"WEIGHTSEARCH_FAILPOINT": f"after-compute@{tmp_path / 'once'}"}
    ran = cli("launch", file, *plain, **there, **failing)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "once").exists()
    said = "sharing: Kendall's tau of shared and scratch runs 1.00 (n = 8): at least 0.8, so the"
    assert said in " ".join(ran.stdout.split())
    assert "look 2: Kendall's tau" in cli("status", "toy-grid", **there).stdout
    assert said in " ".join(cli("best", "toy-grid", **there).stdout.split())
    verified = cli("verify", "toy-grid", "--json", **there)
    found = json.loads(verified.stdout)
    assert (found["ok"], found["looks"], found["lost"]) == (True, 3, 1)
    assert found["starts"] <= found["points"] + 1
