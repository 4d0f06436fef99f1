"""A pack is built once, whole, or not at all."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.data_sets import Csv
from support.small_packs import ROOMS, files, python

from weightsearch.data.packs.building import Pack, ensure
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value

# Once, whole, or not at all


def test_a_pack_is_reused_until_a_file_or_an_option_changes(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "set").write()
    seen: list[tuple[int, int]] = []

    def build(**options: Value) -> Path:
        seen.clear()
        return ensure("nyu_csv", csv.root, options, tmp_path, lambda k, n: seen.append((k, n)))

    first = build()
    assert seen == [(k, 8) for k in range(9)]
    assert build() == first
    assert seen == []
    assert build(half_step=False) != first
    assert len(seen) == 9
    os.utime(csv.root / csv.train[0][1], ns=(0, 0))
    assert build() != first


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_pack_leaves_no_file(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise interruption

    with pytest.raises(interruption):
        ensure("synthetic", None, ROOMS, tmp_path, stop)
    assert files(tmp_path) == set()
    with Pack(ensure("synthetic", None, ROOMS, tmp_path)) as pack:
        assert len(pack) == 12


def test_a_read_error_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "set").write()
    (csv.root / csv.test[1][1]).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"00001_depth\.png"):
        ensure("nyu_csv", csv.root, {}, tmp_path)
    assert files(tmp_path) == set()


STEPWISE = """
import json, sys
from pathlib import Path
from weightsearch.data.packs.building import ensure
calls = 0
def progress(done, total):
    global calls
    calls += 1
    if done == 2:
        print("half", flush=True)
        sys.stdin.readline()
path = ensure("synthetic", None, json.loads(sys.argv[2]), Path(sys.argv[1]), progress)
print(calls, path, flush=True)
"""


def test_a_killed_packer_leaves_no_pack_and_the_next_one_builds_it(tmp_path: Path) -> None:
    process = python(STEPWISE, tmp_path, json.dumps(ROOMS))
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not any(name.endswith(".h5") for name in files(tmp_path))
    target = ensure("synthetic", None, ROOMS, tmp_path)
    assert files(tmp_path) == {target.name}


def test_two_processes_at_once_pack_once(tmp_path: Path) -> None:
    first = python(STEPWISE, tmp_path, json.dumps(ROOMS))
    assert first.stdout is not None
    assert first.stdout.readline() == "half\n"  # it holds the lock now
    second = python(STEPWISE, tmp_path, json.dumps(ROOMS))
    assert first.stdin is not None
    first.stdin.write("go on\n")
    first.stdin.flush()
    outputs = [process.communicate("go on\n") for process in (first, second)]
    assert [error for _, error in outputs] == ["", ""]
    (calls, path), (other_calls, other_path) = (out.split()[-2:] for out, _ in outputs)
    assert (int(calls), int(other_calls)) == (13, 0)
    assert path == other_path
    assert files(tmp_path) == {Path(path).name}


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from weightsearch.data.packs.building import ensure
from weightsearch.errors import DataError
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for room in (0, 2_000, 5_000, 100_000, 500_000, hard):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        ensure("synthetic", None, json.loads(sys.argv[2]), Path(sys.argv[1]))
        print("room enough")
    except DataError as error:
        print(error, [path.name for path in Path(sys.argv[1]).glob("packs/*")])
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the file's size fails writes as a full disk does; HDF5 crashes at exit on both."""
    process = python(FULL_DISK, tmp_path, json.dumps(ROOMS))
    out, error = process.communicate()
    assert (process.returncode, error) == (0, "")
    *failed, last = out.splitlines()
    assert len(failed) == 5
    for line in failed:
        assert "must be writable, but File too large; free some space" in line
        assert line.endswith(". []")
    assert last == "room enough"
    assert len(files(tmp_path)) == 1


def test_a_home_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(DataError, match=r"must be writable, but .*WEIGHTSEARCH_HOME"):
        ensure("synthetic", None, ROOMS, tmp_path / "home")
