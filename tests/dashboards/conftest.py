"""A dashboard in this process."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import InMemoryStorage
from optuna_dashboard import wsgi
from support.dashboard_place import Place, say_artifact
from support.dashboard_requests import ARTIFACT


@pytest.fixture
def place(tmp_path: Path) -> Place:
    storage = InMemoryStorage()
    study = optuna.create_study(study_name="shown", storage=storage)
    finished = optuna.create_trial(value=0.5, user_attrs={"=1+1": "=HYPERLINK(0)", "why": "-\xe9"})
    study.add_trial(finished)
    study.ask()
    first, second = storage.get_all_trials(study._study_id)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / ARTIFACT).write_bytes(b"<script>alert(1)</script>")
    (tmp_path / "secret").write_bytes(b"s3cret")
    bare = wsgi(storage, artifact_store=FileSystemArtifactStore(tmp_path / "artifacts"))
    place = Place(storage, bare, study._study_id, first._trial_id, second._trial_id)
    say_artifact(place, "x.html", "text/html")
    return place
