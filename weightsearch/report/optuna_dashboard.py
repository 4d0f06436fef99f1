"""What people see in optuna-dashboard beside the trials: our figures, a note with the answer,
pictures.

The figures are system attributes of the Optuna study, in pieces of 2045 characters. They are laid
out by optuna-dashboard's own functions in memory, then written in one transaction: a reader sees
all of one state, and whoever dies half-way leaves the state before. One process at a time does it,
the others go on; nothing waits for it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import ArtifactMeta, FileSystemArtifactStore
from optuna.storages._rdb import models
from optuna_dashboard import save_note, save_plotly_graph_object
from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from weightsearch.report.evidence import records as recorded
from weightsearch.report.evidence.card import of_study
from weightsearch.report.evidence.records import Records
from weightsearch.report.figures import accuracy
from weightsearch.report.figures.registry import FIGURES, weight_maps
from weightsearch.report.figures.style import is_nothing, told_of
from weightsearch.runtime.safe_text import presentable
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.tables.schema import meta

PUBLISH_LOCK = 0x7075626C  # with the study's number, the advisory lock's key: "publ"
SIGNATURE = "*Written by weightsearch, until somebody writes a note of their own.*"
REPORT = "[Report](/reports/{study}) (served by `weightsearch dashboard`)"
CELL_PX = 440  # the dashboard cuts off what is higher
ROWS = 10  # of the ranking, in as much
PLOTS, NOTES = "dashboard:plot_data:", "dashboard:note_"
EMPTY_FIGURE = '{"data": [], "layout": {}}'
ATTRIBUTES: Table = models.StudySystemAttributeModel.__table__
TRIALS: Table = models.TrialModel.__table__
STUDIES: Table = models.StudyModel.__table__

log = logging.getLogger(__name__)


def publish(database: Database, name: str) -> bool:
    """Brings figures and note of the Optuna study up to date; False where another process is at it,
    or there is no Optuna study yet."""
    with connecting.unhurried(database.engine) as connection:
        study = connection.execute(
            select(STUDIES.c.study_id).where(STUDIES.c.study_name == name)
        ).scalar()
        if study is None:
            return False
        lock = func.pg_try_advisory_xact_lock(PUBLISH_LOCK, study)
        if not connection.execute(select(lock)).scalar_one():
            return False
        records = recorded.read(database.engine, name)  # under the lock: none older follows
        _write(connection, study, laid_out(records, study))
    return True


def laid_out(records: Records, study: int) -> dict[str, Any]:
    """The attributes as optuna-dashboard reads them; what a figure cannot show is left out. `study`
    is its number there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    held = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    drawn = {name: make(records) for name, make in FIGURES.items()}
    drawn["ranking"] = accuracy.ranking(records, ROWS)
    maps = weight_maps(records, records.metrics)
    drawn |= {f"map_{k}": made for k, made in enumerate(maps)}
    for name, made in drawn.items():
        if not is_nothing(made):
            made.layout.meta = told_of(made)  # the table would fill the database
            made.layout.height = min(made.layout.height or CELL_PX, CELL_PX)
            save_plotly_graph_object(held, made, graph_object_id=name)
    card = of_study(records)
    told = presentable(f"{card.verdict}: {card.sentence}")
    said = re.sub(r"([\\`*_{}\[\]<>|~#])", r"\\\1", told)
    save_note(held, f"{said}\n\n{REPORT.format(study=study)}\n\n{SIGNATURE}\n")
    return dict(held._storage.get_study_system_attrs(held._study_id))


def _write(connection: Connection, study: int, wanted: Mapping[str, Any]) -> None:
    ours = ATTRIBUTES.c.key.like(f"{PLOTS}%") | ATTRIBUTES.c.key.like(f"{NOTES}%")
    there = {
        row.key: json.loads(row.value_json)
        for row in connection.execute(
            select(ATTRIBUTES.c.key, ATTRIBUTES.c.value_json)
            .where(ATTRIBUTES.c.study_id == study, ours)
            .with_for_update()  # a note that somebody saves meanwhile is seen, or comes after
        )
    }
    written = {k: str(v) for k, v in there.items() if k.startswith(f"{NOTES}str:")}
    note = "".join(written[k] for k in sorted(written, key=lambda k: int(k.rpartition(":")[2])))
    new = dict(wanted)
    if note and SIGNATURE not in note:  # somebody's own stays
        new = {k: v for k, v in new.items() if not k.startswith(NOTES)}
        there = {k: v for k, v in there.items() if not k.startswith(NOTES)}
    elif f"{NOTES}ver" in there:
        new[f"{NOTES}ver"] = int(there[f"{NOTES}ver"]) + 1
    # A worker's role may delete nothing: pieces that are left over become empty, as
    # optuna-dashboard leaves them, and the first of a figure that is gone an empty figure.
    for key in there.keys() - new.keys():
        first = key.startswith(PLOTS) and key.endswith(":0")
        new[key] = EMPTY_FIGURE if first else ""
    changed = [
        {"study_id": study, "key": key, "value_json": json.dumps(value)}
        for key, value in new.items()
        if there.get(key) != value
    ]
    for k in range(0, len(changed), 2000):  # PostgreSQL takes 65535 parameters
        statement = upsert(ATTRIBUTES).values(changed[k : k + 2000])
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["study_id", "key"],
                set_={"value_json": statement.excluded.value_json},
            )
        )


def attach(database: Database, folder: Path, trial_id: int, pictures: Sequence[Path]) -> int:
    """Stores PNG files as artifacts of an Optuna trial, each once; how many were new.

    Nothing but PNG: the dashboard's own artifact route would serve HTML as HTML. They are noted
    at the study, where optuna-dashboard looks too: it never looks again at a finished trial, to
    which Optuna lets nobody add anything. The file lies there first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store, rows = FileSystemArtifactStore(folder), []
    with database.engine.connect() as connection:
        of_trial = select(TRIALS.c.study_id).where(TRIALS.c.trial_id == trial_id)
        study_id = connection.execute(of_trial).scalar_one()
        here = connection.execute(select(meta.c.identity)).scalar_one()
    for file in pictures:
        if file.suffix != ".png":
            continue
        # A home may serve several databases, and each of them counts its trials from 1.
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"weightsearch {here} {trial_id} {file.name}"))
        with file.open("rb") as content:
            store.write(name, content)
        noted = ArtifactMeta(name, file.name, "image/png", None)
        rows.append(
            {
                "study_id": study_id,
                "key": f"dashboard:artifacts:{trial_id}:{name}",
                "value_json": json.dumps(json.dumps(dataclasses.asdict(noted))),  # as Optuna does
            }
        )
    if not rows:
        return 0
    statement = upsert(ATTRIBUTES).values(rows)
    with database.engine.begin() as connection:
        new = connection.execute(
            statement.on_conflict_do_nothing(index_elements=["study_id", "key"]).returning(
                ATTRIBUTES.c.key
            )
        ).all()
    return len(new)
