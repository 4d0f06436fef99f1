"""Draws docs/map.png: the map of the recorded study `answer` (benchmarks/recorded), in Chromium.

Images are given the mean of their scene, which is what was recorded; intervals come out as from
their own values. `python docs/building/map_picture.py docs/map.png`
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.replay import table as tables
from weightsearch.report.evidence.records import Records
from weightsearch.report.figures.registry import ternary
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.results import Evaluation, Result
from weightsearch.store.tables.states import Outcome
from weightsearch.study import loading
from weightsearch.study.search_space import Point

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT, SCALE = 640, 480, 1.5


def recorded() -> Records:
    """The study as its report had it, of what was kept."""
    table = tables.read(ROOT / "benchmarks" / "recorded" / "answer.json")
    spec = loading.load(ROOT / "studies" / "answer.toml")
    many, repeats, epochs = table.shape
    done = []
    for k, place in enumerate(table.points):
        # In the order of the study's terms, which is that of the corners.
        point = Point({term: place.weights[term] for term in spec.loss.terms}, place.params)
        for repeat in range(repeats):
            row = table.row(k, repeat, 1, epochs, repeat)
            images = len(row.samples or ())
            metrics, samples = {"rmse": row.value}, {"rmse": list(row.samples or ())}
            found = Evaluation(metrics, samples, list(row.groups or ()), images)
            seed, number = spec.seed_of(repeat), repeat * many + k
            result = Result(Outcome.DONE, found)
            done.append(Done(number, number, seed, point, result, k, repeat, repeat))
    return Records(study="answer", spec=spec, done=done)


def main(file: Path) -> None:
    """Raises AssertionError where there is no Chromium."""
    records = recorded()
    figure = ternary(records, records.encoders[0], records.metric)
    figure.update_layout(width=WIDTH, height=HEIGHT, paper_bgcolor="white", title_x=0.04)
    page = figure.to_html(include_plotlyjs="inline", config={"displayModeBar": False})
    chromium = shutil.which("chromium")
    assert chromium, "Chromium must be on the PATH"
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(
            viewport={"width": WIDTH + 16, "height": HEIGHT + 16}, device_scale_factor=SCALE
        )
        tab.set_content(page)
        tab.locator(".main-svg").first.wait_for()
        tab.locator(".plotly-graph-div").screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
