"""Commands about a trained network: what it says of pictures, how fast, how robust, as a file."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from weightsearch.commands.options import (
    Data,
    Device,
    Json,
    Option,
    Reader,
    Storage,
    open_storage,
    print_answer,
    reader_options,
)
from weightsearch.errors import ConfigError

app = typer.Typer()

Checkpoint = Annotated[Path, typer.Argument(help="A checkpoint's folder.")]
Pixels = Annotated[float | None, typer.Option(help="Camera intrinsic, in pixels of the picture.")]


@app.command()
def predict(
    checkpoint: Checkpoint,
    images: Annotated[list[Path], typer.Argument(help="Pictures, videos, folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.npy, NAME.png and a picture.")],
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average with the prediction for the mirrored picture.")
    ] = False,
    views: Annotated[
        bool,
        typer.Option(
            "--views",
            help="Also write NAME_mirrored.npy, for protocols that average both views.",
        ),
    ] = False,
    points: Annotated[
        bool, typer.Option("--points", help="Also write NAME.ply: coloured points, in metres.")
    ] = False,
    fx: Pixels = None,
    fy: Pixels = None,
    cx: Pixels = None,
    cy: Pixels = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="For a video, also write the files of every N-th frame."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Predict depth in metres for pictures, videos and folders: .npy, 16-bit PNG, colours, points.

    Example: weightsearch predict runs/equal kitchen.jpg --out depth/
    """
    from weightsearch.commands.printing import networks
    from weightsearch.depth.inference import predict as prediction
    from weightsearch.depth.inference.point_cloud import Camera
    from weightsearch.runtime import devices

    how = prediction.PredictSettings(mirror, views, points, Camera(fx, fy, cx, cy), every)
    made = prediction.predict(checkpoint, images, out, devices.pick(device, 1)[0], how)
    answer = {"predictions": [_plain(asdict(one)) for one in made]}
    print_answer(answer, as_json, networks.predictions)


@app.command()
def export(
    checkpoint: Checkpoint,
    to: Annotated[Path, typer.Option(help="The file: .onnx, or .pt2 for torch.export.")],
    check: Annotated[
        list[Path] | None,
        typer.Option(help="Pictures or folders to compare on; by default synthetic ones."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a checkpoint as one file for other programs, after comparing it with torch.

    Example: weightsearch export runs/equal --to model.onnx --check pictures/
    """
    from weightsearch.commands.printing import networks
    from weightsearch.depth.inference import export as exports
    from weightsearch.launch.display.progress import display

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing half done stays
    with display("exporting", quiet=as_json) as shown:
        made = exports.export(checkpoint, to, check or (), shown.say)
    print_answer(_plain(asdict(made)), as_json, networks.exported)


@app.command()
def robustness(
    checkpoint: Checkpoint,
    data: Data = None,
    protocol: Annotated[str, typer.Option(help="The evaluation protocol.")] = "full",
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only this many frames, evenly spread.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
    reader: Reader = None,
    option: Option = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure accuracy under blur, noise, brightness, JPEG and lower resolution, five levels each.

    Example: weightsearch robustness runs/equal --data /data/nyu_data --csv robustness.csv
    """
    from weightsearch.commands.answers import network_answers
    from weightsearch.commands.printing import networks
    from weightsearch.depth.evaluation.robustness import write_csv

    found = network_answers.robustness(
        checkpoint,
        data,
        protocol,
        split,
        reader,
        reader_options(option),
        limit,
        device,
        as_json,
    )
    print_answer(found, as_json, networks.robust)
    if csv is not None:
        write_csv(csv, found)


@app.command()
def bench(
    encoders: Annotated[list[str] | None, typer.Argument(help="timm names.")] = None,
    study: Annotated[
        str | None, typer.Option(help="Measure the networks of this study, beside their accuracy.")
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            help="The decoder for every encoder. By default densedepth, or the study's.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="HxW; repeatable. By default 240x320, or the study's.", show_default=False
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="float32, bf16, channels_last, compiled, onnx; repeatable. By default all."
        ),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch size; repeatable. By default 1 and 8.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each measurement, at most.")] = 50,
    device: Device = "auto",
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Measure what networks cost: parameters, MACs, memory, latency, images a second, energy.

    Example: weightsearch bench densenet121 efficientnet_b0 --size 240x320 --size 480x640
    """
    from weightsearch.commands.answers import network_answers
    from weightsearch.commands.printing import networks
    from weightsearch.study import search_space

    sizes = [search_space.picture_size(text) for text in size or ()]
    how = network_answers.BenchSettings(
        sizes, device, repeats, mode or (), batch or (), quiet=as_json
    )
    if study is None:
        answer = network_answers.bench(encoders or (), decoder or "densedepth", how)
    elif encoders or decoder:
        raise ConfigError(
            "`bench` takes encoders, with a --decoder, or a --study with its own, but got both."
        )
    else:
        answer = network_answers.front(open_storage(storage).engine, study, how)
    print_answer(answer, as_json, networks.benched)


def _plain(value: Any) -> Any:
    """Paths as text, however deep."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
