"""Hostile files, and what `weightsearch` may say to them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from support.command_runs import Run, run_all
from support.hostile_files import png
from support.saved_network import save_network


@dataclass(frozen=True)
class Hostile:
    """A file, what is asked about it, and what the one line must say."""

    make: Callable[[Path], list[object]]
    """Makes it in a folder of its own; the arguments of `weightsearch`."""
    says: str
    """A regular expression."""


# Pictures and folders


def picture(kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(made, kind, **options)
    return made.getvalue()


def swollen() -> bytes:
    """With a text that unpacks to far more than the picture has."""
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "x" * (8 << 20), zip=True)
    return picture("PNG", pnginfo=text)


PICTURES = {
    "a picture of 3.6 gigapixels": (lambda: png((60000, 60000)), r"\(3600000000 pixels\) exceeds"),
    "a picture of 65 megapixels": (lambda: png((8192, 8000)), "has more than 16777216 pixels"),
    "a picture that stops": (lambda: picture("PNG")[:60], "but"),
    "PostScript": (lambda: picture("EPS"), "is damaged or something else; restore the file, or"),
    "a GIF": (lambda: picture("GIF"), "is damaged or something else"),
    "markup": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is damaged or something"),
    "a swollen text": (swollen, "Decompressed data too large"),
}


def predicting(folder: Path, image: Path) -> list[object]:
    checkpoint = save_network(folder / "run")
    return ["predict", checkpoint, image, "--out", folder / "out", "--device", "cpu"]


def check(hostile: Hostile, folder: Path) -> None:
    """What `weightsearch` says to it is one line, and it does nothing else."""
    arguments = hostile.make(folder)
    (found,) = run_all([Run(arguments, {"WEIGHTSEARCH_HOME": str(folder / "home")})], folder)
    assert found.code == 1, found
    *before, line = found.err.split("\n")[:-1]
    assert all(re.fullmatch(r"packing: \d/\d frames", other) for other in before), found.err
    assert line.startswith("error: ")
    assert line.isprintable()
    assert re.search(hostile.says, line), line
    assert found.out == ""
    assert "root:" not in line
    assert not (folder / "out").exists()
    # The data that predictions are compared with are in order, and packed.
    packs = [path.suffix for path in folder.glob("home/packs/*")]
    assert packs == ([".h5"] if (folder / "mine").exists() else [])
    assert not Path("/tmp/weightsearch-was-here").exists()
