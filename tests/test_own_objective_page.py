"""docs/own-objective.md: its code is that of the examples, or runs as it stands there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.paths import ROOT
from support.processes import Cli

from weightsearch.study import trivial_objective
from weightsearch.study.objective_contract import Estimate

PAGE = (ROOT / "docs" / "own-objective.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def block(name: str) -> str:
    (found,) = (code for code in BLOCKS if name in code)
    return str(found)


@pytest.mark.parametrize("framework", ["lightning", "transformers", "torch"])
def test_what_it_shows_of_an_adapter_is_the_example_and_short(framework: str) -> None:
    """Which tests/adapters/test_through_a_study.py runs."""
    example = (ROOT / "docs" / "examples" / f"on_{framework}.py").read_text()
    shown, run = block(f"weightsearch.adapters.{framework}").split("\n\n\n")
    assert f"\n{shown}\n" in example
    assert example.endswith(f"\n\n\n{run}")
    own = run.replace(run[run.find("    def train_epoch") : run.find("    yield from")], "")
    assert len(own.strip().splitlines()) <= 13
    assert f"examples/on_{framework}.py" in PAGE


def test_its_estimate_is_one() -> None:
    scope: dict[str, Any] = {}
    exec(block("def estimate"), scope)
    assert Estimate.of(scope["estimate"](None, "cpu", None)).epoch_s == 12.5


def test_its_points_trained_together_are_those_trained_alone() -> None:
    class Given:
        epochs, seed, final, fork = 2, 0, False, None

    scope: dict[str, Any] = {"run": trivial_objective.run}
    exec(block("def run_together"), scope)
    points = [({"mae": 1.0}, {}), ({"mae": 0.5}, {})]
    together = [list(run) for run in scope["run_together"](points, [Given(), Given()])]
    assert together == [list(trivial_objective.run(*point, Given())) for point in points]  # type: ignore[arg-type]


def checked(cli: Cli, storage: str, name: str) -> list[str]:
    """What `check` says of the objective of an example that the page names."""
    assert f"examples/{name}" in PAGE
    study = ROOT / "docs" / "examples" / name
    ran = cli("check", study, "--device", "cpu", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stdout
    return [row["said"] for row in json.loads(ran.stdout)["rows"] if row["part"] == "objective"]


def test_the_study_of_the_plain_loop_passes_its_check(cli: Cli, storage: str) -> None:
    said = checked(cli, storage, "on_torch.toml")
    assert re.match(r"rmse [\d.]+ after an epoch of width ", said[0])
    assert not any("guard" in one for one in said)


def test_a_depth_network_of_ones_own_is_scored_on_the_packs(cli: Cli, storage: str) -> None:
    said = checked(cli, storage, "own_depth.toml")
    assert len(said) == 1
    assert re.match(r"rmse [\d.]+ after an epoch of .*, of \d+ samples, in ", said[0])


def test_the_check_of_its_example_says_what_it_says_there(cli: Cli, storage: str) -> None:
    study = ROOT / "docs" / "examples" / "own_network.toml"
    ran = cli("check", study, "--device", "cpu", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stdout
    (row,) = (row for row in json.loads(ran.stdout)["rows"] if row["part"] == "objective")
    (there,) = re.findall(r"^    ok +objective +(.*)$", PAGE, re.M)

    def without_numbers(said: str) -> str:
        return re.sub(r"[\d.]+ (after|s$)", r"N \1", said)

    assert without_numbers(row["said"]) == without_numbers(there)
