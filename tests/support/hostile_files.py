"""Files that lie about themselves."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np


def png(size: tuple[int, int]) -> bytes:
    """A picture of that many pixels, of which the first few are there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))


def pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def pickled() -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([[Evil()]]), allow_pickle=True)
    return made.getvalue()


def header(shape: str, kind: str = "<f4") -> bytes:
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n")


FUZZ = """
import resource, sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np

from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError

folder, reader, path = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
whole, rng, outcomes = path.read_bytes(), np.random.default_rng(0), Counter()


def read():
    with closing(open_source(reader, folder, {})) as source:
        for i in range(len(source.frames)):
            source.read(i)


def used_mb(line):
    return int(Path("/proc/self/status").read_text().split(line + ":")[1].split()[0]) / 1024


read()
before = used_mb("VmHWM")
limits = {resource.RLIMIT_AS: int(used_mb("VmSize") + 500) << 20, resource.RLIMIT_CPU: 120}
for limit, most in limits.items():
    resource.setrlimit(limit, (most, most))
for _ in range(int(sys.argv[4])):
    mutated = bytearray(whole)
    # What describes the data lies at the beginning of the file.
    for at in rng.integers(rng.choice([3000, len(whole)]), size=rng.integers(1, 20)):
        mutated[at % len(whole)] = rng.integers(256)
    if rng.random() < 0.05:
        del mutated[rng.integers(len(mutated)):]
    path.write_bytes(mutated)
    try:
        read()
        outcomes["read"] += 1
    except DataError as error:
        assert "\\n" not in str(error) and str(error).isprintable(), error
        outcomes["refused"] += 1
print(outcomes["read"], outcomes["refused"], used_mb("VmHWM") - before)
"""


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/weightsearch-was-here",)


def each_is_read_or_refused(place: Path, reader: str, path: Path, number: int) -> None:
    """So many mutations of the file at `path`, read in a process of their own with little memory:
    no crash, nothing but DataError in one line, and less than 200 MB."""
    child = subprocess.run(
        [sys.executable, "-c", FUZZ, str(place), reader, str(path), str(number)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stderr == ""
    read, refused, more_mb = map(float, child.stdout.split())
    assert refused > 0
    assert read + refused == number
    assert more_mb < 200
