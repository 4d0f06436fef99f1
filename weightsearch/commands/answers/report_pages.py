"""The pages that commands write: records from the database, pictures from checkpoints here."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import Engine

from weightsearch.errors import WeightsearchError
from weightsearch.report.evidence import records as recorded
from weightsearch.report.evidence.records import Records
from weightsearch.report.pages import comparison_page, html
from weightsearch.report.pages import study_page as study
from weightsearch.report.pages.comparison_page import Side
from weightsearch.report.pages.html import Picture
from weightsearch.runtime import devices
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries
from weightsearch.store.ledger import studies as studies_module
from weightsearch.study.spec import DEPTH_OBJECTIVE

if TYPE_CHECKING:
    from weightsearch.depth.evaluation.frame_panels import FramePanel

log = logging.getLogger(__name__)

RULE = (
    "Validation frames chosen by a rule: of all of them in the order of {metric} per image, the"
    " first (best), the middle one (median) and the last (worst). Depth has one colour scale within"
    " a panel, that of the ground truth; the error's goes from -1 m (blue, too near) to 1 m (red)."
)
NOT_PROMOTED = "Nothing was promoted, so there are no pictures."
PANELS = "panels"
"""The folder of a checkpoint where they lie."""


@dataclass(frozen=True)
class Here:
    """What this machine has."""

    home: Path
    data: Path | None
    device: str


def report(engine: Engine, name: str | None, out: Path, here: Here) -> dict[str, Any]:
    """Writes a study's page; what it answers. Raises StudyError, OSError."""
    records = recorded.read(engine, name)
    pictures, about = _pictures(records, here)
    html.write(out, study.report(records, pictures, about))
    return {
        "study": records.study,
        "file": str(out),
        "bytes": out.stat().st_size,
        "answer": study.answer(records),
        "pictures": len(pictures),
    }


def stored(engine: Engine, name: str) -> str:
    """A study's page from what is stored, for a browser that waits: no network is run for its
    pictures. Raises StudyError."""
    records = recorded.read(engine, name)
    pictures, about = _stored(records)
    return study.report(records, pictures, about)


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
    pictures, about = _pairs(a, b, here)
    html.write(out, comparison_page.report(a, b, found, pictures, about))
    return found | {"file": str(out)}


def show_pictures(database: Database, name: str, here: Here) -> int:
    """Attaches the promoted network's panels to its trial in the Optuna study, as PNG; how many.

    They are a convenience: what goes wrong is logged, and nothing fails for it.
    """
    study = studies_module.find(database.engine, name)
    records = recorded.read(database.engine, name)
    if not study.promoted or study.spec.objective.run != DEPTH_OBJECTIVE:
        return 0
    found, why = _panels(records, study.promoted.checkpoint, here)
    trial = queries.trial(database.engine, study, study.promoted)
    if found is None or trial is None or study.promoted.checkpoint is None:
        log.info("no pictures for the dashboard: %s", why or "the Optuna study is behind")
        return 0
    files = []
    for panel in found:
        file = Path(study.promoted.checkpoint) / PANELS / f"{panel.kind}.png"
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, _described(_picture(panel, records)))
        files.append(file)
    from weightsearch.report import optuna_dashboard  # imports optuna

    return optuna_dashboard.attach(database, here.home / "artifacts", trial, files)


def _pictures(records: Records, here: Here) -> tuple[list[Picture], str]:
    """Panels of the promoted checkpoint, where it lies here; else why there are none."""
    if not records.promoted:
        return [], NOT_PROMOTED
    found, why = _panels(records, records.promoted.checkpoint, here)
    if found is None:
        return [], why
    return [_picture(panel, records) for panel in found], RULE.format(metric=records.label())


def _stored(records: Records) -> tuple[list[Picture], str]:
    """The panels that were drawn when the network was promoted (`show_pictures`)."""
    if not records.promoted:
        return [], NOT_PROMOTED
    folder = records.promoted.checkpoint
    pictures = []
    for file in sorted(Path(folder, PANELS).glob("*.png")) if folder else ():  # best, median, worst
        try:
            png = file.read_bytes()
            with Image.open(io.BytesIO(png)) as held:
                told = getattr(held, "text", {})
        except OSError:
            continue
        alt = told.get("Description", f"The {file.stem} frame under the promoted network")
        pictures.append(Picture(png, alt, told.get("Title", file.stem)))
    if not pictures:
        return [], (
            "No pictures of this study lie on this machine; `weightsearch report` draws them where"
            " the promoted checkpoint and the data are."
        )
    return pictures, RULE.format(metric=records.label())


def _picture(panel: FramePanel, records: Records) -> Picture:
    return Picture(panel.png, _alt(panel, "the promoted network"), _caption(panel, records))


def _described(picture: Picture) -> bytes:
    """The PNG file with caption and description in it, under the keywords that PNG has for them."""
    told, out = PngInfo(), io.BytesIO()
    told.add_itxt("Title", picture.caption)
    told.add_itxt("Description", picture.alt)
    with Image.open(io.BytesIO(picture.png)) as held:
        held.save(out, format="png", pnginfo=told, optimize=True)
    return out.getvalue()


def _pairs(a: Side, b: Side, here: Here) -> tuple[list[Picture], str]:
    """The same frames under both, with a slider."""
    if not a.full:
        return [], "Only full runs keep their checkpoints, so there are no pictures."
    ours, why = _panels(a.records, a.runs[0].result.folder, here)
    if ours is None:
        return [], why
    frames = [panel.index for panel in ours]
    theirs, why = _panels(b.records, b.runs[0].result.folder, here, frames)
    if theirs is None:
        return [], why
    pictures = [
        Picture(
            p.png,
            _alt(p, "A"),
            f"{_caption(p, a.records)} under A, {q.value:.4g} under B. Left of the slider is A,"
            " right of it B; on paper A is above B.",
            q.png,
            _alt(q, "B"),
        )
        for p, q in zip(ours, theirs, strict=True)
    ]
    return pictures, RULE.format(metric=a.records.label()) + " The rule is applied to A."


def _panels(
    records: Records, checkpoint: str | None, here: Here, frames: Sequence[int] = ()
) -> tuple[list[FramePanel] | None, str]:
    if records.spec.objective.run != DEPTH_OBJECTIVE:
        return None, "The objective is not the depth one, so there are no pictures."
    if checkpoint is None or not Path(checkpoint).is_dir():
        return None, study.NO_PICTURES
    from weightsearch.depth.evaluation.frame_panels import panels  # imports torch

    device = devices.pick(here.device, 1)[0]
    try:
        return panels(Path(checkpoint), records.spec, here.data, here.home, device, frames), ""
    except WeightsearchError as error:
        return None, f"There are no pictures: {error}"


def _alt(panel: FramePanel, whose: str) -> str:
    return (
        f"Frame {panel.name} under {whose}: picture, ground truth, prediction and error side by"
        " side, and depth along the middle row"
    )


def _caption(panel: FramePanel, records: Records) -> str:
    return f"{panel.kind}: {panel.name}, {records.label()} {panel.value:.4g}"
