"""Packages that only some commands need, and that are installed with an extra."""

from __future__ import annotations

from importlib.util import find_spec

from weightsearch.errors import ConfigError


def needs(extra: str, *modules: str) -> None:
    """Raises ConfigError, saying how to install them, unless these modules are there."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this needs {', '.join(missing)}, which is not installed; pip install"
            f" 'weightsearch[{extra}]'."
        )
