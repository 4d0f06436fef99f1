"""What networks cost: counted against closed forms, measured where it is asked, and set beside a
study's accuracy. No time is asserted."""

from __future__ import annotations

import sys
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.depth_studies import depth_spec
from support.specs import make_spec
from torch import nn

from weightsearch.commands.answers import network_answers
from weightsearch.commands.answers.network_answers import BenchSettings
from weightsearch.commands.printing import networks
from weightsearch.depth.inference import bench, energy_meter
from weightsearch.depth.inference.bench import MODES, Cost
from weightsearch.errors import ConfigError, StudyError
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, studies
from weightsearch.study import planning
from weightsearch.study.spec import ModelSpec

SIZE = (64, 96)
MODEL = ModelSpec(encoder="test_resnet", pretrained=False, width=0.5)


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the processes that memory is measured in."""
    monkeypatch.setattr(bench, "_memory", lambda *_: None)


def test_multiply_accumulates_are_those_of_the_convolutions() -> None:
    network = bench._network(MODEL, SIZE)
    macs = 0

    def count(layer: nn.Conv2d, _: Any, out: torch.Tensor) -> None:
        nonlocal macs
        macs += layer.weight.numel() * out.shape[-1] * out.shape[-2]

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, *SIZE))
    want = macs
    found = bench._counted(network, SIZE, [8], torch.device("cpu"))
    assert found.macs == want > 1e6
    assert found.parameters == sum(p.numel() for p in network.parameters())
    if sys.platform == "linux":  # the network's widest maps alone, in a process of its own
        assert found.memory["8"] is not None
        assert found.memory["8"] > 8 * 4 * 32 * 32 * 48


@pytest.mark.parametrize("mode", ["float32", "bf16", "channels_last"])
def test_a_mode_gives_the_networks_own_depth(mode: str) -> None:
    """`compiled` takes a compiler half a minute; what `onnx` runs is compared in test_export.py."""
    network = bench._network(MODEL, SIZE)
    with torch.no_grad():
        network.decoder.head.weight.normal_(std=0.3)
        rgb = bench._rgb(2, SIZE, torch.device("cpu"))
        want_m = network(rgb)
    try:
        with MODES[mode](network, torch.device("cpu")) as run, torch.inference_mode():
            got_m = torch.as_tensor(run(rgb))
    except bench.UnavailableError as error:
        pytest.skip(str(error))
    torch.testing.assert_close(got_m, want_m, rtol=0.1 if mode == "bf16" else 1e-4, atol=0)
    assert next(network.parameters()).is_contiguous()


def test_what_a_machine_lacks_is_one_line_and_the_rest_is_measured(
    no_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nwas found")

    def no_onnx(_: object) -> None:
        raise ConfigError("no onnx")

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(torch._dynamo, "reset", lambda: None)
    monkeypatch.setattr(bench, "native_bf16", lambda _: False)
    monkeypatch.setattr(bench, "onnx_run", no_onnx)
    found = bench.bench([MODEL], [SIZE], "cpu", repeats=2)
    assert found["notes"] == [
        "bf16: the device does not compute in it",
        "compiled: torch.compile fails here (no C++ compiler)",
        "onnx: no onnx",
    ]
    costs = found["costs"]
    assert [(c.mode, c.batch) for c in costs] == [
        ("float32", 1), ("float32", 8), ("channels_last", 1), ("channels_last", 8),
    ]  # fmt: skip
    for cost in costs:
        assert cost.runs == 2
        assert 0 < cost.p50_ms <= cost.p95_ms <= cost.p99_ms
        assert cost.joules_per_image is None
    with pytest.raises(ConfigError, match="unknown mode 'fp32'"):
        bench.bench([MODEL], [SIZE], "cpu", modes=["fp32"])


def test_energy_is_asked_of_nvml_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in at the border of a GPU that is not here."""

    class NVMLError(Exception):
        pass

    answers = iter([5_000, 7_500])
    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: {"GPU-abc": "it"}[uuid],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(answers),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="abc"))
    read = energy_meter.meter(torch.device("cuda:0"))
    assert read is not None
    assert read() == 7.5

    def refuse() -> None:
        raise NVMLError

    nvml.nvmlInit = refuse
    assert energy_meter.meter(torch.device("cuda:0")) is None
    assert energy_meter.meter(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("points", "on"),
    [
        ([(1.0, 5.0), (2.0, 3.0), (3.0, 1.0)], [True, True, True]),
        ([(1.0, 5.0), (2.0, 6.0), (1.5, 5.0)], [True, False, False]),
        ([(1.0, 5.0), (1.0, 5.0)], [True, True]),
        ([(1.0, 5.0), (1.0, 4.0)], [False, True]),
    ],
)
def test_the_front_has_what_nothing_beats_in_both(
    points: list[tuple[float, float]], on: list[bool]
) -> None:
    assert network_answers.on_front(points) == on


