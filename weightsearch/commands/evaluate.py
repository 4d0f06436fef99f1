"""`weightsearch evaluate` and `dispute`: what a network's depth is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightsearch.commands.options import (
    Data,
    Device,
    Json,
    Option,
    Reader,
    print_answer,
    reader_options,
)
from weightsearch.errors import ConfigError

app = typer.Typer()


@app.command()
def evaluate(
    checkpoint: Annotated[Path | None, typer.Argument(help="A checkpoint's folder.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Folder of NAME.npy (metres) or 16-bit NAME.png (mm).")
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Path of a data set; repeatable.")] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="The evaluation protocol; repeatable.")
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            help="Also report with each image's scale fitted: none, median or scale-shift."
        ),
    ] = "none",
    unit: Annotated[
        str | None,
        typer.Option(help="Of predictions: m, cm, mm, m/256, 1/m, relative or disparity."),
    ] = None,
    shows: Annotated[
        str | None,
        typer.Option(help="Of predictions: whole pictures, or the part that a protocol cuts out."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Input size HxW; by default the trained one.")
    ] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Also report edge quality, and error by depth and by distance from an edge.",
        ),
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write one row per image to this file.")] = None,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    reader: Reader = None,
    option: Option = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Score the predictions that exist, though some are missing."
        ),
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a checkpoint, or a folder of predictions from any program, by named protocols.

    Example: weightsearch evaluate --predictions mine/ --data /data/nyu_data --protocol full
    """
    from weightsearch.commands.printing import networks
    from weightsearch.depth.evaluation import evaluate_command
    from weightsearch.study import search_space

    if (checkpoint is None) == (predictions is None):
        raise ConfigError("`evaluate` needs either a checkpoint or --predictions, not both.")
    asked = evaluate_command.Question(
        checkpoint,
        predictions,
        protocol or ["full"],
        split,
        reader,
        reader_options(option),
        partial,
        align,
        None if size is None else search_space.picture_size(size),
        details,
        device,
        unit,
        shows,  # type: ignore[arg-type]  # checked with the rest
    )
    if csv is not None and (csv.is_dir() or not csv.parent.is_dir()):
        raise ConfigError(f"--csv must be a file in a folder that is there, but got '{csv}'.")
    found = evaluate_command.evaluations(asked, data or [None])
    answers = [answer for answer, _ in found]
    answer = answers[0] if len(answers) == 1 else {"evaluations": answers}
    print_answer(answer, as_json, networks.evaluations)
    if csv is not None:
        evaluate_command.write_csv(csv, found)


@app.command()
def dispute(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint's folder.")],
    out: Annotated[Path, typer.Option(help="Folder for a panel per frame.")],
    data: Data = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames.")] = 12,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    reader: Reader = None,
    option: Option = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Show where a network and the ground truth disagree most, and which of them fits the picture.

    Example: weightsearch dispute runs/equal --data /data/nyu_depth_v2_labeled.mat --out panels/
    """
    from weightsearch.commands.printing import networks
    from weightsearch.depth.evaluation import evaluate_command

    asked = evaluate_command.Question(
        checkpoint, None, split=split, reader=reader, options=reader_options(option), device=device
    )
    print_answer(evaluate_command.dispute(asked, data, out, frames), as_json, networks.dispute)
