"""Which pictures an export compares, and at which size."""

from __future__ import annotations

import numpy as np
import torch
from support import checkpoints as use_factory
from support.checkpoints import SIZE
from support.packs import frame

from weightsearch.depth.inference import export as exports


def test_every_picture_is_compared_alone_or_in_a_batch_and_two_at_the_larger_size() -> None:
    network = use_factory.network("test_resnet")
    seen: list[tuple[int, ...]] = []

    def run(rgb: np.ndarray) -> np.ndarray:
        seen.append(rgb.shape)
        with torch.no_grad():
            depth_m: np.ndarray = network(torch.from_numpy(rgb)).numpy()
        return depth_m

    larger = exports.larger(SIZE)
    pictures = [frame(k, SIZE, blur=8).rgb for k in range(5)]
    for count, batches in ((5, [1, 3, 1]), (2, [1, 1]), (1, [1, 2])):
        seen.clear()
        assert exports.largest_difference(network, run, pictures[:count], [SIZE, larger]) == 0
        expected = [*((of, 3, *SIZE) for of in batches), (2, 3, *larger)]
        assert seen == expected
