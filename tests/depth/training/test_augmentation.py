"""What augmentation turns, and what it leaves."""

from __future__ import annotations

import torch
from torch import Tensor

from weightsearch.depth.training.augmentation import augment
from weightsearch.depth.training.batches import stream

# Augmentation.


def images(count: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (count, 3, 6, 8), dtype=torch.uint8, generator=generator)
    return rgb, torch.rand(count, 1, 3, 4, generator=generator)


def drawn(kinds: tuple[str, ...], seed: int = 5) -> tuple[Tensor, Tensor]:
    return augment(*images(), kinds, torch.Generator().manual_seed(seed))


def test_mirroring_turns_image_and_depth_together() -> None:
    (rgb, depth_m), (new_rgb, new_depth_m) = images(), drawn(("mirror",))
    turned = (new_rgb == rgb.flip(-1)).flatten(1).all(1)
    kept = (new_rgb == rgb).flatten(1).all(1)
    assert (turned ^ kept).all()
    assert 16 < turned.sum() < 48
    assert torch.equal(new_depth_m[turned], depth_m.flip(-1)[turned])
    assert torch.equal(new_depth_m[kept], depth_m[kept])


def test_channels_change_places_and_nothing_else() -> None:
    (rgb, depth_m), (new_rgb, new_depth_m) = images(), drawn(("channels",))
    assert torch.equal(depth_m, new_depth_m)
    assert torch.equal(rgb.sort(1).values, new_rgb.sort(1).values)
    changed = (new_rgb != rgb).flatten(1).any(1)
    assert 14 < changed.sum() < 44  # half, less the one order of six that is the old one


def test_augmentation_depends_on_its_generator_only() -> None:
    both = drawn(("mirror", "channels"))
    torch.manual_seed(99)
    torch.rand(10)
    assert torch.equal(drawn(("mirror", "channels"))[0], both[0])
    assert not torch.equal(drawn(("mirror", "channels"), seed=6)[0], both[0])
    assert torch.equal(drawn(("mirror",))[1], both[1])  # leaving one out does not change the other
    assert torch.equal(drawn(())[0], images()[0])


def test_streams_of_neighbouring_places_differ() -> None:
    places = [(s, e, i) for s in range(3) for e in range(3) for i in range(3)]
    assert len({stream(*p) for p in places} | {stream(0, 0)}) == len(places) + 1
