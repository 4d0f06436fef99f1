"""Where workers can run: `--on`."""

from __future__ import annotations

from weightsearch.launch.places import local, ray, slurm
from weightsearch.runtime import devices

PLACED = {"local": devices.pick, "ray": ray.placed, "slurm": slurm.placed}
"""One device per worker, from `--device`, `--workers`, and how many devices each takes."""

LAUNCHERS = {"local": local.workers, "ray": ray.workers, "slurm": slurm.workers}
"""Starts workers and replaces those that die; see `launch/places/local.py`."""
