"""The command line as a process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs `weightsearch ARGUMENTS`, with its own home; keyword arguments are its environment."""
