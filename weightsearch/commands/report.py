"""`weightsearch report` and `compare`: pages that open offline; `track`: a study in other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder

if TYPE_CHECKING:
    from weightsearch.api.report_pages import Written
    from weightsearch.store.sinks.tracking import Tracked

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
    from weightsearch.api.study_view import study

    found = study(name, storage=storage).report(out, data=data, device=device)
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
    from weightsearch.api import report_pages

    here = report_pages.Here(home_folder(), data, device)
    studies = (name, a) if b is None else (name, name)
    points = (None, None) if b is None else (a, b)
    found = report_pages.compare(open_storage(storage).engine, studies, points, out, here)
    print_answer(found, as_json, _compared)


@app.command()
def track(
    name: Name = None,
    mlflow: Annotated[
        str | None,
        typer.Option(help="A tracking URI of MLflow: of a server, or sqlite:///FILE."),
    ] = None,
    tensorboard: Annotated[
        str | None, typer.Option(help="A folder for TensorBoard; below it, one for the study.")
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(help="A folder for W&B's offline runs, for `wandb sync` to upload."),
    ] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show a study's ended attempts in MLflow, TensorBoard or W&B, each once, however often asked.

    By default where the study's table [track] says; `launch` does so at its end.

    Example: weightsearch track quickstart-grid --tensorboard runs
    """
    from weightsearch.store.ledger import studies
    from weightsearch.store.sinks import tracking
    from weightsearch.study.tables.track_spec import TrackSpec

    engine = open_storage(storage).engine
    study = studies.find(engine, name)
    wanted = study.spec.track or TrackSpec()
    if (mlflow, tensorboard, wandb) != (None, None, None):
        try:
            wanted = TrackSpec(mlflow=mlflow, tensorboard=tensorboard, wandb=wandb)
        except ValueError:
            raise ConfigError(
                "--mlflow must be a tracking URI without a password, which anyone could read; put"
                " it into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            ) from None
    print_answer(tracking.track(engine, study, wanted), as_json, _tracked)


def _tracked(found: Tracked) -> None:
    from weightsearch.runtime.console import console

    for sink, count in found.runs.items():
        console.print(f"{sink}: {count} runs of {found.study} were new")


def _reported(found: Written) -> None:
    from weightsearch.runtime.console import console
    from weightsearch.runtime.safe_text import size

    console.print(found.answer, soft_wrap=False)
    console.print(f"{found.file} ({size(found.bytes)})", soft_wrap=True)


def _compared(found: dict[str, Any]) -> None:
    from weightsearch.report.evidence.units import label
    from weightsearch.runtime.console import console

    console.print(found["answer"], soft_wrap=False)
    for metric, test in found["tests"].items():
        span = ""
        if test["low"] is not None:
            span = f" ({test['low']:+.4f} .. {test['high']:+.4f})"
        name = label(metric, found["of_depth"])
        console.print(
            f"{name:10} A {found['a'][metric]:.4f}  B {found['b'][metric]:.4f}  A - B"
            f" {test['difference']:+.4f}{span}  {test['verdict']}"
        )
    if "file" in found:
        console.print(found["file"], soft_wrap=True)
