"""Which checkpoints stay: `[keep]`, after a launch, and what `gc` makes of an older home."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.depth_studies import WEIGHTS, depth_spec
from support.homes import aged, create, promote, removed, run, write

from weightsearch.commands.home import disk_usage, garbage
from weightsearch.commands.printing import study_status
from weightsearch.launch import preparation, promotion, promotion_verdict, session
from weightsearch.launch.preparation import Request
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.store.ledger.studies import Study

KEEPS = """
def run(weights, params, context):
    for part in ("best", "last", "mine"):
        (context.folder / part).mkdir(parents=True)
        (context.folder / part / "file").write_text("x" * 100)
    yield {"rmse": weights["mae"] + context.seed / 8}
"""


@pytest.fixture
def promoted(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any
) -> Study:
    """A study of an objective that keeps files, with two finalists of two seeds, all done."""
    (tmp_path / "keeps.py").write_text(KEEPS)
    monkeypatch.chdir(tmp_path)
    study = create(opened, objective={"run": "keeps:run"}, keep={"full": request.param})
    run(opened, study, tmp_path)
    promote(opened, study, queries.planned(opened.engine, study)[:2])
    run(opened, study, tmp_path)
    promotion_verdict.decide(opened.engine, study)
    return studies.find(opened.engine, study.name)


def parts(home: Path, study: Study) -> dict[str, set[str]]:
    """Of each full run, what is left in its folder."""
    folders = (home / "checkpoints" / study.name).glob("*-full")
    return {
        folder.name: {path.name for path in folder.iterdir()} - {"MODEL_CARD.md"}
        for folder in folders
    }


@pytest.mark.parametrize(
    ("promoted", "others", "best"),
    [
        ("best", {"mine"}, {"mine", "best"}),
        ("weights", {"mine", "best"}, {"mine", "best"}),
        ("all", {"mine", "best", "last"}, {"mine", "best", "last"}),
    ],
    indirect=["promoted"],
)
def test_of_full_runs_stays_what_the_study_keeps(
    promoted: Study, others: set[str], best: set[str], opened: Database, tmp_path: Path
) -> None:
    """A worker removes what its run went on from, `gc` (and `promote`) what another run outdid."""
    assert promoted.promoted
    names = {f"{f.point}-s{s}-full" for f in promoted.promoted.finalists for s in (1, 2)}
    kept = {name for name in names if "-s1-" in name}  # the lower error
    if "last" not in others:
        left = parts(tmp_path, promoted).values()
        assert all(found == {"mine", "best"} for found in left)
    aged(tmp_path / "checkpoints")
    found = garbage.gc(tmp_path, opened)
    assert parts(tmp_path, promoted) == {name: best if name in kept else others for name in names}
    of_full_runs = [row for row in found["removed"] if "-full" in row["path"]]
    assert sum(row["bytes"] for row in of_full_runs) == 100 * 2 * (len(best) - len(others))
    assert found["kinds"] == {"checkpoints": found["bytes"]}
    assert not any("-full" in path for path in removed(garbage.gc(tmp_path, opened, unused_s=0)))


@pytest.mark.parametrize("promoted", ["best"], indirect=True)
def test_gc_removes_what_a_done_run_went_on_from_unless_it_is_all_that_it_left(
    promoted: Study, opened: Database, tmp_path: Path
) -> None:
    assert promoted.promoted
    first = f"{promoted.promoted.point}-s1-full"
    folder = tmp_path / "checkpoints" / promoted.name / first
    shutil.rmtree(folder / "best")
    write(folder / "last" / "file")
    aged(folder)
    assert str(folder / "last") not in removed(garbage.gc(tmp_path, opened))
    write(folder / "best" / "file")
    aged(folder)
    assert str(folder / "last") in removed(garbage.gc(tmp_path, opened))


def test_a_launch_of_networks_leaves_one_network_a_finalist(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("check", "check_model"):  # in processes of their own, which have their own tests
        monkeypatch.setattr(preparation.Preflight, name, lambda *_: None)
    home = Path(os.environ["WEIGHTSEARCH_HOME"])
    spec = depth_spec(
        loss={"weights": [{"mae": 1.0, "edge": 0.0, "ssim": 0.0}, WEIGHTS]},
        train={"epochs": 1},
        promote={"top": 2, "seeds": [1, 2], "epochs": 1},
        keep={"search": "weights"},
    )
    asked = Request(name="small", home=home, device="cpu", workers=1, quiet=True)
    study = session.prepare(opened, spec, asked)
    run(opened, study, home)
    promotion.plan(opened.engine, study)
    run(opened, study, home)
    verdict = promotion_verdict.decide(opened.engine, study)
    session._tidy(opened.engine, home, replace(study, promoted=verdict))
    networks = sorted(path.parent for path in (home / "checkpoints").rglob("*.safetensors"))
    assert {folder.name for folder in networks} == {"best"}
    full = [folder.parent.name for folder in networks if "-full" in folder.parent.name]
    assert len(full) == len(verdict.finalists) == 2
    assert len(networks) == 2 + 2  # those of the search too
    assert verdict.lineage.data_digest
    card = (Path(verdict.checkpoint or "") / "MODEL_CARD.md").read_text()
    assert f"digest:** {verdict.lineage.data_digest}" in card
    assert "unknown" not in card.split("### Training Data")[1].split("###")[0]
    one = next((Path(verdict.checkpoint or "") / "best").glob("model-*.safetensors"))
    assert f"best/{one.name.replace('_', chr(92) + '_')}, sha256 " in card
    on_disk = disk_usage.disk(home, opened.engine)
    assert on_disk["checkpoints"] < 5 * one.stat().st_size
    assert on_disk["server"] == 0  # the database is elsewhere
    assert on_disk["packs"] > 0


def test_the_disk_is_told_by_kind_the_largest_first() -> None:
    told = {"database": 8, "server": 40_000_000, "packs": 21_000_000, "logs": 0, "free": 10**10}
    assert study_status.disk(told) == "61 MB: database server 40 MB, packs 21 MB; 10.0 GB free"
    assert study_status.disk(told | {"server": 0}).startswith("21 MB: packs 21 MB, database 8 B;")
