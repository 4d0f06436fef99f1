"""The way to a first study: `init`, `check`, `schema`, `studies`, and `doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from weightsearch.commands.options import (
    DONE,
    NO,
    Csv,
    Data,
    Device,
    Json,
    On,
    Option,
    Reader,
    Sampler,
    Storage,
    StudyFile,
    Trials,
    Wide,
    Workers,
    check_name,
    launch_request,
    open_storage,
    print_answer,
    reader_options,
    table_form,
)
from weightsearch.errors import ConfigError, StorageError, WeightsearchError
from weightsearch.runtime.home import home_folder
from weightsearch.runtime.safe_text import presentable

if TYPE_CHECKING:
    from weightsearch.commands.answers.new_study import Look

Answer = TypeVar("Answer")

SYNTHETIC = "synthetic"

app = typer.Typer()


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The study file to write.")] = Path("study.toml"),
    data: Annotated[
        str | None, typer.Option(help="Path of the data set; 'synthetic' for drawn rooms.")
    ] = None,
    reader: Reader = None,
    option: Option = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="A timm name to try; repeatable.")
    ] = None,
    term: Annotated[list[str] | None, typer.Option(help="A loss term; repeatable.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Wall-clock limit of the search such as 2h; 'none'.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="HxW to train at; by default fits data and device.")
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            help="Start from ImageNet weights; by default if they can be had.", show_default=False
        ),
    ] = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a study file for your data; asks for what no option says, if there is a terminal.

    Example: weightsearch init study.toml --data /data/mine --budget 2h
    """
    from weightsearch.commands.answers import new_study
    from weightsearch.commands.printing import first_steps
    from weightsearch.runtime import devices
    from weightsearch.runtime.atomic_file import write_atomically
    from weightsearch.study import budget as budgets
    from weightsearch.study import planning, search_space

    _check_file(file, force)
    on = devices.pick(device, 1)[0].partition(":")[0]
    options = reader_options(option)

    def look(answer: str) -> Look:
        place = None if answer == SYNTHETIC else Path(answer).expanduser()
        return new_study.look(reader or (SYNTHETIC if place is None else None), place, options)

    def names(check: Callable[[Sequence[str]], None], answer: str) -> list[str]:
        found = answer.replace(",", " ").split()
        check(found)
        return found

    def limit(answer: str) -> str | None:
        return answer if budgets.parse([answer]) else None

    found = _answer("Your data: a folder, a CSV, or 'synthetic'", data, None, look)
    given = ",".join(encoder) if encoder else None
    encoders = _answer(
        "Encoders to try (timm names)",
        given,
        ", ".join(new_study.ENCODERS[on]),
        partial(names, new_study.check_encoders),
    )
    given = ",".join(term) if term else None
    terms = _answer(
        "Terms of the loss",
        given,
        ", ".join(new_study.TERMS),
        partial(names, new_study.check_terms),
    )
    limited = _answer("Time for the search (2h, 30min, none)", budget, new_study.BUDGET, limit)
    wanted = new_study.Wanted(
        encoders=encoders,
        terms=terms,
        budget=limited,
        size=search_space.picture_size(size) if size else new_study.size_for(found.size, on),
        on=on,
        pretrained=pretrained is not False,
    )
    written = new_study.text(found, wanted, file)
    spec = new_study.spec_of(written, file)
    warnings = list(found.warnings)
    if (why := new_study.lacking_weights(spec)) is not None:
        if pretrained:
            raise why
        warnings.append(f"pretrained = false, for now: {why}")
        written = new_study.text(found, replace(wanted, pretrained=False), file)
        spec = new_study.spec_of(written, file)
        new_study.lacking_weights(spec)
    write_atomically(file, written.encode())
    word = new_study.word(file)
    answer = {
        "file": str(file),
        "points": len(planning.plan(spec).points),
        "warnings": warnings,
        "next": [
            f"weightsearch {what}"
            for what in (f"check {word}", f"launch {word} --dry-run", f"launch {word}")
        ],
    }
    print_answer(answer, as_json, first_steps.written)


