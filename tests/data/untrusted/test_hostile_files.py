"""Files made to do harm get one line: nothing outside is read, nothing swells, nothing is written.

`HOSTILE` holds one way each in which a file can be hostile, and what `weightsearch` answers to it.
"""

from __future__ import annotations

import ast
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.command_runs import Run, Said, run_all
from support.data_sets import Csv, Labeled
from support.depth_studies import depth_spec
from support.hostile_files import FUZZ, Evil, header, npy, pickled, pipe, png
from support.paths import ROOT
from support.processes import Cli
from support.saved_network import save_network

from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.study import planning

SHAPE = (6, 32, 24)
SECRET = "/etc/passwd"


@dataclass(frozen=True)
class Hostile:
    """A file, what is asked about it, and what the one line must say."""

    make: Callable[[Path], list[object]]
    """Makes it in a folder of its own; the arguments of `weightsearch`."""
    says: str
    """A regular expression."""


# HDF5


def mat(change: Callable[[Labeled, h5py.File], object]) -> Callable[[Path], list[object]]:
    """A labelled .mat in which something was changed."""

    def make(folder: Path) -> list[object]:
        labeled = Labeled(folder / "set").write()
        with h5py.File(labeled.mat, "r+") as file:
            change(labeled, file)
        return ["data", "inspect", labeled.mat]

    return make


def in_place_of(name: str, **dataset: Any) -> Callable[[Path], list[object]]:
    return mat(lambda labeled, file: (file.pop(name), file.create_dataset(name, **dataset)))


def linked(link: Callable[[Path], Any]) -> Callable[[Path], list[object]]:
    def change(labeled: Labeled, file: h5py.File) -> None:
        other = Labeled(labeled.folder.parent / "other").write()
        del file["depths"]
        file["depths"] = link(other.mat)

    return mat(change)


def virtual(labeled: Labeled, file: h5py.File) -> None:
    other = Labeled(labeled.folder.parent / "other").write()
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(str(other.mat), "depths", SHAPE)
    del file["depths"]
    file.create_virtual_dataset("depths", layout)


def grouped(labeled: Labeled, file: h5py.File) -> None:
    del file["depths"]
    file.create_group("depths")


def scene(data: Any = None, **dataset: Any) -> Callable[[Path], list[object]]:
    """The name of one scene lies in this dataset."""

    def change(labeled: Labeled, file: h5py.File) -> None:
        made = file.create_dataset("x", data=data, **dataset)
        file["scenes"][0, 2] = made.ref

    return mat(change)


def codes(text: str) -> Any:
    return np.array([[ord(c)] for c in text], dtype=np.uint16)


