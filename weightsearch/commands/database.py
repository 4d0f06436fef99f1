"""Commands about the database itself: its tables and who may use them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from weightsearch.commands.options import Json, Storage, print_answer
from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder

app = typer.Typer()


@app.command()
def migrate(
    storage: Storage = None,
    worker: Annotated[
        str | None,
        typer.Option(help="A role that may read, insert and update rows, but not delete them."),
    ] = None,
    viewer: Annotated[str | None, typer.Option(help="A role that may only read.")] = None,
    as_json: Json = False,
) -> None:
    """Create or upgrade the tables, as their owner, and grant other roles their rights.

    Example: weightsearch migrate --worker ws_worker --viewer ws_viewer
    """
    from weightsearch.store.administration import migration
    from weightsearch.store.connection import database
    from weightsearch.store.tables import schema

    if worker is not None and worker == viewer:
        raise ConfigError(f"--worker and --viewer must be two roles, but both are '{worker}'.")
    reached = database.resolve(storage, home_folder(), "migrate")
    tables = migration.migrate(reached, worker, viewer)
    database.caution(reached)
    reached.engine.dispose()
    answer = {"version": schema.VERSION, "tables": tables, "worker": worker, "viewer": viewer}
    print_answer(answer, as_json, _migrated)


def _migrated(answer: dict[str, Any]) -> None:
    print(f"{len(answer['tables'])} tables, of schema version {answer['version']}")
    for who, what in (("worker", "read and write"), ("viewer", "read")):
        if answer[who] is not None:
            print(f"role {answer[who]} may {what}")
