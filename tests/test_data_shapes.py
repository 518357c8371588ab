"""The images that the program draws: the same everywhere, balanced, and not to be told apart pixel by pixel."""

import math

import numpy as np
import pytest
import torch

from cnncourse.data import cats_dogs, cifar10, embedded_cats_dogs, embedded_shapes
from cnncourse.data.drawing import Dice, Pose, cells
from cnncourse.data.embedded_cats_dogs import drawn_cats_dogs
from cnncourse.data.embedded_shapes import shapes
from cnncourse.data.stencils import CELLS, OPAQUE, ellipse, grid, polygon, stencil

SETS = {
    "shapes": (shapes, embedded_shapes, (3, 32, 32)),
    "cats and dogs": (drawn_cats_dogs, embedded_cats_dogs, (3, 64, 64)),
}


@pytest.fixture(params=SETS, scope="module")
def drawn(request):
    """One of the two sets, with its module and the shape of its images."""
    make, module, shape = SETS[request.param]
    return make(), module, shape


def test_shapes_types_and_ranges(drawn):
    data, module, shape = drawn
    for part, size in module.SIZES.items():
        split = getattr(data, part)
        assert split.images.shape == (size, *shape)
        assert split.images.dtype == torch.uint8
        assert split.images.float().std() > 20
        assert split.labels.shape == (size,)
        assert split.labels.dtype == torch.int64
        assert len(split) == data.source.sizes[part] == size
    assert data.classes == module.CLASSES
    assert data.source.kind == "embedded"
    assert data.source.publishable
    assert data.source == module.source()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (embedded_shapes, "8ccf6758ef67d78a44622f57f914eb81c254da2dbc791e95e4e66f9b341321e1"),
        (embedded_cats_dogs, "9ab6a7408284b44320efaebba5e2fdc8d3a4dfd81c4aff235b437d904f9a6b15"),
    ],
)
def test_content_is_pinned(module, expected):
    # Committed smoke results rest on these bytes: another hash means other results.
    assert module.source().sha256 == expected


def test_each_call_returns_fresh_tensors():
    shapes().train.images.zero_()
    assert shapes().train.images.max() > 0


def test_no_image_is_in_two_parts(drawn):
    data, module, _ = drawn
    images = torch.cat([part.images for part in (data.train, data.validation, data.test)])
    assert len({image.numpy().tobytes() for image in images}) == sum(module.SIZES.values())


