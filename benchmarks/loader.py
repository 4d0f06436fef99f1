"""Training images per second: our batches against torch's DataLoader with PIL and torchvision.

    python benchmarks/loader.py [--size 120 160] [--pairs 5] [--quick]

Both read the same pictures, JPEG and 8-bit PNG of 640x480 in the layout of NYU as DenseDepth packs
it, and give float RGB and half-size depth in metres, mirrored and with shuffled channels by chance,
on one thread. Ours are what `Trainer` trains on: the training copy, from memory and from disk; its
making is not timed, since it is made once for all points. Measured in turns; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from weightsearch.data.packs import building
from weightsearch.depth.training import batches
from weightsearch.depth.training.augmentation import augment
from weightsearch.study.data_spec import DataSpec

KINDS = ("mirror", "channels")
Size = tuple[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, default=(120, 160))
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    asked = parser.parse_args()
    native = (480, 640)
    if asked.quick:
        asked.frames, asked.batch, asked.pairs, native, asked.size = 2, 2, 1, (48, 64), (32, 48)
    with tempfile.TemporaryDirectory() as folder:
        data = pictures(Path(folder, "nyu_data"), asked.frames, native)
        size: Size = (asked.size[0], asked.size[1])
        compare(data, Path(folder, "home"), size, asked.batch, asked.pairs)


def compare(data: Path, home: Path, size: Size, batch: int, pairs: int) -> None:
    """Prints images per second of CPU time, and by the clock, of each way."""
    plain = plain_loader(data, size, batch)
    spec = DataSpec(source="nyu_csv", size=size)
    cpu = torch.device("cpu")
    held, read = (frames(data, home, spec, cpu, limit) for limit in (None, 0))
    ways: dict[str, Callable[[], Iterator[object]]] = {
        "DataLoader, PIL, torchvision": lambda: iter(plain),
        "ours, from disk": lambda: ours(read, batch),
        "ours, from memory": lambda: ours(held, batch),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(pairs):
        for name, way in ways.items():
            taken[name].append(timed(way, batch))
    reference = statistics.median(cpu for cpu, _ in taken["DataLoader, PIL, torchvision"])
    print(f"{size[0]}x{size[1]}, batch {batch}, one thread, n = {pairs}, medians\n")
    print("| | images per CPU second | ratio | by the clock |\n|---|---|---|---|")
    for name, times in taken.items():
        cpu, clock = (statistics.median(t[i] for t in times) for i in (0, 1))
        print(f"| {name} | {cpu:.0f} | {cpu / reference:.1f} | {clock:.0f} |")


def timed(way: Callable[[], Iterator[object]], batch: int) -> tuple[float, float]:
    """Images per second of CPU time, and by the clock, of one epoch."""
    cpu, clock, count = time.process_time(), time.perf_counter(), 0
    for _ in way():
        count += batch
    return count / (time.process_time() - cpu), count / (time.perf_counter() - clock)


def frames(
    data: Path, home: Path, spec: DataSpec, device: torch.device, memory_bytes: int | None = None
) -> batches.Frames:
    """As a trainer on the device has them: up to `batches.MEMORY_BYTES` lie there."""
    pack = building.ensure(spec.source, data, {}, home)
    copy = building.training_copy(pack, spec.size, home)
    with building.Pack(copy) as opened:
        everything = range(len(opened))
    return batches.open_frames(copy, everything, spec, device, memory_bytes)


def ours(frames: batches.Frames, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """As `Trainer._augmented` prepares them."""
    for number, found in enumerate(frames.batches(batch, seed=0, epoch=0)):
        generator = torch.Generator().manual_seed(number)
        rgb, depth_m = augment(found.rgb, found.depth_m, KINDS, generator)
        yield rgb / 255, depth_m


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """The frames of a list, decoded and resized each time, as most training code has it."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]], size: Size) -> None:
        self.pairs = pairs
        half = (size[0] + 1) // 2, (size[1] + 1) // 2
        self.rgb = v2.Compose(
            [v2.Resize(size), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        )
        self.depth = v2.Compose([v2.Resize(half), v2.ToImage(), v2.ToDtype(torch.float32)])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        picture, depth = self.pairs[place]
        rgb: Tensor = self.rgb(Image.open(picture).convert("RGB"))
        depth_m = metres(self.depth(Image.open(depth)))
        if torch.rand(()) < 0.5:
            rgb, depth_m = rgb.flip(-1), depth_m.flip(-1)
        if torch.rand(()) < 0.5:
            rgb = rgb[torch.randperm(3)]
        return rgb, depth_m


def metres(depth: Tensor) -> Tensor:
    """Of NYU's 8-bit depth."""
    return (depth + 0.5) / 25.5


def plain_loader(data: Path, size: Size, batch: int) -> DataLoader[tuple[Tensor, Tensor]]:
    lines = (data / "data" / "nyu2_train.csv").read_text().split()
    named = (line.split(",") for line in lines)
    pairs = [(data / picture, data / depth) for picture, depth in named]
    return DataLoader(Pictures(pairs, size), batch, shuffle=True, drop_last=True)


def pictures(root: Path, count: int, size: Size, block: int | None = None) -> Path:
    """So many frames, smooth as rooms are: noise of 1/16 of the size, enlarged. All lie in one
    folder, or in folders of a `block` each."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(count):
        name = f"data/nyu2_train/made_{number // (block or count)}_out"
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(25, 255, (size[0] // 16, size[1] // 16, 4), dtype=np.uint8)
        rgb, depth = (
            Image.fromarray(part).resize(size[::-1], Image.Resampling.BICUBIC)
            for part in (coarse[..., :3], coarse[..., 3])
        )
        rgb.save(folder / f"{number}.jpg", quality=90)
        depth.point(lambda value: max(value, 1)).save(folder / f"{number}.png")
        lines.append(",".join(f"{name}/{number}.{end}" for end in ("jpg", "png")))
    (root / "data" / "nyu2_train.csv").write_text("\n".join(lines) + "\n")
    return root


if __name__ == "__main__":
    main()
