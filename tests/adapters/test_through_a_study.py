"""The examples for Lightning, Hugging Face's Trainer and a plain loop, through a real study: killed
in the middle of an epoch and resumed, their numbers are, bit for bit, those of the same code
without the service."""

from __future__ import annotations

import importlib
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select
from support.faulty_servers import PATIENCE_S, workers
from support.paths import ROOT
from support.specs import make_spec

from weightsearch.adapters import lightning as on_lightning_adapter
from weightsearch.adapters import transformers as on_transformers_adapter
from weightsearch.api.study_view import Study
from weightsearch.errors import Interrupted, ObjectiveError
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies, verification
from weightsearch.store.tables.schema import points
from weightsearch.study import planning
from weightsearch.study.objective_contract import BEST, Context, Epoch, Run, summarise
from weightsearch.worker import loop
from weightsearch.worker.process import Worker

EXAMPLES = ROOT / "docs" / "examples"
EPOCHS, SEED, WIDTH, LR = 4, 5, 8, 1e-3

KILLED = """
import os, pathlib, signal
from torch.optim.optimizer import register_optimizer_step_post_hook
from {module} import run as trained

steps, killed = 0, pathlib.Path(__file__).with_name("killed")

def count(*_):
    global steps
    steps += 1
    if steps == {step} and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)

register_optimizer_step_post_hook(count)

def run(weights, params, context):
    return (yield from trained(weights, params, context))
"""


@dataclass(frozen=True)
class Case:
    module: str
    metric: str
    terms: tuple[str, ...]
    param: dict[str, float]
    step: int
    """In the middle of the third epoch."""
    alone: Callable[[ModuleType, dict[str, float], Path], list[Epoch]]
    """The metrics of each epoch, by the example's code without the service."""


def on_torch(example: ModuleType, weights: dict[str, float], folder: Path) -> list[Epoch]:
    def epochs(context: None, train_epoch: Callable[[], Epoch], state: Any) -> Iterator[Epoch]:
        for _ in range(EPOCHS):
            yield train_epoch()

    example.epochs = epochs  # type: ignore[attr-defined]
    context = type("Given", (), {"seed": SEED})
    return list(example.run(weights, {"width": WIDTH}, context))


def on_lightning(example: ModuleType, weights: dict[str, float], folder: Path) -> list[Epoch]:
    import lightning

    rows: list[Epoch] = []

    class Rows(lightning.Callback):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            rows.append({"squared_error": module.squared, "rmse": trainer.callback_metrics["rmse"]})

    lightning.seed_everything(SEED, verbose=False)
    module = example.Curve(weights, WIDTH)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        default_root_dir=folder,
        callbacks=[Rows()],
    )
    trainer.fit(module, *example.loaders())
    return rows


def on_transformers(example: ModuleType, weights: dict[str, float], folder: Path) -> list[Epoch]:
    import torch
    from transformers import TrainingArguments

    args = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        seed=SEED,
        use_cpu=True,
        eval_strategy="epoch",
        per_device_train_batch_size=4,
        learning_rate=LR,
        report_to="none",
    )
    torch.manual_seed(SEED)
    trainer = example.DepthTrainer(
        example.network(),
        args,
        None,
        example.rooms(16, seed=0),
        example.rooms(8, seed=1),
        compute_metrics=example.rmse,
    )
    trainer.weights = weights
    trainer.train()
    return [
        {name: row[name] for name in ("eval_loss", "eval_rmse")}
        for row in trainer.state.log_history
        if "eval_rmse" in row
    ]


