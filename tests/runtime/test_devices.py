"""How many workers a machine has by default, and what each of them may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightsearch.errors import DeviceError
from weightsearch.launch.places import local
from weightsearch.launch.places.local import Command
from weightsearch.runtime import devices

AFFINE = devices.cores(Path("/nowhere"))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, AFFINE),
        ({"cpu.max": "max 100000"}, AFFINE),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "6400000 100000"}, AFFINE),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, AFFINE),
    ],
)
def test_a_containers_quota_counts(files: dict[str, str], cores: int, tmp_path: Path) -> None:
    written(files, tmp_path)
    assert devices.cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 3 << 20),
        ({"memory.max": "max"}, 3 << 20),
        ({"memory.max": "1048576"}, 1 << 20),
        ({"memory/memory.limit_in_bytes": "1048576"}, 1 << 20),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, 3 << 20),
        ({"memory.max": "1048576", "memory.current": "1000000"}, 48576),
        ({"memory.max": "1048576", "memory.current": "1048577"}, 0),
        (
            {
                "memory.max": "1048576",
                "memory.current": "1000000",
                "memory.stat": "anon 400000\ninactive_file 600000\n",
            },
            648576,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "1048576",
                "memory/memory.usage_in_bytes": "1000000",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 600000\n",
            },
            648576,
        ),
    ],
)
def test_a_containers_limit_of_memory_counts(
    files: dict[str, str], free: int, tmp_path: Path
) -> None:
    written(files | {"meminfo": "MemTotal: 9999 kB\nMemAvailable: 3072 kB\n"}, tmp_path)
    assert devices.free_bytes(tmp_path, tmp_path / "meminfo") == free
    assert devices.free_bytes(tmp_path, tmp_path / "no such file") is None


def written(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("cores", "free", "workers"),
    [(8, None, 8), (8, 64 << 30, 8), (8, 7 << 30, 3), (8, 1 << 30, 1)],
)
def test_workers_have_a_core_and_memory_each(
    cores: int, free: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cores", lambda: cores)
    monkeypatch.setattr(devices, "free_bytes", lambda: free)
    assert devices.pick("cpu", None) == ["cpu"] * workers
    assert devices.pick("cpu", 9) == ["cpu"] * 9


@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 2), (3, 1), (8, 1), (9, 1)])
def test_half_of_the_spare_cores_are_left_to_others(
    workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 8)
    assert devices.threads(workers) == threads


def test_the_users_own_number_of_threads_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = Command("toy", None, {}, tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert command.told(2)["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert command.told(2)["OMP_NUM_THREADS"] == "3"


def test_workers_that_take_several_devices_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    assert devices.pick("auto", None, 2) == ["cuda:0", "cuda:2"]
    assert devices.pick("cuda", 8, 2) == ["cuda:0", "cuda:2"]  # none shares a GPU
    assert devices.pick("cuda", 1, 2) == ["cuda:0"]
    assert devices.pick("auto", None, "auto") == ["cuda:0"]
    with pytest.raises(DeviceError, match=r"promote\.devices must be .* is 6, and there are"):
        devices.pick("cuda", None, 6)
    with pytest.raises(DeviceError, match="is 2, and there is 1"):
        devices.pick("cuda:1", None, 2)
    monkeypatch.setattr(devices, "most_on_cpu", lambda: 5)
    assert devices.pick("cpu", None, 2) == ["cpu", "cpu"]
    assert devices.pick("cpu", None, "auto") == ["cpu"] * 5
    monkeypatch.setattr(devices, "cores", lambda: 16)
    monkeypatch.setattr(local, "cores", lambda: 16)
    assert local.threads_each(["cpu", "cpu"], 2) == 2
    assert local.threads_each(["cuda:0", "cuda:2"], 2) == 4


def test_devices_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert devices.pick("auto", None) == ["cuda:0", "cuda:1"]
    assert devices.pick("auto", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices.pick("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert devices.pick("cpu", None) == ["cpu"] * devices.most_on_cpu()
    with pytest.raises(DeviceError, match="cuda:2 needs a GPU, but this machine shows 2"):
        devices.pick("cuda:2", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,-1,1")
    assert devices.visible_gpus() == ["0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.pick("auto", 2) == ["cpu", "cpu"]
