"""A full run over two processes, on gloo, is that of one process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import fork_server
from support.depth_studies import WEIGHTS, context, depth_spec, home, training_copy
from support.paths import ROOT

from weightsearch.depth import objective
from weightsearch.depth.training import ranks
from weightsearch.depth.training.batches import open_frames
from weightsearch.depth.training.rank_trainer import RankTrainer
from weightsearch.depth.training.ranks import RankLost, Ranks
from weightsearch.errors import ConfigError, DeviceError, Interrupted
from weightsearch.launch import promotion, promotion_verdict
from weightsearch.runtime import child_python
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.store.tables.states import Rung
from weightsearch.study import planning
from weightsearch.worker import failure_kinds, loop
from weightsearch.worker.process import Worker

EPOCHS = 5  # of 4 steps
RANKS = ("weightsearch.depth.rank_process", "support.rank_without_memory")
OF_THE_PROCESS = {"seconds", "images_per_second", "latency_ms", "micro_batch", "groups", "about"}


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[Any]]:
    """The processes that a run starts, forked from one that has imported torch."""
    fork_server.start()
    found: list[subprocess.Popen[Any]] = []

    class Noted(fork_server.Forked):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if arguments[0][-1] in RANKS:
                found.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return found


def full_run(folder: Path, devices: int, epochs: int = EPOCHS, **values: Any) -> Iterator[Any]:
    spec = depth_spec(
        train={"epochs": epochs, "batch": 5, "lr": 1e-4, "precision": "fp32"},
        promote={"protocol": "full", "top": 1, "seeds": [1], "devices": devices},
    )
    asked = context(spec, folder, final=True, patience=None, **values)
    return objective.run(WEIGHTS, {}, asked)


def test_two_processes_train_as_one_does(  # of a batch of 5, one has 3 images
    tmp_path: Path, others: list[subprocess.Popen[Any]]
) -> None:
    alone, together = (list(full_run(tmp_path / f"{n}", n)) for n in (1, 2))
    assert len(alone) == EPOCHS
    for one, both in zip(alone, together, strict=True):
        for name, value in one.items():
            if name not in OF_THE_PROCESS:
                assert both[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert len(others) == 1


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, others: list[subprocess.Popen[Any]]
) -> None:
    whole = list(full_run(tmp_path / "whole", 2, 2))
    seconds_left: list[float | None] = [None]
    first = full_run(tmp_path / "stopped", 2, 2, grace_s=lambda: seconds_left[0])
    begun = [next(first)]
    seconds_left[0] = 0.0  # within the next epoch
    with pytest.raises(Interrupted):
        next(first)
    resumed = list(full_run(tmp_path / "stopped", 2, 2))
    assert len(others) == 3
    assert [epoch["rmse"] for epoch in resumed] == [epoch["rmse"] for epoch in whole]
    assert resumed[0]["rmse"] == begun[0]["rmse"]


def test_processes_that_stand_at_different_places_do_not_go_on(
    tmp_path: Path, others: list[subprocess.Popen[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of different batches would be put together, and nothing would say so."""
    run = full_run(tmp_path / "run", 1, 2)
    next(run)
    with pytest.raises(Interrupted):
        run.throw(Interrupted())  # type: ignore[attr-defined]  # a generator
    told = ranks._told
    elsewhere = {"paths": {"folder": str(tmp_path / "no"), "home": str(home()), "data": None}}
    monkeypatch.setattr(ranks, "_told", lambda *given: told(*given) | elsewhere)
    said = "must go on from one place, but stand at epoch 0, step 0 and epoch 1, step 0"
    with pytest.raises(RankLost, match=said):
        list(full_run(tmp_path / "run", 2, 2))


def test_a_process_that_dies_is_a_lost_attempt(
    tmp_path: Path, others: list[subprocess.Popen[Any]]
) -> None:
    run = full_run(tmp_path, 2)
    next(run)
    others[0].kill()
    with pytest.raises(RankLost, match="another rank is gone") as lost:
        list(run)
    assert failure_kinds.kind(lost.value) == "device"  # another worker, another attempt


