"""Frames reach the network in an order of their own, once each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.depth_studies import depth_spec, training_copy
from support.lanes import CPU, frames
from torch import Tensor

from weightsearch.data.packs.building import Pack
from weightsearch.depth.training.batches import Frames, open_frames
from weightsearch.errors import DataError

# The loader.


def batches(found: Frames, epoch: int = 0, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in found.batches(5, 3, epoch, start):
        yield batch.rgb, batch.depth_m


def test_batches_from_disk_are_those_from_memory() -> None:
    held, read = frames(), frames(memory_bytes=1000)
    assert held.held
    assert not read.held
    assert held.names == read.names
    for epoch in (0, 1):
        for a, b in zip(batches(held, epoch), batches(read, epoch), strict=True):
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])


def test_an_epoch_left_in_the_middle_does_not_hold_up_the_next() -> None:
    read = frames(memory_bytes=1000)
    begun = batches(read)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert len(list(batches(read))) == read.steps(5)


def test_an_epoch_can_be_entered_in_the_middle() -> None:
    found = frames()
    rest = list(batches(found))[2:]
    for a, b in zip(rest, batches(found, start=2), strict=True):
        assert torch.equal(a[1], b[1])


@given(st.integers(1, 40), st.integers(-5, 10**6), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_the_order_holds_each_frame_at_most_once(batch: int, seed: int, epoch: int) -> None:
    found = Frames([str(i) for i in range(30)], 1.0, lambda _: None, True, torch.zeros(0))  # type: ignore[arg-type,return-value]
    order = found.order(batch, seed, epoch)
    places = [p for chunk in order for p in chunk]
    assert len(order) == found.steps(batch)
    assert len(set(places)) == len(places) == min(30, batch * len(order))
    assert {len(chunk) for chunk in order} == {min(batch, 30)}
    assert order == found.order(batch, seed, epoch)
    assert order != found.order(batch, seed, epoch + 1)


def test_depths_out_of_range_are_not_learned_from() -> None:
    spec = depth_spec(data={"min_depth_m": 2.0, "max_depth_m": 4.0})
    assert spec.data is not None
    found = open_frames(training_copy(spec), range(24), spec.data, CPU)
    depth_m = torch.cat([d for _, d in batches(found)])
    learned = depth_m[depth_m > 0]
    assert learned.min() >= 2
    assert learned.max() <= 4
    assert found.typical_m == pytest.approx(float(learned.median()), rel=0.1)
    with Pack(training_copy(spec)) as copy:
        _, whole_m, valid = copy.read(range(24))
    inside = valid & (whole_m >= 2) & (whole_m <= 4)
    assert np.isin(learned.numpy(), whole_m[inside]).all()


def test_frames_without_a_usable_depth_are_refused() -> None:
    spec = depth_spec(data={"min_depth_m": 50.0, "max_depth_m": 80.0})
    assert spec.data is not None
    with pytest.raises(DataError, match="must hold depths of 50 to 80 m"):
        open_frames(training_copy(spec), range(24), spec.data, CPU)
