"""Whether a study can be launched here, part by part: what `check` answers. Only an objective of
the user's own trains, one epoch."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from weightsearch.commands.answers import tiny_epoch
from weightsearch.commands.answers.findings import OK, WARNING, WRONG, Row, all_well, asked
from weightsearch.commands.answers.new_study import LOOKED_AT
from weightsearch.data.frames import split
from weightsearch.data.frames.source import NO_DEPTH, Frame, Source
from weightsearch.data.inspection import report
from weightsearch.data.packs import building
from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DeviceError
from weightsearch.launch.preparation import Request
from weightsearch.runtime import devices
from weightsearch.runtime.safe_text import counted, size
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies
from weightsearch.study import planning, search_space
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.preflight import Preflight
from weightsearch.study.spec import DEPTH_OBJECTIVE, StudySpec
from weightsearch.study.tables.number_range import Range

DEPTH_BYTES = 5
"""Of a pixel in a pack, uncompressed: float32 depth, and whether it is valid."""
RGB_BYTES = 3


@dataclass(frozen=True)
class Checked:
    study: str
    rows: Sequence[Row]

    @property
    def ok(self) -> bool:
        return all_well(self.rows)

    def to_json(self) -> dict[str, Any]:
        return {"study": self.study, "ok": self.ok, "rows": [asdict(row) for row in self.rows]}


Ask = Callable[[], Iterator[Row]]


def check(
    spec: StudySpec, request: Request, database: Callable[[], Database], epoch: bool = True
) -> Checked:
    """Looks at every part, also where another is wrong; with `epoch`, an objective of the user's
    own then trains one, unless something else is in its way."""
    own = spec.objective.run != DEPTH_OBJECTIVE
    parts: dict[str, Ask] = {
        "points": lambda: _points(spec),
        "device": lambda: _device(request),
        "data": lambda: _data(spec, request),
        # A user's own module may be at fault, which has nothing to do with encoders.
        "objective" if own else "encoders": lambda: _model(spec, request),
        "database": lambda: _name(spec, request, database),
    }
    rows = [row for part, ask in parts.items() for row in asked(part, ask)]
    if epoch and own and all_well(rows):
        rows += asked(
            tiny_epoch.PART, lambda: tiny_epoch.tried(spec, request, _picked_device(request))
        )
    return Checked(request.name, rows)


def _points(spec: StudySpec) -> Iterator[Row]:
    planned = planning.plan(spec)
    options = " x ".join(
        f"{name} {found.told()}" if isinstance(found, Range) else f"{len(found)} values of {name}"
        for name, found in search_space.choices(spec).items()
        if isinstance(found, Range) or len(found) > 1
    )
    shares = spec.share.kind != "none"
    same, repeats = planned.equivalent_left_out, spec.answer.repeats
    told = [
        f"{len(planned.points)} of"
        f" {counted(spec.train.epochs, 'epoch')}{f' ({options})' * bool(options)}",
        *([f"{repeats} repeats of each"] if repeats > 1 and spec.pruner.kind == "none" else []),
        *([f"up to {counted(repeats, 'repeat')} of each"] if spec.pruner.kind != "none" else []),
        *(
            [f"a pilot of {spec.share.pilot} decides on share.kind = '{spec.share.kind}'"]
            if shares
            else []
        ),
        *([f"{same} equivalent ones left out"] if same else []),
    ]
    if full := spec.promote:
        runs = full.runs(len(planned.points))
        told.append(f"then {counted(runs, 'full run')} of up to {counted(full.epochs, 'epoch')}")
    if spec.budget:
        told.append(f"the search ends after {', '.join(spec.budget)}")
    yield Row("points", OK, "; ".join(told))


def _device(request: Request) -> Iterator[Row]:
    if request.on != "local":
        yield Row("device", WARNING, f"workers run elsewhere, on {request.on}: not looked at")
        return
    placed = devices.pick(request.device, request.workers)
    cpu = placed[0] == "cpu"
    told = f"{len(placed)} x cpu, {counted(devices.cores(), 'core')}" if cpu else ", ".join(placed)
    yield Row("device", OK, told)
    if cpu and request.device == "auto":
        yield Row("device", WARNING, "there is no GPU: keep encoders and data.size small")


def _data(spec: StudySpec, request: Request) -> Iterator[Row]:
    data = spec.data
    if data is None:
        return
    with closing(open_source(data.source, request.data, data.options)) as source:
        groups = [ref.group for ref in source.frames if ref.split == "train"]
        test = len(source.frames) - len(groups)
        blocks = counted(len(set(groups)), "scene or block", "scenes or blocks")
        told = f"{counted(len(groups), 'training frame')} in {blocks}"
        yield Row("data", OK, f"reader {data.source}: {told}; {counted(test, 'test frame')}")
        if not test and spec.promote is not None:
            yield Row("data", WARNING, "there are no test frames: the winner is not tested")
        yield from asked("data", lambda: _validation(data, spec.train.seed, groups))
        yield from asked("data", lambda: _looked_at(spec, data, request))
        yield from asked("protocol", lambda: _protocols(source, spec))
        yield from asked("disk", lambda: _disk(source, spec, request))


def _validation(data: DataSpec, seed: int, groups: Sequence[str]) -> Iterator[Row]:
    train, held = split.chosen(groups, data, seed)
    yield Row("data", OK, f"{len(train)} frames train, {len(held)} validate ({data.val})")


def _looked_at(spec: StudySpec, data: DataSpec, request: Request) -> Iterator[Row]:
    """Some frames, spread over all: what `data inspect` would warn of."""
    found = report.inspect(
        data.source, request.data, data.options, LOOKED_AT, data.val, spec.train.seed
    )
    yield from (Row("data", WARNING, line) for line in found["warnings"])
    if found["depth_m"] is None:
        said = f"frames must have valid depth, but none that was looked at has; {NO_DEPTH}"
        yield Row("data", WRONG, said)


def _protocols(source: Source, spec: StudySpec) -> Iterator[Row]:
    """Whether they suit the size of the first frame."""
    from weightsearch.depth.evaluation.protocols import PROTOCOLS  # imports torch

    frame = source.read(0)
    names = [part.protocol for part in (spec.evaluate, spec.promote) if part is not None]
    for name in dict.fromkeys(names) if spec.objective.run == DEPTH_OBJECTIVE else ():
        PROTOCOLS[name].check_shape(_size(frame.depth_m), _size(frame.rgb))
        yield Row("protocol", OK, f"{name} suits frames of {'x'.join(map(str, _size(frame.rgb)))}")


def _size(pixels: npt.NDArray[Any]) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return height, width


def _disk(source: Source, spec: StudySpec, request: Request) -> Iterator[Row]:
    """From the first frame of each split, as if packs were not compressed."""
    assert spec.data is not None
    packed = building.packed(spec.data.source, request.data, spec.data.options, request.home)
    first: dict[str, int] = {}
    for i, ref in enumerate(source.frames):
        first.setdefault(ref.split, i)
    counts = {side: sum(ref.split == side for ref in source.frames) for side in first}
    needed = 0.0
    if packed is None:
        needed += sum(counts[side] * _bytes(source.read(i)) for side, i in first.items())
    for height, width in search_space.sizes(spec):
        if packed is None or not building.copy_file(packed, (height, width), request.home).exists():
            halved = (height + 1) // 2 * ((width + 1) // 2)
            each = RGB_BYTES * height * width + DEPTH_BYTES * halved
            needed += counts.get("train", 0) * each
    home = request.home
    there = next(place for place in (home, *home.parents) if place.exists())
    free = shutil.disk_usage(there).free
    told = f"at most {size(needed)} for packed frames, {size(free)} free in {home}"
    if needed > free:
        told += "; free some space, or set WEIGHTSEARCH_HOME to a folder on another disk."
    yield Row("disk", WRONG if needed > free else OK, told)


def _bytes(frame: Frame) -> int:
    return frame.rgb.nbytes + DEPTH_BYTES * math.prod(frame.depth_m.shape)


def _model(spec: StudySpec, request: Request) -> Iterator[Row]:
    """In a process of its own, as a launch does it."""
    with Preflight(spec, _picked_device(request), request.path) as asked:
        asked.check_model()
    if spec.model is not None:
        names = search_space.levels(spec)["encoder"]
        start = "with their weights" if spec.model.pretrained else "with random weights"
        yield Row("encoders", OK, f"{', '.join(map(str, names))}, {start}")


def _picked_device(request: Request) -> str:
    if request.on == "local":
        with contextlib.suppress(DeviceError):  # told of the device
            return devices.pick(request.device, request.workers)[0]
    return "cpu"


def _name(spec: StudySpec, request: Request, database: Callable[[], Database]) -> Iterator[Row]:
    engine = database().engine
    does = "resumes" if studies.is_planned(engine, request.name, spec) else "plans"
    yield Row("database", OK, f"reachable; a launch {does} study {request.name}")
