"""The shipped quickstart with every sampler and pruner, as a user types it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import get_args

import pytest
from support.processes import Cli

from weightsearch.study.looks.pruner_spec import PrunerSpec
from weightsearch.study.samplers import SAMPLERS

PRUNERS = get_args(PrunerSpec.model_fields["kind"].annotation)
VERDICTS = ("better", "equivalent", "undecided")


def ends_with_a_verdict(cli: Cli, home: Path, sampler: str, pruner: str, *more: str) -> None:
    name = f"{sampler}-{pruner}"
    there = {"WEIGHTSEARCH_HOME": str(home), "WEIGHTSEARCH_STORAGE": ""}
    asked = ("launch", "quickstart", "--sampler", sampler, "--pruner", pruner, "--name", name)
    done = cli(*asked, "--trials", 3, "--repeats", 2, *more, **there)
    assert done.returncode == 0, done.stderr
    headline = done.stdout.splitlines()[0]
    assert any(verdict in done.stdout for verdict in VERDICTS), done.stdout
    assert "margin" in done.stdout, headline
    checked = cli("verify", name, "--json", **there)
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["ok"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: data are packed once."""
    return tmp_path_factory.mktemp("quickstart")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("sampler", "pruner"), [*itertools.product(SAMPLERS, PRUNERS)])
def test_the_quickstart_ends_with_a_verdict(
    cli: Cli, home: Path, sampler: str, pruner: str
) -> None:
    ends_with_a_verdict(cli, home, sampler, pruner, "--no-promote")
