"""What the numbers in a file of depth mean: metres, parts of them, or depth without a scale.

Programs write depth in many units, and a file seldom says which: KITTI's development kit writes
metres * 256, NYU's tools millimetres, others centimetres, inverse depth or disparity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from weightsearch.errors import ConfigError, did_you_mean

Values = npt.NDArray[np.float32]
Kind = Literal["m", "scaleless", "disparity"]


@dataclass(frozen=True)
class Unit:
    """One meaning of the numbers of a map."""

    told: str
    """In words."""
    kind: Kind
    """What `converted` gives: metres, or what has to be aligned first."""
    per_metre: float = 1.0
    """Steps in a metre, where the numbers are metres or parts of them."""
    inverse: bool = False
    """Whether they are 1 / metres."""

    def converted(self, values: Values) -> Values:
        """Metres, or the values themselves where they have no scale.

        An inverse depth that is not above 0 lies infinitely far.
        """
        if self.inverse:
            far = np.full_like(values, np.inf)
            return np.divide(1, values, out=far, where=~(values <= 0))
        return values if self.per_metre == 1 else values / np.float32(self.per_metre)


UNITS: dict[str, Unit] = {
    "m": Unit("metres", "m"),
    "cm": Unit("centimetres", "m", 100),
    "mm": Unit("millimetres", "m", 1000),
    "m/256": Unit("steps of 1/256 m, as KITTI's PNGs", "m", 256),
    "1/m": Unit("inverse depth, 1 / metres", "m", inverse=True),
    "relative": Unit("depth of unknown scale", "scaleless"),
    "disparity": Unit("inverse depth of unknown scale and shift, as MiDaS'", "disparity"),
}


def check(name: str | None, alignment: str) -> None:
    """Raises ConfigError for an unknown unit, or one without metres that is not aligned."""
    if name is None:
        return
    if name not in UNITS:
        raise ConfigError(f"unknown unit '{name}'; {did_you_mean(name, UNITS)}")
    if UNITS[name].kind != "m" and alignment == "none":
        raise ConfigError(
            f"unit '{name}' ({UNITS[name].told}) says nothing of metres; give --align median or"
            " --align scale-shift too."
        )


def that_fits(ratio: float, unit: str) -> str | None:
    """The unit of metres under which values that are `ratio` times the truth in `unit` would come
    nearest to it, where one comes within half to twice; None where none does, or `unit` itself."""
    fits = {
        name: ratio * UNITS[unit].per_metre / other.per_metre
        for name, other in UNITS.items()
        if other.kind == "m" and not other.inverse and not UNITS[unit].inverse
    }
    near = {name: abs(np.log(now)) for name, now in fits.items() if 0.5 <= now <= 2}
    return min(near, key=lambda name: near[name]) if near else None
