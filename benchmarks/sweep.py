"""A whole sweep against the ways that people have: wall-clock time and quality of the same points.

    python benchmarks/sweep.py --data /data/nyu_data [--before COMMIT] [--pairs 5] [--quick]

24 points (12 directions of MAE, Edge and SSIM, two encoders) on the same frames in the same split,
networks begun alike, each way in so many processes of one thread. Ours: `weightsearch launch`, with
its database. Plain: Optuna's `study.optimize` around a loop of timm, torch and a DataLoader
(`sweep_rival.py`). With `--before`, our own code of that commit, from a worktree that is made and
removed here; with `--busy`, ours again, beside a process that never rests. All start as new
processes; the data are packed beforehand for ours, once.

Ours and each other way run in turns, in both orders. A pair has a seed of its own, for
initialisation, order and split. Of the points, the difference of the lowest validation RMSE is
averaged in each pair; its 95 % interval is of the pairs, as points of one share their batches.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch
from loader import pictures
from scipy.special import stdtrit
from sweep_rival import Point, Rival, normalised
from sweep_rival import sweep as rival_sweep

from weightsearch.data.packs import building
from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth.network.precision import native_bf16
from weightsearch.depth.training.batches import open_frames
from weightsearch.study.loading import load
from weightsearch.study.planning import plan
from weightsearch.study.spec import StudySpec

ROOT = Path(__file__).resolve().parents[1]
DIRECTIONS = (  # of mae, edge, ssim; none without mae, which alone sees an offset
    *((1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1), (2, 1, 1), (1, 2, 1)),
    *((1, 1, 2), (3, 1, 0), (3, 0, 1), (3, 1, 5), (5, 1, 1), (1, 3, 1)),
)
STUDY = """
goal = "What does a sweep cost?"
objective = "rmse"
[data]
source = "nyu_csv"
size = [{height}, {width}]
val = "blocks:25%"
{limit}
[model]
encoder = {encoders}
pretrained = false
[loss]
weights = [{weights}]
[train]
lr = 3e-4
batch = {batch}
epochs = {epochs}
precision = "{precision}"
seed = {seed}
[sampler]
kind = "grid"
"""

PACKED = """
import sys
from pathlib import Path
from weightsearch.data.packs import building
data, home, height, width = sys.argv[1:]
pack = building.ensure("nyu_csv", Path(data), {}, Path(home))
building.training_copy(pack, (int(height), int(width)), Path(home))
"""

Sweep = Callable[[Path], Mapping[Point, float]]
"""Runs a study file; the lowest RMSE of each point, in metres."""
FIRST_SEED = 100
"""Small ones are those of full runs."""


@dataclass(frozen=True)
class Took:
    clock_s: float
    cpu_s: float
    rmse_m: Mapping[Point, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="NYU as DenseDepth packs it")
    parser.add_argument("--before", help="a commit of ours to run as well")
    parser.add_argument("--busy", action="store_true", help="and ours beside a busy process")
    parser.add_argument("--no-plain", action="store_true", help="leave Optuna's way out")
    parser.add_argument(
        "--encoders", nargs="+", default=["mobilenetv3_small_100", "tf_efficientnet_lite0"]
    )
    parser.add_argument("--directions", type=int, default=len(DIRECTIONS))
    parser.add_argument("--frames", type=int, help="so many of the training frames")
    parser.add_argument("--size", nargs=2, type=int, default=(120, 160))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    asked = parser.parse_args()
    if asked.quick:
        asked.encoders, asked.directions, asked.size = ["test_efficientnet"], 2, (32, 48)
        asked.batch, asked.epochs, asked.pairs, asked.before = 2, 1, 1, None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if asked.quick:
            asked.data = pictures(folder / "nyu_data", 6, (48, 64), block=2)
        if asked.data is None:
            raise SystemExit("--data must name NYU's frames, but nothing was named; or --quick.")
        folder.chmod(0o755)  # for the user that the embedded server runs as
        home = folder / "home"
        ours = service(ROOT, home, asked)
        others: dict[str, Sweep] = {}
        if not asked.no_plain:
            others["plain Optuna"] = lambda file: plain(file, asked, home)
        if asked.busy:
            others["ours beside a busy process"] = lambda file: beside(ours, file)
        if asked.before:
            code = stack.enter_context(worktree(asked.before))
            others[f"ours of {asked.before}"] = service(code, folder / "before", asked)
        compare(ours, others, folder, asked)


def compare(
    ours: Sweep, others: Mapping[str, Sweep], folder: Path, asked: argparse.Namespace
) -> None:
    print(f"{len(asked.encoders) * asked.directions} points of {asked.epochs} epochs,", end=" ")
    print(f"{asked.size[0]}x{asked.size[1]}, batch {asked.batch}, {asked.processes} processes,")
    print(f"{asked.frames or 'all'} frames, {asked.precision}, n = {asked.pairs} pairs,", end=" ")
    print(f"load {os.getloadavg()[0]:.1f}\n")
    taken: dict[str, list[tuple[Took, Took]]] = {name: [] for name in others}
    try:
        for number in range(asked.pairs):
            file = study(folder / f"sweep{number}.toml", number, asked)
            for name, other in others.items():
                first, second = (other, ours) if number % 2 else (ours, other)
                both = timed(first, file), timed(second, file)
                here, there = both[::-1] if number % 2 else both
                taken[name].append((here, there))
                told = f"{here.clock_s:.0f} s, {name} {there.clock_s:.0f} s, load"
                print(f"pair {number + 1}: ours {told} {os.getloadavg()[0]:.1f}", file=sys.stderr)
    finally:  # what was measured until then
        print("| against | by the clock | lowest to highest | CPU s | RMSE, % | interval | of |")
        print("|---|---|---|---|---|---|---|")
        for name, pairs in taken.items():
            if pairs:
                print(row(name, pairs), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def row(name: str, pairs: list[tuple[Took, Took]]) -> str:
    clock, cpu = ([getattr(o, t) / getattr(p, t) for p, o in pairs] for t in ("clock_s", "cpu_s"))
    percent, points = [], 0
    for here, there in pairs:
        common = here.rmse_m.keys() & there.rmse_m.keys()
        points += len(common)
        percent.append(
            statistics.mean(100 * (here.rmse_m[p] / there.rmse_m[p] - 1) for p in common)
        )
    return (
        f"| {name} | {statistics.median(clock):.2f} | {min(clock):.2f} to {max(clock):.2f}"
        f" | {statistics.median(cpu):.2f} | {statistics.mean(percent):+.2f} | {interval(percent)}"
        f" | {points} |"
    )


def interval(values: list[float]) -> str:
    """Of the mean at 95 % (Student's); none of one value."""
    count = len(values)
    if count == 1:
        return "-"
    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(values) / math.sqrt(count)
    return f"{statistics.mean(values) - half:+.2f} to {statistics.mean(values) + half:+.2f}"


def timed(way: Sweep, file: Path) -> Took:
    """CPU seconds are those of the processes started here, which an embedded server is not."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found = way(file)
    clock_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(clock_s, cpu_s, found)


def study(file: Path, seed: int, asked: argparse.Namespace) -> Path:
    weights = (
        f"{{mae = {m}.0, edge = {e}.0, ssim = {s}.0}}" for m, e, s in DIRECTIONS[: asked.directions]
    )
    text = STUDY.format(
        height=asked.size[0],
        width=asked.size[1],
        limit=f"limit = {asked.frames}" if asked.frames else "",
        encoders=json.dumps(asked.encoders),
        weights=", ".join(weights),
        batch=asked.batch,
        epochs=asked.epochs,
        precision=asked.precision,
        seed=FIRST_SEED + seed,
    )
    file.write_text(text)
    return file


def service(code: Path, home: Path, asked: argparse.Namespace) -> Sweep:
    """Ours: `launch` of the code that lies there, with a home of its own and the data packed."""
    home.mkdir()
    size = asked.size[0], asked.size[1]

    def run(*words: object, tries: int = 1) -> str:
        """The same launch resumes one that failed, as an older commit's may."""
        environment = os.environ | {"PYTHONPATH": str(code), "WEIGHTSEARCH_HOME": str(home)}
        command = [sys.executable, "-P", *map(str, words)]
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if ended.returncode and tries > 1:
            return run(*words, tries=tries - 1)
        if ended.returncode:
            raise SystemExit(f"{words[:3]} of {code} must end with 0, but failed; see above.")
        return ended.stdout

    def launch(file: Path) -> Mapping[Point, float]:
        name = f"sweep-{len(list(home.glob('*.json')))}"  # each run is a study of its own
        place = ("--data", asked.data.resolve(), "--device", "cpu", "--workers", asked.processes)
        options = (*place, "--no-promote", "--quiet", "--json")
        command = ("-m", "weightsearch", "launch", file, "--name", name, *options)
        answer = run(*command, tries=2)
        (home / f"{name}.json").write_text(answer)
        return {
            Point(point["encoder"], normalised(point["weights"])): point["rmse"]
            for point in json.loads(answer)["ranking"]
        }

    if not asked.quick:  # where every process counts: its launch packs
        run("-c", PACKED, asked.data.resolve(), home, *size)
    return launch


def beside(way: Sweep, file: Path) -> Mapping[Point, float]:
    """The way, while another process never rests; its CPU seconds count as the way's."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return way(file)
    finally:
        busy.kill()
        busy.wait()


def plain(file: Path, asked: argparse.Namespace, home: Path) -> Mapping[Point, float]:
    """Optuna and a plain loop."""
    rival = told(load(file), asked, home)
    return rival_sweep(rival, asked.processes, "fork" if asked.quick else "spawn")


def told(spec: StudySpec, asked: argparse.Namespace, home: Path) -> Rival:
    """The points, and the frames that our launch would train and validate on."""
    data = spec.data
    assert data is not None
    pack = building.ensure(data.source, asked.data, data.options, home)
    copy = building.training_copy(pack, data.size, home)
    with building.Pack(pack) as native:
        train, val = split_frames(native, spec)
        files = [(asked.data / f"{n}.jpg", asked.data / f"{n}.png") for n in native.names]
    cpu = torch.device("cpu")
    return Rival(
        spec=spec,
        points=[
            Point(str(point.params["encoder"]), normalised(point.weights))
            for point in plan(spec).points
            if point is not None
        ],
        train=[files[i] for i in train],
        val=[files[i] for i in val],
        typical_m=open_frames(copy, train, data, cpu, memory_bytes=0).typical_m,
        bf16=asked.precision == "bf16" or (asked.precision == "auto" and native_bf16(cpu)),
        journal=Path(tempfile.mkdtemp(dir=home), "journal.log"),
    )


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The code as it was then; gone afterwards."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "code")
        subprocess.run([*git, "add", "--detach", str(code), commit], check=True)
        try:
            yield code
        finally:
            subprocess.run([*git, "remove", "--force", str(code)], check=True)


if __name__ == "__main__":
    main()
