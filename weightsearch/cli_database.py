"""Commands about the database itself: its tables and who may use them."""

from __future__ import annotations

import typer

app = typer.Typer()
