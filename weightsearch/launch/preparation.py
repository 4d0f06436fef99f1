"""A launch until its study is planned: checks, packs, estimates; nothing is planned before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.launch.display.progress import display
from weightsearch.launch.expected_cost import Expected, expected
from weightsearch.launch.places import PLACED
from weightsearch.launch.places.local import threads_each
from weightsearch.store.connection.database import Database
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.ledger import queries, studies, study_control
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import StudyState
from weightsearch.study import planning, search_space
from weightsearch.study.budget import Budget
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.objective_contract import Estimate
from weightsearch.study.preflight import Preflight
from weightsearch.study.samplers.contract import Plan
from weightsearch.study.spec import DEPTH_OBJECTIVE, StudySpec

if TYPE_CHECKING:
    from weightsearch.data.frames.source import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a launch was asked for, beside the study itself."""

    name: str
    home: Path
    data: Path | None = None
    device: str = "auto"
    workers: int | None = None
    lanes: str = "1"
    """As `worker --lanes` has it."""
    on: str = "local"
    budget: Budget | None = None
    promote: bool = True
    repeat: bool = False
    """Promote by these settings, though there are full runs by others."""
    quiet: bool = False
    path: Sequence[str] = ()
    """Folders in which the study's own objective may lie."""
    extends: bool = False
    """The study is there, and the settings are what it grows to."""
    agree: Callable[[Expected], None] | None = None
    """Told what a new study is expected to take before it is planned; what it raises ends the
    launch, and nothing was planned. Without it, nothing is measured."""


@dataclass(frozen=True)
class Prospect:
    """A launch that was checked, and not begun."""

    is_known: bool
    """It is planned already, and a launch resumes it."""
    points: Plan
    runs: int
    """Of all of them, with their repeats."""
    digests: tuple[str, str, str] | None
    """Of the packed data; None without data."""
    expected: Expected | None
    """What a new study will take; None where nobody asked, or nobody knows."""
    full_runs: int
    """At most, that follow the search."""
    packed_bytes: int
    """Of the packed data, with their training copies."""
    grows: bool = False
    """It is planned, and a launch adds to it."""

    def to_json(self) -> dict[str, Any]:
        return {
            "resumes": self.is_known,
            "points": self.runs,
            "full_runs": self.full_runs,
            "packed_bytes": self.packed_bytes,
            "expected": asdict(self.expected) | {"seconds": self.expected.seconds}
            if self.expected
            else None,
        }


def prospect(
    database: Database, spec: StudySpec, request: Request, planned: Plan | None = None
) -> Prospect:
    """Checks everything and packs the data; plans nothing. Raises WeightsearchError.

    The points are those of `planned`, or of the sampler.
    """
    placed = PLACED[request.on](request.device, request.workers)
    if request.promote and spec.promote and spec.promote.devices != 1:  # before hours of search
        PLACED[request.on](request.device, request.workers, spec.promote.devices)
    known = request.extends or retry_while_away(
        lambda: studies.is_planned(database.engine, request.name, spec)
    )
    with _preflight(spec, request, placed) as asked:
        if not known and spec.data is not None and _unpacked(spec, spec.data, request):
            asked.check_model()
        packed, digests = pack(spec, request) if spec.data is not None else (None, None)
        estimate = None if known else _checked(asked, request, packed)
    points = planned or planning.plan(spec)
    runs = planning.most(spec, points)
    cost = None
    if estimate is not None:
        counted = spec if request.promote else spec.model_copy(update={"promote": None})
        cost = expected(estimate, counted, runs, placed, request.budget)
    files = packed.parent.glob(f"{packed.stem}*.h5") if packed else ()
    full = spec.promote.runs(len(points.points)) if spec.promote and request.promote else 0
    held = sum(file.stat().st_size for file in files)
    return Prospect(known, points, runs, digests, cost, full, held, request.extends)