CASES = [
    Case("on_torch", "rmse", ("mae", "mse"), {"width": WIDTH}, 15, on_torch),
    Case("on_lightning", "squared_error", ("mae", "mse"), {"width": WIDTH}, 15, on_lightning),
    Case("on_transformers", "eval_rmse", ("mae", "edge"), {"lr": LR}, 10, on_transformers),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers start, with the examples beside them."""
    made = tmp_path / "home"
    made.mkdir()
    for example in EXAMPLES.glob("on_*.py"):
        shutil.copy(example, made)
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "path", [*sys.path, str(made)])
    return made


@pytest.mark.filterwarnings("ignore")  # what the two frameworks warn of, in whatever version
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.module)
def test_a_killed_run_comes_to_the_numbers_of_the_code_alone(
    case: Case, opened: Database, storage: str, home: Path, tmp_path: Path
) -> None:
    (home / "killed_once.py").write_text(KILLED.format(module=case.module, step=case.step))
    spec = make_spec(
        objective={"run": "killed_once:run", "metric": case.metric},
        loss={"terms": list(case.terms), "weights": "equal"},
        params=case.param,
        train={"epochs": EPOCHS, "seed": SEED},
    )
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    with workers(1, "study", storage, home, 60.0) as (dead,):
        assert dead.wait(PATIENCE_S) == -signal.SIGKILL, dead.said()
    with opened.engine.connect() as connection:
        holder = connection.execute(select(points.c.worker)).scalar_one()
    loop.run(Worker(opened, study, home, "cpu", replaces=holder))

    assert verification.verify(opened.engine, study).ok
    found = Study(opened, "study").epochs()
    weights = dict.fromkeys(case.terms, 0.5)
    alone = case.alone(importlib.import_module(case.module), weights, tmp_path / "alone")
    expected = [summarise(epoch).metrics for epoch in alone]
    assert len(expected) == EPOCHS
    for name in expected[0]:
        values = [epoch[name] for epoch in expected]
        assert found[found["attempt"] == 1][name].tolist() == values[:2]
        assert found[found["attempt"] == 2][name].tolist() == values
        assert len(set(values)) == EPOCHS


# What is not in the examples, in this process: it has the frameworks imported by now


def context(folder: Path, metric: str = "rmse", **given: Any) -> Context:
    """Of a study whose metric is to be large: of what falls from epoch to epoch, the first."""
    spec = make_spec(
        objective={"run": "m:run", "metric": metric, "direction": "maximize"},
        loss={"terms": ["mae", "mse"], "weights": "equal"},
    )
    options: dict[str, Any] = {"seed": SEED, "epochs": EPOCHS, "patience": None, "device": "cpu"}
    return Context(spec=spec, study="s", folder=folder, home=folder, **options | given)


def lightning_run(here: Context, **options: Any) -> tuple[Run, Any]:
    import lightning

    example = importlib.import_module("on_lightning")
    lightning.seed_everything(SEED, verbose=False)
    module = example.Curve({"mae": 0.5, "mse": 0.5}, WIDTH)
    made = on_lightning_adapter.options(here) | options
    trainer = lightning.Trainer(**made)
    train, val = example.loaders()

    def test() -> Epoch:
        (found,) = trainer.validate(module, val, verbose=False)
        return dict(found)

    return on_lightning_adapter.epochs(here, trainer, module, train, val, test=test), trainer


def transformers_run(here: Context, **options: Any) -> tuple[Run, Any]:
    import torch

    example = importlib.import_module("on_transformers")
    args = on_transformers_adapter.arguments(here, per_device_train_batch_size=4, **options)
    torch.manual_seed(SEED)
    rooms = example.rooms(16, seed=0), example.rooms(8, seed=1)
    trainer = example.DepthTrainer(
        example.network(), args, None, *rooms, compute_metrics=example.rmse
    )
    trainer.weights = {"mae": 0.5, "edge": 0.5}
    return on_transformers_adapter.epochs(here, trainer, test=trainer.evaluate), trainer


FRAMEWORKS = [(lightning_run, "rmse"), (transformers_run, "eval_rmse")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("begun", "metric"), FRAMEWORKS)
def test_a_full_run_keeps_its_best_network_and_tests_that(
    begun: Callable[..., tuple[Run, Any]], metric: str, home: Path
) -> None:
    here = context(home / "point", metric, final=True, patience=2)
    run, _ = begun(here)
    found = [next(run), next(run), next(run)]  # the first is the best: patience is over
    with pytest.raises(StopIteration) as end:
        next(run)
    first, second = (summarise(epoch).metrics[metric] for epoch in found[:2])
    assert summarise(end.value.value).metrics[metric] == pytest.approx(first, rel=1e-6)
    assert abs(first - second) > 1e-3 * first
    assert any((here.folder / BEST).iterdir())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("begun", "metric"), FRAMEWORKS)
def test_one_that_is_lost_leaves_in_the_middle_of_an_epoch(
    begun: Callable[..., tuple[Run, Any]], metric: str, home: Path
) -> None:
    lost: list[bool] = []
    run, trainer = begun(context(home / "point", metric, lost=lambda: bool(lost)))
    next(run)
    before = trainer.global_step if metric == "rmse" else trainer.state.global_step
    lost.append(True)
    with pytest.raises(Interrupted):
        next(run)
    after = trainer.global_step if metric == "rmse" else trainer.state.global_step
    assert after == before + 1
    assert "training" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("begun", "metric"), FRAMEWORKS)
def test_a_tiny_epoch_is_two_batches(
    begun: Callable[..., tuple[Run, Any]], metric: str, home: Path
) -> None:
    run, trainer = begun(context(home / "point", metric, epochs=1, tiny=True))
    assert len(list(run)) == 1
    assert (trainer.global_step if metric == "rmse" else trainer.state.global_step) == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("begun", "option", "said"),
    [
        (lightning_run, {"max_epochs": 3}, "must have max_epochs=4, as the context says, but has"),
        (transformers_run, {"num_train_epochs": 3}, "num_train_epochs must be 4, as the context"),
        (transformers_run, {"output_dir": "elsewhere"}, "output_dir must be .*/last, as the cont"),
    ],
)
def test_a_trainer_of_another_run_is_refused(
    begun: Callable[..., tuple[Run, Any]], option: dict[str, Any], said: str, home: Path
) -> None:
    run, _ = begun(context(home / "point"), **option)
    with pytest.raises(ObjectiveError, match=said):
        next(run)
