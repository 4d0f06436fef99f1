"""What optuna-dashboard shows of a study beside its trials."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard.artifact._backend import list_trial_artifacts
from sqlalchemy import func, select
from support.promotions import leases, result
from support.records import make_records
from support.specs import make_spec

from weightsearch.report import optuna_dashboard
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases as ledger
from weightsearch.store.ledger import studies
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import Mirror
from weightsearch.study import planning
from weightsearch.worker import background

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def study(opened: Database) -> Study:
    spec = make_spec(params={"encoder": ["a", "b"]})
    made = studies.create(opened.engine, "study", spec, planning.plan(spec))
    Mirror(opened, made)
    return made


@pytest.fixture
def shown(opened: Database, study: Study) -> Iterator[optuna.Study]:
    storage = optuna.storages.RDBStorage(
        connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect), skip_table_creation=True
    )
    yield optuna.load_study(study_name="study", storage=storage)
    storage.remove_session()
    storage.engine.dispose()


def attributes(shown: optuna.Study) -> dict[str, object]:
    return dict(shown._storage.get_study_system_attrs(shown._study_id))


def finish(opened: Database, study: Study) -> None:
    for lease in leases(opened, study):
        ledger.report(opened.engine, lease, 1, {"rmse": 2.0})
        ledger.finish(opened.engine, lease, result(1 + lease.number / 10, 0))
    Mirror(opened, study).sync()


def test_figures_and_the_answer_follow_the_study(
    opened: Database, study: Study, shown: optuna.Study
) -> None:
    assert optuna_dashboard.publish(opened, "study")
    assert "No result yet: no point has a result." in get_note(shown)
    before = get_plotly_graph_objects(attributes(shown))
    finish(opened, study)
    assert optuna_dashboard.publish(opened, "study")
    after = get_plotly_graph_objects(attributes(shown))
    assert before.keys() < after.keys()
    assert {"ranking", "timeline", "map_0"} <= after.keys()
    assert all(json.loads(figure)["data"] for figure in after.values())
    assert all(json.loads(figure)["layout"]["height"] <= 440 for figure in after.values())
    assert " has RMSE " in get_note(shown)
    # Without the table behind it.
    assert all(isinstance(json.loads(f)["layout"]["meta"], str) for f in after.values())
    same = attributes(shown)
    optuna_dashboard.publish(opened, "study")
    changed = {k for k, v in attributes(shown).items() if same[k] != v}
    assert changed == {"dashboard:note_ver"}


def test_what_no_longer_can_be_shown_is_gone(
    opened: Database, study: Study, shown: optuna.Study
) -> None:
    shown._storage.set_study_system_attr(shown._study_id, "dashboard:plot_data:old:0", "{}")
    shown._storage.set_study_system_attr(shown._study_id, "dashboard:plot_data:old:1", "{}")
    optuna_dashboard.publish(opened, "study")
    assert get_plotly_graph_objects(attributes(shown))["old"] == optuna_dashboard.EMPTY_FIGURE


def test_a_note_of_somebody_is_kept(opened: Database, study: Study, shown: optuna.Study) -> None:
    optuna_dashboard.publish(opened, "study")
    save_note(shown, "mine " * 1000)
    finish(opened, study)
    optuna_dashboard.publish(opened, "study")
    assert get_note(shown) == "mine " * 1000
    assert "ranking" in get_plotly_graph_objects(attributes(shown))


def test_while_one_process_publishes_another_goes_on(
    opened: Database, study: Study, shown: optuna.Study
) -> None:
    with opened.engine.begin() as connection:
        held = func.pg_advisory_xact_lock(optuna_dashboard.PUBLISH_LOCK, shown._study_id)
        connection.execute(select(held))
        assert not optuna_dashboard.publish(opened, "study")
    assert optuna_dashboard.publish(opened, "study")


def test_pictures_are_artifacts_once_and_nothing_but_png(
    opened: Database, study: Study, shown: optuna.Study, tmp_path: Path
) -> None:
    finish(opened, study)
    for name in ("best.png", "page.html"):
        (tmp_path / name).write_bytes(PNG)
    files = [tmp_path / "best.png", tmp_path / "page.html"]
    trial = shown.trials[0]
    assert optuna_dashboard.attach(opened, tmp_path / "artifacts", trial._trial_id, files) == 1
    assert optuna_dashboard.attach(opened, tmp_path / "artifacts", trial._trial_id, files) == 0
    (meta,) = list_trial_artifacts(attributes(shown), {}, trial)
    assert (meta["filename"], meta["mimetype"]) == ("best.png", "image/png")
    assert (tmp_path / "artifacts" / meta["artifact_id"]).read_bytes() == PNG
    optuna_dashboard.publish(opened, "study")
    assert list_trial_artifacts(attributes(shown), {}, trial) == [meta]


def test_the_thread_publishes_while_the_block_runs(
    opened: Database, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = threading.Event()

    def note(database: Database, name: str) -> bool:
        published.set()
        raise RuntimeError("once")

    monkeypatch.setattr(optuna_dashboard, "publish", note)
    with background.publishing(opened, study, 0.01):
        assert published.wait(30)


def test_names_are_text_in_the_note() -> None:
    laid = optuna_dashboard.laid_out(make_records(3, encoders=("<img src=x>*b*", "other")), 7)
    note = "".join(str(v) for k, v in laid.items() if k.startswith("dashboard:note_str:"))
    assert r"\<img src=x\>\*b\*" in note
