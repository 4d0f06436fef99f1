"""From nothing to a study: `init`, `check`, `launch --dry-run`, `launch`; and every wrong turn."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import fork_server
from support.own_data import FRAMES, frames, levels, listing
from support.processes import Cli

from weightsearch.commands.answers import study_check
from weightsearch.commands.answers.findings import WRONG
from weightsearch.launch.preparation import Request
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies
from weightsearch.study import loading, planning
from weightsearch.study.preflight import Preflight

INIT = ("--encoder", "test_efficientnet", "--no-pretrained", "--device", "cpu")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two scenes of a user's PNGs, with blanks in every name."""
    root = tmp_path / "my frames"
    for seed, scene in enumerate(("the kitchen", "my office")):
        for k in range(6):
            noise = np.random.default_rng(10 * seed + k)
            for part in ("rgb", "depth"):
                (root / scene / part).mkdir(parents=True, exist_ok=True)
            picture = noise.integers(0, 255, (64, 96, 3), np.uint8)
            depth = noise.integers(1500, 5000, (64, 96)).astype(np.uint16)
            Image.fromarray(picture).save(root / scene / "rgb" / f"frame {k}.png")
            Image.fromarray(depth).save(root / scene / "depth" / f"frame {k}.png")
    return root


def test_from_a_folder_of_pictures_to_a_ranking(
    cli: Cli, own: Path, storage: str, tmp_path: Path
) -> None:
    at = {"WEIGHTSEARCH_STORAGE": storage}
    made = cli("init", "mine.toml", "--data", own.name, "--term", "mae", *INIT, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["points"] == 1
    written = tomllib.loads((tmp_path / "mine.toml").read_text())
    assert written["data"]["path"] == "my frames"
    assert written["data"]["size"] == [64, 96]
    assert written["budget"] == "2h"

    elsewhere = own.parent / "home"  # the path is relative to the file, not to where one is
    checked = cli("check", tmp_path / "mine.toml", "--device", "cpu", "--json", **at)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    said = {row["part"]: row["said"] for row in json.loads(checked.stdout)["rows"]}
    assert said["points"].startswith("1 of 3 epochs; then 3 full runs of up to 10 epochs")
    assert "a launch plans study mine-grid" in said["database"]
    assert not (elsewhere / "packs").exists()

    dry = cli("launch", "mine.toml", "--device", "cpu", "--dry-run", **at)
    assert dry.returncode == 0, dry.stderr
    coming = "study mine-grid: 1 point of 3 epochs, then 3 full runs of up to 10 (about"
    assert coming in dry.stdout
    assert "packed data: " in dry.stdout
    assert "there is no study yet" in cli("status", **at).stderr

    ran = cli("launch", "mine.toml", "--device", "cpu", "--no-promote", "--json", **at)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["points"]["done"] == 1
    again = cli("launch", "mine.toml", "--device", "cpu", "--dry-run", "--json", **at)
    assert json.loads(again.stdout)["resumes"] is True
    assert "resumes study mine-grid" in cli("check", "mine.toml", "--device", "cpu", **at).stdout


def _error(asked: object) -> str:
    assert asked.returncode == 1, asked  # type: ignore[attr-defined]
    (line,) = asked.stderr.splitlines()  # type: ignore[attr-defined]
    assert line.startswith("error: ")
    return str(line)


def test_wrong_turns_of_init_are_one_line_that_says_what_to_do(
    cli: Cli, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(own / "my office", tmp_path / "one scene")
    table = listing(("rgb^depth",), change=lambda row: row.replace(",", "^"))(tmp_path / "caret")
    there = ("--data", own.name)
    turns: dict[tuple[str, ...], tuple[str, str]] = {
        (): ("a study needs data", "give --data with a folder or a CSV, or --data synthetic"),
        ("--data", "absent"): ("absent: must be a data set", "there is no such file or folder"),
        ("--data", "empty"): ("the folder is empty", "put pictures into its folder rgb"),
        ("--data", str(table)): ("a header must name the columns", "part columns by commas, semi"),
        ("--data", "one scene"): ("at least two scenes or blocks", "a folder of its own"),
        (*there, "--encoder", "test_eficientnet"): ("unknown encoder", "'test_efficientnet'"),
        (*there, "--term", "mea"): ("unknown loss term 'mea'", "did you mean 'mae'?"),
        (*there, "--budget", "2 hours"): ("a budget must be like 2h", "'2 hours'"),
        (*there, "--option", "depth_scale=1"): (
            "must have frames with valid depth",
            "another unit",
        ),
        (*there, "--size", "16x16"): ("at least 32 pixels", "'16x16'"),
        (*there, "--device", "cuda"): ("needs a GPU", "use --device cpu"),
    }
    for arguments, said in turns.items():
        line = _error(cli("init", *arguments, CUDA_VISIBLE_DEVICES=""))
        assert all(part in line for part in said), line
    assert not (tmp_path / "study.toml").exists()
    (tmp_path / "study.toml").write_text("mine")
    assert "is there already; add --force" in _error(cli("init", *there))
    assert (tmp_path / "study.toml").read_text() == "mine"


def test_wrong_turns_of_check_are_a_line_each_and_all_of_them_are_told(
    cli: Cli, own: Path, opened: Database, storage: str, tmp_path: Path
) -> None:
    assert cli("init", "mine.toml", "--data", own.name, *INIT).returncode == 0
    file = tmp_path / "mine.toml"
    spec = loading.load(file, {"train.epochs": 7})
    studies.create(opened.engine, "mine-grid", spec, planning.plan(spec))
    text = file.read_text().replace("test_efficientnet", "test_eficientnet")
    text = text.replace("blocks:40%", "blocks:1%").replace("[promote]", '[promote]\nprotocol="bts"')
    file.write_text(text)
    asked = cli(
        "check", file, "--device", "cuda", "--json",
        CUDA_VISIBLE_DEVICES="", WEIGHTSEARCH_STORAGE=storage,
    )  # fmt: skip
    assert asked.returncode == 3, asked.stderr
    rows = json.loads(asked.stdout)["rows"]
    wrong = {row["part"]: row["said"] for row in rows if row["state"] == "wrong"}
    assert "needs a GPU" in wrong["device"]
    assert "use --device cpu" in wrong["device"]
    assert "did you mean 'test_efficientnet'?" in wrong["encoders"]
    assert "ask for blocks:40%, or divide the groups" in wrong["data"]
    assert "protocol 'bts' needs ground truth of 480x640" in wrong["protocol"]
    assert "choose another name with --name" in wrong["database"]

    away = {"WEIGHTSEARCH_STORAGE": "postgresql://u:sesame@127.0.0.1:1/x"}
    asked = cli("check", file, "--data", tmp_path / "absent", "--device", "cpu", **away)
    assert asked.returncode == 3
    found = [" ".join(part.split()) for part in asked.stdout.split("\nwrong ")[1:]]
    assert any("must be the folder of pictures" in one for one in found)
    assert any("cannot be used" in one and "check WEIGHTSEARCH_STORAGE" in one for one in found)
    assert "sesame" not in asked.stdout + asked.stderr


def test_depth_that_no_frame_has_is_said_before_anything_is_packed(
    cli: Cli, own: Path, opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("init", "mine.toml", "--data", own.name, *INIT).returncode == 0
    spec = loading.load(tmp_path / "mine.toml", {"data.options": {"depth_scale": 1.0}})
    request = Request(name="mine", home=tmp_path / "home", data=own, device="cpu")
    monkeypatch.setattr(Preflight, "check_model", lambda *_: None)
    wrong = [
        r.said for r in study_check.check(spec, request, lambda: opened).rows if r.state == WRONG
    ]
    (said,) = wrong
    assert said.startswith("frames must have valid depth, but none that was looked at has; look at")


def test_a_disk_that_is_too_small_is_said_before_anything_is_packed(
    cli: Cli, own: Path, opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("init", "mine.toml", "--data", own.name, *INIT).returncode == 0
    spec = loading.load(tmp_path / "mine.toml")
    request = Request(name="mine", home=tmp_path / "home", data=own, device="cpu")
    monkeypatch.setattr(Preflight, "check_model", lambda *_: None)
    used = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(study_check.shutil, "disk_usage", lambda place: used)
    found = study_check.check(spec, request, lambda: opened)
    (row,) = [row for row in found.rows if row.part == "disk"]
    # 12 frames of 64x96 as they are, and as many at 64x96 with depth of half the size.
    assert row.said.startswith("at most 903 kB for packed frames, 1 kB free in ")
    assert row.said.endswith("set WEIGHTSEARCH_HOME to a folder on another disk.")
    assert (row.state, found.ok) == ("wrong", False)


def test_on_a_terminal_what_is_missing_is_asked_for_until_it_holds(
    own: Path, cli: Cli, tmp_path: Path
) -> None:
    terminal, its = pty.openpty()
    answers = ("absent", own.name, "test_eficientnet", "test_efficientnet", "mae, edge", "none")
    os.write(terminal, "".join(f"{answer}\n" for answer in answers).encode())
    command = [sys.executable, "-m", "weightsearch", "init", "--no-pretrained", "--device", "cpu"]
    asked = fork_server.run(command, stdin=its, env=os.environ | {}, cwd=tmp_path)
    os.close(terminal)
    os.close(its)
    assert asked.returncode == 0, asked.stderr
    assert "absent: must be a data set" in asked.stderr
    assert "did you mean 'test_efficientnet'?" in asked.stderr
    spec = loading.load(tmp_path / "study.toml")
    assert (spec.loss.terms, spec.budget) == (("mae", "edge"), ())
    assert len(planning.plan(spec).points) == 5


def test_without_weights_and_a_hub_a_study_starts_from_random_ones_and_says_so(
    cli: Cli, tmp_path: Path
) -> None:
    levels("a/one", "b/two")(tmp_path / "set")
    alone = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:1"}
    few = ("--data", "set", "--encoder", "test_efficientnet", "--size", "64x64")
    made = cli("init", *few, "--device", "cpu", "--json", **alone)
    assert made.returncode == 0, made.stderr
    (line,) = [w for w in json.loads(made.stdout)["warnings"] if "pretrained" in w]
    assert "WEIGHTSEARCH_WEIGHTS" in line
    spec = loading.load(tmp_path / "study.toml")
    assert spec.model is not None
    assert spec.model.pretrained is False
    assert "are needed" in _error(cli("init", "x.toml", *few, "--pretrained", **alone))


def test_a_csv_with_semicolons_and_options_of_the_reader_need_no_documentation(
    cli: Cli, tmp_path: Path
) -> None:
    names = [f"{room}_{k:04d}" for room in "ab" for k in range(FRAMES)]
    frames(tmp_path / "set", names)
    rows = [f"rgb/{n}.png;depth/{n}.png;{n[0]}" for n in names]
    table = tmp_path / "set" / "frames.csv"
    table.write_text("\n".join(["picture;depth;group", *rows]))
    column = ("--option", "rgb_column=picture", "--size", "64x64")
    made = cli("init", "mine.toml", "--data", table, *column, *INIT)
    assert made.returncode == 0, made.stderr
    spec = loading.load(tmp_path / "mine.toml")
    assert spec.data is not None
    assert spec.data.options == {"rgb_column": "picture"}
    assert spec.data.path == table