def test_any_first_images_are_a_fair_sample(drawn):
    data, module, _ = drawn
    for part in (data.train, data.validation, data.test):
        for number in (len(module.CLASSES), len(part) // 2, len(part)):
            counts = torch.bincount(part.labels[:number], minlength=len(module.CLASSES))
            assert counts.max() - counts.min() <= 1


def test_mean_and_std_are_those_of_the_training_part(drawn):
    data, _, _ = drawn
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_other_seeds_draw_other_images_of_the_same_classes():
    images, labels = embedded_shapes.draw(20, seed=1)
    assert not np.array_equal(images, embedded_shapes.draw(20, seed=2)[0])
    assert labels.tolist() == [*range(10), *range(10)]


def test_classes_cannot_be_told_apart_by_their_mean_images(drawn):
    """The class is in the arrangement of pixels, not in single ones: that is why a convolution helps."""
    data, module, _ = drawn
    X, Z = (part.images.flatten(1).double() for part in (data.train, data.test))
    means = torch.stack([X[data.train.labels == k].mean(0) for k in range(len(module.CLASSES))])
    accuracy = (torch.cdist(Z, means).argmin(1) == data.test.labels).double().mean()
    assert accuracy < 1 / len(module.CLASSES) + 0.15


def test_colours_and_brightness_do_not_give_the_class_away(drawn):
    data, module, _ = drawn
    X, Z = (part.images.double().mean((2, 3)) for part in (data.train, data.test))
    means = torch.stack([X[data.train.labels == k].mean(0) for k in range(len(module.CLASSES))])
    accuracy = (torch.cdist(Z, means).argmin(1) == data.test.labels).double().mean()
    assert accuracy < 1 / len(module.CLASSES) + 0.1


@pytest.mark.parametrize("make", [cifar10, cats_dogs])
def test_smoke_takes_the_drawn_images_and_touches_neither_data_root_nor_network(make, monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise AssertionError("the smoke profile opened a socket")

    monkeypatch.setattr("socket.socket", no_network)
    monkeypatch.setenv("CNNCOURSE_DATA", str(tmp_path / "nothing"))
    expected = {cifar10: embedded_shapes, cats_dogs: embedded_cats_dogs}[make].source()
    assert make("smoke").source == make().source == expected
    assert not (tmp_path / "nothing").exists()


def test_without_validation_its_images_are_training_images():
    data, whole = shapes(), cifar10("smoke", validation=False)
    assert len(whole.train) == 1600
    assert torch.equal(whole.train.images, torch.cat([data.train.images, data.validation.images]))
    assert torch.equal(whole.train.labels, torch.cat([data.train.labels, data.validation.labels]))
    assert whole.validation.images.shape == (0, 3, 32, 32)
    assert whole.source.sizes == {"train": 1600, "validation": 0, "test": 800}
    assert whole.mean == pytest.approx((whole.train.images.double() / 255).mean((0, 2, 3)).tolist(), abs=1e-12)
    assert torch.equal(whole.test.images, data.test.images)


# --- what they are drawn with


def test_dice_fall_on_every_number_of_the_range_equally_often():
    numbers = Dice(0).integers(-3, 4, 80, 100)
    assert numbers.shape == (80, 100)
    assert numbers.dtype == np.int16
    values, counts = np.unique(numbers, return_counts=True)
    assert values.tolist() == [*range(-3, 5)]
    assert abs(counts - 1000).max() < 150
    assert np.array_equal(numbers, Dice(0).integers(-3, 4, 80, 100))
    assert not np.array_equal(numbers, Dice(1).integers(-3, 4, 80, 100))


def test_noise_is_centred_and_triangular():
    noise = Dice(0).noise(1000, 101)
    assert noise.shape == (1000, 101)
    assert abs(noise.mean()) < 2
    assert noise.std() == pytest.approx(math.sqrt((256**2 - 1) / 6), rel=0.01)


def test_no_cosine_is_so_close_to_a_half_that_rounding_could_differ():
    values = [4096 * math.cos(math.radians(degree)) for degree in range(360)]
    assert min(abs(value - math.floor(value) - 0.5) for value in values) > 1e-6


def test_stencils_cover_the_area_of_their_shape():
    disc, triangle = ellipse(0, 0, 100, 80), polygon((-100, 80), (100, 80), (0, -80))
    assert disc.sum() == pytest.approx(math.pi * 100 * 80, rel=0.01)
    assert triangle.sum() == pytest.approx(200 * 160 / 2, rel=0.01)
    for shape in (disc, triangle):
        coverage = stencil(shape)
        assert coverage.min() == 0
        assert coverage.max() == OPAQUE
        assert coverage.sum() / OPAQUE * 16 == pytest.approx(shape.sum(), rel=0.03)


def test_polygon_agrees_with_half_planes():
    x, y = grid()
    square = polygon((-50, -40), (50, -40), (50, 40), (-50, 40))
    assert np.array_equal(square, (x > -50) & (x < 50) & (y >= -40) & (y < 40))


def pose(**changes) -> Pose:
    values = {"x": 32, "y": 32, "radius": 32, "angle": 0, "mirrored": 0} | changes
    return Pose(**{name: np.array([value], dtype=np.int16) for name, value in values.items()})


def test_poses_move_scale_turn_and_mirror():
    """An arrow to the right, in an image of 32x32: where is its centre of mass, up to half a stencil cell?"""
    arrow = stencil(polygon((-60, -8), (20, -8), (20, -50), (110, 0), (20, 50), (20, 8), (-60, 8)))

    def centre(**changes) -> tuple[float, float, float]:
        image = arrow.reshape(-1)[cells(np.array([0]), pose(**changes), 32)[0]].astype(float)
        y, x = np.mgrid[:32, :32] - 15.5
        return (image * x).sum() / image.sum(), (image * y).sum() / image.sum(), image.sum() / OPAQUE

    x, y, area = centre()
    assert x > 3
    assert abs(y) < 0.3
    assert centre(x=40)[:2] == pytest.approx((x + 4, y), abs=0.3)
    assert centre(y=24)[:2] == pytest.approx((x, y - 4), abs=0.3)
    assert centre(angle=90)[:2] == pytest.approx((0, x), abs=0.5)  # clockwise, because y points down
    assert centre(mirrored=1)[:2] == pytest.approx((-x, y), abs=0.5)
    smaller = centre(radius=16)
    assert smaller[0] == pytest.approx(x / 2, abs=0.5)
    assert smaller[2] == pytest.approx(area / 4, rel=0.1)


def test_a_stencil_ends_at_its_border():
    full = stencil(np.ones((256, 256), dtype=bool))
    image = full.reshape(-1)[cells(np.array([0]), pose(radius=8), 32)[0]]
    assert image[12:20, 12:20].min() > 0
    image[12:20, 12:20] = 0
    assert image.max() == 0
    assert full.shape == (CELLS, CELLS)
