"""`weightsearch report` and `compare`: pages that open offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weightsearch.commands.options import (
    Data,
    Device,
    Json,
    Name,
    Storage,
    open_storage,
    print_answer,
)
from weightsearch.runtime.home import home_folder

app = typer.Typer()


@app.command()
def report(
    name: Name = None,
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    data: Data = None,
    device: Device = "cpu",
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Write a study's report as one HTML file that opens offline.

    Where the promoted checkpoint lies on this machine, and the data are named or packed here, the
    page has pictures of its predictions.

    Example: weightsearch report quickstart-grid --out quickstart.html
    """
    from weightsearch.commands.answers import report_pages

    here = report_pages.Here(home_folder(), data, device)
    found = report_pages.report(open_storage(storage).engine, name, out, here)
    print_answer(found, as_json, _reported)


@app.command()
def compare(
    name: Annotated[str, typer.Argument(help="A study.")],
    a: Annotated[str, typer.Argument(help="A point of it (number or id); or another study.")],
    b: Annotated[str | None, typer.Argument(help="The point to compare it with.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write an HTML file.")] = None,
    data: Data = None,
    device: Device = "cpu",
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Compare two points of a study, or the best of two studies, image by image.

    Compares full runs if both have them, else the runs of the search.

    Example: weightsearch compare quickstart-grid 8 5 --out compare.html
    """
    from weightsearch.commands.answers import report_pages

    here = report_pages.Here(home_folder(), data, device)
    studies = (name, a) if b is None else (name, name)
    points = (None, None) if b is None else (a, b)
    found = report_pages.compare(open_storage(storage).engine, studies, points, out, here)
    print_answer(found, as_json, _compared)


def _reported(found: dict[str, Any]) -> None:
    from weightsearch.runtime.console import console
    from weightsearch.runtime.safe_text import size

    console.print(found["answer"])
    console.print(f"{found['file']} ({size(found['bytes'])})", soft_wrap=True)


def _compared(found: dict[str, Any]) -> None:
    from weightsearch.report.evidence.records import label
    from weightsearch.runtime.console import console

    console.print(found["answer"])
    for metric, test in found["tests"].items():
        span = ""
        if test["low"] is not None:
            span = f" ({test['low']:+.4f} .. {test['high']:+.4f})"
        console.print(
            f"{label(metric):10} A {found['a'][metric]:.4f}  B {found['b'][metric]:.4f}  A - B"
            f" {test['difference']:+.4f}{span}  {test['verdict']}"
        )
    if "file" in found:
        console.print(found["file"], soft_wrap=True)
