"""A study in MLflow, in a real store (SQLite): whole, once, and with the ledger's values."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.mlflow_places import client, counted, expected, found, show_and_kill
from support.tracked_studies import ATTEMPTS, tracked_study

from weightsearch.errors import ConfigError, StudyError
from weightsearch.launch import session
from weightsearch.report import optuna_dashboard
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger.studies import Study
from weightsearch.store.sinks import mlflow_runs, tracking
from weightsearch.study.tables.track_spec import TrackSpec

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in mlflow_runs.DEFAULTS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with MLflow's tables and nothing in them; making them takes a second."""
    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    client(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty, tmp_path / "mlflow.db"))


@pytest.fixture
def study(opened: Database) -> Study:
    return tracked_study(opened)


def test_each_attempt_is_a_run_with_the_ledgers_values(
    opened: Database, study: Study, store: Path
) -> None:
    wanted = TrackSpec(mlflow=f"sqlite:///{store}")
    assert tracking.track(opened.engine, study, wanted).runs == {"mlflow": ATTEMPTS}
    shown = found(f"sqlite:///{store}")
    assert shown == expected(opened, study)
    assert len(shown) == ATTEMPTS
    by_name = {told["name"]: told for told in shown.values()}
    (full,) = [name for name in by_name if name.endswith("-s1-full-a1")]
    assert ("test_rmse", 2, 0.26) in by_name[full]["values"]
    assert sum(("δ_1.25", 1, 1 / 3) in told["values"] for told in shown.values()) == 11
    assert tracking.track(opened.engine, study, wanted).runs == {"mlflow": 0}
    assert found(f"sqlite:///{store}") == shown


def test_killed_at_ten_random_moments_each_run_is_there_once(
    opened: Database, study: Study, store: Path, storage: str, tmp_path: Path, empty: Path
) -> None:
    scratch = f"sqlite:///{shutil.copy(empty, tmp_path / 'scratch.db')}"
    client(scratch).search_experiments()  # opening it is half of the work
    calls = counted(lambda: mlflow_runs.write(opened.engine, study, scratch))
    show_and_kill(study, storage, tmp_path, f"sqlite:///{store}", calls, kills=10)
    mlflow_runs.write(opened.engine, study, f"sqlite:///{store}")
    assert found(f"sqlite:///{store}") == expected(opened, study)


def test_a_run_that_was_made_twice_is_deleted_once(
    opened: Database, study: Study, store: Path
) -> None:
    """As by a request that reaches the server after its process was killed, and did it again."""
    mlflow_runs.write(opened.engine, study, f"sqlite:///{store}")
    before = found(f"sqlite:///{store}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        late = client(f"sqlite:///{store}")
        experiment = late.get_experiment_by_name("study").experiment_id
        late.create_run(experiment, tags={"weightsearch_id": next(iter(before))})
    mlflow_runs.write(opened.engine, study, f"sqlite:///{store}")
    assert found(f"sqlite:///{store}") == before


def test_only_one_process_at_a_time(opened: Database, study: Study, store: Path) -> None:
    wanted = TrackSpec(mlflow=f"sqlite:///{store}")
    with opened.engine.begin() as other:
        other.execute(select(func.pg_advisory_xact_lock(tracking.TRACK_LOCK, study.id)))
        with pytest.raises(StudyError, match="another is at it"):
            tracking.track(opened.engine, study, wanted)
    assert tracking.track(opened.engine, study, wanted).runs == {"mlflow": ATTEMPTS}


def test_a_server_that_is_away_is_no_reason_for_a_launch_to_fail(
    opened: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(optuna_dashboard, "publish", lambda *_: None)
    study = tracked_study(opened, track={"mlflow": "http://127.0.0.1:1"})
    session.mirror(opened, study)
    (line,) = [r.getMessage() for r in caplog.records if "not tracked" in r.getMessage()]
    assert "MLflow must take the runs of study 'study', but says: " in line
    assert line.endswith("; `weightsearch track study` makes up for it")
    assert "\n" not in line


def test_a_deleted_experiment_of_that_name_is_said(
    opened: Database, study: Study, store: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        owner = client(f"sqlite:///{store}")
        owner.delete_experiment(owner.create_experiment("study"))
    with pytest.raises(ConfigError, match="must have no deleted experiment named 'study'"):
        mlflow_runs.write(opened.engine, study, f"sqlite:///{store}")
