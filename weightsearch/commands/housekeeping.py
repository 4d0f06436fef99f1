"""Commands that delete, clean up, back up and restore."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from weightsearch.commands.options import NO, Json, Storage, open_storage, print_answer
from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder
from weightsearch.runtime.safe_text import counted, presentable, size

app = typer.Typer()


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="The study.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Delete even if workers hold points; their work is lost."),
    ] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Remove a study: its points and results, its Optuna studies, its checkpoints, logs and spool.

    Example: weightsearch delete quickstart-grid --yes
    """
    from weightsearch.commands.home import study_files
    from weightsearch.store.ledger import studies

    database, home = open_storage(storage), home_folder()
    study = studies.find(database.engine, name)
    if not yes:
        _show_what_goes(study_files.deletion_preview(home, database, study))
        if not sys.stdin.isatty():
            raise ConfigError("`delete` must be confirmed, but stdin is not a terminal; add --yes.")
        if not typer.confirm("Delete it?", err=True):
            print("nothing was deleted", file=sys.stderr)
            sys.exit(NO)
    print_answer(study_files.delete(home, database, study, force), as_json, _deleted)


def _show_what_goes(found: dict[str, Any]) -> None:
    points, promoted = found["points"], found["promoted_checkpoint"]
    lines = [
        f"study {found['study']}: {points['done']} of {points['total']} points done",
        f"its promoted checkpoint: {promoted}" if promoted else "no promoted checkpoint",
        *(f"{path}" for path in found["files"]),
        f"{size(found['bytes'])} on this machine",
        *(f"{row['path']} stays: it {row['why']}" for row in found["kept"]),
    ]
    if found["undelivered"]:
        lines.append(f"{found['undelivered']} results of it are not in the database yet")
    for line in lines:
        print(presentable(line), file=sys.stderr)


def _deleted(found: dict[str, Any]) -> None:
    print(
        presentable(
            f"deleted: study {found['study']}, {counted(found['points']['total'], 'point')},"
            f" {found['trials']} Optuna trials, {size(found['bytes'])} of files"
        )
    )
    for row in found["kept"]:
        print(presentable(f"{row['path']} stays: it {row['why']}"))
    if found["kept"]:
        print("once that one is gone for good, `weightsearch gc --only-database` removes it")


@app.command()
def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    unused_for: Annotated[
        float, typer.Option(min=0, help="Hours; keep anything used more recently.")
    ] = 1.0,
    only_database: Annotated[
        bool,
        typer.Option(
            "--only-database",
            help="No other database uses this WEIGHTSEARCH_HOME any more.",
        ),
    ] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Remove checkpoints, packs, logs and leftovers that nothing refers to any more.

    Example: weightsearch gc --dry-run
    """
    from weightsearch.commands.home import garbage

    found = garbage.gc(
        home_folder(), open_storage(storage), unused_for * 3600, dry_run, only_database
    )
    print_answer(found, as_json, _collected)


def _collected(found: dict[str, Any]) -> None:
    for row in found["removed"]:
        if row["bytes"]:
            print(presentable(f"{size(row['bytes']):>9}  {row['path']}  {row['why']}"))
    if empty := sum(not row["bytes"] for row in found["removed"]):
        print(f"      0 B  {empty} that are empty (--json names them)")
    for name in found["optuna_studies"]:
        print(presentable(f"           Optuna study '{name}'  its study does not exist"))
    for row in found["kept"]:
        print(presentable(f"     left  {row['path']}  {row['why']}"))
    kinds = ", ".join(f"{kind} {size(count)}" for kind, count in found["kinds"].items() if count)
    freed = "would be freed" if found["dry_run"] else "freed"
    print(f"{size(found['bytes'])} {freed}{f': {kinds}' if kinds else ''}")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A new file.")],
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Write the whole database to one file; workers may keep running.

    Example: weightsearch backup studies.dump
    """
    from weightsearch.store.administration import backup as backups
    from weightsearch.store.connection.database import resolve

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing half done stays
    database = resolve(storage, home_folder(), "backup")
    print_answer(backups.backup(database, file), as_json, _backed_up)


def _backed_up(found: dict[str, Any]) -> None:
    print(presentable(f"{found['file']}: {size(found['bytes'])}, {_contents(found)}"))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file written by `backup`.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the contents of the database.")
    ] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into an empty database; `launch` or `worker` then continue.

    Example: weightsearch restore studies.dump
    """
    from weightsearch.store.administration import backup as backups
    from weightsearch.store.connection.database import resolve

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing half done stays
    database = resolve(storage, home_folder(), "restore")
    print_answer(backups.restore(database, file, force), as_json, _restored)


def _restored(found: dict[str, Any]) -> None:
    print(presentable(f"restored from {found['file']}: {_contents(found)}"))


def _contents(found: dict[str, Any]) -> str:
    return (
        f"{counted(found['studies'], 'study', 'studies')}, {found['done']} of {found['points']}"
        " points done"
    )
