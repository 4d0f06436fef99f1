"""Benchmarks of training run to their end; what they measure is asserted nowhere."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import promotions, simulated_mixtures
from support.paths import ROOT

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, studies
from weightsearch.study import loading, planning
from weightsearch.study.samplers.contract import Plan

ROWS = {
    "step.py": ["test_efficientnet"],
    "loader.py": ["DataLoader, PIL, torchvision", "ours, from disk", "ours, from memory"],
}
IMPORTED = ("loader", "roofline", "step", "sweep_rival")


def quick_rows(
    script: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *options: str,
) -> list[list[str]]:
    # In this process, which has imported torch and timm: a new one would do nothing else for 2 s.
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", [script, "--quick", *options])
    try:
        runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
    finally:
        for name in IMPORTED:
            sys.modules.pop(name, None)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return [line.split(" | ") for line in lines[1:]]


@pytest.mark.parametrize("script", ROWS)
def test_a_quick_run_prints_its_table(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = quick_rows(script, monkeypatch, capsys)
    assert [row[0].removeprefix("| ") for row in rows] == ROWS[script]
    assert all(re.fullmatch(r"\d+(\.\d+)?", row[-2]) and float(row[-2]) > 0 for row in rows)


def test_by_the_clock_a_step_is_told_as_a_share_of_what_the_device_computes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [row] = quick_rows("step.py", monkeypatch, capsys, "--clock")
    ours, plain, ratio, gflop, tflops, share = (float(cell.rstrip(" |")) for cell in row[2:])
    assert ratio == pytest.approx(ours / plain, rel=0.01, abs=0.01)
    assert tflops == pytest.approx(gflop / 1e3 * ours / 2, rel=0.02)  # of batches of 2
    assert 0 < share < 100


def test_lanes_are_timed_against_one_alone_and_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    asked = ["gpu_checks.py", "lanes", "--device", "cpu", "--quick"]
    monkeypatch.setattr(sys, "argv", asked)
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "benchmarks" / "gpu_checks.py"), run_name="__main__")
    finally:
        for name in IMPORTED:
            sys.modules.pop(name, None)
    assert ended.value.code == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == [f"{count}, in turns" for count in (1, 2, 4, 8)]
    assert all(float(row[3]) > 0 for row in rows)


def test_a_killed_launch_is_its_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = runpy.run_path(str(ROOT / "benchmarks" / "chaos.py"))
    harm = script["Harm"](kills=[(0.0, 7), (1.0, 8), (2.0, 9)])
    assert script["lost"](harm, {8}) == 4


def cost(monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["cost.py", *options])
    return runpy.run_path(str(ROOT / "benchmarks" / "cost.py"), run_name="__main__")


def test_searchers_pay_for_what_they_see(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cost(monkeypatch, "--quick")
    said = capsys.readouterr().out
    assert said.startswith("SIMULATED, nothing was trained: 28 directions x 5 repeats x 4 epochs")
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ")]
    found = [(row[0].removeprefix("| "), float(row[1])) for row in rows if row[0] != "| searcher"]
    names = ["lattice, one seed", "TPE, median pruner", "mixture, racing, rungs"]
    assert [name for name, _ in found] == [*names, *names[::2], *names[::2]]  # and two controls
    assert {share for name, share in found if name == names[0]} == {20.0}
    assert all(0 < share <= 20 for _, share in found)


def test_a_surface_through_the_judging_repeats_is_nearer_to_the_truth_than_their_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = runpy.run_path(str(ROOT / "benchmarks" / "cost.py"))
    tables = importlib.import_module("replay.table")
    judges, off = (0, 1, 2), []
    for seed in range(3):
        made = tables.simulated(seed, 6)
        hidden = dataclasses.replace(made, truth=None)
        surface = script["judging_surface"](hidden, judges)
        means = hidden.epochs[:, judges].min(axis=2).mean(axis=1)
        off.append([np.std(found - made.truth) for found in (surface, means)])
        outcome = script["replayed"](lambda replay: 5, hidden, seed, 3)
        assert outcome.smooth >= 0
        assert script["replayed"](lambda replay: 5, made, seed, 3).smooth is None  # truth judges
        # The lattice's own pick is what others are judged against, by repeats that chose neither.
        order = np.random.default_rng([seed, 1]).permutation(6).tolist()
        chose, judged = hidden.epochs.min(axis=2)[:, order[3:]], hidden.epochs.min(axis=2)
        level = judged[:, order[:3]].mean(axis=1)
        assert outcome.behind == level[5] / level[chose.mean(axis=1).argmin()] - 1
        assert script["replayed"](script["lattice"], hidden, seed, 3).behind == 0
    by_surface, by_means = np.mean(off, axis=0)
    assert by_surface < 0.6 * by_means


def test_a_table_holds_what_the_ledger_has(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("replay.table")
    spec = simulated_mixtures.spec_of(2, "mixture", 5, 0)
    points = [p for p in planning.plan(spec).points[:2] if p is not None]
    plan = Plan((*points, *points), 0, (0, 0, 7, 7))
    study = studies.create(opened.engine, "recorded", spec, plan)
    for lease in promotions.leases(opened, study):
        value = 1.0 + lease.number
        for epoch in (1, 2):
            leases.report(opened.engine, lease, epoch, {"rmse": value + epoch - 1})
        assert leases.finish(opened.engine, lease, promotions.result(value, lease.seed))
    tables.write(tables.of_ledger(opened.engine, "recorded"), tmp_path / "table.json")
    table = tables.read(tmp_path / "table.json")
    assert table.shape == (2, 2, 2)
    assert table.epochs[:, :, 0].tolist() == [[1, 3], [2, 4]]
    assert table.counts == [[2] * 12] * 2
    assert table.points == points
    row, kept = table.row(1, 1, 0, 2, 5), promotions.result(4.0, 7)
    sums = np.reshape(kept["samples"]["rmse"], (12, 2)).mean(axis=1)
    assert (row.repeat, row.value, row.groups) == (5, 4.0, kept["groups"])
    assert row.samples == pytest.approx(np.repeat(sums, 2), abs=1e-5)
    assert np.isnan(table.means[0][:, 1]).all()  # of the best epoch alone


def test_a_quick_sweep_compares_the_same_points(
    storage: str,
) -> None:
    # Of its own: the rival forks, which it must not after another test's backward pass.
    ran = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "sweep.py"), "--quick"],
        env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    [row] = [line.split(" | ") for line in ran.stdout.splitlines() if line.startswith("| ")][1:]
    assert row[0] == "| plain Optuna"
    assert row[-1] == "2 |"  # points that both ways have trained
    # Networks begin alike and a step of 3e-4 moves them little: another split, another measure of
    # the error or another unit of depth would be seen.
    assert abs(float(row[-3])) < 1


def test_every_pair_of_a_sweep_has_a_study_with_a_seed_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the script sets it for its process
    sweep = importlib.import_module("sweep")
    asked = argparse.Namespace(
        size=(32, 48), frames=None, encoders=["test_efficientnet"], directions=2, batch=2,
        precision="fp32", epochs=1,
    )  # fmt: skip
    files = [sweep.study(tmp_path / f"{number}.toml", number, asked) for number in range(5)]
    seeds = [loading.load(file).train.seed for file in files]
    assert len(set(seeds)) == 5


def test_a_quick_start_up_is_split_into_its_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = quick_rows("startup.py", monkeypatch, capsys)
    parts = ["start of Python", "imports", "data", "network", "first step", "second step"]
    parts.append("until the first step is done")
    assert [row[1] for row in rows] == [*parts, *parts, parts[-1]]
    assert [row[0] for row in rows] == 7 * ["| ours"] + 7 * ["| plain"] + ["| ratio"]


@pytest.mark.slow  # a launch in full: nothing is forked from a process that has imported torch
def test_a_launch_takes_less_than_300_mb_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    launched = runpy.run_path(str(ROOT / "benchmarks" / "startup.py"))["launcher_bytes"]
    assert launched(tmp_path) < 300 << 20
    assert len(list(tmp_path.rglob("pictures/*.png"))) == 3 * 6  # drawn, elsewhere


def test_a_surface_that_was_never_asked_for_is_no_share_of_0(
    opened: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = runpy.run_path(str(ROOT / "benchmarks" / "mixture.py"))
    monkeypatch.setitem(script["TRIALS"], 2, 3)
    for sampler, believed in (("random", "-"), ("mixture", "0 %")):
        script["measure"](opened, sampler, 2, "none", 1)
        row = capsys.readouterr().out.split(" | ")
        assert (row[0], row[6]) == (f"| {sampler}", believed)
