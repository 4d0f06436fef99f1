"""`weightsearch dashboard`: browsing the studies."""

from __future__ import annotations

import signal
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from weightsearch.commands.options import Storage, open_storage
from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder

app = typer.Typer()


@app.command()
def dashboard(
    name: Annotated[str | None, typer.Argument(help="The study to open; by default all.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = 8080,
    writable: Annotated[bool, typer.Option("--writable", help="Allow notes to be edited.")] = False,
    bind: Annotated[
        str, typer.Option(help="The address to listen on; change it only in a container.")
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A host name to accept besides localhost, such as a proxy's; repeatable."
        ),
    ] = None,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            help="The folder of an Optuna FileSystemArtifactStore; by default this home's."
        ),
    ] = None,
    storage: Storage = None,
) -> None:
    """Browse the studies with optuna-dashboard: read-only, on this machine only, with a token.

    Prints two addresses: one of the trials, one of the reports. WEIGHTSEARCH_DASHBOARD_TOKEN_FILE
    names a file with a token of your own.

    Example: weightsearch dashboard --port 8080
    """
    if artifacts is None and (home_folder() / "artifacts").is_dir():
        artifacts = home_folder() / "artifacts"
    if artifacts is not None and not artifacts.is_dir():
        raise ConfigError(f"--artifacts must be a folder, but there is no folder {artifacts}.")
    # An entry point, because dashboards/ stands above the commands and imports from them.
    (found,) = entry_points(group="weightsearch.dashboards", name="serve")
    serve = found.load()
    # Before the first connection: a container is stopped by SIGTERM at any time.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        serve(open_storage(storage), port, bind, allowed_host or (), writable, artifacts, name)
