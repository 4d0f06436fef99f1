"""Studies that an older commit planned and left half done go on under this one.

`old_study/` holds its database and the files of its home; `old_study/make.py` made them.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.command_runs import Run, Said, run_all
from support.processes import Cli

from weightsearch.data.packs import building
from weightsearch.study import loading

OLD = Path(__file__).parent / "old_study"
DONE = """
SELECT number, p.attempt, p.worker, result, p.reason, a.worker, device, started_at, ended_at,
  outcome, epochs, seconds
FROM ws_points p JOIN ws_attempts a ON a.point_id = p.id JOIN ws_studies s ON s.id = study_id
WHERE s.name = %s AND number = ANY(%s) AND rung = 0 ORDER BY number, a.attempt
"""
SHAPE = """
SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'ws\\_%'
UNION ALL SELECT relname, 'options', reloptions::text FROM pg_class
  WHERE relname LIKE 'ws\\_%' AND relkind = 'r'
UNION ALL SELECT table_name, column_name, concat_ws(' ', data_type, is_nullable, column_default)
  FROM information_schema.columns WHERE table_name LIKE 'ws\\_%'
ORDER BY 1, 2
"""


@pytest.fixture
def restored(cli: Cli, storage: str, tmp_path: Path) -> str:
    """A database with the old studies, and their home where this test has its own; its tables have
    become those that a new database has."""
    new = shape(storage)
    made = cli("restore", OLD / "studies.dump", "--json", WEIGHTSEARCH_STORAGE=storage)
    if "needs a server of that version" in made.stderr:
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    answer = json.loads(made.stdout)
    assert (answer["studies"], answer["points"], answer["done"]) == (2, 14, 6)
    assert shape(storage) == new
    with tarfile.open(OLD / "home.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    return storage


def shape(storage: str) -> list[Any]:
    """Columns, indexes and options of the ledger's tables."""
    with psycopg.connect(storage) as connection:
        return connection.execute(SHAPE).fetchall()


def rows(storage: str, study: str, numbers: list[int]) -> list[Any]:
    """What the ledger says of points of a search and of every attempt at them."""
    with psycopg.connect(storage) as connection:
        return connection.execute(DONE, (study, numbers)).fetchall()


def ran(storage: str, folder: Path, *commands: str) -> list[Said]:
    """What these commands say, one after the other; all must go well."""
    where = {"WEIGHTSEARCH_STORAGE": storage}
    said = run_all([Run(c.split(), where) for c in commands], folder, 240)
    for command, told in zip(commands, said, strict=True):
        assert told.code == 0, f"{command}: {told.err}"
    return said


def after(study: str) -> tuple[str, ...]:
    """What is asked of a study that is through."""
    return (
        f"verify old-{study} --json",
        f"best old-{study} --json",
        f"report old-{study} --out report.html --json",
    )


def check(answers: list[Any], points: int, promoted: dict[str, Any]) -> None:
    """What they must answer once the launch has promoted that."""
    verified, best, report = answers
    assert verified["ok"]
    assert verified["done_once"] == verified["points"] == points
    assert [row["rank"] for row in best["ranking"]] == list(range(1, points + 1))
    assert best["promoted"] == promoted
    assert " full run" in report["answer"]


def test_an_old_study_goes_on_with_what_was_held_spooled_and_waiting(
    restored: str, tmp_path: Path
) -> None:
    done = rows(restored, "old-trivial", [0, 1, 2, 3])
    assert [(row[0], row[1], row[9]) for row in done] == [(n, 1, "done") for n in range(4)]
    (spooled,) = (tmp_path / "home" / "spool").rglob("*.json")
    result = json.loads(spooled.read_text())["result"]
    status, worker, launched, *told = ran(
        restored,
        tmp_path,
        "status old-trivial --json",
        "worker old-trivial --device cpu --lease 1",
        f"launch {OLD / 'trivial.toml'} --name old-trivial --device cpu --workers 1 --json",
        *after("trivial"),
        "promote old-trivial --device cpu --json",
    )
    points = json.loads(status.out)["points"]
    assert (points["done"], points["leased"], points["waiting"]) == (4, 2, 4)
    assert "point 5: the result that its worker left on disk is committed now" in worker.err
    assert "point 0 " not in worker.err
    assert "resumed" in launched.err
    answer = json.loads(launched.out)
    answers = [json.loads(said.out) for said in told]
    assert answers.pop()["verdict"] == answer["promoted"]["verdict"]
    check(answers, 10, answer["promoted"])
    assert (answers[0]["starts"], answers[0]["lost"]) == (11, 1)
    assert rows(restored, "old-trivial", [0, 1, 2, 3]) == done
    (delivered,) = rows(restored, "old-trivial", [5])
    assert (delivered[1], delivered[3]) == (1, result)
    assert not spooled.exists()
    assert [row[9] for row in rows(restored, "old-trivial", [4])] == ["lost", "done"]
    assert answer["promoted"]["lineage"]["seeds"] == [1, 2]
    grow = "launch old-trivial --extend repeats=2 --device cpu --workers 1 --no-promote --json"
    grown, verified = ran(restored, tmp_path, grow, "verify old-trivial --json")
    assert json.loads(grown.out)["points"]["done"] == 20
    found = json.loads(verified.out)
    assert (found["ok"], found["done_once"], found["points"]) == (True, 20, 20)
    assert rows(restored, "old-trivial", [0, 1, 2, 3]) == done


def as_begun_here(storage: str, home: Path) -> None:
    """That release's digest was of the pixels, which other kinds of processor compute otherwise."""
    data = loading.load(OLD / "depth.toml").data
    assert data is not None
    with building.Pack(building.ensure(data.source, None, data.options, home)) as pack:
        *_, rounded = pack.digests
    with psycopg.connect(storage) as connection:
        where = "WHERE name = 'old-depth' AND data_digest IS NOT NULL"
        assert connection.execute(
            f"UPDATE ws_studies SET data_digest = %s {where}", (rounded,)
        ).rowcount


def test_an_old_study_of_networks_goes_on_with_its_data(restored: str, tmp_path: Path) -> None:
    as_begun_here(restored, tmp_path / "here")
    done = rows(restored, "old-depth", [0, 1])
    assert [(row[0], row[1], row[9]) for row in done] == [(0, 1, "done"), (1, 1, "done")]
    _, launched, *told = ran(
        restored,
        tmp_path,
        "worker old-depth --device cpu",
        f"launch {OLD / 'depth.toml'} --name old-depth --device cpu --workers 1 --json",
        *after("depth"),
    )
    assert "resumed" in launched.err
    assert "begun on depth that an earlier release rounded" in launched.err
    answer = json.loads(launched.out)
    answers = [json.loads(said.out) for said in told]
    check(answers, 4, answer["promoted"])
    assert answers[0]["starts"] == 4
    assert rows(restored, "old-depth", [0, 1]) == done
    assert (Path(answer["promoted"]["checkpoint"]) / "MODEL_CARD.md").is_file()
    assert answers[2]["pictures"] == 3