def _check_file(file: Path, force: bool) -> None:
    if file.suffix != ".toml":
        raise ConfigError(f"a study file must end in .toml, but got '{file}'.")
    check_name("name", file.stem)
    if file.exists() and not force:
        raise ConfigError(f"{file}: must be a new file, but is there already; add --force.")
    if not file.parent.is_dir():
        raise ConfigError(f"{file.parent}: must be a folder, but there is none; create it.")


def _answer(
    question: str, given: str | None, default: str | None, take: Callable[[str], Answer]
) -> Answer:
    """What an option says, or what somebody types, who is asked again; the default without a
    terminal. Raises WeightsearchError for an option that does not hold."""
    if given is None and sys.stdin.isatty():
        while True:
            typed = typer.prompt(question, default=default, err=True)
            try:
                return take(str(typed).strip())
            except WeightsearchError as error:
                print(presentable(str(error)), file=sys.stderr)
    if given is None and default is None:
        raise ConfigError(
            "a study needs data; give --data with a folder or a CSV, or --data synthetic to try it"
            " without any."
        )
    return take(given if given is not None else str(default))


@app.command()
def check(
    study: StudyFile = "quickstart",
    sampler: Sampler = None,
    trials: Trials = None,
    workers: Workers = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="The study's name in the database.")] = None,
    on: On = "local",
    epoch: Annotated[
        bool, typer.Option("--epoch/--no-epoch", help="Train an own objective for one epoch.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Check whether a study can be launched here: file, data, weights, disk, database.

    An own objective trains one epoch in this process, and its traceback is shown; else nothing is
    trained or packed. What it takes is said by `launch --dry-run`. Exit 0, else 3.

    Example: weightsearch check study.toml
    """
    from weightsearch.commands.answers import study_check
    from weightsearch.commands.printing import first_steps
    from weightsearch.study import loading

    check_name("name", name)
    file = loading.study_file(study)
    spec = loading.load(file, {"sampler.kind": sampler, "sampler.trials": trials})
    request = launch_request(on, device, workers, loading.data_path(spec, data), file)
    request = replace(request, name=name or f"{file.stem}-{spec.sampler.kind}")
    found = study_check.check(spec, request, lambda: open_storage(storage), epoch)
    print_answer(found, as_json, first_steps.checked)
    sys.exit(DONE if found.ok else NO)


@app.command()
def studies(
    wide: Wide = False, as_csv: Csv = False, storage: Storage = None, as_json: Json = False
) -> None:
    """List the study files that can be launched, and the studies in the database.

    Example: weightsearch studies
    """
    form = table_form(wide, as_csv, as_json)
    from weightsearch.commands.answers import study_lists
    from weightsearch.commands.printing import first_steps

    files = study_lists.files(Path.cwd())
    try:
        planned = study_lists.planned(open_storage(storage).engine)
    except StorageError:
        if not as_json:
            first_steps.study_files(files)
        raise
    shown = partial(first_steps.studies, form=form)
    print_answer({"files": files, "planned": planned}, as_json, shown)


@app.command()
def doctor(storage: Storage = None, as_json: Json = False) -> None:
    """Say what this machine has and lacks: devices, disk, database, weights, packages.

    Exit 0, or 3 where something is wrong.

    Example: weightsearch doctor
    """
    from weightsearch.commands.answers import findings, machine
    from weightsearch.commands.printing import first_steps

    rows = machine.look(home_folder(), storage)
    ok = findings.all_well(rows)
    answer = {"ok": ok, "rows": [asdict(row) for row in rows]}
    print_answer(answer, as_json, lambda _: first_steps.rows(rows))
    sys.exit(DONE if ok else NO)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file, for editors that complete and check TOML.

    Example: weightsearch schema > study.schema.json
    """
    from weightsearch.commands.answers import study_schema

    print(json.dumps(study_schema.schema(), indent=2))
