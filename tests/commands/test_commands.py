"""The command line on small real work: train, evaluate, predict, inspect; and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.data_sets import Csv, Labeled
from support.processes import Cli

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies
from weightsearch.study import loading, planning

STUDY = """
goal = "test"
[data]
source = "synthetic"
size = [64, 64]
val = "blocks:25%"
options = { frames = 24, test_frames = 6, height = 64, width = 64, frames_per_room = 3 }
[model]
encoder = "test_efficientnet"
pretrained = false
[loss]
weights = { mae = 1.0, edge = 0.5, ssim = 0.5 }
[train]
lr = 1e-3
epochs = 2
[promote]
top = 2
seeds = [1, 2]
epochs = 2
"""
METRICS = {
    "rmse", "rmse_pooled", "abs_rel", "log10", "sq_rel", "rmse_log", "silog", "delta1", "delta2",
    "delta3", "mae",
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(STUDY)
    return file


def test_a_run_its_score_and_its_predictions(cli: Cli, study: Path, tmp_path: Path) -> None:
    trained = cli("train", study, "--out", "run", "--device", "cpu", "--json")
    assert trained.returncode == 0, trained.stderr
    answer = json.loads(trained.stdout)
    assert answer["test"]["images"] == 6
    assert answer["test"]["protocol"] == "full"
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert len(record["epochs"]) == 2
    assert record["test"]["rmse"] == answer["test"]["rmse"]

    scored = cli("evaluate", "run", "--protocol", "full", "--device", "cpu", "--json")
    assert scored.returncode == 0, scored.stderr
    score = json.loads(scored.stdout)
    assert (score["protocol"], score["split"], score["images"]) == ("full", "test", 6)
    assert set(score["metrics"]) >= METRICS
    assert score["metrics"]["rmse"] == pytest.approx(record["test"]["rmse"], rel=1e-5)
    assert score["metrics"]["abs_rel"] == pytest.approx(record["test"]["rel"], rel=1e-5)
    assert "rmse" in cli("evaluate", "run", "--device", "cpu").stdout

    picture = tmp_path / "room.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)).save(picture)
    predicted = cli("predict", "run", picture, "--out", "depth", "--device", "cpu", "--json")
    assert predicted.returncode == 0, predicted.stderr
    (made,) = json.loads(predicted.stdout)["predictions"]
    depth_m = np.load(tmp_path / made["npy"])
    assert depth_m.shape == (50, 70)
    assert depth_m.dtype == np.float32
    with Image.open(tmp_path / made["png"]) as png:
        assert np.abs(np.asarray(png, float) / 1000 - depth_m).max() < 0.001


def test_evaluation_takes_the_data_that_is_named_not_what_was_trained_on(
    cli: Cli, study: Path, tmp_path: Path
) -> None:
    study.write_text(STUDY.replace("epochs = 2", "epochs = 1"))
    assert cli("train", study, "--out", "run", "--device", "cpu").returncode == 0
    nyu = Csv(tmp_path / "nyu_data").write()
    scored = cli("evaluate", "run", "--data", nyu.root, "--device", "cpu", "--json")
    assert scored.returncode == 0, scored.stderr
    answer = json.loads(scored.stdout)
    assert (answer["ground_truth"], answer["images"]) == ("filled", nyu.tests)
    refused = cli("train", study, "--data", nyu.root, "--out", "other", "--device", "cpu")
    assert refused.returncode == 1
    assert "reader 'synthetic' draws its frames and reads no files" in refused.stderr


def test_a_protocol_gets_the_ground_truth_that_it_is_meant_for(cli: Cli, tmp_path: Path) -> None:
    nyu = Labeled(tmp_path / "nyu", size=(480, 640)).write()
    for index in nyu.test:
        np.save(tmp_path / f"{index:04d}.npy", nyu.filled_m[index - 1] * 1.1)
    asked = ("evaluate", "--predictions", tmp_path, "--data", nyu.mat, "--json", "--protocol")
    kinds = {}
    for protocol in ("bts", "densedepth"):
        kinds[protocol] = json.loads(cli(*asked, protocol).stdout)
        assert not any("is meant for" in note for note in kinds[protocol]["notes"])
    assert {p: found["ground_truth"] for p, found in kinds.items()} == {
        "bts": "raw",
        "densedepth": "filled",
    }
    other = json.loads(cli(*asked, "bts", "--option", "depths=filled").stdout)
    assert other["ground_truth"] == "filled"
    assert "is meant for raw ground truth" in other["notes"][0]


def test_a_depth_study_from_launch_to_evaluate(
    cli: Cli, study: Path, storage: str, tmp_path: Path
) -> None:
    text = STUDY.replace("{ mae = 1.0, edge = 0.5, ssim = 0.5 }", '{ grid = "simplex", steps = 1 }')
    study.write_text(text)
    ran = cli("launch", study, "--device", "cpu", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["points"]["done"] == 3
    row = answer["ranking"][0]
    assert row["encoder"] == "test_efficientnet"
    assert row["interval"][0] < row["rmse"] < row["interval"][1]
    promoted = answer["promoted"]
    scored = cli("evaluate", promoted["checkpoint"], "--device", "cpu", "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["images"] == 6
    card = (Path(promoted["checkpoint"]) / "MODEL_CARD.md").read_text()
    assert f"| test | {promoted['protocol']} | 6 | rmse |" in card
    assert "encoder's start:** random" in card
    assert ", 6 test" in card
    status = json.loads(cli("status", "tiny-grid", "--json", WEIGHTSEARCH_STORAGE=storage).stdout)
    assert status["data_digest"]
    assert status["promoted"]["point"] == promoted["point"]


def test_a_data_set_is_inspected_and_packed(cli: Cli) -> None:
    options = ("--reader", "synthetic", "--option", "frames=12", "--option", "test_frames=3")
    inspected = cli("data", "inspect", *options, "--json")
    assert inspected.returncode == 0, inspected.stderr
    found = json.loads(inspected.stdout)
    assert found["reader"] == "synthetic"
    assert {split: len(names) for split, names in found["splits"].items()} == {
        "train": 12,
        "test": 3,
    }
    packed = cli("data", "pack", *options, "--json")
    assert packed.returncode == 0, packed.stderr
    assert json.loads(packed.stdout)["frames"] == 15
    assert "test: 3 frames" in cli("data", "inspect", *options).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("launch quikstart", "unknown study 'quikstart'; did you mean 'quickstart'?"),
        ("launch quikstart.tml", "a study must be a TOML file or a name in studies/, but"),
        ("launch a.toml --extend repeats=2", "got the file 'a.toml'; give its name, as"),
        ("launch --sampler gird", "unknown sampler 'gird'; did you mean 'grid'?"),
        ("launch --on moon", "--on must be one of local, ray, slurm, but got 'moon'."),
        ("launch --name ../x", "--name must be letters, digits"),
        (
            "nightly nightly-cpu --date 2026-02-30",
            "--date must be a day, YYYY-MM-DD",
        ),
        (
            "bench --study s --decoder unet",
            "`bench` takes encoders, with a --decoder, or a --study",
        ),
        ("launch --device tpu", "--device must be auto, cpu, cuda or cuda:N, but got 'tpu'."),
        ("launch --storage mysql://x/y", "must name a PostgreSQL database"),
        ("studies --storage=", "--storage must be a URL, but is empty"),
        ("launch --storage postgresql://u:sesame@127.0.0.1:1/x", "cannot be used"),
        ("launch first-1-equal --data absent --device cpu", "absent"),
        ("train ablation --out run", "`train` runs one configuration, but the file describes 9"),
        ("evaluate", "`evaluate` needs either a checkpoint or --predictions, not both."),
        ("evaluate absent", "absent: must be a checkpoint's folder"),
        ("evaluate --predictions x --protocol btss", "unknown protocol 'btss'"),
        ("evaluate --predictions x", "name the data with --data"),
        ("predict absent a.jpg --out x", "a.jpg: must be a picture"),
        ("data inspect absent", "absent"),
        ("data pack --reader synthetic --option frame=3", "did you mean 'frames'?"),
        ("data pack --reader synthetic --option frames", "--option must read KEY=VALUE"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(cli: Cli, arguments: str, said: str) -> None:
    refused = cli(*arguments.split())
    assert refused.returncode == 1, refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in refused.stderr
    assert "sesame" not in refused.stderr
    lines = [line for line in refused.stderr.splitlines() if not line.startswith("packing: ")]
    assert len(lines) == 1
    assert refused.stdout == ""


def test_a_loss_that_is_no_longer_a_number_is_one_line(
    cli: Cli, study: Path, tmp_path: Path
) -> None:
    study.write_text(STUDY.replace("lr = 1e-3", 'lr = 1e30\noptimizer = "sgd"'))
    ended = cli("train", study, "--out", "run", "--device", "cpu")
    assert ended.returncode == 1
    assert not (tmp_path / "run").exists()
    assert ended.stderr.splitlines()[-1].startswith("error: the loss must stay a number, but")


def test_other_data_than_the_study_was_begun_on_is_refused(
    cli: Cli, study: Path, storage: str, opened: Database
) -> None:
    spec = loading.load(study)
    made = studies.create(opened.engine, "tiny", spec, planning.plan(spec))
    studies.record_data(opened.engine, made, "0" * 64)
    refused = cli("worker", "tiny", "--device", "cpu", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert "was begun on data with digest 000000000000, but" in refused.stderr.splitlines()[-1]


def test_a_protocol_that_does_not_suit_the_data_is_refused_before_anything_is_planned(
    cli: Cli, study: Path, storage: str
) -> None:
    study.write_text(STUDY.replace("[promote]", '[promote]\nprotocol = "bts"'))
    refused = cli("launch", study, "--device", "cpu", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert "protocol 'bts' needs ground truth of 480x640" in refused.stderr.splitlines()[-1]
    assert cli("status", WEIGHTSEARCH_STORAGE=storage).returncode == 1


def test_wrong_usage_is_exit_code_2(cli: Cli) -> None:
    assert cli("launch", "--workers", "0").returncode == 2
    assert cli("fly").returncode == 2


def test_an_unknown_encoder_is_refused_before_anything_is_packed_or_planned(
    cli: Cli, study: Path, storage: str, tmp_path: Path
) -> None:
    study.write_text(STUDY.replace("test_efficientnet", "densenet112"))
    refused = cli("launch", study, "--device", "cpu", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert "densenet112" in refused.stderr
    assert "packing" not in refused.stderr
    assert not (tmp_path / "home" / "packs").exists()
    assert "did you mean 'densenet1" in refused.stderr
    assert cli("status", WEIGHTSEARCH_STORAGE=storage).returncode == 1


def test_missing_pretrained_weights_are_one_line_with_two_ways_out(
    cli: Cli, study: Path, storage: str, tmp_path: Path
) -> None:
    study.write_text(STUDY.replace("pretrained = false", "pretrained = true"))
    refused = cli(
        "launch", study, "--device", "cpu", WEIGHTSEARCH_STORAGE=storage,
        WEIGHTSEARCH_WEIGHTS=str(tmp_path), HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert "test_efficientnet" in last
    assert "WEIGHTSEARCH_WEIGHTS" in last
    assert "pretrained = false" in last
