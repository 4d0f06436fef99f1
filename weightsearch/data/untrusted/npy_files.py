"""Arrays out of .npy files that somebody else wrote."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from weightsearch.data.untrusted.picture_files import DAMAGED, MAX_PIXELS
from weightsearch.errors import DataError
from weightsearch.runtime.safe_text import presentable

MAX_HEADER = 10_000


def array(data: bytes, where: str) -> npt.NDArray[Any]:
    """The numbers of a .npy file: booleans, integers or floats, on at most 3 axes.

    Raises DataError for pickled objects, for a header that promises another size than the file
    has, and for anything else that is no such file.
    """
    try:
        file = io.BytesIO(data)
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"its version is {version}")
        shape, is_fortran, dtype = read(file, max_header_size=MAX_HEADER)
        if dtype.kind not in "buif" or len(shape) > 3 or not all(side > 0 for side in shape):
            raise ValueError(f"it holds {dtype} of shape {shape}")
        count = math.prod(shape)
        if count > MAX_PIXELS or count * dtype.itemsize != len(data) - file.tell():
            raise ValueError(f"its header promises shape {shape}")
        flat = np.frombuffer(data, dtype, count, file.tell())
        return flat.reshape(shape, order="F" if is_fortran else "C")
    except (*DAMAGED, RecursionError) as error:
        reason = presentable((str(error) or type(error).__name__).splitlines()[0].rstrip("."))
        raise DataError(
            f"{where}: must be a whole .npy file of numbers, but {reason[:200]}."
        ) from None
