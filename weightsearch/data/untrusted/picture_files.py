"""Opening pictures that somebody else made: of a few kinds, of a bounded size, or one line."""

from __future__ import annotations

import io
import struct
import tokenize
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from weightsearch.errors import DataError
from weightsearch.runtime.safe_text import presentable

# A picture too large to be decoded is an error of ours, not a warning beside it. Pillow's
# documentation advises this, and it holds for the whole process.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

MAX_PIXELS = 1 << 24
"""Of a frame: twice 4K. Decoding one takes less than 200 MB."""
DAMAGED = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises over a damaged picture, and numpy over a damaged .npy file."""
MEND = "restore the file, or leave it out."


@contextmanager
def opened(
    source: Path | io.BytesIO,
    formats: Sequence[str],
    where: str,
    law: str,
    most: int = MAX_PIXELS,
) -> Iterator[Image.Image]:
    """The picture, for reading pixels in the block; `law` is how an error says what it must be.

    `formats` are Pillow's names. Others are not tried: some of Pillow's start programs, as that of
    PostScript does. Raises DataError, also for what goes wrong with the picture in the block.
    """
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise ValueError("it is no file")  # a pipe would keep its reader waiting for ever
        with Image.open(source, formats=tuple(formats)) as picture:
            if picture.width * picture.height > most:
                raise ValueError(f"it has more than {most} pixels")
            yield picture
    except UnidentifiedImageError:
        raise DataError(
            f"{where}: must be {law}, but is damaged or something else; {MEND}"
        ) from None
    except DAMAGED as error:
        told = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = presentable(told.splitlines()[0].rstrip("."))
        raise DataError(f"{where}: must be {law}, but {reason}; {MEND}") from None