def cut_mat(folder: Path) -> list[object]:
    labeled = Labeled(folder / "set").write()
    os.truncate(labeled.mat, labeled.mat.stat().st_size // 2)
    return ["data", "inspect", labeled.mat]


HDF5 = {
    "external storage": Hostile(
        in_place_of("depths", shape=SHAPE, dtype="f4", external=[(SECRET, 0, 18432)]),
        "'depths' must hold its own data, but points to another file",
    ),
    "external storage of a scene's name": Hostile(
        scene(shape=(4, 1), dtype="u2", external=[(SECRET, 0, 8)]), "points to another file"
    ),
    "external link": Hostile(
        linked(lambda other: h5py.ExternalLink(str(other), "depths")), "but is a link or a group"
    ),
    "soft link": Hostile(linked(lambda _: h5py.SoftLink("/rawDepths")), "but is a link"),
    "virtual dataset": Hostile(mat(virtual), "points to another file or dataset"),
    "group": Hostile(mat(grouped), "but is a link or a group"),
    "one huge chunk": Hostile(
        in_place_of(
            "depths",
            shape=SHAPE,
            dtype="f4",
            maxshape=(None,) * 3,
            chunks=(1, 8000, 8000),
            compression="gzip",
        ),
        r"plausible size, but promises 18432 bytes \(256000000 at a time\)",
    ),
    "gzip bomb": Hostile(
        in_place_of(
            "depths",
            data=np.zeros((20, 640, 480), "f4"),
            chunks=(1, 640, 480),
            compression="gzip",
            compression_opts=9,
        ),
        "'depths' must be data of a plausible size, but promises 24576000 bytes",
    ),
    "nothing stored": Hostile(
        in_place_of("images", shape=(20000, 3, 640, 480), dtype="u1", chunks=(1, 3, 640, 480)),
        "'images' must be data of a plausible size",
    ),
    "foreign filter": Hostile(
        in_place_of("depths", shape=SHAPE, dtype="f4", chunks=SHAPE, scaleoffset=3),
        "compressed by gzip or lzf, but is not",
    ),
    "records": Hostile(in_place_of("depths", shape=SHAPE, dtype="f4,f4"), "must hold floats"),
    "text of any length": Hostile(
        in_place_of("scenes", data=[["a"] * 6], dtype=h5py.string_dtype()),
        "'scenes' must refer to 6 strings",
    ),
    "cut short": Hostile(cut_mat, "it cannot be opened"),
    "a name that clears the screen": Hostile(
        scene(codes("\x1b[2Jroom")), r"letters that can be shown, but is '\\x1b\[2Jroom'"
    ),
    "a name beyond Unicode": Hostile(
        scene(np.full((3, 1), 2**31, dtype=np.uint32)), "letters that can be shown"
    ),
    "a name of a megabyte": Hostile(
        scene(np.full((1 << 20, 1), 65, dtype=np.uint8)), "at most 1000 characters"
    ),
}


# Lists and archives


def lists(name: str) -> Callable[[Path], list[object]]:
    """A list with this in the place of a depth image."""

    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        csv.list("train", [*csv.train, (csv.train[0][0], name)])
        return ["data", "inspect", csv.root]

    return make


def member(write: Callable[[zipfile.ZipFile, str], object]) -> Callable[[Path], list[object]]:
    """A zip whose first training depth is what `write` makes of it."""

    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        (csv.root / csv.train[0][1]).unlink()
        path = csv.zip()
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            write(archive, csv.train[0][1])
        return ["data", "inspect", path]

    return make


def duplicate(archive: zipfile.ZipFile, name: str) -> None:
    archive.writestr(name, b"one")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(name, b"another")


def patched(change: Callable[[bytearray, int, int], object]) -> Callable[[Path], list[object]]:
    """A zip whose first training depth has changed headers: where the local one lies, and the
    central one."""

    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        path, name = csv.zip(), csv.train[0][1].encode()
        data = bytearray(path.read_bytes())
        change(data, data.index(name) - 30, data.rindex(name) - 46)
        path.write_bytes(data)
        return ["data", "inspect", path]

    return make


def encrypt(data: bytearray, local: int, central: int) -> None:
    data[local + 6] |= 1
    data[central + 8] |= 1


def change_crc(data: bytearray, local: int, central: int) -> None:
    data[local + 14] ^= 1
    data[central + 16] ^= 1


def outside(folder: Path) -> list[object]:
    csv = Csv(folder / "nyu_data").write()
    path = folder / "nyu_data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in csv.root.rglob("*.*"):
            archive.write(file, Path("../../out") / file.relative_to(csv.root))
        archive.writestr("/tmp/evil", b"absolute")
    return ["data", "inspect", path]


LISTS = {
    "a path that leaves": Hostile(lists("data/../../../etc/passwd"), r"without '\.\.'"),
    "an absolute path": Hostile(lists(SECRET), r"nyu2_train\.csv:7: must be"),
    "a path with \\": Hostile(lists("data\\..\\x.png"), r"nyu2_train\.csv:7: must be"),
    "a path with NUL": Hostile(lists("data/a\0.png"), "nyu2_train.csv:7: must be"),
    "a path with ANSI escapes": Hostile(lists("data/\x1b[31mred.png"), r"is '.*\\\\?x1b\[31mred"),
    "a path with a line end": Hostile(lists('"data/a\nerror: b.png"'), r"csv:7: must be"),
    "a path in another direction": Hostile(lists("data/\u202egnp.exe"), r"csv:7: must be"),
    "a cell of a megabyte": Hostile(lists("data/" + "x" * (1 << 20)), "field larger than"),
    "markup for a name": Hostile(
        lists("data/<script>alert(1)</script>.png"), r"/<script>alert\(1\)</script>\.png: is listed"
    ),
    "a name that no disk has": Hostile(lists("data/" + "x" * 5000), "is listed, but there is no"),
}
ARCHIVES = {
    "members that leave": Hostile(outside, "must hold nyu2_train.csv, but does not"),
    "two members of one name": Hostile(
        member(duplicate), r"block_000_out/0000\.png' is there more"
    ),
    "a huge member": Hostile(
        member(lambda archive, name: archive.writestr(name, bytes(80 << 20))),
        "must be at most 67108864 bytes, but is larger",
    ),
    "an unbounded compression": Hostile(
        member(lambda archive, name: archive.writestr(name, b"", zipfile.ZIP_BZIP2)),
        r"0000\.png: must be stored or deflated",
    ),
    "an encrypted member": Hostile(patched(encrypt), r"0000\.png: cannot be read \(.*encrypted"),
    "a wrong checksum": Hostile(patched(change_crc), r"0000\.png: cannot be read \(Bad CRC-32"),
}


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
    "PostScript": (lambda: picture("EPS"), "is damaged or something else"),
    "a GIF": (lambda: picture("GIF"), "is damaged or something else"),
    "markup": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is damaged or something"),
    "a swollen text": (swollen, "Decompressed data too large"),
}


