"""A promotion repeated with other settings: what is taken over, what is history, what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.homes import aged, promote, removed, write
from support.promotions import leases, result
from support.specs import make_spec

from weightsearch.api.study_view import Study as StudyView
from weightsearch.commands.home import garbage
from weightsearch.errors import StudyError
from weightsearch.launch import promotion, promotion_verdict
from weightsearch.report.evidence import records
from weightsearch.report.pages import comparison_page
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases as ledger
from weightsearch.store.ledger import queries, references, studies, verification
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import Mirror
from weightsearch.store.tables import schema
from weightsearch.store.tables.states import Rung
from weightsearch.study import planning
from weightsearch.study.spec import PromoteSpec

SETTINGS = PromoteSpec(top=2, seeds=(1, 2), epochs=3)


@pytest.fixture
def study(opened: Database) -> Study:
    """A study that is searched (point k has rmse 1 + k / 10) and whose best two were promoted."""
    spec = make_spec(promote=SETTINGS.model_dump(mode="json"), keep={"full": "weights"})
    made = studies.create(opened.engine, "study", spec, planning.plan(spec))
    trained(opened, made)
    promotion.plan(opened.engine, made)
    trained(opened, made)
    promotion_verdict.decide(opened.engine, made)
    return now(opened)


def now(opened: Database) -> Study:
    return studies.find(opened.engine, "study")


def trained(opened: Database, study: Study) -> list[Lease]:
    """Does everything that waits."""
    claimed = leases(opened, study)
    for lease in claimed:
        assert lease.point is not None
        worse = 0.0 if lease.rung == Rung.SEARCH else lease.seed / 100
        rank = planning.plan(study.spec).points.index(lease.point)
        ledger.finish(opened.engine, lease, result(1 + rank / 10 + worse, lease.seed))
    return claimed


def again(opened: Database, **changes: Any) -> tuple[list[Lease], PromotionVerdict]:
    """The promotion with changed settings: what was trained, and the verdict."""
    study = now(opened)
    assert study.spec.promote
    promotion.plan(opened.engine, study, study.spec.promote.model_copy(update=changes))
    claimed = trained(opened, now(opened))
    return claimed, promotion_verdict.decide(opened.engine, now(opened))


def folder(lease: Lease) -> str:
    assert lease.point is not None
    return references.checkpoint_folder(lease.point, lease.seed, lease.rung, lease.number)


def test_more_finalists_and_seeds_are_trained_beside_those_that_are_there(
    opened: Database, study: Study
) -> None:
    claimed, verdict = again(opened, top=3, seeds=(1, 2, 3))
    assert sorted(lease.seed for lease in claimed) == [1, 2, 3, 3, 3]
    assert [finalist.seeds for finalist in verdict.finalists] == [3, 3, 3]
    assert queries.counts(opened.engine, study, Rung.PROMOTION)["total"] == 9
    assert verdict.settings == now(opened).spec.promote.model_dump(mode="json")  # type: ignore[union-attr]
    (before,) = verdict.previous
    assert (before["settings"]["top"], len(before["finalists"])) == (2, 2)
    assert now(opened).promoted == verdict


def test_from_python_and_beside_another_study_a_repeated_promotion_reads_as_one(
    opened: Database, study: Study
) -> None:
    """Runs that it leaves out are on a rung of their own; while it runs, the promoted one has no
    full run yet."""
    assert study.promoted
    assert study.spec.promote
    changed = study.spec.promote.model_copy(update={"epochs": 9})
    promotion.plan(opened.engine, study, changed)
    found = records.read(opened.engine, "study")
    sides = comparison_page.sides(found, None, found, None)
    assert {side.point.id() for side in sides} == {study.promoted.point}
    trained(opened, now(opened))
    promotion_verdict.decide(opened.engine, now(opened))
    with opened.engine.begin() as connection:
        connection.execute(update(schema.attempts).values(epochs=[{"rmse": 1.0}]))
    shown = StudyView(opened, "study").epochs()
    assert dict(shown.groupby("rung").size()) == {"search": 10, "promotion": 4}


def test_other_epochs_train_all_of_them_anew_in_folders_of_their_own(
    opened: Database, study: Study, tmp_path: Path
) -> None:
    assert study.promoted
    claimed, verdict = again(opened, epochs=9)
    assert [lease.seed for lease in claimed] == [1, 2, 1, 2]
    assert all(folder(lease).endswith("-full2") for lease in claimed)
    assert {lease.number for lease in claimed} == {1000, 1001, 1002, 1003}
    assert verdict.previous[0]["checkpoint"] == study.promoted.checkpoint
    _, third = again(opened, epochs=10)
    assert [v["settings"]["epochs"] for v in third.previous] == [9, 3]
    assert [v.get("previous") for v in third.previous] == [None, None]
    assert verification.verify(opened.engine, study).starts == 10
    Mirror(opened, study).sync(wait=True)  # earlier ones stay in the Optuna study of the promotion
    assert queries.behind(opened.engine, study) == 0


def test_the_same_settings_train_nothing_and_leave_no_history(
    opened: Database, study: Study
) -> None:
    claimed, verdict = again(opened)
    assert (claimed, list(verdict.previous)) == ([], [])
    for top, earlier in ((1, 1), (1, 1), (2, 2)):
        claimed, verdict = again(opened, top=top)
        assert len(verdict.previous) == earlier
    assert len(claimed) == 2  # what was left out is not taken back


def test_runs_of_which_only_the_best_network_was_kept_are_no_choice_of_fewer_seeds(
    opened: Database, study: Study
) -> None:
    with opened.engine.begin() as connection:
        stored = connection.execute(select(schema.studies.c.spec)).scalar_one()
        kept = stored | {"keep": {"search": "none", "full": "best"}}
        connection.execute(update(schema.studies).values(spec=kept))
    ahead = promotion.ahead(
        opened.engine, now(opened), SETTINGS.model_copy(update={"seeds": (2, 3)})
    )
    assert (ahead.runs, ahead.done) == (4, 0)
    more = promotion.ahead(
        opened.engine, now(opened), SETTINGS.model_copy(update={"seeds": (1, 2, 3)})
    )
    assert (more.runs, more.done) == (2, 4)


def test_it_says_what_is_ahead(opened: Database, study: Study) -> None:
    same = promotion.ahead(opened.engine, study, SETTINGS)
    assert same.told(["cpu"]) == (
        "4 full runs of up to 3 epochs (2 finalists, seeds 1, 2), 4 of them done"
    )
    other = promotion.ahead(opened.engine, study, SETTINGS.model_copy(update={"epochs": 600}))
    assert other.epoch_s is None  # these results came without epochs
    with opened.engine.begin() as connection:
        connection.execute(update(schema.attempts).values(epochs=[{}, {}], seconds=20.0))
    other = promotion.ahead(opened.engine, study, other.settings)
    assert other.told(["cuda:0"]) == (
        "4 full runs of up to 600 epochs (2 finalists, seeds 1, 2): about 6.7 h"
    )


def test_runs_that_are_trained_are_not_left_out_under_their_workers(
    opened: Database, study: Study
) -> None:
    promotion.plan(opened.engine, study, SETTINGS.model_copy(update={"seeds": (1, 2, 3)}))
    lease = ledger.claim(opened.engine, study.id, "at work", "cpu", 60)
    assert lease is not None
    with pytest.raises(StudyError, match="must rest while their settings change, but 1 are being"):
        promotion.plan(opened.engine, now(opened), SETTINGS)
    assert ledger.give_back(opened.engine, lease, "asked to stop", paused=True)
    promotion.plan(opened.engine, now(opened), SETTINGS)
    assert trained(opened, now(opened)) == []
    assert queries.failed(opened.engine, study) == []  # those that were left out are nobody's


def test_a_study_of_before_is_found_under_its_digest_and_by_other_settings_too(
    opened: Database, study: Study
) -> None:
    """[promote] was part of the digest."""
    before = study.spec.digest(promotion=True)
    assert before != study.spec.digest()
    with opened.engine.begin() as connection:
        connection.execute(update(schema.studies).values(digest=before))
    studies.refuse_other_revision(opened.engine, study)
    other = study.spec.model_copy(update={"promote": PromoteSpec(top=1, seeds=(7,), epochs=2)})
    assert studies.is_planned(opened.engine, "study", other)
    with pytest.raises(StudyError, match="was planned from other settings"):
        studies.is_planned(opened.engine, "study", make_spec(train={"epochs": 7}))
    held = studies.create(opened.engine, "study", other, planning.plan(other))
    assert held.spec.promote == SETTINGS  # the full runs that are there are by these
    studies.refuse_other_revision(opened.engine, held)
    with opened.engine.connect() as connection:
        assert connection.execute(select(schema.studies.c.digest)).scalar() == other.digest()


def test_what_an_earlier_promotion_promoted_stays_on_the_disk(
    opened: Database, tmp_path: Path
) -> None:
    spec = make_spec(promote=SETTINGS.model_dump(mode="json"))
    made = studies.create(opened.engine, "study", spec, planning.plan(spec))
    trained(opened, made)
    promote(opened, made, queries.planned(opened.engine, made)[:2])
    places = []
    for settings in (SETTINGS, SETTINGS.model_copy(update={"epochs": 9})):
        promotion.plan(opened.engine, now(opened), settings)
        for lease in leases(opened, now(opened)):
            place = tmp_path / "checkpoints" / "study" / folder(lease)
            write(place / "best" / "file")
            places.append(place)
            found = result(1 + lease.number / 10, lease.seed) | {"folder": str(place)}
            ledger.finish(opened.engine, lease, found)
        promotion_verdict.decide(opened.engine, now(opened))
    aged(tmp_path)
    promoted = now(opened).promoted
    assert promoted
    kept = {promoted.checkpoint, promoted.previous[0]["checkpoint"]}
    kept |= {path for finalist in promoted.finalists for path in finalist.checkpoints}
    removed(garbage.gc(tmp_path, opened))
    assert {str(place) for place in places if (place / "best").exists()} == kept
    assert len(kept) == 3