def test_a_study_has_its_best_points_beside_their_latency(
    opened: Database,
    no_memory: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = depth_spec(
        model={"encoder": ["test_resnet", "test_efficientnet"]},
        loss={"weights": {"grid": "simplex", "steps": 1}},
    )
    study = studies.create(opened.engine, "tiny", spec, planning.plan(spec))
    numbers = {}
    for k in range(6):
        lease = leases.claim(opened.engine, study.id, f"w{k}", "cpu", 60)
        assert lease is not None
        numbers[lease.number] = lease.point.params["encoder"]
        slow = numbers[lease.number] == "test_resnet"
        rmse = 1.0 + lease.number / 100 + slow
        leases.finish(opened.engine, lease, {
            "outcome": "done", "metrics": {"rmse": rmse}, "samples": {"rmse": [rmse, rmse + 0.1]},
            "groups": ["a", "b"], "images": 2, "epoch": 1, "seconds": 1.0, "device": "cpu",
        })  # fmt: skip

    def costs(network: Any, size: Any, batches: Any, mode: str, *_: Any) -> list[Cost]:
        ms = {"test_resnet": 9.0, "test_efficientnet": 3.0}[network.spec.encoder]
        return [
            Cost(network.spec.encoder, "densedepth", size, batch, mode, ms, ms, ms, 1.0, 5, None)
            for batch in batches
        ]

    monkeypatch.setattr(bench, "_costs", costs)
    found = network_answers.front(
        opened.engine, "tiny", BenchSettings([], "cpu", 5, ["onnx"], [4], True)
    )
    assert {c["mode"] for c in found["costs"]} == {"float32", "onnx"}
    assert [n["size"] for n in found["networks"]] == [(48, 64)] * 2
    rows = {row["encoder"]: row for row in found["front"]}
    assert rows["test_efficientnet"]["rmse"] < 1.1 < 2 <= rows["test_resnet"]["rmse"]
    for row in found["front"]:
        rivals = [n for n, encoder in numbers.items() if encoder == row["encoder"]]
        assert (row["point"], len(rivals)) == (min(rivals), 3)
    assert [row["on_front"] for row in found["front"]] == [True, False]
    assert (found["metric"], found["protocol"], found["split"]) == ("rmse", "full", "val")
    networks.benched(found)
    shown = capsys.readouterr().out
    assert "the best point of each, one seed" in shown
    own = make_spec()
    studies.create(opened.engine, "own", own, planning.plan(own))
    with pytest.raises(StudyError, match=r"must have \[data\] and \[model\] tables"):
        network_answers.front(opened.engine, "own", BenchSettings([], "cpu", 5, [], [], True))


def test_encoders_are_needed_and_answers_are_plain(no_memory: None) -> None:
    with pytest.raises(ConfigError, match="needs timm names of encoders, or --study NAME"):
        network_answers.bench([], "densedepth", BenchSettings([], "cpu", 5, [], [], True))
    found = network_answers.bench(
        ["test_resnet"], "densedepth", BenchSettings([SIZE], "cpu", 1, ["float32"], [1], True)
    )
    assert found["networks"][0]["encoder"] == "test_resnet"
    assert found["costs"][0].keys() == asdict(Cost("", "", SIZE, 1, "", 0, 0, 0, 0, 0, None)).keys()
