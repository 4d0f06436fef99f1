"""A study as W&B's offline runs, read from the logs that `wandb sync` uploads: whole and once."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tracked_studies import ATTEMPTS, killed_at_each_step, tracked_study

from weightsearch.errors import ConfigError
from weightsearch.runtime import optional_packages
from weightsearch.store.connection.database import Database
from weightsearch.store.sinks import runs, tracking, wandb_folders
from weightsearch.store.sinks.runs import Run
from weightsearch.study.tables.track_spec import TrackSpec

wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")

BLOCK = 32768
"""Bytes; LevelDB's log format, which W&B's log has after seven bytes of its own."""
HEAD = struct.Struct("<IHB")  # checksum, length, kind: whole, first, middle, last


def records(file: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, held = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + HEAD.size <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEAD.size:
            place += left
            continue
        _, length, kind = HEAD.unpack_from(data, place)
        place += HEAD.size
        held += data[place : place + length]
        place += length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(held)
            held = b""
            yield record


def told(file: Path) -> dict[str, Any]:
    """What a log says of its run."""
    found: dict[str, Any] = {"epochs": {}, "summary": {}}
    for record in records(file):
        if record.HasField("run"):
            found |= {"id": record.run.run_id, "project": record.run.project}
            found |= {"name": record.run.display_name, "tags": list(record.run.tags)}
            found |= {"group": record.run.run_group, "notes": record.run.notes}
            found["host"] = record.run.host
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            found["config"] = config
        if record.HasField("history"):
            values = {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                for item in record.history.item
            }
            shown = {name: value for name, value in values.items() if name[0] != "_"}
            found["epochs"][values["_step"]] = shown
        if record.HasField("summary"):
            for item in record.summary.update:
                name = "/".join(item.nested_key) or item.key
                found["summary"][name] = json.loads(item.value_json)
        if record.HasField("exit"):
            found["exit"] = record.exit.exit_code
    return found


def logs(place: Path) -> list[Path]:
    return sorted((place / "wandb").glob("offline-run-*/run-*.wandb"))


def expected(run: Run) -> dict[str, Any]:
    best = {f"best_{name}": value for name, value in run.best.items()}
    return {
        "id": run.id.replace("/", "."),
        "name": run.name,
        "project": "study",
        "group": "full runs" if "-full-" in run.name else "search",
        "tags": [run.outcome],
        "notes": {"failed": "RuntimeError: no\\x1b[2J"}.get(run.outcome, run.reason or ""),
        "exit": 0 if run.is_finished else 1,
        "epochs": {n: dict(metrics) for n, metrics in enumerate(run.epochs, start=1)},
        "best": best | {f"test_{name}": value for name, value in run.test.items()},
        "weights": dict(run.weights),
        "host": "",
    }


def shown(file: Path, run: Run) -> dict[str, Any]:
    found = told(file)
    summary, config = found.pop("summary"), found.pop("config")
    best = {k: v for k, v in summary.items() if k.startswith(("best_", "test_"))}
    return found | {"best": best, "weights": {term: config[term] for term in run.weights}}


def test_each_attempt_is_an_offline_run_with_the_ledgers_values(
    opened: Database,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What somebody's shell says of their own runs is not about these.
    others = {"MODE": "disabled", "NAME": "mine", "PROJECT": "mine", "RUN_ID": "1", "TAGS": "a"}
    others |= {"DIR": "/nowhere", "NOTES": "mine", "RUN_GROUP": "mine", "HOST": "mine"}
    for name, value in others.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    study = tracked_study(opened)
    wanted = TrackSpec(wandb=str(tmp_path))
    for new in (ATTEMPTS, 0):
        assert tracking.track(opened.engine, study, wanted).runs == {"wandb": new}
    assert capfd.readouterr() == ("", "")
    found = {file.stem.removeprefix("run-"): file for file in logs(tmp_path)}
    ended = list(runs.ended(opened.engine, study, ()))
    assert found.keys() == {run.id.replace("/", ".") for run in ended}
    for run in ended:
        assert shown(found[run.id.replace("/", ".")], run) == expected(run)
    assert {run.outcome for run in ended} > {"done", "diverged", "failed"}
    # Nothing else is left: neither this machine's packages nor what W&B logs of itself.
    there = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert there == set(logs(tmp_path))


def test_killed_at_each_step_every_run_is_there_once(opened: Database, tmp_path: Path) -> None:
    study = tracked_study(opened)

    def write() -> int:
        return wandb_folders.write(opened.engine, study, str(tmp_path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb_folders, "TOGETHER", 3)
        patch.setattr(wandb_folders.shutil, "rmtree", lambda *_, **__: None)  # nobody tidies up
        killed_at_each_step(write, times=3)
    assert list((tmp_path / "wandb").glob(".*"))
    left = write()
    assert 0 < left < ATTEMPTS
    assert len(logs(tmp_path)) == len(list((tmp_path / "wandb").iterdir())) == ATTEMPTS
    for run in runs.ended(opened.engine, study, ()):
        (file,) = [log for log in logs(tmp_path) if log.stem == f"run-{run.id.replace('/', '.')}"]
        assert shown(file, run) == expected(run)


def test_what_its_client_says_is_one_line(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.Error("no service\nTraceback")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match=r"W&B's client must write .* but says: no service\.$"):
        wandb_folders.write(opened.engine, tracked_study(opened), str(tmp_path))


def test_a_folder_named_wandb_is_not_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it leaves one where it ran, and a script's folder is where Python looks first."""
    (tmp_path / "left_by_a_run").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert optional_packages.missing("left_by_a_run", "json") == ["left_by_a_run"]
