"""What the adapters share, on a plain loop: when a run ends, what it keeps and goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.other_users import needs_root, shared_folder, somebody_else
from support.specs import make_spec

from weightsearch.adapters import torch as on_torch
from weightsearch.adapters.saved_epochs import MANIFEST
from weightsearch.errors import Interrupted, ObjectiveError
from weightsearch.study import loading
from weightsearch.study.objective_contract import BEST, LAST, Context, Epoch, Fork, Run

VALUES = [5.0, 3.0, 1.0, 2.0, 4.0, 6.0]


class Count:
    """What is trained: its state is the number of its epochs."""

    def __init__(self) -> None:
        self.epoch = 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch = state["epoch"]

    def train(self) -> Epoch:
        self.epoch += 1
        drawn = [torch.rand(()).item(), float(np.random.rand())]  # noqa: NPY002
        about = {"about": {"scale": np.float32(2), "shares": np.array([0.5, 0.5])}}
        return {"rmse": np.float32(VALUES[self.epoch - 1]), "drawn": drawn} | about

    def test(self) -> Epoch:
        return {"rmse": VALUES[self.epoch - 1]}


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Context]:
    def made(**given: Any) -> Context:
        options: dict[str, Any] = {
            "spec": make_spec(),
            "study": "s",
            "seed": 1,
            "epochs": 6,
            "patience": None,
            "device": "cpu",
            "folder": tmp_path / "point",
            "home": tmp_path,
        }
        return Context(**options | given)

    return made


def begun(context: Context, counted: Count | None = None) -> Run:
    counted = counted or Count()
    torch.manual_seed(context.seed)
    np.random.seed(context.seed)  # noqa: NPY002
    return on_torch.epochs(context, counted.train, {"count": counted}, test=counted.test)


def rmse(run: Iterator[Epoch]) -> list[Any]:
    return [epoch["rmse"] for epoch in run]


def test_it_goes_on_with_the_same_random_numbers(context: Callable[..., Context]) -> None:
    whole = list(begun(context(folder=context().home / "other")))
    run = begun(context())
    first = [next(run), next(run)]
    run.close()
    files = {file.name for file in (context().folder / LAST).iterdir()}
    assert files == {"epoch-2.pt", MANIFEST}
    again = list(begun(context()))
    assert again == whole
    assert first == whole[:2]


def test_it_goes_on_after_its_study_was_extended_and_from_what_an_earlier_release_saved(
    context: Callable[..., Context],
) -> None:
    grown = loading.extended(make_spec(), "trials=4000,repeats=3", "the study")
    whole = list(begun(context(folder=context().home / "other")))
    run = begun(context())
    assert [next(run), next(run)] == whole[:2]
    run.close()
    manifest = context().folder / LAST / MANIFEST
    told = json.loads(manifest.read_text())
    for spec, digest, trained in (
        (grown, told["of"][0], 0),  # what was yielded before is not trained again
        (make_spec(), make_spec().digest(), 0),
        (make_spec(), "0" * 12, 1),
    ):
        manifest.write_text(json.dumps(told | {"of": [digest, *told["of"][1:]]}))
        counted = Count()
        assert next(begun(context(spec=spec), counted)) == whole[0]
        assert counted.epoch == trained


def test_patience_ends_it_and_a_full_run_keeps_the_best(context: Callable[..., Context]) -> None:
    full = context(final=True, patience=2)
    run = begun(full)
    assert [next(run)["rmse"] for _ in range(5)] == VALUES[:5]
    with pytest.raises(StopIteration) as end:
        next(run)
    assert end.value.value == {"rmse": 1.0}
    assert [file.name for file in (full.folder / BEST).iterdir()] == [on_torch.STATE]
    # After a crash between the last epoch and the commit, all of it is said again.
    assert rmse(begun(full)) == VALUES[:5]


def test_what_it_says_about_itself_is_of_pythons_own_numbers(
    context: Callable[..., Context],
) -> None:
    epoch = next(begun(context()))
    assert epoch["about"] == {"scale": 2.0, "shares": [0.5, 0.5]}
    json.dumps(epoch)


def test_a_run_that_forks_is_refused(context: Callable[..., Context], tmp_path: Path) -> None:
    fork = Fork({"mae": 1.0}, 2, tmp_path, "reset")
    with pytest.raises(ObjectiveError, match="leave 'trunk' out of SHARES"):
        next(begun(context(fork=fork)))


def test_a_search_keeps_no_network(context: Callable[..., Context]) -> None:
    assert rmse(begun(context())) == VALUES
    assert not (context().folder / BEST).exists()


@pytest.mark.parametrize("damage", ["unreadable", "torn", "gone", "other"])
def test_what_it_cannot_go_on_from_has_it_start_anew(
    damage: str, context: Callable[..., Context], caplog: pytest.LogCaptureFixture
) -> None:
    run = begun(context())
    first = [next(run), next(run)]
    run.close()
    last = context().folder / LAST
    if damage == "unreadable":
        (last / "epoch-2.pt").write_bytes(b"not a checkpoint")
    elif damage == "torn":
        (last / MANIFEST).write_bytes((last / MANIFEST).read_bytes()[:30])
    elif damage == "gone":
        (last / "epoch-2.pt").unlink()
    else:
        told = json.loads((last / MANIFEST).read_text())
        (last / MANIFEST).write_text(json.dumps(told | {"of": "another run"}))
    counted = Count()
    again = begun(context(), counted)
    assert next(again) == first[0]
    assert counted.epoch == 1
    assert "training starts anew" in caplog.text


@needs_root
def test_what_another_user_saved_is_not_replaced(context: Callable[..., Context]) -> None:
    with shared_folder() as home:
        shared = context(folder=home / "point", home=home)
        run = begun(shared)
        next(run)
        run.close()
        manifest = shared.folder / LAST / MANIFEST
        with somebody_else(home, manifest), pytest.raises(PermissionError):
            next(begun(shared))
        assert json.loads(manifest.read_text())["checkpoint"] == "epoch-1.pt"


def test_one_that_is_lost_writes_nothing_more(context: Callable[..., Context]) -> None:
    lost: list[bool] = []
    run = begun(context(lost=lambda: bool(lost)))
    next(run)
    before = (context().folder / LAST / MANIFEST).read_bytes()
    lost.append(True)
    with pytest.raises(Interrupted, match="another worker's"):
        next(run)
    assert (context().folder / LAST / MANIFEST).read_bytes() == before


def test_a_stop_that_an_epoch_would_outlast_is_obeyed_before_it(
    context: Callable[..., Context],
) -> None:
    run = begun(context(grace_s=lambda: 0.0))
    with pytest.raises(Interrupted, match="0 s given"):
        next(run)