def prepare(
    database: Database, spec: StudySpec, request: Request, planned: Plan | None = None
) -> Study:
    """The study, planned (as its sampler says, without `planned`); its data packed.

    Nothing is planned before everything was checked. Raises WeightsearchError.
    """
    found = prospect(database, spec, request, planned)
    known, points, digests = found.is_known, found.points, found.digests
    if found.expected is not None and request.agree is not None:
        request.agree(found.expected)

    def begin() -> tuple[Study, int]:
        plan = studies.extend if request.extends else studies.create
        study = plan(database.engine, request.name, spec, points)
        if digests is not None:
            studies.record_data(database.engine, study, *digests)
        study_control.set_budget(database.engine, study, request.budget)
        if study.state != StudyState.RUNNING:
            log.info("study %s was %s, and runs again", study.name, study.state)
            study_control.set_state(database.engine, study, StudyState.RUNNING)
        study = studies.find(database.engine, request.name)  # with its data
        return study, queries.counts(database.engine, study)["total"]

    study, total = retry_while_away(begin)
    full = found.full_runs
    log.info(
        "study %s: %d points%s; %s%s",
        study.name,
        total,
        f", {study.equivalent_left_out} equivalent ones left out"
        if study.equivalent_left_out
        else "",
        "resumed" if known else "planned",
        f"; up to {full} full runs follow" if full and study.promoted is None else "",
    )
    return study


def _unpacked(spec: StudySpec, data: DataSpec, request: Request) -> bool:
    """Whether the data are still to be packed. Raises DataError where they cannot be split as the
    study asks: neither packing nor timing is done for nothing."""
    from weightsearch.data.packs import building
    from weightsearch.data.readers.registry import open_source

    with closing(open_source(data.source, request.data, data.options)) as source:
        packed = building.pack_of(source, request.home)
        if spec.objective.run == DEPTH_OBJECTIVE:  # others need not split them
            _check_split(spec, data, source, packed)
    return packed is None


def _check_split(spec: StudySpec, data: DataSpec, source: Source, packed: Path | None) -> None:
    """By the pack, which lacks frames without depth, or by the names alone."""
    from weightsearch.data.frames import split
    from weightsearch.data.packs import building, validation_split

    if packed is not None:
        with building.Pack(packed) as native:
            validation_split.split_frames(native, spec)
    else:
        groups = [ref.group for ref in source.frames if ref.split == "train"]
        split.chosen(groups, data, spec.train.seed)


def _preflight(spec: StudySpec, request: Request, placed: Sequence[str]) -> Preflight:
    """What another machine has cannot be found out here, and is not timed."""
    here = request.on == "local"
    threads = threads_each(placed) if here and request.agree is not None else None
    lanes = int(request.lanes) if request.lanes.isdecimal() else None  # auto takes what there is
    return Preflight(spec, placed[0] if here else "cpu", request.path, threads, lanes)


def _checked(asked: Preflight, request: Request, packed: Path | None) -> Estimate | None:
    """What an epoch takes, where somebody wants to know it. Raises ObjectiveError."""
    if request.agree is not None and request.on != "local":
        log.info("how long it takes is not estimated: workers run elsewhere, on %s", request.on)
    elif request.agree is not None and packed is not None:
        # Of a large network, a step on a CPU takes half a minute.
        log.info("timing a few training steps")
    return asked.check(packed)


def pack(spec: StudySpec, request: Request) -> tuple[Path, tuple[str, str, str]]:
    """The pack, made with its training copies where that was not done before, and its digests:
    as they are, and as earlier releases had them."""
    from weightsearch.data.packs import building, depth_range

    assert spec.data is not None
    with display("packing", request.quiet) as shown:

        def step(done: int, total: int) -> None:
            shown.count(done, total, "frames")

        whole = building.ensure(
            spec.data.source, request.data, spec.data.options, request.home, step
        )
        for size in search_space.sizes(spec):
            building.training_copy(whole, size, request.home, step)
    with building.Pack(whole) as opened:
        for line in depth_range.told(opened, opened.indices("train"), spec.data):
            log.warning("%s: %s", spec.data.source, line)
        return whole, opened.digests
