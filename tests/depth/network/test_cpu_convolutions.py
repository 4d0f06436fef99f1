"""The faster kernels give the same numbers, and are taken."""

from __future__ import annotations

import gc
import weakref
from copy import deepcopy

import pytest
import torch
from timm.layers import create_conv2d
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from weightsearch.depth.network.cpu_convolutions import quicken
from weightsearch.depth.network.feature_pyramid import resize

POINTWISE = nn.Conv2d(6, 4, 1)
LAYERS = {
    "pointwise": POINTWISE,
    "pointwise by two": nn.Conv2d(16, 4, 1, stride=2),
    "pointwise by two of few": nn.Conv2d(6, 4, 1, stride=2),
    "depthwise 5x5": nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False),
    "depthwise by two": nn.Conv2d(6, 6, 3, padding=1, stride=2, groups=6),
    "3x3": nn.Conv2d(6, 4, 3, padding=1),
}


def run(layer: nn.Module, x: Tensor, bf16: bool) -> tuple[Tensor, ...]:
    """The output, and the gradients of input and weights."""
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = layer(x)
    gradients = torch.autograd.grad((y.float() ** 2).sum(), [x, *layer.parameters()])
    return (y, *gradients)


@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_stay(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]
    x = torch.randn(2, layer.in_channels, *size).to(memory_format=torch.channels_last)
    quick = deepcopy(layer)
    quicken(quick)
    for ours, plain in zip(run(quick, x, False), run(layer, x, False), strict=True):
        torch.testing.assert_close(ours, plain)
    for ours, plain in zip(run(quick, x, True), run(layer, x, False), strict=True):
        torch.testing.assert_close(ours.float(), plain, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("stride", [(2, 2), (4, 2)])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_no_layer_ends_the_process(channels: int, stride: tuple[int, int]) -> None:
    """1 and 3 channels by two do, with AVX2 and torch 2.15."""
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 16, 1, stride=stride)
    quick = deepcopy(plain).to(memory_format=torch.channels_last)
    quicken(quick)
    x = torch.randn(2, channels, 8, 8)
    got = run(quick, x.to(memory_format=torch.channels_last), False)
    for ours, reference in zip(got, run(plain, x, False), strict=True):
        torch.testing.assert_close(ours, reference)
    assert got[0].is_contiguous(memory_format=torch.channels_last)


def test_slow_gradients_in_bfloat16_are_computed_in_float32() -> None:
    plain = LAYERS["depthwise 5x5"]
    quick = deepcopy(plain)
    quicken(quick)
    x = torch.randn(2, 6, 5, 7).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = quick(x)
    assert got.equal(plain(x.float()).bfloat16())


@pytest.mark.parametrize("name", ["pointwise", "depthwise 5x5"])
def test_a_copy_has_its_own_weights(name: str) -> None:
    quick = nn.Sequential(deepcopy(LAYERS[name]))
    names = list(quick.state_dict())
    quicken(quick)
    copy = deepcopy(quick)
    for values in copy.parameters():
        nn.init.zeros_(values)
    x = torch.ones(1, 6, 5, 7)
    assert not copy(x).any()
    assert quick(x).any()
    assert list(copy.state_dict()) == list(quick.state_dict()) == names


@pytest.mark.parametrize("name", LAYERS)
def test_twice_is_once(name: str) -> None:
    quick = deepcopy(LAYERS[name])
    quicken(quick)
    once = type(quick)
    quicken(quick)
    assert type(quick) is once
    assert (once is nn.Conv2d) == (name in ("pointwise by two", "3x3"))


@pytest.mark.parametrize("name", ["pointwise", "depthwise 5x5"])
def test_its_memory_is_free_once_nothing_refers_to_it(name: str) -> None:
    quick = deepcopy(LAYERS[name])
    quicken(quick)
    there = weakref.ref(quick)
    gc.disable()
    try:
        del quick
        assert there() is None
    finally:
        gc.enable()


def test_a_layer_that_pads_by_itself_still_does() -> None:
    torch.manual_seed(0)
    plain = create_conv2d(6, 6, 3, stride=2, padding="same", depthwise=True)
    quick = deepcopy(plain)
    quicken(quick)
    x = torch.randn(1, 6, 8, 8)
    assert type(quick) is not type(plain)
    assert quick(x).equal(plain(x))
    assert not quick(x).equal(nn.Conv2d.forward(quick, x))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_one_thread_takes_onednn_for_windows_of_one_pixel() -> None:
    quick = deepcopy(POINTWISE)
    quicken(quick)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            run(quick, torch.randn(2, 6, 5, 7), False)
    finally:
        torch.set_num_threads(threads)
    kernels = {event.key for event in seen.key_averages()}
    assert "aten::mkldnn_convolution" in kernels
    assert not {kernel for kernel in kernels if "slow_conv" in kernel}


def test_the_gradient_of_a_resized_map_is_laid_out_as_the_map() -> None:
    x = torch.randn(2, 6, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    larger = resize(x, (8, 10))
    seen: list[Tensor] = []
    larger.register_hook(seen.append)
    (torch.cat((larger, torch.ones(2, 3, 8, 10)), 1) ** 2).sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(seen[0], 2 * larger.detach())
