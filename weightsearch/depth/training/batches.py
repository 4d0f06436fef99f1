"""Batches of training frames: from memory where they fit, else from disk, one batch ahead."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weightsearch.data.packs.building import Pack
from weightsearch.data.packs.layout import DamagedPackError
from weightsearch.errors import DataError
from weightsearch.study.data_spec import DataSpec

MEMORY_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}
"""Of frames that a worker holds, by device; more is read from disk. NYU's 795 labelled frames take
61 MB at 120x160, 1 GB at 480x640. On a CPU each core has a worker, and the disk's cache is theirs
together: read from there, images come 6000 a second (benchmarks/RESULTS.md)."""
SAMPLED = 64


@dataclass(frozen=True)
class Batch:
    """rgb uint8 (b, 3, h, w); depth_m (b, 1, (h + 1) // 2, (w + 1) // 2), 0 where it is not to be
    learned from."""

    rgb: Tensor
    depth_m: Tensor


@dataclass(frozen=True)
class Frames:
    """The training frames of a pack, in an order that depends on seed and epoch only."""

    names: list[str]
    typical_m: float
    """The median depth."""
    read: Callable[[Sequence[int]], Batch]
    """The frames at these places of `names`."""
    held: bool
    """Whether all lie in memory."""
    valid: Tensor
    """bool (n, 1, h', w'): where n of them, spread evenly, are to be learned from."""

    def steps(self, batch: int) -> int:
        """Batches per epoch."""
        return steps(len(self.names), batch)

    def order(self, batch: int, seed: int, epoch: int) -> list[list[int]]:
        """The places of each batch's frames."""
        generator = torch.Generator().manual_seed(stream(seed, epoch))
        places = torch.randperm(len(self.names), generator=generator).tolist()
        return [places[i * batch : (i + 1) * batch] for i in range(self.steps(batch))]

    def batches(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number `start` on."""
        chunks = self.order(batch, seed, epoch)[start:]
        if self.held or not chunks:
            yield from map(self.read, chunks)
            return
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.read, chunks[0])
            for chunk in chunks[1:]:
                ready, coming = coming.result(), ahead.submit(self.read, chunk)
                yield ready
            yield coming.result()


def steps(frames: int, batch: int) -> int:
    """Batches per epoch. All are full: what is left over waits for another epoch's order."""
    return max(1, frames // batch)


def open_frames(
    copy: Path,
    indices: Sequence[int],
    data: DataSpec,
    device: torch.device,
    memory_bytes: int | None = None,
    remake: Callable[[], Path] | None = None,
) -> Frames:
    """The frames `indices` of a training copy; held on the device up to `memory_bytes`, as
    `MEMORY_BYTES` says where it is left out.

    Depths outside `data`'s range are not learned from. A copy that turns out damaged, at whichever
    batch, is made again by `remake`, once. Raises DataError where no depth is left, and
    DamagedPackError where the copy cannot be made again.
    """
    if memory_bytes is None:
        memory_bytes = MEMORY_BYTES[device.type]
    try:
        return _opened(copy, indices, data, device, memory_bytes, remake)
    except DamagedPackError:
        if remake is None:
            raise
        return _opened(remake(), indices, data, device, memory_bytes, None)


def _opened(
    copy: Path,
    indices: Sequence[int],
    data: DataSpec,
    device: torch.device,
    memory_bytes: int,
    remake: Callable[[], Path] | None,
) -> Frames:
    pack = Pack(copy)
    try:
        some_m = _some(pack, indices, data)
        typical_m, valid = _median(some_m, data), torch.from_numpy(some_m > 0)[:, None]
        names = [pack.names[i] for i in indices]
        height, width = data.size
        size = len(indices) * height * width * (3 + 4 / 4)  # rgb, and float32 of a quarter of it
        if size > memory_bytes:
            chosen = list(indices)

            def from_disk(places: Sequence[int]) -> Batch:
                nonlocal pack, remake
                frames = [chosen[p] for p in places]
                try:
                    return _batch(*_read(pack, frames, data))
                except DamagedPackError:
                    if remake is None:
                        raise
                    pack.close()
                    pack, remake = Pack(remake()), None
                    return _batch(*_read(pack, frames, data))

            return Frames(names, typical_m, from_disk, False, valid)
        rgb, depth_m = _all(pack, indices, data, device)
    except BaseException:
        pack.close()
        raise
    pack.close()

    def from_memory(places: Sequence[int]) -> Batch:
        at = torch.tensor(places, device=device)
        return _batch(rgb[at], depth_m[at])

    return Frames(names, typical_m, from_memory, True, valid)


def stream(*parts: int) -> int:
    """A seed for one purpose: nearby parts give unrelated seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def _batch(rgb: Tensor, depth_m: Tensor) -> Batch:
    # Frames are stored pixel by pixel, so this is channels_last without copying.
    return Batch(rgb.permute(0, 3, 1, 2), depth_m[:, None])


def _read(pack: Pack, indices: Sequence[int], data: DataSpec) -> tuple[Tensor, Tensor]:
    rgb, depth_m, valid = pack.read(indices)
    used = valid & (depth_m >= data.min_depth_m) & (depth_m <= data.max_depth_m)
    return torch.from_numpy(rgb), torch.from_numpy(np.where(used, depth_m, np.float32(0)))


def _all(
    pack: Pack, indices: Sequence[int], data: DataSpec, device: torch.device
) -> tuple[Tensor, Tensor]:
    first_rgb, first_depth_m = _read(pack, indices[:1], data)
    count = len(indices)
    rgb = torch.empty((count, *first_rgb.shape[1:]), dtype=torch.uint8, device=device)
    depth_m = torch.empty((count, *first_depth_m.shape[1:]), device=device)
    for start in range(0, count, SAMPLED):
        part = slice(start, start + SAMPLED)
        rgb[part], depth_m[part] = _read(pack, indices[part], data)
    return rgb, depth_m


def _some(pack: Pack, indices: Sequence[int], data: DataSpec) -> npt.NDArray[np.float32]:
    """depth_m (n, h', w') of up to `SAMPLED` frames, spread evenly."""
    some = [indices[int(i)] for i in np.linspace(0, len(indices) - 1, min(SAMPLED, len(indices)))]
    return _read(pack, sorted(set(some)), data)[1].numpy()


def _median(depth_m: npt.NDArray[np.float32], data: DataSpec) -> float:
    """Of every fourth pixel: it only has to be near."""
    measured = depth_m[depth_m > 0][::4]
    if not len(measured):
        raise DataError(
            f"training frames must hold depths of {data.min_depth_m:g} to {data.max_depth_m:g} m,"
            f" but none of {len(depth_m)} looked at does; check data.min_depth_m, data.max_depth_m"
            " and the reader's options."
        )
    return float(np.median(measured))
