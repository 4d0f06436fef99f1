"""Which pictures an export compares, at which size, and when."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from support import checkpoints as use_factory
from support.checkpoints import SIZE
from support.packs import frame

from weightsearch.depth.inference import export as exports
from weightsearch.depth.inference.export_formats import FORMATS, Format, Run, Tell
from weightsearch.errors import CheckpointError, DataError


def test_every_picture_is_compared_alone_or_in_a_batch_and_two_at_the_larger_size() -> None:
    network = use_factory.network("test_resnet")
    seen: list[tuple[int, ...]] = []

    def run(rgb: np.ndarray) -> np.ndarray:
        seen.append(rgb.shape)
        with torch.no_grad():
            depth_m: np.ndarray = network(torch.from_numpy(rgb)).numpy()
        return depth_m

    larger = exports.larger(SIZE)
    pictures = [frame(k, SIZE, blur=8).rgb for k in range(5)]
    for count, batches in ((5, [1, 3, 1]), (2, [1, 1]), (1, [1, 2])):
        seen.clear()
        for size in (SIZE, larger):
            want_m = exports.depths(network, pictures[:count], size)
            shown = pictures[:count]
            assert exports.largest_difference(network, want_m, run, shown, size) == 0
        expected = [*((of, 3, *SIZE) for of in batches), (2, 3, *larger)]
        assert seen == expected


def _exports(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], Tell],
    load: Callable[[Path], Run],
    is_apart: bool,
) -> list[str]:
    """Exports a network in a format that is written and loaded so; what was said."""
    checkpoint = use_factory.save(folder / "checkpoint")
    form = Format(
        *(lambda: None, lambda _: write, load, lambda: ""),
        fixes=lambda _: True,
        is_apart=is_apart,
    )
    monkeypatch.setattr(exports, "_program", lambda *_: None)
    monkeypatch.setitem(FORMATS, ".pt2", form)
    said: list[str] = []
    exports.export(checkpoint, folder / "to" / "model.pt2", say=said.append)
    return said


@pytest.mark.parametrize("is_apart", [True, False])
def test_torch_runs_beside_the_writing_only_where_torch_does_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_apart: bool
) -> None:
    running, network = Event(), use_factory.network("test_resnet")
    network.register_forward_pre_hook(lambda *_: running.set())
    monkeypatch.setattr(exports.checkpoints, "network", lambda *_: network)

    def load(_: Path) -> Run:
        # Half a second is long enough for torch to begin, where it wrongly does.
        assert running.wait(60 if is_apart else 0.5) == is_apart

        def run(rgb: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                depth_m: np.ndarray = network(torch.from_numpy(rgb)).numpy()
            return depth_m

        return run

    said = _exports(tmp_path, monkeypatch, lambda _: lambda _: None, load, is_apart)
    at = f"{SIZE[0]}x{SIZE[1]}"
    assert said[2:4] == [f"running torch at {at}", f"comparing with it at {at}"]


@pytest.mark.parametrize("is_apart", [True, False])
def test_what_goes_wrong_while_it_is_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_apart: bool
) -> None:
    def full(_: Path) -> Tell:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def damaged(_: Path) -> Run:
        raise RuntimeError("no such operator\nwith more below")

    with pytest.raises(DataError, match=r"model\.pt2: cannot be written \(No space left"):
        _exports(tmp_path, monkeypatch, full, damaged, is_apart)
    with pytest.raises(CheckpointError, match=r"but: no such operator\. Nothing was written"):
        _exports(tmp_path, monkeypatch, lambda _: lambda _: None, damaged, is_apart)
    assert not list((tmp_path / "to").iterdir())


class AtOnce(ThreadPoolExecutor):
    """The other thread is faster than torch."""

    def submit(self, work: Callable[[], object], /) -> Future[object]:  # type: ignore[override]
        done = super().submit(work)
        wait([done])
        return done


def test_torch_runs_no_more_once_the_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    network = use_factory.network("test_resnet")
    network.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    monkeypatch.setattr(exports.checkpoints, "network", lambda *_: network)
    monkeypatch.setattr(exports, "ThreadPoolExecutor", AtOnce)

    def full(_: Path) -> Tell:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match="No space left"):
        _exports(tmp_path, monkeypatch, full, lambda _: pytest.fail("it was loaded"), True)
    assert batches == [1]
