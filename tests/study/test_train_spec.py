"""`[train]`: what it may say, and what of it is in a study's identity."""

from __future__ import annotations

from typing import Any

import pytest
from support.paths import ROOT

from weightsearch.errors import ConfigError
from weightsearch.study import loading
from weightsearch.study.spec import StudySpec

DEPTH: dict[str, Any] = {
    "goal": "test",
    "data": {"source": "synthetic", "size": [64, 96]},
    "model": {"encoder": "densenet121"},
    "loss": {"weights": {"mae": 1, "edge": 1, "ssim": 1}},
}
DIGESTS = {
    "ablation-inverse": "67d98b4e7e69",
    "answer": "f6e20c7ae839",
    "ablation": "04ea7f093934",
    "cross-outdoors": "29694247f593",
    "decoders": "19b286394198",
    "first-1-equal": "3ff38b980cb7",
    "first-2-grid": "2f7ee5ae3e8b",
    "first-3-encoders": "76ce0784787c",
    "nightly-cpu": "147d3339c183",
    "nightly": "5ee734bac6a9",
    "nyu-small-pretrained": "4c6f4becd787",
    "nyu-small": "80456d5e1df8",
    "paper-grid": "951397537ddb",
    "paper-random": "50bc76426fbb",
    "quickstart": "f2b5f631e7e8",
    "resolution": "6258845e7f29",
    "rivals": "bce8bc013871",
    "terms": "7b7768d8d8f4",
}
"""Of the shipped studies, from before there were schedules."""


def study(**train: Any) -> StudySpec:
    return loading.parse(DEPTH | {"train": train}, "file.toml")


@pytest.mark.parametrize("name", DIGESTS)
def test_settings_that_came_later_leave_older_digests_as_they_were(name: str) -> None:
    assert loading.load(ROOT / "studies" / f"{name}.toml").digest(promotion=True) == DIGESTS[name]


def test_a_setting_that_is_written_out_is_that_setting() -> None:
    plain = study()
    written = study(
        schedule="constant", average="none", decay=0.999, encoder_lr=1, freeze=0, amsgrad=False
    )
    assert written.digest() == plain.digest()
    changed: list[dict[str, Any]] = [
        {"schedule": "cosine"},
        {"schedule": "cosine", "warm_up": 0.1},
        {"warm_up": 0.1},
        {"average": "ema"},
        {"average": "ema", "decay": 0.9},
        {"encoder_lr": 0.1},
        {"freeze": 1},
        {"freeze": "all"},
        {"amsgrad": True},
        {"lr": {"low": 1e-5, "high": 1e-3, "steps": 3}},
    ]
    digests = {study(**train).digest() for train in changed}
    assert len(digests | {plain.digest()}) == len(changed) + 1


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (
            {"schedule": "onecycl"},
            "train.schedule: must be 'constant', 'onecycle' or 'cosine', but got 'onecycl'",
        ),
        ({"warm_up": 1.0}, "train.warm_up: must be below 1, but got 1.0."),
        ({"warm_up": -0.1}, "train.warm_up: must be at least 0"),
        ({"average": "swa"}, "train.average: must be 'none' or 'ema', but got 'swa'."),
        ({"average": "ema", "decay": 1}, "train.decay: must be below 1"),
        ({"decay": 0.9}, "`decay` is of average = 'ema', but `average` is 'none'."),
        ({"encoder_lr": 0}, "train.encoder_lr: must be above 0, but got 0."),
        (
            {"encoder_lr": 0.1, "freeze": "all"},
            "freeze = 'all' trains none of it; leave one of them out.",
        ),
        ({"freeze": 3, "epochs": 2}, "train.freeze must be at most train.epochs, but got 3 and 2;"),
        ({"freeze": 26, "epochs": 30}, "train.freeze must be at most promote.epochs"),
        ({"freeze": -1}, "train.freeze: `freeze` must be a number of epochs or 'all', but got -1."),
        ({"freeze": "some"}, "must be a number of epochs or 'all', but got 'some'."),
        ({"amsgrad": True, "optimizer": "sgd"}, "`amsgrad` is of adam and adamw"),
        ({"init": "/nowhere"}, "train.init: must be a checkpoint that training wrote"),
        ({"init": 3}, "train.init: must be a table"),
        ({"init": {"path": "x", "sha256": "abc"}}, "train.init.sha256: must match ^[0-9a-f]{64}$"),
    ],
)
def test_what_does_not_hold_is_refused_in_one_line(train: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study(**train)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("file.toml: train")
    assert said in message
