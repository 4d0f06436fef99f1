"""Commands about what is done to a study while it runs."""

from __future__ import annotations

import typer

app = typer.Typer()
