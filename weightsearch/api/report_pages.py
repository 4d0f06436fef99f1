"""The pages that are written: records from the database, pictures from checkpoints here."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from weightsearch.errors import WeightsearchError
from weightsearch.report.evidence import records as recorded
from weightsearch.report.evidence.records import Records
from weightsearch.report.evidence.units import amount
from weightsearch.report.pages import comparison_page, html
from weightsearch.report.pages import study_page as study
from weightsearch.report.pages.comparison_page import Side
from weightsearch.report.pages.html import Frame, Pictures, Scale, View
from weightsearch.runtime import devices
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries
from weightsearch.store.ledger import studies as studies_module
from weightsearch.study.objective_contract import BEST
from weightsearch.study.point_text import named, told_apart
from weightsearch.study.spec import DEPTH_OBJECTIVE

if TYPE_CHECKING:
    from weightsearch.depth.evaluation.frame_panels import FramePictures

log = logging.getLogger(__name__)

RULE = (
    "Validation frames chosen by a rule: of all of them in the order of {metric} per image under"
    " {first}, the first (best), the middle one (median) and the last (worst). Click a picture to"
    " enlarge all of its frame at that place; the sliders do the same. Grey was not measured."
)
NOT_PROMOTED = "Nothing was promoted, so there are no pictures."
NOT_DRAWN = (
    "No pictures of this study lie on this machine; `weightsearch report` draws them where the"
    " promoted checkpoint and the data are."
)
DRAWN = "pictures"
"""The folder of a promoted checkpoint where they lie."""
INDEX = "index.json"
"""What they are: without it nothing there is shown."""


@dataclass(frozen=True)
class Here:
    """What this machine has."""

    home: Path
    data: Path | None
    device: str


@dataclass(frozen=True)
class Written:
    """A study's page in a file."""

    study: str
    file: Path
    bytes: int
    answer: str
    """What the page says first, in a sentence or two."""
    pictures: int
    """How many frames under the promoted network it shows."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"file": str(self.file)}


def report(engine: Engine, name: str | None, out: Path, here: Here) -> Written:
    """Writes a study's page. Raises StudyError, OSError."""
    records = recorded.read(engine, name)
    pictures = _pictures(records, here)
    html.write(out, study.report(records, pictures))
    return Written(
        study=records.study,
        file=out,
        bytes=out.stat().st_size,
        answer=study.answer(records),
        pictures=len(pictures.frames),
    )


def stored(engine: Engine, name: str) -> str:
    """A study's page from what is stored, for a browser that waits: no network is run for its
    pictures. Raises StudyError."""
    records = recorded.read(engine, name)
    return study.report(records, _stored(records))


def compare(
    engine: Engine,
    studies: tuple[str, str],
    points: tuple[str | None, str | None],
    out: Path | None,
    here: Here,
) -> dict[str, Any]:
    """Two configurations: the verdict; with `out`, its page is written too. Raises StudyError."""
    first = recorded.read(engine, studies[0])
    second = first if studies[0] == studies[1] else recorded.read(engine, studies[1])
    a, b = comparison_page.sides(first, points[0], second, points[1])
    found = comparison_page.compared(a, b)
    found |= {"answer": comparison_page.sentence(found)}
    if out is None:
        return found
    pictures = _of_both(a, b, here)
    html.write(out, comparison_page.report(a, b, found, pictures))
    return found | {"file": str(out)}


def show_pictures(database: Database, name: str, here: Here) -> int:
    """Draws the promoted network's frames, keeps them beside its checkpoint for the pages that the
    dashboard serves, and attaches them to its trial in the Optuna study, as PNG; how many frames.

    They are a convenience: what goes wrong is logged, and nothing fails for it.
    """
    study = studies_module.find(database.engine, name)
    records = recorded.read(database.engine, name)
    if not study.promoted or study.spec.objective.run != DEPTH_OBJECTIVE:
        return 0
    found = _pictures(records, here)
    trial = queries.trial(database.engine, study, study.promoted)
    if not found.frames or trial is None or study.promoted.checkpoint is None:
        why = "the Optuna study is behind" if found.frames else found.about
        log.info("no pictures for the dashboard: %s", why)
        return 0
    folder = Path(study.promoted.checkpoint) / DRAWN
    files = _keep(found, folder)
    from weightsearch.report import optuna_dashboard  # imports optuna

    optuna_dashboard.attach(database, here.home / "artifacts", trial, files)
    return len(found.frames)


