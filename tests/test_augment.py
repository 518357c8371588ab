"""Augmentations: drawn for each image, with torchvision's statistics, and applied as torchvision would."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from cnncourse.data.augment import (
    ColorJitter,
    Cutout,
    Lighting,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
    to_float,
)
from cnncourse.errors import CourseError

ALL = [
    RandomCrop(8, padding=2),
    RandomHorizontalFlip(),
    RandomVerticalFlip(),
    RandomResizedCrop(6),
    Resize(5),
    ColorJitter(0.4, 0.4, 0.4),
    Lighting(),
    Cutout(3),
]
DRAWS = 4000
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
sides = st.integers(3, 12)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(N: int = 5, C: int = 3, H: int = 9, W: int = 11, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (N, C, H, W), dtype=torch.uint8, generator=generator(seed))


def theirs(transform, image: torch.Tensor, *names: str) -> torch.Tensor:
    """Parameters that a torchvision transform draws, DRAWS times: shape (len(names), DRAWS)."""
    torch.manual_seed(1)
    random.seed(1)
    drawn = [transform.make_params([image]) for _ in range(DRAWS)]
    return torch.tensor([[float(params[name]) for params in drawn] for name in names])


def assert_same_distribution(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Two-sample Kolmogorov-Smirnov test: fails one pair of equal distributions in 10,000 (the seeds are fixed)."""
    values = torch.cat([ours, expected]).double().unique()
    gap = sum(
        sign * torch.searchsorted(sample.double().sort().values, values, right=True) / len(sample)
        for sign, sample in ((1, ours), (-1, expected))
    )
    critical = math.sqrt(-math.log(1e-4 / 2) / 2 * (1 / len(ours) + 1 / len(expected)))
    assert gap.abs().max() < critical


def test_the_comparison_of_distributions_can_fail():
    uniform = torch.rand(DRAWS, generator=generator())
    assert_same_distribution(uniform, torch.rand(DRAWS, generator=generator(1)))
    with pytest.raises(AssertionError):
        assert_same_distribution(uniform, torch.rand(DRAWS, generator=generator(1)) ** 1.2)


# --- statistics ---------------------------------------------------------------------------------------------------


def test_crop_offsets_are_those_of_torchvision():
    image = torch.zeros(1, 14, 12)
    top, left = RandomCrop(10, padding=3).draw(image.expand(DRAWS, -1, -1, -1), generator())
    padded_by = theirs(v2.RandomCrop(10), torch.zeros(1, 20, 18), "top", "left")
    assert_same_distribution(top, padded_by[0])
    assert_same_distribution(left, padded_by[1])
    assert set(top.tolist()) == set(range(11))
    assert set(left.tolist()) == set(range(9))
    assert abs(torch.corrcoef(torch.stack([top, left]).float())[0, 1]) < 0.08


@pytest.mark.parametrize("flip", [RandomHorizontalFlip, RandomVerticalFlip])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_the_flip_rate_is_p(flip, p):
    (flipped,) = flip(p).draw(torch.zeros(DRAWS, 1, 2, 2), generator())
    assert abs(flipped.double().mean() - p) <= 4 * math.sqrt(p * (1 - p) / DRAWS)


@pytest.mark.parametrize(
    ("H", "W", "scale", "ratio"),
    [
        (64, 64, (0.75, 1.0), (3 / 4, 4 / 3)),  # most rectangles do not fit at the first try
        (32, 48, (0.08, 1.0), (3 / 4, 4 / 3)),
        (9, 7, (0.2, 1.0), (3 / 4, 4 / 3)),  # so small that rounding matters
        (20, 60, (0.9, 1.0), (3 / 4, 4 / 3)),  # none fits: the central one
        (60, 20, (0.9, 1.0), (3 / 4, 4 / 3)),
        (64, 64, (1.0, 1.0), (1.0, 1.0)),
    ],
)
def test_resized_crops_have_torchvisions_areas_shapes_and_places(H, W, scale, ratio):
    image = torch.zeros(1, H, W)
    ours = RandomResizedCrop(8, scale, ratio).draw(image.expand(DRAWS, -1, -1, -1), generator())
    expected = theirs(v2.RandomResizedCrop(8, scale, ratio), image, "top", "left", "height", "width")
    for mine, other in zip(ours, expected, strict=True):
        assert_same_distribution(mine, other)
    assert_same_distribution(ours[2] * ours[3], expected[2] * expected[3])
    assert_same_distribution(ours[3] / ours[2], expected[3] / expected[2])


