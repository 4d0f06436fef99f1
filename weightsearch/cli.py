"""The command line: each command parses, calls one function, and prints what it returns.

Heavy imports stay inside the commands, so that `weightsearch --help` loads neither torch nor
optuna.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from weightsearch import config
from weightsearch.errors import ConfigError, WeightsearchError

if TYPE_CHECKING:
    from weightsearch.store.database import Database

DONE, STATED_ERROR, USAGE, NO, INTERRUPTED = 0, 1, 2, 3, 130  # exit codes

app = typer.Typer(
    name="weightsearch",
    help="Finds the weights of a multi-term loss, and the encoder to go with them; trains the"
    " winner in full.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Data sets: what is in them, and packing them.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="URL of a PostgreSQL database; without it, WEIGHTSEARCH_STORAGE (where a password"
        " belongs: arguments can be read by others), or the embedded one.",
        show_default=False,
    ),
]
Data = Annotated[Path | None, typer.Option(help="Where the data set lies on this machine.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N.")]
Name = Annotated[str | None, typer.Argument(help="A study's name; the newest without it.")]


def main() -> NoReturn:
    """Runs the command line; a stated error is one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        app(standalone_mode=True)
    except WeightsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(STATED_ERROR)
    sys.exit(DONE)


@app.command()
def launch(
    study: Annotated[str, typer.Argument(help="A file, or the name of one in studies/.")] = (
        "quickstart"
    ),
    sampler: Annotated[str | None, typer.Option(help="grid, random, qmc or tpe.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many points.")] = None,
    seed: Annotated[int | None, typer.Option(help="The sampler's seed.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; one per GPU, or one on the CPU.")
    ] = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="The study's name in the database.")] = None,
    on: Annotated[str, typer.Option(help="Where workers run: local.")] = "local",
    promote: Annotated[bool, typer.Option(help="Train the best in full afterwards.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
    as_json: Json = False,
) -> None:
    """Plan a study (or go on with it), run it, rank it, and train the best in full.

    Example: weightsearch launch quickstart --sampler grid
    """
    from weightsearch import show
    from weightsearch.launch import session
    from weightsearch.launch.local import LAUNCHERS

    if on not in LAUNCHERS:
        raise ConfigError(f"--on must be one of {', '.join(LAUNCHERS)}, but got '{on}'.")
    file = config.study_file(study)
    spec = config.load(
        file,
        {"sampler.kind": sampler, "sampler.trials": trials, "sampler.seed": seed},
    )
    request = session.Request(
        name=name or f"{file.stem}-{spec.sampler.kind}",
        home=config.home(),
        data=data.resolve() if data else None,
        device=device,
        workers=workers,
        on=on,
        promote=promote,
        quiet=quiet,
        path=(str(Path.cwd()), str(file.resolve().parent)),
    )
    _interrupt_on_sigterm()
    try:
        outcome = session.launch(_open(storage), spec, request)
    except KeyboardInterrupt:
        print(
            f"interrupted: study {request.name} is saved; the same command goes on with it.",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
    _print(outcome, as_json, show.launched)


@app.command()
def worker(
    name: Annotated[str, typer.Argument(help="A planned study.")],
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    lease: Annotated[
        float,
        typer.Option(min=1, help="Seconds without a sign of life until a point is taken over."),
    ] = 60.0,
) -> None:
    """Run points of a planned study until none is left, or SIGTERM.

    Example: weightsearch worker paper-grid-grid --data /data/nyu --device cuda:0
    """
    from weightsearch import worker as service
    from weightsearch.launch import devices
    from weightsearch.store import ledger

    database = _open(storage)
    service.run(
        service.Worker(
            database=database,
            study=ledger.find(database.engine, name),
            home=config.home(),
            device=devices.pick(device, 1)[0],
            data=data,
            lease_s=lease,
        )
    )


@app.command()
def status(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """Points by state, workers, the best so far, what failed and why.

    Example: weightsearch status quickstart-grid --json
    """
    from weightsearch import answers, show

    database = _open(storage)
    _print(answers.status(database.engine, name), as_json, show.status)


@app.command()
def verify(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """Exit 0 when every planned point is done exactly once; otherwise 3, and what is not.

    Example: weightsearch verify quickstart-grid
    """
    from weightsearch import answers, show

    found = answers.verify(_open(storage).engine, name)
    _print(found, as_json, show.verified)
    sys.exit(DONE if found["ok"] else NO)


@app.command()
def best(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """The ranking, with intervals.

    Example: weightsearch best quickstart-grid
    """
    from weightsearch import answers, show

    _print(answers.best(_open(storage).engine, name), as_json, show.ranking)


@app.command()
def promote(
    name: Name = None,
    workers: Annotated[int | None, typer.Option(min=1)] = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Train the best configurations in full with fresh seeds, compare them, mark the winner.

    Example: weightsearch promote paper-grid-grid --data /data/nyu
    """
    from weightsearch import show
    from weightsearch.launch import session
    from weightsearch.store import ledger

    database = _open(storage)
    study = ledger.find(database.engine, name)
    request = session.Request(
        name=study.name,
        home=config.home(),
        data=data.resolve() if data else None,
        device=device,
        workers=workers,
        path=(str(Path.cwd()),),
    )
    _interrupt_on_sigterm()
    try:
        verdict = session.promote_study(database, study, request)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    _print(verdict, as_json, show.promoted)


@app.command()
def train(
    study: Annotated[str, typer.Argument(help="A study file that describes one configuration.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and metrics.")],
    data: Data = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """One run outside a study: train a configuration, evaluate it on the test split.

    Example: weightsearch train first-equal --data /data/nyu --out runs/equal
    """
    from weightsearch import show
    from weightsearch import train as training
    from weightsearch.launch import devices

    spec = config.load(config.study_file(study))
    placed = devices.pick(device, 1)[0]
    summary: dict[str, Any] = {}
    for kind, found in training.train(spec, config.home(), data, placed, out):
        print(show.epoch(kind, found, spec), file=sys.stderr)
        summary[kind] = found.metrics | {"images": found.images}
    _print({"out": str(out), **summary}, as_json, show.trained)


@app.command()
def evaluate(
    checkpoint: Annotated[Path | None, typer.Argument(help="A checkpoint's folder.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Folder of NAME.npy (metres) or 16-bit NAME.png (mm).")
    ] = None,
    data: Data = None,
    protocol: Annotated[str, typer.Option(help="How predictions become numbers.")] = "full",
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    reader: Annotated[str | None, typer.Option(help="The data's reader; else found out.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Score what is there.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a checkpoint, or a folder of predictions made by anything, by a named protocol.

    Example: weightsearch evaluate --predictions mine/ --data /data/nyu_data --protocol full
    """
    from weightsearch import answers, show

    if (checkpoint is None) == (predictions is None):
        raise ConfigError("`evaluate` needs either a checkpoint or --predictions, not both.")
    found = answers.evaluation(
        checkpoint, predictions, data, protocol, split, reader, partial, device
    )
    _print(found, as_json, show.evaluation)


@app.command()
def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint's folder.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.npy, NAME.png and a picture.")],
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Depth in metres for pictures: float32 .npy, 16-bit PNG in mm, and a coloured picture.

    Example: weightsearch predict runs/equal kitchen.jpg --out depth/
    """
    from weightsearch import show
    from weightsearch.depth import predict as prediction
    from weightsearch.launch import devices

    made = prediction.predict(checkpoint, images, out, devices.pick(device, 1)[0])
    files = [{name: _plain(value) for name, value in vars(one).items()} for one in made]
    _print({"predictions": files}, as_json, show.predictions)


@data_app.command("inspect")
def data_inspect(
    path: Annotated[Path | None, typer.Argument(help="Where the data set lies.")] = None,
    reader: Annotated[str | None, typer.Option(help="Its reader; else found out.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Reader option KEY=VALUE.")] = None,
    as_json: Json = False,
) -> None:
    """What is in a data set: frames by split, sizes, depth range.

    Example: weightsearch data inspect /data/nyu_data --json
    """
    from weightsearch import show
    from weightsearch.data import inspect, readers

    reader = reader or readers.detect(path)
    _print(inspect.inspect(reader, path, _options(option)), as_json, show.inspected)


@data_app.command("pack")
def data_pack(
    path: Annotated[Path | None, typer.Argument(help="Where the data set lies.")] = None,
    reader: Annotated[str | None, typer.Option(help="Its reader; else found out.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Reader option KEY=VALUE.")] = None,
    as_json: Json = False,
) -> None:
    """Pack a data set into one HDF5 file under WEIGHTSEARCH_HOME; training does it by itself.

    Example: weightsearch data pack /data/nyu_depth_v2_labeled.mat --option depths=raw
    """
    from weightsearch import show
    from weightsearch.data import pack, readers
    from weightsearch.launch.progress import display

    reader = reader or readers.detect(path)
    with display("packing", as_json) as shown:
        made = pack.ensure(
            reader,
            path,
            _options(option),
            config.home(),
            lambda done, total: shown.count(done, total, "frames"),
        )
    with pack.Pack(made) as opened:
        facts = {"pack": str(made), "frames": len(opened.names), "digest": opened.digest}
        facts["skipped"] = list(opened.skipped)
    _print(facts, as_json, show.facts)


@app.command()
def dashboard(
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 8080,
    storage: Storage = None,
) -> None:
    """Browse the studies with optuna-dashboard, read-only, on this machine only.

    Example: weightsearch dashboard --port 8080
    """
    from dashboards import front

    front.serve(_open(storage).url, port)


def _open(storage: str | None) -> Database:
    from weightsearch.store.database import open_database

    return open_database(storage, config.home())


def _interrupt_on_sigterm() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _options(given: list[str] | None) -> dict[str, config.Value]:
    """`half_step=false` as reader options: true, false, numbers, else text."""
    found: dict[str, config.Value] = {}
    for text in given or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--option must read KEY=VALUE, but got '{text}'.")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _print(answer: dict[str, Any], as_json: bool, pretty: Any) -> None:
    if as_json:
        print(json.dumps(answer, allow_nan=False))
    else:
        pretty(answer)