def in_data_set(content: bytes) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        (csv.root / csv.test[1][0]).write_bytes(content)
        return ["data", "pack", csv.root]

    return make


def to_predict(content: bytes, name: str = "a.png") -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / name).write_bytes(content)
        return predicting(folder, folder / name)

    return make


def predicting(folder: Path, image: Path) -> list[object]:
    checkpoint = save_network(folder / "run")
    return ["predict", checkpoint, image, "--out", folder / "out", "--device", "cpu"]


def loop(path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    return path


def unusual(make: Callable[[Path], Path], what: str) -> Callable[[Path], list[object]]:
    """A listed picture, or the list, that is no file."""

    def made(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        make(csv.root / (csv.train[0][0] if what == "picture" else "data/nyu2_train.csv"))
        return ["data", "inspect", csv.root]

    return made


FOLDERS = {
    "a pipe for a picture": Hostile(unusual(pipe, "picture"), r"0000\.jpg: is listed, but"),
    "a loop for a picture": Hostile(unusual(loop, "picture"), r"0000\.jpg: is listed, but"),
    "a pipe for a list": Hostile(unusual(pipe, "list"), "is none of them"),
    "a loop for a data set": Hostile(
        lambda folder: ["data", "inspect", loop(folder / "set")], "there is no such file or folder"
    ),
    "a pipe for a data set": Hostile(
        lambda folder: ["data", "pack", pipe(folder / "a.zip")], "is none of them"
    ),
    "a pipe to predict for": Hostile(
        lambda folder: predicting(folder, pipe(folder / "a.png")), "it is no file"
    ),
    "a loop to predict for": Hostile(
        lambda folder: predicting(folder, loop(folder / "a.png")), "Too many levels of symbolic"
    ),
}


# Predictions and checkpoints


def predictions(content: bytes, suffix: str = ".npy") -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data", tests=1).write()
        made = folder / "mine" / Path(csv.test[0][0]).with_suffix(suffix)
        made.parent.mkdir(parents=True)
        made.write_bytes(content)
        return ["evaluate", "--predictions", folder / "mine", "--data", csv.root]

    return make


PREDICTIONS = {
    "pickled predictions": (pickled, "must be a whole .npy file, but"),
    "a pickle": (lambda: pickle.dumps(Evil()), "it is not one; save it with numpy.save"),
    "a promise of terabytes": (lambda: header("(1000000, 1000000)"), "must be a whole .npy file"),
    "a negative size": (lambda: header("(-1, 4)"), "must be"),
    "code in a header": (
        lambda: npy("__import__('os').system('touch /tmp/weightsearch-was-here')\n"),
        "must be a whole .npy file, but malformed node",
    ),
    "a header of 60,000 brackets": (lambda: npy("(" * 60000 + "\n"), "must be a whole .npy file"),
}


def manifest(text: str) -> Callable[[Path], list[object]]:
    """A checkpoint whose manifest was replaced; FILE is its one tensor file, DIGEST its sha256."""

    def make(folder: Path) -> list[object]:
        checkpoint = save_network(folder / "run")
        (file,) = checkpoint.glob("*.safetensors")
        file.rename(folder / "run" / "outside.safetensors")
        (checkpoint / "manifest.json").write_text(text)
        return ["predict", checkpoint, folder / "a.png", "--out", folder / "out"]

    def with_picture(folder: Path) -> list[object]:
        (folder / "a.png").write_bytes(picture("PNG"))
        return make(folder)

    return with_picture


def tensors(change: Callable[[Path], object]) -> Callable[[Path], list[object]]:
    """A checkpoint whose tensor file was changed."""

    def make(folder: Path) -> list[object]:
        (folder / "a.png").write_bytes(picture("PNG"))
        asked = predicting(folder, folder / "a.png")
        (file,) = (folder / "run" / "best").glob("*.safetensors")
        change(file)
        return asked

    return make


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def entry(file: str) -> str:
    return f'{{"format": 1, "files": {{"model": {{"file": "{file}", "sha256": "00"}}}}}}'


BESIDE = "must name .safetensors files beside it"
CHECKPOINTS = {
    "a manifest with ..": Hostile(manifest(entry("../outside.safetensors")), BESIDE),
    "a manifest with /": Hostile(manifest(entry("/etc/passwd")), BESIDE),
    "a manifest that names a pickle": Hostile(manifest(entry("model.pt")), BESIDE),
    "a manifest without files": Hostile(manifest('{"format": 1}'), BESIDE),
    "a manifest of another kind": Hostile(manifest("[1, 2]"), "must be of format 1"),
    "a manifest with NaN": Hostile(
        manifest('{"format": 1, "files": {}, "value": NaN}'), "is not as it was written"
    ),
    "a manifest of brackets": Hostile(manifest("[" * 100000), "is not as it was written"),
    "a manifest that is no text": Hostile(manifest("\0\x01"), "is not as it was written"),
    "a pickle for tensors": Hostile(
        tensors(lambda file: file.write_bytes(pickle.dumps(Evil()))), "is not as it was written"
    ),
    "a flipped bit": Hostile(tensors(flip), "is not as it was written"),
    "half of the tensors": Hostile(
        tensors(lambda file: os.truncate(file, file.stat().st_size // 2)),
        "is not as it was written",
    ),
    "a pipe for tensors": Hostile(tensors(pipe), "is not as it was written"),
}

HOSTILE = {
    **HDF5,
    **LISTS,
    **ARCHIVES,
    **{
        f"{name} in a data set": Hostile(in_data_set(make()), says)
        for name, (make, says) in PICTURES.items()
    },
    **{
        f"{name} to predict for": Hostile(to_predict(PICTURES[name][0]()), "must be a picture, but")
        for name in ("a picture of 3.6 gigapixels", "PostScript", "markup", "a swollen text")
    },
    "a picture whose name is red": Hostile(
        to_predict(b"", "\x1b[31mred\n.png"), r"/\\x1b\[31mred\\n\.png: must be a picture"
    ),
    **FOLDERS,
    **{name: Hostile(predictions(make()), says) for name, (make, says) in PREDICTIONS.items()},
    "a huge PNG of predictions": Hostile(
        predictions(png((60000, 60000)), ".png"), "must be a whole .png file, but"
    ),
    **CHECKPOINTS,
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Said]]:
    """Where each of them lies, and what `weightsearch` says to it, in a process each."""
    base = tmp_path_factory.mktemp("hostile")
    folders = [base / str(number) for number in range(len(HOSTILE))]
    runs = []
    for folder, hostile in zip(folders, HOSTILE.values(), strict=True):
        folder.mkdir()
        runs.append(Run(hostile.make(folder), {"WEIGHTSEARCH_HOME": str(folder / "home")}))
    said = run_all(runs, base)
    return dict(zip(HOSTILE, zip(folders, said, strict=True), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_line(name: str, answers: dict[str, tuple[Path, Said]]) -> None:
    folder, found = answers[name]
    assert found.code == 1, found
    *before, line = found.err.split("\n")[:-1]
    assert all(re.fullmatch(r"packing: \d/\d frames", other) for other in before), found.err
    assert line.startswith("error: ")
    assert line.isprintable()
    assert re.search(HOSTILE[name].says, line), line
    assert found.out == ""
    assert "root:" not in line
    assert not (folder / "out").exists()
    # The data that predictions are compared with are in order, and packed.
    packs = [path.suffix for path in folder.glob("home/packs/*")]
    assert packs == ([".h5"] if (folder / "mine").exists() else [])
    assert not Path("/tmp/weightsearch-was-here").exists()


@pytest.mark.parametrize("kind", ["mat", "zip", "png", "jpg", "csv", "splits"])
def test_a_mutated_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    """In a process of its own, with little memory: no crash, no swelling, one line."""
    if kind in ("mat", "splits"):
        labeled = Labeled(tmp_path / "set").write()
        reader, place = "nyu_labeled", labeled.folder
        path = labeled.mat if kind == "mat" else labeled.folder / "splits.mat"
    else:
        csv = Csv(tmp_path / "nyu_data", blocks=1, tests=1).write()
        files = {"png": csv.train[0][1], "jpg": csv.train[0][0], "csv": "data/nyu2_train.csv"}
        reader, place = "nyu_csv", csv.zip() if kind == "zip" else csv.root
        path = place if kind == "zip" else csv.root / files[kind]
    number = 500 if kind == "mat" else 200
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


def test_a_member_that_holds_more_than_it_promises_is_not_unpacked(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "nyu_data", blocks=1, tests=1).write()
    (csv.root / csv.train[0][1]).unlink()
    path, name = csv.zip(), csv.train[0][1]
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(60 << 20))
    data = bytearray(path.read_bytes())
    for at in (data.rindex(name.encode()) - 46 + 24, data.rindex(name.encode(), 0, -3000) - 8):
        assert struct.unpack_from("<I", data, at) == (60 << 20,)
        struct.pack_into("<I", data, at, 1000)
    path.write_bytes(data)
    with closing(open_source("nyu_csv", path, {})) as source:
        tracemalloc.start()
        with pytest.raises(DataError, match=r"0000\.png: cannot be read \(Bad CRC-32"):
            source.read(0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10 << 20


# The service


def test_a_worker_gives_its_point_back_and_says_what_is_wrong_with_the_data(
    opened: Database, storage: str, cli: Cli, tmp_path: Path
) -> None:
    csv = Csv(tmp_path / "nyu_data").write()
    csv.save(csv.train[0][0], np.zeros((24, 32), np.uint8))
    spec = depth_spec(data={"source": "nyu_csv", "options": {}, "size": [32, 32]})
    study = studies.create(opened.engine, "hostile", spec, planning.plan(spec))
    said = cli(
        *("worker", "hostile", "--device", "cpu", "--data", csv.root), WEIGHTSEARCH_STORAGE=storage
    )
    assert said.returncode == 1
    (line,) = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert "0000.jpg: must be 8-bit RGB" in line
    assert said.stderr.splitlines()[-1] == line
    counts = queries.counts(opened.engine, study)
    assert (counts["waiting"], counts["failed"], counts["leased"]) == (counts["total"], 0, 0)
    assert not list((tmp_path / "home").glob("packs/*"))


def test_names_are_shown_as_they_are_and_steer_nothing(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "nyu_data").write()
    strange = "data/nyu2_train/<script>alert(1)</script>/[red]$(id).png"
    csv.save(strange.replace(".png", ".jpg"), np.zeros((24, 32, 3), np.uint8))
    csv.save(strange, csv.steps[0])
    csv.list("train", [(strange.replace(".png", ".jpg"), strange)])
    (said,) = run_all([Run(["data", "inspect", csv.root])], tmp_path)
    assert said.code == 0, said.err
    assert f"train: 1 frames, 1 scenes or blocks\n  {strange.removesuffix('.png')}" in said.out


SERIALISERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNPICKLES = {"load", "jit.load", "hub.load", "package.PackageImporter", "export.load"}
PICKLES = {
    # What starts Slurm jobs gives the commands to submitit, which pickles them for itself, into a
    # folder that only its user writes to; nothing that somebody else made is read back.
    "launch",
}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unpickles(code: str) -> Iterator[str]:
    """What in this code could run what is in a file."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in SERIALISERS)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] in SERIALISERS:
                yield node.module
            if node.module.split(".")[0] == "torch":
                yield from (f"torch.{a.name}" for a in node.names if a.name == "load")
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            if called.startswith("torch.") and called.removeprefix("torch.") in UNPICKLES:
                yield called
            if called in ("eval", "exec", "__import__", "pd.read_pickle", "read_pickle"):
                yield called
            if called.endswith(("np.load", "numpy.load")) and not any(
                keyword.arg == "allow_pickle"
                and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is False
                for keyword in node.keywords
            ):
                yield called


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(path)",
        "from torch import load",
        "torch.jit.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_what_could_run_what_is_in_a_file_would_be_found(code: str) -> None:
    assert list(unpickles(code))


def test_nothing_that_is_read_can_run() -> None:
    """Tensors are read as safetensors, the rest as JSON, TOML, HDF5, CSV, pictures and .npy."""
    found = {
        str(file.relative_to(ROOT)): list(unpickles(file.read_text()))
        for package in ("weightsearch", "dashboards")
        for file in (ROOT / package).rglob("*.py")
        if not (file.parent.name in PICKLES and file.name.startswith("slurm"))
    }
    # What an export has just made itself, read back from memory to be compared.
    own = {"weightsearch/depth/inference/export.py": ["torch.export.load"]}
    assert {file: what for file, what in found.items() if what} == own
