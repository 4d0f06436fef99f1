"""Small sets of a user's own frames, in the forms in which people have them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from support.data_layouts import Array, save
from weightsearch.study.spec_fields import Value

FRAMES = 12
SIZE = (6, 8)
Names = Sequence[str]
NUMBERED = tuple(f"{k:04d}" for k in range(FRAMES))


@dataclass(frozen=True)
class Case:
    """A set, and what must come of it."""

    write: Callable[[Path], Path]
    """Writes it below a folder; gives what a user would name."""
    names: Names = NUMBERED
    """Of the frames in their order, without `rgb/`."""
    sides: Mapping[str, int] = field(default_factory=lambda: {"train": FRAMES})
    """Frames by split."""
    groups: Names = ()
    """Where they are not runs."""
    said: str = ""
    """In a note."""
    warned: str = ""
    """In a warning."""
    refused: str = ""
    """In the error, where the set cannot be read."""
    options: Mapping[str, Value] = field(default_factory=dict)


def frames(root: Path, names: Names = NUMBERED) -> Path:
    """Pictures of the colour k + 1, and depth of k + 1 m in millimetres."""
    for k, name in enumerate(names):
        save(root / "rgb" / f"{name}.png", np.full((*SIZE, 3), k + 1, np.uint8))
        depth = np.full(SIZE, 1000 * (k % 9 + 1), np.uint16)
        depth[0, 0] = 500  # no constant map
        save(root / "depth" / f"{name}.png", depth)
    return root


ROWS = tuple(f"rgb/{k:04d}.png,depth/{k:04d}.png" for k in range(FRAMES))


def listing(
    head: Names = ("rgb,depth",),
    rows: Names = ROWS,
    tail: Names = (),
    newline: str = "\n",
    encoding: str = "utf-8",
    change: Callable[[str], str] = lambda row: row,
) -> Callable[[Path], Path]:
    """A table beside the frames; `change` is applied to each row."""

    def write(root: Path) -> Path:
        frames(root)
        lines = [*head, *map(change, rows), *tail]
        table = root / "frames.csv"
        table.write_bytes(newline.join(lines).encode(encoding))
        return table

    return write


def litter(root: Path) -> Path:
    frames(root)
    for part in ("rgb", "depth"):
        (root / part / "._0000.png").write_bytes(b"\0\5\x16\7Mac OS X")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "rgb/Thumbs.db").write_bytes(b"x")
    for place in ("rgb/.ipynb_checkpoints", "rgb/@eaDir", "__MACOSX/rgb", ".Trash-0/rgb"):
        save(root / place / "0000-checkpoint.png", np.zeros((*SIZE, 3), np.uint8))
    return root


def levels(*places: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        for place in places:
            frames(root / place)
        return root

    return write


def capitals(root: Path) -> Path:
    frames(root)
    (root / "rgb").rename(root / "RGB")
    (root / "depth").rename(root / "Depth")
    return root


def named(names: Names) -> Callable[[Path], Path]:
    return lambda root: frames(root, names)


def modes(root: Path) -> Path:
    frames(root)
    for k, mode in enumerate(["LA", "P", "1", "RGBA", "L", "CMYK"] * 2):
        path = root / f"rgb/{k:04d}.png"
        with Image.open(path) as picture:
            turned = picture.convert(mode)
        if mode == "CMYK":  # which PNG does not have
            path.unlink()
            path = path.with_suffix(".jpg")
        turned.save(path)
    return root


def depth_is(values: Callable[[], Array], suffix: str = ".npy") -> Callable[[Path], Path]:
    """One depth map replaced."""

    def write(root: Path) -> Path:
        frames(root)
        (root / "depth/0003.png").unlink()
        place = root / f"depth/0003{suffix}"
        np.save(place, values()) if suffix == ".npy" else save(place, values())
        return root

    return write


def half() -> Array:
    odd: Array = np.indices(SIZE).sum(0) % 2 == 1
    return odd


def grey16(root: Path) -> Path:
    frames(root)
    save(root / "rgb/0003.png", np.full(SIZE, 3000, np.uint16))
    return root


def accents(root: Path) -> Path:
    """Letters and accents apart on the disk, as macOS has them; together in the table."""
    frames(root, [unicodedata.normalize("NFD", f"é{k}") for k in range(2)])
    rows = [f"rgb/é{k}.png,depth/é{k}.png" for k in range(2)]
    table = root / "frames.csv"
    table.write_text("\n".join(["rgb,depth", *rows]), encoding="utf-8")
    return table


def umlauts(root: Path) -> Path:
    frames(root, ["Küche0", "Küche1"])
    rows = [f"rgb/Küche{k}.png;depth/Küche{k}.png" for k in range(2)]
    table = root / "frames.csv"
    table.write_text("\n".join(["rgb;depth", *rows]), encoding="cp1252")
    return table


def elsewhere(root: Path) -> Path:
    frames(root / "set")
    (root / "lists").mkdir()
    rows = [",".join(f"{root}/set/{part}" for part in row.split(",")) for row in ROWS]
    (root / "lists/frames.csv").write_text("\n".join(["rgb,depth", *rows]))
    return root / "lists/frames.csv"


def absolute(root: Path) -> Path:
    return listing(change=lambda row: ",".join(f"{root}/{part}" for part in row.split(",")))(root)


def many_faults(root: Path) -> Path:
    rows = [*(f"rgb/no{k}.png,depth/0000.png,train" for k in range(9)), "../a.png,b.png,train"]
    rows += [f"{ROWS[0]},train", f"{ROWS[0]},test", f"{ROWS[1]},maybe", f"{ROWS[2]},0"]
    return listing(("rgb,depth,split",), rows)(root)


def quoted(row: str) -> str:
    return ", ".join(f'"{cell}"' for cell in row.split(","))


UNPADDED = tuple(str(k + 1) for k in range(30))
SHUFFLED = tuple(str(k) for k in range(1, 31, 2)) + tuple(str(k) for k in range(2, 31, 2))
WORDS = ("Train", "training set", "dev", "VAL_SPLIT", "Testing", "validate", "evaluation", "tst")
CASES: dict[str, Case] = {
    "plain": Case(frames),
    "unpadded": Case(
        named(UNPADDED), UNPADDED, {"train": 30}, ["train/run_000"] * 15 + ["train/run_001"] * 15
    ),
    "litter": Case(litter),
    "narrow space": Case(
        named([f"Screenshot at 1.{k:02d}.00\u202fPM" for k in range(3)]),
        [f"Screenshot at 1.{k:02d}.00\u202fPM" for k in range(3)],
        {"train": 3},
    ),
    "two levels": Case(
        levels("kitchen", "my office"),
        [f"{scene}/rgb/{k:04d}" for scene in ("kitchen", "my office") for k in range(FRAMES)],
        {"train": 24},
        ["kitchen"] * FRAMES + ["my office"] * FRAMES,
    ),
    "modes": Case(modes, said="2 of mode 1, 2 of mode CMYK, 2 of mode L, 2 of mode LA"),
    "boolean depth": Case(depth_is(half), refused="0003.npy: depth must be numbers of a length"),
    "semicolons": Case(
        listing(("rgb;depth",), change=lambda row: row.replace(",", ";")), said="by semicolons"
    ),
    "absolute": Case(absolute, said="absolute paths are taken relative to"),
    "backslashes": Case(
        listing(change=lambda row: row.replace("/", "\\")), said="backslashes are read as slashes"
    ),
    "comments": Case(listing(("# my frames, all", "rgb,depth")), said="start with # are left out"),
    "blank lines": Case(
        listing(tail=("", "  ", ",,", ""), newline="\r\n", encoding="utf-8-sig")
    ),
    "header in capitals": Case(listing(("RGB, Depth",)), said="capitals in the header"),
    "dev": Case(
        listing(
            ("rgb,depth,split",),
            [f"{row},{'dev' if k > 8 else 'train'}" for k, row in enumerate(ROWS)],
        ),
        sides={"train": 9, "test": 3},
    ),
    # Beyond the fourteen
    "tabs": Case(listing((), change=lambda row: row.replace(",", "\t")), said="by tabs"),
    "bars": Case(listing((), change=lambda row: row.replace(",", " | ")), said="by bars"),
    "blanks": Case(listing((), change=lambda row: row.replace(",", "  ")), said="by blanks"),
    "excel": Case(
        listing(("sep=;", "rgb;depth"), newline="\r\n", change=lambda row: row.replace(",", ";"))
    ),
    "quotes": Case(listing(('"rgb", "depth"',), change=quoted)),
    "old macs": Case(listing(newline="\r")),
    "columns behind a hash": Case(
        listing(("# depth,rgb",), change=lambda row: ",".join(row.split(",")[::-1]))
    ),
    "utf-16": Case(listing(encoding="utf-16")),
    "utf-16 without a mark": Case(listing(encoding="utf-16-le")),
    "utf-16 the other way round": Case(listing(encoding="utf-16-be")),
    "utf-32": Case(listing(encoding="utf-32")),
    "windows-1252": Case(
        umlauts, ["Küche0", "Küche1"], {"train": 2}, warned="was read as Windows-1252"
    ),
    "accents apart": Case(
        accents, [unicodedata.normalize("NFD", f"é{k}") for k in range(2)], {"train": 2}
    ),
    "the same line twice": Case(
        listing(rows=(*ROWS, ROWS[3], ROWS[3])),
        warned="frames.csv: 2 repeats of earlier lines left out: line 14; also line 15.",
    ),
    "one picture with two depths": Case(
        listing(rows=(*ROWS, "rgb/0003.png,depth/0004.png")),
        refused="frames.csv:14: a picture must have one depth, split and group, but is 'rgb/0003",
    ),
    "words for splits": Case(
        listing((), [f"{row},{word}" for row, word in zip(ROWS, WORDS, strict=False)]),
        [f"{k:04d}" for k in (0, 1, 2, 3, 4, 5, 6, 7)],
        {"train": 2, "test": 6},
    ),
    "numbers for splits": Case(
        listing((), [f"{row},{k % 2}" for k, row in enumerate(ROWS)]),
        refused="a split must be one of train, training",
    ),
    "columns of other names": Case(
        listing(("image,depth_mm",)), refused="a header must name the columns 'rgb' and 'depth'"
    ),
    "folders in capitals": Case(capitals, [f"RGB/{name}" for name in NUMBERED]),
    "folders of splits": Case(
        levels("train/hall", "train/lab", "test/yard"),
        [
            f"{scene}/rgb/{k:04d}"
            for scene in ("test/yard", "train/hall", "train/lab")
            for k in range(FRAMES)
        ],
        {"train": 24, "test": 12},
        ["test/run_000"] * FRAMES + ["hall"] * FRAMES + ["lab"] * FRAMES,
        said="folders that have the name of a split give it: test (test), train (train).",
    ),
    "copies further down": Case(
        lambda root: frames(frames(root) / "old").parent, warned="12 pictures in other folders"
    ),
    "a listing beside folders": Case(
        lambda root: listing()(root).parent, warned="frames.csv is not read"
    ),
    "another root": Case(elsewhere, options={"root": "../set"}, said="relative to"),
    "a mask of 8 bits": Case(
        depth_is(lambda: half().astype(np.uint8) * 255, ".png"), refused="as a mask does"
    ),
    "grey of 16 bits": Case(grey16, refused="0003.png: must be 8-bit colour or grey"),
    "many faults": Case(
        many_faults,
        refused="each listed file must be there, but line 2 has 'rgb/no0.png', line 3 has",
    ),
}  # fmt: skip
