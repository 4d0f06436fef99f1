"""Numbers out of a MATLAB v5 file: as much of the format as lists of indices need.

scipy's reader can crash the process on a damaged file (seen with 1.17: one of 200 mutations), so a
file from somebody else is not given to it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

HEADER = 128
ORDERS = {b"IM": "<", b"MI": ">"}
MATRIX, COMPRESSED = 14, 15
NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""How a number is stored, by the type of its element."""
CLASSES = range(6, 16)
"""Of arrays of numbers; the others are cells, structures, text, sparse arrays and code."""
MAX_UNPACKED = 1 << 22


def numbers(data: bytes) -> dict[str, npt.NDArray[np.float64]]:
    """The file's arrays of real numbers by name, each in MATLAB's order without its shape.

    What else is in the file is passed over. Raises ValueError where it is damaged or no such file.
    """
    order = ORDERS.get(data[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("it does not begin as one")
    found = {}
    for kind, content in _elements(data[HEADER:], order):
        if kind == COMPRESSED:
            kind, content = next(_elements(_unpacked(content), order), (0, b""))
        if kind == MATRIX:
            found.update(_matrix(content, order))
    return found


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, end = at + 8, at + 8 + size
        if kind >> 16:  # up to four bytes, in the place of the size
            kind, start, end = kind & 0xFFFF, at + 4, at + 4 + (kind >> 16)
            if end > at + 8:
                raise ValueError("a small element is too large")
        if end > len(data):
            raise ValueError("an element is cut short")
        yield kind, data[start:end]
        at = end if kind == COMPRESSED else -(-end // 8) * 8


def _unpacked(content: bytes) -> bytes:
    packed = zlib.decompressobj()
    try:
        data = packed.decompress(content, MAX_UNPACKED)
    except zlib.error:
        raise ValueError("a compressed element is damaged") from None
    if packed.unconsumed_tail:
        raise ValueError(f"a compressed element has more than {MAX_UNPACKED} bytes")
    return data


def _matrix(content: bytes, order: str) -> dict[str, npt.NDArray[np.float64]]:
    parts = [part for _, part in zip(range(4), _elements(content, order), strict=False)]
    if len(parts) < 4 or len(parts[0][1]) < 4:
        return {}
    (_, flags), _, (_, name), (kind, values) = parts
    (about,) = struct.unpack_from(f"{order}I", flags)
    is_complex = bool(about & 0x800)
    if about & 0xFF not in CLASSES or is_complex or kind not in NUMBERS:
        return {}
    stored = np.dtype(f"{order}{NUMBERS[kind]}")
    if len(values) % stored.itemsize:
        raise ValueError("an array is cut short")
    return {name.decode("latin-1"): np.frombuffer(values, stored).astype(np.float64)}