def test_jitter_factors_and_their_order_are_those_of_torchvision():
    jitter = ColorJitter(0.4, 0.9, 1.5)
    factors, order = jitter.draw(torch.zeros(DRAWS, 3, 1, 1), generator())
    names = ("brightness_factor", "contrast_factor", "saturation_factor")
    expected = theirs(v2.ColorJitter(0.4, 0.9, 1.5), torch.zeros(3, 1, 1), *names)
    for mine, other in zip(factors.T, expected, strict=True):
        assert_same_distribution(mine, other)
    counts = torch.bincount(order[:, 0] * 3 + order[:, 1], minlength=9).view(3, 3)
    assert counts.diagonal().sum() == 0
    expected_count = DRAWS / 6
    assert (counts[counts > 0] - expected_count).abs().max() < 4 * math.sqrt(expected_count * 5 / 6)
    assert (counts > 0).sum() == 6


def test_lighting_draws_a_normal_amount_of_each_component():
    (alpha,) = Lighting(0.1).draw(torch.zeros(DRAWS, 3, 1, 1), generator())
    assert alpha.shape == (DRAWS, 3)
    assert alpha.mean(0).abs().max() < 4 * 0.1 / math.sqrt(DRAWS)
    assert (alpha.std(0) - 0.1).abs().max() < 4 * 0.1 / math.sqrt(2 * DRAWS)


