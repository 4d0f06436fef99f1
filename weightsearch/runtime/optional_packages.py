"""Packages that only some commands need, and that are installed with an extra."""

from __future__ import annotations

from importlib.util import find_spec

from weightsearch.errors import ConfigError


def needs(extra: str, *modules: str) -> None:
    """Raises ConfigError, saying how to install them, unless these modules are there."""
    lacking = missing(*modules)
    if lacking:
        raise ConfigError(
            f"this needs {', '.join(lacking)}, which is not installed; pip install"
            f" 'weightsearch[{extra}]'."
        )


def missing(*modules: str) -> list[str]:
    """Of these, those that cannot be imported. A folder of that name is no package: W&B, for one,
    leaves a `wandb` where it ran."""
    return [name for name in modules if (spec := find_spec(name)) is None or spec.origin is None]
