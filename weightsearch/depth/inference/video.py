"""Videos frame by frame, read and written with PyAV (FFmpeg), which is an extra."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weightsearch.depth.files.input_pictures import MAX_PIXELS, VIDEOS, Rgb
from weightsearch.errors import DataError
from weightsearch.runtime.optional_packages import needs
from weightsearch.runtime.safe_text import presentable

if TYPE_CHECKING:
    import av

RATE = 25
"""Frames a second where a video does not tell."""


def check(path: Path) -> None:
    """Raises DataError unless the first frame can be decoded; ConfigError without PyAV."""
    with closing(_frames(path)) as frames:
        next(frames)


def convert(source: Path, to: Path, paint: Callable[[int, Rgb], Rgb], comment: str) -> int:
    """Writes `paint(number, rgb)` of each frame, from 0, as an H.264 video; how many there were.

    Frames keep their upright size and their times; sound is left out. `paint` keeps the size. The
    file is whole or not there. Raises DataError for a damaged video or a file that cannot be
    written.
    """
    import av

    staging = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    number = 0
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with av.open(staging, "w", format="mp4") as output:
            output.metadata["comment"] = comment
            stream, last = None, -1
            for number, frame in enumerate(_frames(source)):
                rgb = frame.rgb
                if stream is None:
                    stream = output.add_stream("libx264", rate=frame.rate)
                    stream.height, stream.width = rgb.shape[:2]
                    # Every player takes colour at half the resolution, which needs even sides.
                    even = rgb.shape[0] % 2 == rgb.shape[1] % 2 == 0
                    stream.pix_fmt = "yuv420p" if even else "yuv444p"
                    stream.codec_context.time_base = frame.time_base
                elif rgb.shape[:2] != (stream.height, stream.width):
                    raise DataError(
                        f"{source}: frames must be of one size, but frame {number} has"
                        f" {rgb.shape[0]}x{rgb.shape[1]}."
                    )
                made = av.VideoFrame.from_ndarray(paint(number, rgb), format="rgb24")
                last = max(last + 1, frame.pts if frame.pts is not None else 0)
                made.pts, made.time_base = last, frame.time_base
                output.mux(stream.encode(made))
            assert stream is not None, "a video without frames is refused"
            output.mux(stream.encode())
        with staging.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(staging, to)
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{to}: cannot be written ({error.strerror or error}).") from None
    finally:
        staging.unlink(missing_ok=True)
    return number + 1


class _Frame:
    """A decoded frame, upright, with what its copy needs to be shown at the same time."""

    def __init__(self, frame: av.VideoFrame, rate: Fraction) -> None:
        turns = round(frame.rotation / 90)
        upright = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        self.rgb: Rgb = upright.astype(np.uint8, order="C")
        self.pts, self.rate = frame.pts, rate
        self.time_base = frame.time_base or 1 / rate


def _frames(path: Path) -> Generator[_Frame]:
    """Raises DataError for what is no video, has no frame, or is damaged."""
    needs("use", "av")
    import av

    law = f"{path}: must be a video ({', '.join(VIDEOS)})"
    if not path.is_file():
        raise DataError(f"{law}, but there is no such file.")
    found = False
    try:
        # Only this file, whatever it says of others.
        options = {"protocol_whitelist": "file"}
        known = VIDEOS[path.suffix.lower()]
        with av.open(str(path), "r", format=known, options=options) as container:
            if not container.streams.video:
                raise DataError(f"{law}, but has no picture, only sound.")
            stream = container.streams.video[0]
            if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
                raise DataError(f"{law}, but has more than {MAX_PIXELS} pixels a frame.")
            for frame in container.decode(stream):
                found = True
                yield _Frame(frame, stream.average_rate or Fraction(RATE))
    except (av.error.FFmpegError, OSError) as error:
        reason = presentable(str(error.strerror or error))
        raise DataError(f"{law}, but is damaged or something else ({reason}).") from None
    if not found:
        raise DataError(f"{law}, but has no frame.")