def test_cutout_centres_are_uniform_over_the_image():
    row, column = Cutout(4).draw(torch.zeros(DRAWS, 1, 6, 10), generator())
    for values, side in ((row, 6), (column, 10)):
        assert_same_distribution(values, torch.arange(side).repeat(DRAWS // side))


# --- effects ------------------------------------------------------------------------------------------------------


@quick
@given(H=sides, W=sides, size=sides, padding=st.integers(0, 4), channels=st.integers(1, 4), seed=seeds)
def test_a_crop_is_a_window_of_the_padded_image(H, W, size, padding, channels, seed):
    images = noise(4, channels, H, W, seed)
    crop = RandomCrop(size, padding)
    if size > min(H, W) + 2 * padding:
        with pytest.raises(CourseError, match=f"crop of {size}x{size} does not fit into images of {H}x{W}"):
            crop(images)
        return
    drawn = crop.draw(images, generator(seed))
    expected = [
        tv.crop(tv.pad(image, padding), int(top), int(left), size, size)
        for image, top, left in zip(images, *drawn, strict=True)
    ]
    assert torch.equal(crop.apply(images, *drawn), torch.stack(expected))


@quick
@given(H=sides, W=sides, seed=seeds)
def test_flips_mirror_the_images_that_were_drawn(H, W, seed):
    images = noise(6, 2, H, W, seed)
    for flip, mirror in ((RandomHorizontalFlip(), tv.horizontal_flip), (RandomVerticalFlip(), tv.vertical_flip)):
        (drawn,) = flip.draw(images, generator(seed))
        expected = [mirror(image) if yes else image for image, yes in zip(images, drawn, strict=True)]
        flipped = flip.apply(images, drawn)
        assert torch.equal(flipped, torch.stack(expected))
        assert torch.equal(flip.apply(flipped, drawn), images)


@quick
@given(H=sides, W=sides, size=st.integers(1, 14), seed=seeds)
def test_a_resized_crop_is_torchvisions(H, W, size, seed):
    images = to_float(noise(4, 3, H, W, seed))
    crop = RandomResizedCrop(size, scale=(0.05, 1.0), ratio=(0.4, 2.5))
    drawn = crop.draw(images, generator(seed))
    top, left, height, width = drawn
    assert ((top >= 0) & (height >= 1) & (top + height <= H)).all()
    assert ((left >= 0) & (width >= 1) & (left + width <= W)).all()
    expected = [
        tv.resized_crop(image, *map(int, box), size=[size, size], antialias=True)
        for image, *box in zip(images, *drawn, strict=True)
    ]
    torch.testing.assert_close(crop.apply(images, *drawn), torch.stack(expected), rtol=0, atol=2e-6)


def test_resize_is_torchvisions_and_draws_nothing():
    images = noise(2, 3, 9, 9)
    expected = tv.resize(to_float(images), [14, 14], antialias=True)
    assert torch.equal(Resize(14)(images), expected)
    before = generator()
    Resize(14)(images, before)
    assert torch.equal(before.get_state(), generator().get_state())


@quick
@given(channels=st.sampled_from([1, 3]), seed=seeds)
def test_jitter_applies_torchvisions_adjustments_in_the_order_drawn(channels, seed):
    images = to_float(noise(6, channels, 5, 4, seed))
    jitter = ColorJitter(0.8, 0.8, 0.8)
    factors, order = jitter.draw(images, generator(seed))
    adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    expected = []
    for image, factor, steps in zip(images, factors, order, strict=True):
        for step in steps.tolist():
            image = adjust[step](image, float(factor[step]))
        expected.append(image)
    torch.testing.assert_close(jitter.apply(images, factors, order), torch.stack(expected), rtol=0, atol=2e-6)


def test_jitter_without_strength_changes_nothing():
    images = noise()
    assert torch.equal(ColorJitter()(images), to_float(images))


def test_lighting_moves_all_pixels_of_an_image_along_the_components():
    images = noise()
    alpha = torch.zeros(5, 3)
    alpha[1, 0] = 2.0
    change = Lighting().apply(images, alpha) - to_float(images)
    # ImageNet's first component: nearly grey, 2 * eigenvalue * eigenvector
    expected = torch.tensor([-0.24686, -0.25265, -0.25387])[:, None, None].expand(-1, 9, 11)
    torch.testing.assert_close(change[1], expected, rtol=1e-4, atol=1e-5)
    assert change[[0, 2, 3, 4]].abs().max() == 0


def test_the_components_of_lighting_are_orthonormal():
    shift = Lighting().apply(torch.zeros(3, 3, 1, 1), torch.eye(3)).flatten(1)
    lengths = torch.tensor([0.2175, 0.0188, 0.0045])
    torch.testing.assert_close(shift @ shift.T, torch.diag(lengths**2), rtol=1e-3, atol=1e-6)


@quick
@given(H=sides, W=sides, size=st.integers(1, 15), seed=seeds)
def test_cutout_covers_a_square_cut_off_at_the_border(H, W, size, seed):
    images = noise(4, 3, H, W, seed)
    cutout = Cutout(size, fill=(0.2, 0.4, 0.6))
    drawn = cutout.draw(images, generator(seed))
    expected = images.clone()
    for image, row, column in zip(expected, *map(torch.Tensor.tolist, drawn), strict=True):
        top, left = row - size // 2, column - size // 2
        square = (slice(max(top, 0), top + size), slice(max(left, 0), left + size))
        for channel, value in zip(image, (51, 102, 153), strict=True):
            channel[square] = value
    assert torch.equal(cutout.apply(images, *drawn), expected)


# --- what all of them promise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_the_same_seed_draws_the_same(augmentation):
    images = noise()
    first, again, other = (augmentation(images, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == isinstance(augmentation, Resize)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_each_image_has_its_own_parameters(augmentation):
    images = noise(1).expand(40, -1, -1, -1)
    results = augmentation(images, generator())
    assert (len(results.flatten(1).unique(dim=0)) == 1) == isinstance(augmentation, Resize)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_images_do_not_influence_each_other_and_are_left_as_they_were(augmentation):
    images = noise()
    before = images.clone()
    drawn = augmentation.draw(images, generator())
    together = augmentation.apply(images, *drawn)
    alone = [augmentation.apply(images[[n]], *(values[[n]] for values in drawn)) for n in range(len(images))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)
    assert torch.equal(images, before)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_bytes_and_floats_are_treated_alike(augmentation):
    images = noise()
    drawn = augmentation.draw(images, generator())
    from_bytes, from_floats = augmentation.apply(images, *drawn), augmentation.apply(to_float(images), *drawn)
    assert from_floats.dtype == torch.float32
    torch.testing.assert_close(to_float(from_bytes), from_floats, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(0), "size must be a positive integer, not 0"),
        (lambda: RandomCrop(8, padding=-1), "padding must be an integer from 0, not -1"),
        (lambda: RandomHorizontalFlip(1.5), "p is a probability from 0 to 1, not 1.5"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 0.1)), "scale must go from above 0 upwards"),
        (lambda: RandomResizedCrop(8, ratio=(0.0, 1.0)), "ratio must go from above 0 upwards"),
        (lambda: ColorJitter(contrast=-0.1), "contrast must be at least 0, not -0.1"),
        (lambda: Lighting(math.nan), "std must be at least 0, not nan"),
        (lambda: Cutout(2.5), "size must be a positive integer, not 2.5"),
        (lambda: Cutout(2, fill=(0.1, 0.2))(noise()), "2 fill values, but the images have 3 channels"),
        (lambda: Lighting()(noise(C=1)), "the images have 1 channels"),
        (lambda: ColorJitter(0.1)(noise(C=2)), "these have 2 channels"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(CourseError, match=message):
        make()
