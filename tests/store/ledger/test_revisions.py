"""A study whose results this release would compute otherwise is not continued half and half."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update
from support.paths import ROOT
from support.processes import Cli
from support.specs import make_spec

from weightsearch.errors import StudyError
from weightsearch.launch import session
from weightsearch.launch.preparation import Request
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies, verification
from weightsearch.store.tables import schema
from weightsearch.study import loading, planning


def test_neither_worker_nor_promotion_goes_on_with_a_study_of_another_loss(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    spec = make_spec(promote={"top": 1, "seeds": [1], "epochs": 1})
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    studies.refuse_other_revision(opened.engine, study)
    with opened.engine.begin() as connection:
        connection.execute(update(schema.studies).values(digest="before"))
    refused = cli("worker", "study", "--device", "cpu", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: study 'study' must be computed as it was planned, but this")
    with pytest.raises(StudyError, match="digest before, now"):
        session.promote_study(opened, study, Request("study", tmp_path))
    assert verification.verify(opened.engine, study).starts == 0


@pytest.mark.parametrize(
    "file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda file: str(file.stem)
)
def test_a_stored_study_has_the_digest_of_its_file(file: Path) -> None:
    spec = loading.load(file, {})
    assert loading.parse(spec.resolved(), "the study").digest() == spec.digest()
