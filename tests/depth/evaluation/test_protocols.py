"""What each protocol counts, clamps and resizes, to the pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.transform import resize as skimage_resize
from support.ground_truth import valid_like
from torch import Tensor

from weightsearch.depth.evaluation.alignment import align
from weightsearch.depth.evaluation.metrics import METRICS, per_image
from weightsearch.depth.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    Size,
    counted,
    infinity_m,
    is_of_part,
)
from weightsearch.depth.evaluation.protocols import fit as unclamped
from weightsearch.errors import DataError
from weightsearch.study import known_names

NYU = (480, 640)


def fit(protocol: Protocol, pred_m: Tensor, shape: Size, data_max_m: float) -> Tensor:
    """As it is judged."""
    return unclamped(protocol, pred_m, shape, data_max_m).clamp(protocol.min_m, protocol.max_m)


def gt_of(*values: float) -> Tensor:
    """(1, 1, number of values) float32, as packs have it."""
    return torch.tensor([[values]], dtype=torch.float32)


def test_a_study_file_may_name_every_protocol_and_no_other() -> None:
    assert set(known_names.NAMES["protocol"]) == set(PROTOCOLS)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_contract(protocol: Protocol) -> None:
    assert PROTOCOLS[protocol.name] is protocol
    assert "\n" not in protocol.description
    assert (protocol.sees is None) == (protocol.covers is None)
    near_m, far_m = protocol.min_m, protocol.max_m
    pred = torch.tensor([math.nan, math.inf, -math.inf, -1.0, 0.0, 5.0, 1e9]).reshape(1, 1, 1, 7)
    for shape in ((1, 7), (48, 64)):
        fitted = fit(protocol, pred, shape, 10.0)
        assert fitted.shape == (1, 1, *shape)
        assert fitted.min() >= near_m * (1 - 1e-6)
        assert fitted.max() <= far_m * (1 + 1e-6)  # interpolation rounds
        errors = per_image(
            fitted[:, 0],
            torch.full((1, *shape), 3.0),
            torch.ones((1, *shape), dtype=torch.bool),
            protocol.metrics(),
        )
        assert all(torch.isfinite(value).all() for value in errors.values())
    assert set(METRICS) <= set(protocol.metrics())


@pytest.mark.parametrize(
    ("name", "first", "last", "pixels"),
    [("bts", (45, 41), (470, 600), 426 * 560), ("densedepth", (20, 24), (459, 615), 440 * 592)],
)
def test_a_crop_is_these_pixels_of_a_nyu_frame(
    name: str, first: tuple[int, int], last: tuple[int, int], pixels: int
) -> None:
    crop = PROTOCOLS[name].crop
    assert crop is not None
    numbers = torch.arange(480 * 640).reshape(NYU)[crop(NYU)]
    assert numbers.numel() == pixels
    assert int(numbers[0, 0]) == first[0] * 640 + first[1]
    assert int(numbers[-1, -1]) == last[0] * 640 + last[1]


def test_the_crop_of_densedepth_is_symmetric() -> None:
    crop = PROTOCOLS["densedepth"].crop
    assert crop is not None
    columns = torch.arange(640)[crop(NYU)[1]]
    assert columns.flip(0).tolist() == (639 - columns).tolist()


@pytest.mark.parametrize("name", ["bts", "densedepth"])
def test_a_crop_protocol_refuses_another_size_and_names_full(name: str) -> None:
    with pytest.raises(
        DataError, match=f"'{name}' needs .*480x640.* got 375x1242; .*'full'"
    ) as got:
        PROTOCOLS[name].check_shape((375, 1242))
    assert "\n" not in str(got.value)
    PROTOCOLS[name].check_shape(NYU)
    PROTOCOLS["full"].check_shape((375, 1242))


@pytest.mark.parametrize("name", ["bts", "zoe"])
def test_the_mask_is_strict_at_both_ends(name: str) -> None:
    up = [float(np.nextafter(np.float32(x), np.float32(99))) for x in (1e-3, 10)]
    down = [float(np.nextafter(np.float32(x), np.float32(0))) for x in (1e-3, 10)]
    gt = gt_of(0.0, down[0], 1e-3, up[0], 5.0, down[1], 10.0, up[1], math.nan, math.inf)
    got = counted(PROTOCOLS[name], gt, valid_like(gt))
    assert got.tolist() == [[[False, False, False, True, True, True, False, False, False, False]]]


def test_densedepth_counts_all_measured_depth() -> None:
    gt = gt_of(0.0, 1e-4, 5.0, 10.0, 10.5, 3.0)
    valid = torch.tensor([[[False, True, True, True, True, False]]])
    got = counted(PROTOCOLS["densedepth"], gt, valid)
    assert got.tolist() == [[[False, True, True, True, True, False]]]


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_an_unmeasured_pixel_never_counts(name: str) -> None:
    gt = gt_of(5.0, 5.0)
    assert not counted(PROTOCOLS[name], gt, ~valid_like(gt)).any()


def test_full_has_no_cap() -> None:
    gt = gt_of(1e-3, 9.9, 80.0, 299.0)
    full, bts = PROTOCOLS["full"], PROTOCOLS["bts"]
    assert counted(full, gt, valid_like(gt)).tolist() == [[[False, True, True, True]]]
    assert counted(bts, gt, valid_like(gt)).tolist() == [[[False, True, False, False]]]
    assert fit(full, torch.full((1, 1, 2, 2), 200.0), (2, 2), 80.0).max() == 200
    endless = torch.full((1, 1, 2, 2), math.inf)  # must be some number: the data's own end
    assert fit(full, endless, (2, 2), 80.0).unique().tolist() == [80]


@pytest.mark.parametrize(("name", "near"), [("bts", 1e-3), ("full", 1e-3), ("densedepth", 0.1)])
def test_predictions_outside_the_range_go_to_its_ends(name: str, near: float) -> None:
    pred = torch.tensor([math.nan, math.inf, -math.inf, -2.0, 0.0, 0.05, 12.0]).reshape(1, 1, 1, 7)
    got = fit(PROTOCOLS[name], pred, (1, 7), 10.0).flatten().tolist()
    beyond = 12.0 if name == "full" else 10.0  # it has no end
    want = [near, 10.0, near, near, near, max(near, 0.05), beyond]
    assert got == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_pixel_that_is_no_number_does_not_spoil_its_neighbours(name: str) -> None:
    pred = torch.full((1, 1, 5, 5), 4.0)
    pred[..., 2, 2] = math.nan
    pred[..., 0, 0] = math.inf
    got = fit(PROTOCOLS[name], pred, (9, 9), 10.0)[0, 0]
    assert got[8].tolist() == pytest.approx([4.0] * 9)
    assert float(got[0, 0]) == pytest.approx(infinity_m(PROTOCOLS[name], 10.0))
    assert float(got[4, 4]) == pytest.approx(PROTOCOLS[name].min_m)


def test_densedepth_clips_before_it_resizes_and_the_others_after() -> None:
    # 30 m beside 1 m, two columns to four: a quarter of the way in lies 8.25 m unclipped.
    pred = torch.tensor([1.0, 30.0]).reshape(1, 1, 1, 2)
    first = fit(PROTOCOLS["densedepth"], pred, (1, 4), 10.0).flatten().tolist()
    after = fit(PROTOCOLS["full"], pred, (1, 4), 10.0).flatten().tolist()
    assert first == pytest.approx([1, 1 + 0.25 * 9, 1 + 0.75 * 9, 10])
    assert after == pytest.approx([1, 8.25, 22.75, 30])


def test_bts_aligns_the_corners() -> None:
    pred = torch.tensor([1.0, 4.0]).reshape(1, 1, 1, 2)
    assert fit(PROTOCOLS["bts"], pred, (1, 4), 10.0).flatten().tolist() == pytest.approx(
        [1, 2, 3, 4]
    )


def test_densedepth_resizes_as_its_scikit_image_call_does_inside_the_crop() -> None:
    generator = torch.Generator().manual_seed(0)
    pred = 0.5 + 9 * torch.rand(1, 1, 240, 320, generator=generator)
    protocol = PROTOCOLS["densedepth"]
    assert protocol.crop is not None
    crop = protocol.crop(NYU)
    ours = fit(protocol, pred, NYU, 10.0)[0, 0][crop].numpy()
    theirs = skimage_resize(
        pred[0, 0].numpy(), NYU, order=1, preserve_range=True, mode="reflect", anti_aliasing=True
    )[crop]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


# Parts of pictures: pixel counts and corners, from the literature (reference sizes)


@pytest.mark.parametrize(
    ("name", "shape", "rows", "columns"),
    [
        # BTS's eval_with_pngs on the five sizes of KITTI's colour camera, and on one
        ("kitti_eigen_garg", (375, 1242), (153, 371), (44, 1197)),
        ("kitti_eigen_garg", (370, 1224), (151, 366), (43, 1180)),
        ("kitti_eigen_garg", (376, 1241), (153, 372), (44, 1196)),
        # AdaBins' and ZoeDepth's: Garg's fractions of 352x1216 (143:349, 43:1172), moved by 23, 13
        ("kitti_eigen_garg_kb", (375, 1242), (166, 372), (56, 1185)),
        ("make3d_c1", (55, 305), (17, 38), (0, 305)),
        ("s2d", (240, 320), (6, 234), (8, 312)),
    ],
)
def test_the_part_that_counts(
    name: str, shape: Size, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    crop = PROTOCOLS[name].crop
    assert crop is not None
    assert crop(shape) == (slice(*rows), slice(*columns))


def test_the_part_that_a_network_is_given() -> None:
    make3d, kitti = PROTOCOLS["make3d_c1"].sees, PROTOCOLS["kitti_eigen_garg"].sees
    assert make3d is not None
    assert kitti is not None
    assert make3d((2272, 1704)) == (slice(710, 1562), slice(0, 1704))  # monodepth2's
    assert kitti((375, 1242)) == (slice(23, 375), slice(13, 1229))
    PROTOCOLS["kitti_eigen_garg"].check_shape((370, 1224))
    with pytest.raises(DataError, match=r"needs ground truth of at least 352x1216 pixels"):
        PROTOCOLS["kitti_eigen_garg"].check_shape((351, 1242))
    for large in ((500, 1600), (720, 1280)):  # Garg's crop reaches outside the 352x1216
        with pytest.raises(DataError, match=r"needs ground truth of about 375x1242 pixels"):
            PROTOCOLS["kitti_eigen_garg"].check_shape(large)
        PROTOCOLS["kitti_eigen_garg_kb"].check_shape(large)


@pytest.mark.parametrize(
    ("name", "shape"), [("s2d", (480, 640)), ("kitti_eigen_garg", (375, 1242))]
)
def test_a_part_in_pixels_needs_pictures_of_the_ground_truths_size(name: str, shape: Size) -> None:
    PROTOCOLS[name].check_shape(shape, shape)
    with pytest.raises(DataError, match=r"cuts pictures by pixels.*but got 960x1280; use"):
        PROTOCOLS[name].check_shape(shape, (960, 1280))
    PROTOCOLS["make3d_c1"].check_shape((55, 305), (2272, 1704))  # cuts by shares
    PROTOCOLS["full"].check_shape(shape, (960, 1280))


def test_details_reach_as_far_as_depth_is_measured() -> None:
    reach_m = {name: (p.details_m(10.0), p.details_m(80.0)) for name, p in PROTOCOLS.items()}
    assert reach_m["s2d"] == (10.0, 80.0)  # its range ends at 1000 m
    assert reach_m["full"] == (10.0, 80.0)
    assert reach_m["bts"] == (10.0, 10.0)
    assert reach_m["make3d_c1"] == (10.0, 70.0)


@pytest.mark.parametrize(
    ("name", "shape", "picture", "whole", "part"),
    [
        ("kitti_eigen_garg", (375, 1242), (375, 1242), [(375, 1242)], [(352, 1216)]),
        ("s2d", (240, 320), NYU, [(240, 320), NYU], [(228, 304), (456, 608)]),
        (
            *("make3d_c1", (55, 305), (2272, 1704)),
            *([(55, 305), (2272, 1704)], [(21, 305), (852, 1704)]),
        ),
    ],
)
def test_a_size_tells_what_a_prediction_shows_or_it_has_to_be_said(
    name: str, shape: Size, picture: Size, whole: list[Size], part: list[Size]
) -> None:
    protocol = PROTOCOLS[name]
    assert not any(is_of_part(protocol, size, shape, picture) for size in whole)
    assert all(is_of_part(protocol, size, shape, picture) for size in part)
    # monodepth2's 192x640 shows the part, another's the whole: networks stretch their input.
    for size in ((192, 640), (176, 608), (188, 621)):
        with pytest.raises(DataError, match=r"got one of \d+x\d+; say which with --shows whole or"):
            is_of_part(protocol, size, shape, picture)
        assert is_of_part(protocol, size, shape, picture, "part")
        assert not is_of_part(protocol, size, shape, picture, "whole")
    assert not is_of_part(PROTOCOLS["full"], (228, 304), NYU, NYU)


def test_make3d_cuts_as_monodepth2_does_and_takes_the_nearest_pixel() -> None:
    rows = torch.arange(2272.0)[:, None].expand(2272, 4)[None, None]
    protocol = PROTOCOLS["make3d_c1"]
    got = unclamped(protocol, rows, (55, 305), 80.0, picture=(2272, 1704))[0, 0]
    # Rows 710:1562 of the picture in 21 steps: 710 + floor(i * 852 / 21).
    assert got[17:38, 0].tolist() == [710 + i * 852 // 21 for i in range(21)]
    of_part = unclamped(protocol, rows[:, :, 710:1562], (55, 305), 80.0, of_part=True)[0, 0]
    assert torch.equal(of_part, got)


def test_what_lies_around_the_part_is_at_the_near_end() -> None:
    pred = torch.full((1, 1, 21, 305), 5.0)
    got = unclamped(PROTOCOLS["make3d_c1"], pred, (55, 305), 80.0, of_part=True)[0, 0]
    assert (got[17:38] == 5).all()
    assert (got[:17] == 1e-3).all()
    assert (got[38:] == 1e-3).all()


# Scale alignment


def test_alignment_undoes_what_it_is_for() -> None:
    generator = torch.Generator().manual_seed(0)
    gt = 1 + 8 * torch.rand(2, 6, 7, generator=generator)
    counts = torch.rand(2, 6, 7, generator=generator) > 0.3
    garbage = torch.where(counts, 1.0, 1e9)
    assert torch.equal(align("none", gt, gt, counts), gt)
    scaled = align("median", 0.3 * gt * garbage, gt, counts)
    assert torch.allclose(scaled[counts], gt[counts].double())
    shifted = align("scale-shift", (0.3 * gt + 2) * garbage, gt, counts)
    assert torch.allclose(shifted[counts], gt[counts].double(), atol=1e-5)


def test_alignment_of_a_flat_or_absent_prediction_is_finite() -> None:
    gt = gt_of(1.0, 2.0, 6.0)
    counts = valid_like(gt)
    assert align("median", gt_of(0, 0, 0), gt, counts).tolist() == [[[0, 0, 0]]]
    assert align("scale-shift", gt_of(4, 4, 4), gt, counts).tolist() == [[[3, 3, 3]]]
    for how in ("median", "scale-shift"):
        assert torch.equal(align(how, gt, gt, ~counts), gt.double())
