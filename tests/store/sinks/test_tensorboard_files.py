"""A study in TensorBoard's files, read back with its own reader: whole, once, and repairable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import Cli
from support.tracked_studies import ATTEMPTS, killed_at_each_step, tracked_study
from support.trivial_studies import trivial_study

from weightsearch.errors import ConfigError
from weightsearch.store.connection.database import Database
from weightsearch.store.sinks import runs, tensorboard_files, tracking
from weightsearch.study import loading
from weightsearch.study.tables.track_spec import TrackSpec

pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder)).Reload()
    return {
        (tag, event.step): event.value
        for tag in read.Tags()["scalars"]
        for event in read.Scalars(tag)
    }


def sessions(folder: Path) -> list[Any]:
    """What the tab HPARAMS reads: the settings and the state of each session."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import plugin_data_pb2

    (file,) = folder.iterdir()
    found = []
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                data = plugin_data_pb2.HParamsPluginData()
                data.ParseFromString(value.metadata.plugin_data.content)
                found.append(data)
    return found


def test_each_attempt_is_a_folder_that_tensorboard_reads(opened: Database, tmp_path: Path) -> None:
    study = tracked_study(opened, track={"tensorboard": str(tmp_path / "runs")})
    assert study.spec.track is not None
    for new in (ATTEMPTS, 0):
        assert tracking.track(opened.engine, study, study.spec.track).runs == {"tensorboard": new}
    shown = {folder.name: folder for folder in (tmp_path / "runs" / "study").iterdir()}
    wanted = {run.name: run for run in runs.ended(opened.engine, study, ())}
    assert shown.keys() == wanted.keys()
    assert len(shown) == ATTEMPTS
    for name, run in wanted.items():
        values = {
            (metric, epoch): value
            for epoch, metrics in enumerate(run.epochs, start=1)
            for metric, value in metrics.items()
        }
        values |= {(f"best_{metric}", 2): value for metric, value in run.best.items()}
        values |= {(f"test_{metric}", 2): value for metric, value in run.test.items()}
        assert scalars(shown[name]) == {k: float(np.float32(v)) for k, v in values.items()}
        start, end = sessions(shown[name])
        told = start.session_start_info.hparams
        assert told["mae"].number_value == run.weights["mae"]
        assert told["encoder"].string_value == "a"
        assert end.session_end_info.status == (1 if run.is_finished else 2)


def test_killed_at_each_step_every_file_is_there_once(opened: Database, tmp_path: Path) -> None:
    study = tracked_study(opened)

    def write() -> int:
        return tensorboard_files.write(opened.engine, study, str(tmp_path))

    killed_at_each_step(write, times=6)
    left = write()
    assert 0 < left < ATTEMPTS
    files = [file for file in (tmp_path / "study").rglob("*") if file.is_file()]
    assert len(files) == ATTEMPTS
    assert len({file.parent for file in files}) == ATTEMPTS


def test_a_launch_ends_with_its_runs_shown_and_the_command_adds_what_is_new(
    cli: Cli, storage: str, tmp_path: Path
) -> None:
    table = '\n[track]\ntensorboard = "shown"\n'
    (tmp_path / "mine.toml").write_text(trivial_study(0.0, table))
    few = ("--sampler", "random", "--trials", "3", "--no-promote", "--device", "cpu", "--quiet")
    place = {"WEIGHTSEARCH_STORAGE": storage}
    launched = cli("launch", "mine.toml", *few, "--workers", "1", **place)
    assert launched.returncode == 0, launched.stderr
    assert len([*(tmp_path / "shown" / "mine-random").iterdir()]) == 3
    again = cli("track", "mine-random", "--json", **place)
    assert json.loads(again.stdout) == {"study": "mine-random", "runs": {"tensorboard": 0}}
    other = cli("track", "mine-random", "--tensorboard", "other", **place)
    assert other.stdout == "tensorboard: 3 runs of mine-random were new\n"
    refused = cli("track", "mine-random", "--mlflow", "http://me:s3same@host/", **place)
    assert refused.returncode == 1
    assert "must be a tracking URI without a password" in refused.stderr
    assert "s3same" not in refused.stderr


def test_a_study_that_says_no_place_is_told_how(opened: Database) -> None:
    with pytest.raises(ConfigError, match="name one or more of mlflow, tensorboard, wandb in its"):
        tracking.track(opened.engine, tracked_study(opened), TrackSpec())


def test_where_a_study_is_tracked_is_no_part_of_its_identity(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(trivial_study(0.0))
    bare = loading.load(file).digest()
    file.write_text(trivial_study(0.0, '\n[track]\nmlflow = "http://host"\n'))
    assert loading.load(file).digest() == bare


@pytest.mark.parametrize("uri", ["https://me:s3same@host/", "http://[s3same/"])
def test_a_password_in_a_study_file_is_refused_and_not_quoted(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(trivial_study(0.0, f'\n[track]\nmlflow = "{uri}"\n'))
    with pytest.raises(
        ConfigError, match=r"track\.mlflow: must be a tracking URI without"
    ) as raised:
        loading.load(file)
    assert "s3same" not in str(raised.value)