def _keep(found: Pictures, folder: Path) -> list[Path]:
    """Writes the pictures, then what they are; the PNG files."""
    folder.mkdir(exist_ok=True)
    files, frames = [], []
    for number, frame in enumerate(found.frames):
        views = []
        for place, view in enumerate(frame.views):
            what = re.sub("[^a-z]+", "-", view.caption.partition(":")[0].lower())
            file = folder / f"{number}-{place}-{what}.png"
            write_atomically(file, view.png)
            files.append(file)
            views.append({"file": file.name, "caption": view.caption, "alt": view.alt})
        frames.append({"title": frame.title, "views": views})
    index = {
        "about": found.about,
        "scales": [dataclasses.asdict(scale) for scale in found.scales],
        "frames": frames,
    }
    write_atomically(folder / INDEX, json.dumps(index).encode())
    return files


def _stored(records: Records) -> Pictures:
    """What was drawn when the network was promoted (`show_pictures`)."""
    if not records.promoted:
        return Pictures(NOT_PROMOTED)
    folder = Path(records.promoted.checkpoint or "", DRAWN)
    try:
        index = json.loads((folder / INDEX).read_bytes())
        frames = [
            Frame(
                frame["title"],
                [
                    View((folder / Path(v["file"]).name).read_bytes(), v["caption"], v["alt"])
                    for v in frame["views"]
                ],
            )
            for frame in index["frames"]
        ]
        return Pictures(index["about"], [Scale(**scale) for scale in index["scales"]], frames)
    except (OSError, ValueError, KeyError, TypeError):
        return Pictures(NOT_DRAWN)


def _pictures(records: Records, here: Here) -> Pictures:
    """The promoted network beside the finalist that came nearest; else why there are none."""
    promoted = records.promoted
    if not promoted:
        return Pictures(NOT_PROMOTED)
    rivals = [f for f in promoted.finalists if f.point != promoted.point]
    names, points = [named(promoted.weights, promoted.params)], [promoted.point]
    folders = [promoted.checkpoint]
    for rival in rivals:
        if (folder := _with_network(rival.checkpoints)) is not None:
            names.append(named(rival.weights, rival.params))
            points.append(rival.point)
            folders.append(folder)
            break
    return _drawn(records, told_apart(names, points), folders, here)


def _of_both(a: Side, b: Side, here: Here) -> Pictures:
    """The same frames under both."""
    if not a.full:
        return Pictures("Only full runs keep their checkpoints, so there are no pictures.")
    return _drawn(a.records, comparison_page.names(a, b), [_folder(a), _folder(b)], here)


def _folder(side: Side) -> str | None:
    """Of the first of its runs whose network lies here: a finalist keeps its best run's."""
    folders = [run.result.folder for run in side.runs if run.result.folder]
    return _with_network(folders) or next(iter(folders), None)


def _with_network(folders: Sequence[str]) -> str | None:
    return next((folder for folder in folders if (Path(folder) / BEST).is_dir()), None)


def _drawn(
    records: Records, names: Sequence[str], checkpoints: Sequence[str | None], here: Here
) -> Pictures:
    """The frames under the networks of these names."""
    if records.spec.objective.run != DEPTH_OBJECTIVE:
        return Pictures("The objective is not the depth one, so there are no pictures.")
    folders = [folder for folder in checkpoints if folder and Path(folder).is_dir()]
    if len(folders) < len(names):
        return Pictures(study.NO_PICTURES)
    from weightsearch.depth.evaluation.frame_panels import pictures  # imports torch

    device = devices.pick(here.device, 1)[0]
    try:
        shown = pictures([*map(Path, folders)], records.spec, here.data, here.home, device)
    except WeightsearchError as error:
        return Pictures(f"There are no pictures: {error}")
    scales = [
        Scale("Depth", f"{shown.near_m:.1f} m", f"{shown.far_m:.1f} m", shown.depth_colours),
        Scale(
            "Error", f"{shown.error_m:g} m too near", f"{shown.error_m:g} m too far",
            shown.error_colours,
        ),
    ]  # fmt: skip
    frames = [_frame(frame, names, records) for frame in shown.frames]
    return Pictures(RULE.format(metric=records.label(), first=names[0]), scales, frames)


def _frame(frame: FramePictures, names: Sequence[str], records: Records) -> Frame:
    views = [
        View(frame.seen, "Input", f"Frame {frame.name} as the camera saw it"),
        View(frame.truth, "Ground truth", f"Frame {frame.name}: measured depth"),
    ]
    for what, drawn in (("Prediction", frame.predictions), ("Error", frame.errors)):
        for name, one, value in zip(names, drawn, frame.values, strict=True):
            said = f"{what}: {name}, {amount(records.metric, value, records.of_depth)}"
            views.append(View(one, said, f"Frame {frame.name}: {what} of {name}"))
    return Frame(f"{frame.kind.capitalize()}: {frame.name}", views)
