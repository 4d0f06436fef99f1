"""How long the report of many points takes to build, and to open in Chromium; beside it Optuna's
own figures of the same points.

    python benchmarks/report.py --points 1000 --chromium /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import optuna
from support.records import make_records

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures.registry import FIGURES
from weightsearch.report.pages import study_page

BUILD_S, OPEN_S = 20.0, 3.0
OPTUNAS: dict[str, Callable[[optuna.Study], object]] = {
    "best_so_far": optuna.visualization.plot_optimization_history,
    "learning_curves": optuna.visualization.plot_intermediate_values,
    "parallel": optuna.visualization.plot_parallel_coordinate,
    "importance": optuna.visualization.plot_param_importances,
    "timeline": optuna.visualization.plot_timeline,
}
"""Those of our figures that Optuna has too."""


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--points", type=int, default=1000)
    asked.add_argument("--epochs", type=int, default=20)
    asked.add_argument("--chromium", default="/usr/bin/chromium")
    given = asked.parse_args()
    records = make_records(given.points, epochs=given.epochs)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {given.points} points")

    began, cpu = time.perf_counter(), time.process_time()
    document = study_page.report(records)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"report: {took:.1f} s ({cpu:.1f} s of CPU), wanted {BUILD_S:g} s")
    print(f"        {len(document.encode()) / 1e6:.2f} MB")
    _open(document, given.chromium)
    print(f"\n{'figure':18}{'ours (s)':>10}{'Optuna (s)':>12}{'ours (kB)':>11}{'Optuna (kB)':>13}")
    told = _optuna(records)
    for name, make in FIGURES.items():
        ours = _timed(lambda make=make: make(records))
        theirs = _timed(lambda name=name: OPTUNAS[name](told)) if name in OPTUNAS else None
        second = f"{theirs[0]:12.2f}" if theirs else f"{'-':>12}"
        size = f"{theirs[1]:13.0f}" if theirs else f"{'-':>13}"
        print(f"{name:18}{ours[0]:10.2f}{second}{ours[1]:11.0f}{size}")


def _timed(make: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and the size of the JSON in kB."""
    began = time.perf_counter()
    figure = make()
    took = time.perf_counter() - began
    return took, len(figure.to_json()) / 1e3  # type: ignore[attr-defined]


def _optuna(records: Records) -> optuna.Study:
    """The same points as an Optuna study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    made = optuna.create_study()
    epochs = {a.number: a.epochs for a in records.attempts if a.outcome == "done"}
    known: dict[str, optuna.distributions.BaseDistribution] = {
        t: optuna.distributions.FloatDistribution(0, 1) for t in records.terms
    }
    known["encoder"] = optuna.distributions.CategoricalDistribution(records.encoders)
    for done in records.done:
        weights = {t: float(w) for t, w in done.point.weights.items()}
        curve = enumerate((e["rmse"] for e in epochs[done.number]), 1)
        made.add_trial(
            optuna.create_trial(
                params={**weights, "encoder": done.point.params["encoder"]},
                distributions=known,
                value=done.result.metrics["rmse"],
                intermediate_values=dict(curve),
            )
        )
    return made


def _open(document: str, chromium: str) -> None:
    """Prints when text and tables can be read, when the first figure and when all are drawn."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        file = Path(folder) / "report.html"
        file.write_text(document, encoding="utf-8")
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for run in ("cold", "again"):
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            tab.goto(file.as_uri(), wait_until="commit")
            tab.wait_for_selector(".plot .main-svg", state="attached")
            first = tab.evaluate("performance.now()") / 1e3
            tab.wait_for_selector("html[data-drawn]", state="attached")
            last = tab.evaluate("performance.now()") / 1e3
            timing = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
            read = tab.evaluate(timing) / 1e3
            print(
                f"Chromium, {run}: readable after {read:.1f} s, first figure {first:.1f} s, all"
                f" {tab.evaluate('document.documentElement.dataset.drawn')} figures {last:.1f} s;"
                f" wanted {OPEN_S:g} s"
            )
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