def test_memory_that_runs_out_in_any_process_leaves_less_to_all(
    opened: Database,
    tmp_path: Path,
    others: list[subprocess.Popen[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shares of 3 and 2 images: halved, each goes through the network in two parts."""
    without_memory(monkeypatch)
    spec = depth_spec(
        train={"epochs": 1, "batch": 5},
        promote={"protocol": "full", "top": 1, "seeds": [1], "epochs": 1, "devices": 2},
    )
    study = studies.create(opened.engine, "short", spec, planning.plan(spec))
    for _ in (Rung.SEARCH, Rung.PROMOTION):
        loop.run(Worker(opened, study, tmp_path, "cpu"))
        promotion.plan(opened.engine, study)
    [row] = queries.done(opened.engine, study, Rung.PROMOTION)
    assert (row.result.attempt, row.result.shrink) == (2, 1)
    assert row.result.validation.about["not_comparable"]
    assert len(others) == 2


def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "support.rank_without_memory"]
    monkeypatch.setattr(child_python, "command", lambda module: command)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")


def test_what_another_process_ran_out_of_is_told(
    tmp_path: Path, others: list[subprocess.Popen[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_memory(monkeypatch)
    with pytest.raises(ranks.RankOutOfMemory, match="in rank 1: OutOfMemoryError: CUDA") as ended:
        next(full_run(tmp_path, 2))
    assert failure_kinds.kind(ended.value) == "memory"


@pytest.mark.parametrize(
    ("said", "is_gone"),
    [("ready\ndone", False), ("ready", True), ("a library: hello\nready\ndone", False)],
)
def test_who_waits_for_a_process_that_is_gone_is_told(said: str, is_gone: bool) -> None:
    calls: list[int] = []
    with subprocess.Popen(["echo", said], stdout=subprocess.PIPE, text=True) as process:
        other = ranks.Other(1, process)
        assert other.is_ready()
        other.watch(lambda: calls.append(1))
        assert other.watching is not None
        other.watching.join()
    assert bool(calls) == is_gone


def test_a_process_that_cannot_begin_is_a_lost_attempt(
    tmp_path: Path, others: list[subprocess.Popen[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "_told", lambda *told: {})
    with pytest.raises(RankLost, match="rank 1 ended with code 1 before training"):
        next(full_run(tmp_path, 2))


def test_a_promotion_over_two_processes_is_one_attempt(
    opened: Database, tmp_path: Path, others: list[subprocess.Popen[Any]]
) -> None:
    spec = depth_spec(
        train={"epochs": 1},
        promote={"protocol": "full", "top": 1, "seeds": [1], "epochs": 1, "devices": 2},
    )
    study = studies.create(opened.engine, "two", spec, planning.plan(spec))
    for rung, processes in ((Rung.SEARCH, 0), (Rung.PROMOTION, 1)):
        assert loop.run(Worker(opened, study, tmp_path, "cpu")) == 1
        assert queries.counts(opened.engine, study, rung)["done"] == 1
        assert len(others) == processes
        promotion.plan(opened.engine, study)
    assert promotion_verdict.decide(opened.engine, study).checkpoint


def test_the_others_end_with_the_first(tmp_path: Path, others: list[subprocess.Popen[Any]]) -> None:
    run = full_run(tmp_path, 2)
    next(run)
    stdin = others[0].stdin
    assert stdin is not None
    stdin.close()  # as the system does for a worker that was killed
    assert others[0].wait() == 0


def test_batch_normalisation_of_one_rank_is_torch_s(tmp_path: Path) -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    found = []
    with ranks.group(Ranks(0, 1), "cpu", str(tmp_path / "meeting")):
        for normalise in (F.batch_norm, ranks.batch_norm):
            given = x.clone().requires_grad_()
            buffers = torch.zeros(4), torch.ones(4)
            weight = torch.full((4,), 2.0, requires_grad=True)
            bias = torch.full((4,), 0.5, requires_grad=True)
            y = normalise(given, *buffers, weight, bias, True, 0.3, 1e-3)
            (y * x.roll(1)).sum().backward()
            found.append((y, *buffers, given.grad, weight.grad, bias.grad))
    for torchs, ours in zip(*found, strict=True):
        assert torchs is not None
        assert torch.allclose(torchs, ours, atol=1e-5)


def test_a_batch_has_images_for_all() -> None:
    spec, cpu = depth_spec(train={"batch": 4}), torch.device("cpu")
    assert spec.data is not None
    assert spec.model is not None
    frames = open_frames(training_copy(spec), range(24), spec.data, cpu)
    with pytest.raises(ConfigError, match="1 of a batch at least, but 4 among 5 leaves 0"):
        RankTrainer(spec, spec.model, frames, cpu, Ranks(0, 5))


def test_less_memory_is_of_a_rank_s_share() -> None:
    spec, cpu = depth_spec(train={"batch": 4}), torch.device("cpu")
    assert spec.data is not None
    assert spec.model is not None
    frames = open_frames(training_copy(spec), range(24), spec.data, cpu)
    trainer = RankTrainer(spec, spec.model, frames, cpu, Ranks(0, 2))
    for shrink, micro, comparable in ((0, 2, True), (1, 1, False)):
        lane = trainer.lane(WEIGHTS, 0, 1e-3, shrink)
        assert (lane.micro, trainer.is_comparable(lane)) == (micro, comparable)


def test_unequal_shares_go_through_in_equally_many_parts() -> None:
    """Or one rank would wait in a part that the others do not have."""
    spec, cpu = depth_spec(train={"batch": 5}), torch.device("cpu")
    assert spec.data is not None
    assert spec.model is not None
    frames = open_frames(training_copy(spec), range(24), spec.data, cpu)
    one, other = (RankTrainer(spec, spec.model, frames, cpu, Ranks(rank, 2)) for rank in (0, 1))
    for shrink, parts in ((0, 1), (1, 2), (2, 2)):
        lane = one.lane(WEIGHTS, 0, 1e-3, shrink)
        assert [on._parts(lane) for on in (one, other)] == [parts] * 2
        assert one.is_comparable(lane) == (parts == 1)


def test_more_gpus_than_there_are_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for asked, first, count in ((1, "cuda:0", 1), (2, "cuda:2", 2), ("auto", "cuda:1", 3)):
        spec = depth_spec(promote={"devices": asked})
        assert ranks.counted(context(spec, tmp_path, final=True, device=first)) == count
        assert ranks.counted(context(spec, tmp_path, device=first)) == 1  # of a search
    spec = depth_spec(promote={"devices": 3})
    with pytest.raises(DeviceError, match="from cuda:2 on, but is 3, and there are 2"):
        ranks.counted(context(spec, tmp_path, final=True, device="cuda:2"))
    auto = depth_spec(promote={"devices": "auto"})
    assert ranks.counted(context(auto, tmp_path, final=True)) == 1
    assert [ranks.device("cuda:2", 1), ranks.device("cpu", 1)] == ["cuda:3", "cpu"]
