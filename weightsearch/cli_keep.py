"""Commands about what is kept and what is removed."""

from __future__ import annotations

import typer

app = typer.Typer()
