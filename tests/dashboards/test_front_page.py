"""The front page and a night's page: how they begin, and how they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import page_looks
from support.pages import browser, promoted

from dashboards import pages
from weightsearch.nightly import verdict_page, verdict_text
from weightsearch.report.evidence import records
from weightsearch.report.evidence.card import of_study
from weightsearch.stats.night_values import CanaryRuns, Moved, NightValues, Row, SearchBest
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies
from weightsearch.store.ledger.stored_night import Acceptance, Mover, NightVerdict, NightWord
from weightsearch.store.optuna_mirror import Mirror

__all__ = ["browser", "promoted"]

ROW = Row("equal", "rmse", 0.80, 0.91, 0.11, 0.08, None, 8, 8, Moved.WORSE, 0.08, margin=0.008)
NIGHT = NightVerdict(
    sweep="nightly-cpu", night="2026-01-02-def", commit="def", began_at="2026-01-02T01:00:00+00:00",
    verdict=NightWord.REGRESSION, answer="Worse than the baseline: rmse of canary equal.",
    moved=Mover.CODE, metric="rmse", level=0.98, rows=[ROW], device_seconds=600.0,
    baseline=Acceptance(1, "2026-01-01-abc", "me", "2026-01-01T09:00:00+00:00", "good", None),
    measured=NightValues({"equal": CanaryRuns()}, "s", SearchBest(0.7, {"mae": 1.0}, {})),
)  # fmt: skip


def test_the_front_page_begins_with_the_newest_answer_and_suits_every_width(
    browser: Any, promoted: Database, tmp_path: Path
) -> None:
    Mirror(promoted, studies.find(promoted.engine, "study")).sync()
    front = pages._contents(promoted)
    card = of_study(records.read(promoted.engine, "study"))
    assert front.index(card.verdict) < front.index(card.facts["cost"]) < front.index("Studies</h2>")
    assert "<td>promoted</td>" in front
    assert page_looks.faults(browser, page_looks.as_file(tmp_path, front)) == []


def test_a_nights_page_suits_every_width(browser: Any, tmp_path: Path) -> None:
    document = verdict_page.document(NIGHT, [NIGHT])
    assert '<section id="answer" class="bad"' in document
    assert '<span class="worse">worse</span>' in document
    assert page_looks.faults(browser, page_looks.as_file(tmp_path, document)) == []


def test_a_nights_text_and_page_begin_with_one_headline(capsys: Any) -> None:
    parts = [
        "Worse than the baseline: rmse of canary equal.",
        "night 2026-01-01-abc, accepted by me on 2026-01-01: good",
        "10 min of device time",
        "git log abc..def",
        "weightsearch nightly accept nightly-cpu --night 2026-01-02-def --why TEXT",
    ]
    verdict_text.told(NIGHT)
    said = " ".join(capsys.readouterr().out.split())
    written = verdict_text.markdown(NIGHT).replace("\\", "")
    document = verdict_page.document(NIGHT, [NIGHT])
    assert said.startswith("Regression: Worse than the baseline")
    assert written.startswith("## Regression: nightly-cpu, 2026-01-02-def")
    for text in (said, written, document):
        places = [text.index(part) for part in parts]
        assert places == sorted(places)
        assert places[-1] < text.index("0.9100")  # before the table
