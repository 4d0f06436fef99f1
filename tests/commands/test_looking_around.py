"""What there is: `studies`, `doctor`, `schema`, `logs`, `--version`, a shell's completion."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.paths import ROOT
from support.processes import Cli
from support.specs import make_spec

from weightsearch.commands import options
from weightsearch.commands.answers import machine, point_logs, study_schema
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, studies
from weightsearch.study import planning
from weightsearch.study.samplers import SAMPLERS


def test_studies_lists_files_and_what_is_in_the_database(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('goal = "my question"\n[loss]\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "no study"\n')
    spec = make_spec()
    plan = planning.plan(spec)
    studies.create(opened.engine, "older", spec, plan)
    studies.create(opened.engine, "newer", spec, plan)
    asked = cli("studies", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    shipped = {file.stem for file in (ROOT / "studies").glob("*.toml")}
    assert {row["name"] for row in found["files"]} == shipped | {"mine.toml"}
    assert [row["name"] for row in found["planned"]] == ["newer", "older"]
    assert found["planned"][0] == {
        "name": "newer", "state": "waiting", "points": len(plan.points), "done": 0,
        "verdict": None,
    }  # fmt: skip
    assert "my question" in cli("studies", WEIGHTSEARCH_STORAGE=storage).stdout
    away = cli("studies", WEIGHTSEARCH_STORAGE="postgresql://u:sesame@127.0.0.1:1/x")
    assert "quickstart" in away.stdout  # the files all the same
    assert (away.returncode, "cannot be used" in away.stderr) == (1, True)


def test_doctor_says_what_is_wrong_and_what_to_do(cli: Cli, storage: str, tmp_path: Path) -> None:
    alone = {"HF_ENDPOINT": "http://127.0.0.1:1", "CUDA_VISIBLE_DEVICES": ""}
    asked = cli("doctor", "--json", WEIGHTSEARCH_STORAGE=storage, **alone)
    assert asked.returncode == 0, asked.stderr
    rows = json.loads(asked.stdout)["rows"]
    states = {(row["part"], row["state"]) for row in rows}
    assert {("software", "ok"), ("database", "ok"), ("weights", "warning")} <= states
    assert any("no GPU" in row["said"] for row in rows)
    assert not (tmp_path / "home").exists()

    wrong = {
        "WEIGHTSEARCH_STORAGE": "postgresql://u:sesame@127.0.0.1:1/x",
        "WEIGHTSEARCH_WEIGHTS": str(tmp_path / "absent"),
    }
    asked = cli("doctor", **alone, **wrong)
    assert asked.returncode == 3
    found = [" ".join(part.split()) for part in asked.stdout.split("\nwrong ")[1:]]
    assert len(found) == 2
    assert "check WEIGHTSEARCH_STORAGE, or unset it" in found[0]
    assert "WEIGHTSEARCH_WEIGHTS must name a folder" in found[1]
    assert "sesame" not in asked.stdout


def test_the_help_names_every_sampler() -> None:
    (option,) = options.Sampler.__metadata__  # type: ignore[attr-defined]
    assert set(re.findall(r"\w+", option.help)) - {"or"} == set(SAMPLERS)


def test_doctor_knows_the_modules_of_each_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(machine.EXTRAS) == set(extras) - {"dev", "docs"}
    for extra, modules in machine.EXTRAS.items():
        assert len(modules) == len(extras[extra])


@pytest.mark.parametrize(
    "file", [*sorted((ROOT / "studies").glob("*.toml"))], ids=lambda file: file.stem
)
def test_every_study_that_is_shipped_fits_the_schema(file: Path) -> None:
    jsonschema.validate(tomllib.loads(file.read_text()), study_schema.schema())


PLAIN: dict[str, Any] = {
    "goal": "test",
    "data": {"source": "folder", "size": [64, 64], "path": "mine"},
    "model": {"encoder": "densenet121"},
    "loss": {"weights": ["equal", {"mae": 1.0}]},
}


@pytest.mark.parametrize(
    ("tables", "fits"),
    [
        ({}, True),
        ({"budget": "2h"}, True),
        ({"loss": {"weights": "equal"}}, True),
        ({"loss": {"weights": "eqal"}}, False),
        ({"loss": {"terms": ["mea"], "weights": {"mea": 1}}}, False),
        ({"trian": {}}, False),
        ({"data": {"source": "foldr", "size": [64, 64]}}, False),
        ({"data": {"source": "folder", "size": [16, 64]}}, False),
        ({"sampler": {"kind": "gird"}}, False),
        ({"train": {"lr": {"low": 1e-5, "high": 1e-3, "log": True}, "init": "runs/a"}}, True),
        ({"train": {"freeze": "all"}, "params": {"depth": {"low": 2, "high": 9}}}, True),
        ({"train": {"lr": {"low": 1e-5}}}, False),
        ({"train": {"schedule": "onecycl"}}, False),
        ({"params": {"depth": {"low": 2, "hihg": 9}}}, False),
    ],
)
def test_the_schema_refuses_what_an_editor_can_underline(
    tables: dict[str, Any], fits: bool
) -> None:
    checker = jsonschema.Draft202012Validator(study_schema.schema())
    assert checker.is_valid(PLAIN | tables) is fits


def test_the_schema_says_what_keys_are_for(cli: Cli) -> None:
    asked = cli("schema")
    told = json.loads(asked.stdout)["$defs"]["DataSpec"]["properties"]["path"]["description"]
    assert told.startswith("Where the data set lies on this machine, relative to the study file")


LOG = """an earlier line
point 3 started  mae=1 encoder=x seed=0
epoch 1
point 3 done  mae=1 encoder=x seed=0  1.0 s
point 1 started  mae=1 encoder=x seed=0
point 1 done  mae=1 encoder=x seed=0  1.0 s
point 3 started  mae=1 encoder=x seed=2
point 3 done  mae=1 encoder=x seed=2  1.0 s
""".splitlines()


def test_a_point_and_a_run_of_the_promotion_share_a_number_and_not_a_log() -> None:
    assert list(point_logs.parts(LOG, 3, (1, 2), promotion=False)) == [LOG[1:4]]
    assert list(point_logs.parts(LOG, 3, (1, 2), promotion=True)) == [LOG[6:]]
    assert list(point_logs.parts(LOG, 2, (1, 2), promotion=False)) == []


def test_logs_shows_the_attempts_at_a_point(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    spec = make_spec()
    study = studies.create(opened.engine, "toy", spec, planning.plan(spec))
    lease = leases.claim(opened.engine, study.id, "host/1", "cpu", 60.0)
    assert lease is not None
    at = {"WEIGHTSEARCH_STORAGE": storage}
    asked = cli("logs", lease.number, **at)
    assert asked.returncode == 0, asked.stderr
    attempted, nowhere = asked.stdout.splitlines()
    assert attempted.startswith(
        f"point {lease.number} of study toy: attempt 1 runs on host/1 (cpu), started "
    )
    assert "its worker ran elsewhere" in nowhere
    folder = tmp_path / "home" / "logs" / "toy"
    folder.mkdir(parents=True)
    (folder / "worker-1-1.log").write_text(
        f"point {lease.number} started  mae=1 seed=0\nsomething odd\npoint 99 started  seed=0\n"
    )
    lines = cli("logs", lease.number, **at).stdout.splitlines()
    assert lines[1] == f"{folder / 'worker-1-1.log'}:"
    assert [line.strip() for line in lines[2:]] == [
        f"point {lease.number} started  mae=1 seed=0", "something odd",
    ]  # fmt: skip
    other = (lease.number + 1) % 2
    assert "not begun yet" in cli("logs", other, **at).stdout
    assert "has no 99; `weightsearch best toy`" in cli("logs", 99, **at).stderr


def test_the_version_and_a_completed_word(cli: Cli) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cli("--version").stdout == f"weightsearch {project['version']}\n"
    typed = {"_WEIGHTSEARCH_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert cli(COMP_WORDS="weightsearch doc", **typed).stdout.split() == ["doctor"]
    typed["COMP_CWORD"] = "2"
    assert cli(COMP_WORDS="weightsearch check qui", **typed).stdout.split() == ["quickstart"]
