"""How much a search may cost: points, wall-clock time, device time.

A budget is charged when a point is claimed, with what a point has cost on average so far: a fleet
does not overshoot it by a point per worker. Promotion runs are not charged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from weightsearch.errors import ConfigError

NONE = "none"
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Budget:
    points: int | None = None
    """So many points are begun."""
    seconds: float | None = None
    """Wall-clock, from the launch that set it."""
    device_seconds: float | None = None
    """Of all workers together, failed and lost attempts included."""

    def plain(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def parse(parts: Sequence[str]) -> Budget | None:
    """`2h`, `100 points`, `8 device-h`, and any of them together; None where there is none, or
    where it is `none`, which lifts that of a study file.

    Raises ConfigError.
    """
    if list(parts) == [NONE]:
        return None
    found: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(points?|(?:device-)?(?:s|min|h|d))\s*", part)
        if match is None or float(match[1]) <= 0:
            raise ConfigError(
                "a budget must be like 2h, 30min, '100 points', '8 device-h' or none, but got"
                f" {part!r}."
            )
        number, unit = float(match[1]), match[2]
        if unit.startswith("point"):
            found["points"] = number
        elif unit.startswith("device-"):
            found["device_seconds"] = number * UNITS[unit.removeprefix("device-")]
        else:
            found["seconds"] = number * UNITS[unit]
    if not found:
        return None
    if not found.get("points", 1.0).is_integer():
        raise ConfigError("a budget of points must be a whole number.")
    points = found.pop("points", None)
    return Budget(points=None if points is None else int(points), **found)
