"""Batches: every image once per epoch, normalised as torchvision would, the same from the same seed."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor

from cnncourse.data import Dataset, Source, Split
from cnncourse.data.augment import ColorJitter, Cutout, RandomCrop, RandomHorizontalFlip
from cnncourse.data.batches import Batches, loaders
from cnncourse.errors import CourseError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def split(N: int = 10, C: int = 3, size: int = 6, classes: int = 4) -> Split:
    generator = torch.Generator().manual_seed(N)
    images = torch.randint(0, 256, (N, C, size, size), dtype=torch.uint8, generator=generator)
    if N and size:
        images[:, 0, 0, 0] = torch.arange(N)  # tells which image it is
    return Split(images, torch.arange(N) % classes)


def identities(X: torch.Tensor) -> list[int]:
    return (X[:, 0, 0, 0] * 255).round().int().tolist()


def epoch(batches: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    X, y = zip(*batches, strict=True)
    return torch.cat(X), torch.cat(y)


def dataset(train: int = 1000, validation: int = 20, test: int = 700) -> Dataset:
    sizes = {"train": train, "validation": validation, "test": test}
    return Dataset(
        *map(split, sizes.values()),
        classes=tuple("abcd"),
        mean=MEAN,
        std=STD,
        source=Source("noise", "embedded", "0" * 64, sizes, ""),
    )


@settings(max_examples=40, deadline=None)
@given(N=st.integers(1, 40), batch=st.integers(1, 40), drop_last=st.booleans(), chunk=st.integers(1, 5))
def test_an_epoch_holds_every_image_once_but_for_a_dropped_rest(N, batch, drop_last, chunk):
    if batch > N:
        with pytest.raises(CourseError, match=f"batch of {batch} is larger than the data: there are {N} images"):
            Batches(split(N), batch)
        return
    batches = Batches(split(N), batch, shuffle=True, drop_last=drop_last)
    batches._chunk = chunk  # several batches are prepared at once on a GPU
    sizes, seen = [], []
    for X, y in batches:
        sizes.append(len(X))
        seen += identities(X)
        assert [n % 4 for n in identities(X)] == y.tolist()
    whole, rest = divmod(N, batch)
    assert sizes == [batch] * whole + [rest] * (rest > 0 and not drop_last)
    assert len(batches) == len(sizes)
    assert len(set(seen)) == len(seen) == sum(sizes)


def test_batches_have_the_promised_types_and_shapes():
    X, y = next(iter(Batches(split(), 4)))
    assert (X.dtype, X.shape) == (torch.float32, (4, 3, 6, 6))
    assert (y.dtype, y.shape) == (torch.int64, (4,))


def test_without_shuffling_the_order_is_kept():
    X, y = epoch(Batches(split(), 4))
    assert identities(X) == list(range(10))
    assert y.tolist() == [n % 4 for n in range(10)]


def test_normalisation_is_torchvisions_to_the_last_bit():
    part = split()
    plain, _ = epoch(Batches(part, 4))
    assert torch.equal(plain, torch.stack([to_tensor(image.permute(1, 2, 0).numpy()) for image in part.images]))
    normalised, _ = epoch(Batches(part, 4, mean=MEAN, std=STD))
    assert torch.equal(normalised, v2.Normalize(MEAN, STD)(plain))


def test_augmentation_happens_before_normalisation_in_the_order_given():
    part = split(40)
    black = Batches(part, 40, mean=MEAN, std=STD, augment=[RandomCrop(20, padding=10)])
    X, _ = epoch(black)
    assert X.shape == (40, 3, 20, 20)
    corner = -torch.tensor(MEAN) / torch.tensor(STD)  # padding is black, not grey
    assert (X[:, :, 0, 0] == corner).all(1).any()
    smaller = Batches(part, 40, augment=[RandomCrop(5), RandomCrop(2)])
    assert epoch(smaller)[0].shape[2:] == (2, 2)


def test_augmentations_that_return_floats_are_not_scaled_again():
    part = split()
    X, _ = epoch(Batches(part, 5, mean=MEAN, std=STD, augment=[ColorJitter()]))
    torch.testing.assert_close(X, epoch(Batches(part, 5, mean=MEAN, std=STD))[0])


def test_batches_are_new_memory():
    part = split()
    before = part.images.clone()
    for X, y in Batches(part, 5, augment=[lambda X, generator: X]):
        X.zero_()
        y.zero_()
    assert torch.equal(part.images, before)
    floats = part.images / 255
    epoch(Batches(part, 10, mean=MEAN, augment=[lambda X, generator: floats]))
    assert torch.equal(floats, before / 255)
    assert part.labels.tolist() == [n % 4 for n in range(10)]


def test_a_seed_replays_the_epochs_and_another_does_not():
    augment = [RandomCrop(6, padding=2), RandomHorizontalFlip(), Cutout(3)]

    def make(seed):
        return Batches(split(), 3, shuffle=True, augment=augment, seed=seed)

    batches = make(1)
    first, second = epoch(batches)[0], epoch(batches)[0]
    assert not torch.equal(first, second)
    again = make(1)
    assert torch.equal(epoch(again)[0], first)
    assert torch.equal(epoch(again)[0], second)
    assert torch.equal(epoch(again.manual_seed(1))[0], first)
    assert not torch.equal(epoch(make(2))[0], first)


def test_the_order_does_not_depend_on_the_augmentation():
    plain, augmented = Batches(split(), 3, shuffle=True), Batches(split(), 3, shuffle=True, augment=[Cutout(2)])
    for _ in range(2):
        assert torch.equal(epoch(plain)[1], epoch(augmented)[1])


def test_order_and_augmentation_draw_from_different_numbers():
    state = Batches(split(), 3, seed=4).state_dict()
    assert not torch.equal(state["order"], state["noise"])


def test_other_random_numbers_neither_change_batches_nor_are_changed_by_them():
    def orders(seed):
        torch.manual_seed(seed)
        return epoch(Batches(split(), 3, shuffle=True, augment=[RandomHorizontalFlip()]))[0]

    assert torch.equal(orders(1), orders(2))
    before = torch.get_rng_state()
    orders_again = epoch(Batches(split(), 3, shuffle=True, augment=[RandomHorizontalFlip()]))[0]
    assert len(orders_again) == 10
    torch.manual_seed(2)
    assert torch.equal(before, torch.get_rng_state())


def test_the_state_brings_back_the_following_epochs():
    augment = [RandomHorizontalFlip()]
    batches = Batches(split(), 3, shuffle=True, augment=augment)
    epoch(batches)
    state = batches.state_dict()
    expected = [epoch(batches)[0] for _ in range(2)]
    other = Batches(split(), 3, shuffle=True, augment=augment, seed=9)
    other.load_state_dict(state)
    assert all(torch.equal(epoch(other)[0], X) for X in expected)


def test_loaders_augment_and_shuffle_the_training_part_only():
    data = dataset()
    train, validation, test = loaders(data, 64, augment=[RandomHorizontalFlip()], seed=5)
    assert (train.batch_size, validation.batch_size, test.batch_size) == (64, 20, 500)
    assert train.shuffle
    assert train.augment == (RandomHorizontalFlip(),)
    expected = v2.Normalize(MEAN, STD)(data.test.images / 255)
    assert torch.equal(epoch(test)[0], expected)
    assert torch.equal(epoch(validation)[1], data.validation.labels)
    assert {batches.num_classes for batches in (train, validation, test)} == {4}


def test_loaders_leave_out_a_part_without_images():
    data = dataclasses.replace(dataset(), validation=split(0))
    train, validation, test = loaders(data, 10)
    assert validation is None
    assert len(train) == 100
    assert len(test) == 2


def test_the_repr_says_what_matters():
    batches = Batches(split(), 4, shuffle=True, drop_last=True, augment=[RandomHorizontalFlip()], seed=3)
    assert repr(batches) == (
        "Batches(2 of 4 images 3x6x6 on cpu, shuffled, last one dropped, RandomHorizontalFlip(p=0.5), seed 3)"
    )


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        (split(0), {}, "data set is empty"),
        (split(), {"batch_size": 11}, "batch of 11 is larger than the data: there are 10 images"),
        (split(), {"batch_size": 0}, "batch size must be an integer of at least 1, not 0"),
        (split(), {"batch_size": 2.0}, "at least 1, not 2.0"),
        (split(), {"num_classes": 3}, "label of image 3 is 3, out of range: labels are class indices from 0 to 2"),
        (Split(split().images, split().labels - 1), {}, "label of image 0 is -1, out of range"),
        (Split(split().images / 255, split().labels), {}, r"must be uint8 of shape \(N, C, H, W\), not float32"),
        (Split(split().images[:, 0], split().labels), {}, r"not uint8 of shape \(10, 6, 6\)"),
        (Split(split().images, split().labels[:9]), {}, r"int64 of shape \(10,\), one per image, not .* \(9,\)"),
        (Split(split().images, split().labels.float()), {}, "not float32"),
        (split(), {"mean": (0.5,)}, "mean has 1 values, but the images have 3 channels"),
        (split(), {"std": (0.5, 0.0, 1.0)}, "std .* cannot normalise"),
        (split(), {"mean": (0.5, float("nan"), 1.0)}, "mean .* cannot normalise"),
        (split(), {"device": "cuda:77"}, "no device 'cuda:77'"),
        (split(), {"device": "gpu"}, "Unknown device 'gpu'"),
    ],
)
def test_bad_input_is_named(part, options, message):
    with pytest.raises(CourseError, match=message):
        Batches(part, **{"batch_size": 2} | options)
