"""Cats and dogs: the competition's folder or the Oxford-IIIT Pets, found, downloaded, or refused with a reason."""

import errno
import hashlib
import io
import os
import re
import shutil
import tarfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import NOBODY, serving
from PIL import Image

from cnncourse.data import cats_dogs, cats_dogs_data, image_cache, inventory, pets_files
from cnncourse.errors import CourseError

TRAIN, TEST = 12, 3  # images of each class in the competition's two folders
PETS = {"trainval": 15, "test": 6}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setattr(image_cache, "location", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def photograph(rng, height: int = 64, width: int = 64) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def root(tmp_path) -> Path:
    """A data root in the competition's layout."""
    rng = np.random.default_rng(0)
    for part, number in (("trainset", TRAIN), ("testset", TEST)):
        for name in ("Cat", "Dog"):
            place = tmp_path / "root" / "cats_dogs" / part / name
            place.mkdir(parents=True)
            for i in range(1, number + 1):
                photograph(rng).save(place / f"{i}.{name}.jpg")
    return tmp_path / "root"


@pytest.fixture
def trainset(root) -> Path:
    return root / "cats_dogs" / "trainset"


@pytest.fixture
def testset(root) -> Path:
    return root / "cats_dogs" / "testset"


@pytest.fixture
def pets(tmp_path, monkeypatch) -> Path:
    """A data root with a small Oxford-IIIT Pets: every third animal is a cat."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(pets_files, "NUMBERS", PETS)
    folder = tmp_path / "pets" / "oxford-iiit-pet"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for part, number in PETS.items():
        lines = []
        for i in range(number):
            breed, species = ("Bengal", 1) if i % 3 == 0 else ("pug", 2)
            name = f"{breed}_{part}_{i}"
            photograph(rng, 70 + i, 100).save(folder / "images" / f"{name}.jpg")
            lines.append(f"{name} {6 if species == 1 else 27} {species} {1}\n")
        (folder / "annotations" / f"{part}.txt").write_text("".join(lines))
    return folder.parent


@pytest.fixture
def lists(pets) -> Path:
    return pets / "oxford-iiit-pet" / "annotations"


@pytest.fixture
def images(pets) -> Path:
    return pets / "oxford-iiit-pet" / "images"


def refusal(root: Path, **options) -> CourseError:
    with pytest.raises(CourseError) as caught:
        cats_dogs("laptop", root, **{"download": False, **options})
    return caught.value


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the competition's images


@pytest.mark.parametrize("profile", ["laptop", "full"])
def test_one_training_image_of_five_is_for_validation_in_each_class(root, trainset, testset, profile):
    data = cats_dogs(profile, root, download=False)
    assert data.source.sizes == {"train": 20, "validation": 4, "test": 6}
    for part, folder, number in (
        (data.train, trainset, 10),
        (data.validation, trainset, 2),
        (data.test, testset, 3),
    ):
        assert part.images.shape == (2 * number, 3, 64, 64)
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert torch.bincount(part.labels).tolist() == [number, number]
        for image, label, name in zip(part.images, part.labels, part.names, strict=True):
            assert name.startswith(("Cat/", "Dog/")[label])
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(Image.open(folder / name)))
    names = {*data.train.names, *data.validation.names}
    assert len(names) == 24
    assert data.classes == ("cat", "dog")


def test_the_competitions_9999_images_are_split_as_in_the_report():
    from cnncourse.data import splits

    train, validation = splits.hold_out(np.repeat([0, 1], cats_dogs_data.FULL), cats_dogs_data.VALIDATION)
    assert (len(train), len(validation)) == (16_000, 3_998)


def test_any_first_images_are_a_fair_sample(root):
    data = cats_dogs("laptop", root)
    for part in (data.train, data.validation, data.test):
        for number in range(1, len(part) + 1):
            assert abs(2 * int(part.labels[:number].sum()) - number) <= 1


def test_mean_and_std_are_those_of_the_training_part(root):
    data = cats_dogs("laptop", root)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_all_images_can_be_for_training(root):
    data, whole = cats_dogs("laptop", root), cats_dogs("laptop", root, validation=False)
    assert whole.source.sizes == {"train": 24, "validation": 0, "test": 6}
    assert whole.train.names == data.train.names + data.validation.names
    assert torch.equal(whole.train.images[20:], data.validation.images)


def test_a_part_of_the_competition_is_a_copy_and_may_not_be_published(root, monkeypatch):
    part = cats_dogs("laptop", root).source
    assert part.kind == "copy"
    assert part.publishable is False
    assert "A part of the 9,999 + 9,999" in part.note
    monkeypatch.setattr(cats_dogs_data, "FULL", TRAIN)
    whole = cats_dogs("laptop", root).source
    assert whole.kind == "original"
    assert whole.publishable is False
    assert "licence forbids republishing" in whole.note
    assert "A part" not in whole.note


def test_source_is_the_content_and_not_the_place(root, tmp_path):
    shutil.copytree(root, tmp_path / "other")
    here, there = cats_dogs("laptop", root), cats_dogs("laptop", tmp_path / "other")
    assert here.source == there.source == cats_dogs_data.source(root)
    assert here.source.location != there.source.location
    assert torch.equal(here.train.images, there.train.images)
    assert str(tmp_path) not in repr(there.source)


def test_reading_writes_only_into_the_cache(root, cache):
    before = content(root)
    cats_dogs("laptop", root)
    inventory.survey(root)
    assert content(root) == before
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("below", ["", "test"])
def test_test_images_without_labels_leave_the_test_part_empty(root, testset, below):
    for name in ("Cat", "Dog"):
        for path in list((testset / name).iterdir()):
            (testset / below).mkdir(exist_ok=True)
            path.rename(testset / below / path.name)
        (testset / name).rmdir()
    data = cats_dogs("laptop", root)
    assert data.test.images.shape == (0, 3, 64, 64)
    assert data.source.sizes == {"train": 20, "validation": 4, "test": 0}
    assert "test images have no labels" in data.source.note


# --- what can be the matter with them


def test_a_missing_class_is_named(root, trainset, testset):
    shutil.rmtree(testset / "Dog")
    assert f"{testset} has no folder for class Dog" in refusal(root).what
    shutil.rmtree(testset)
    assert f"{testset} has no folder for classes Cat, Dog" in refusal(root).what
    shutil.rmtree(trainset / "Cat")
    error = refusal(root)
    assert "Expected: one folder of images for each class: Cat, Dog" in error.what


def test_an_empty_class_is_named(root, trainset):
    for path in (trainset / "Cat").iterdir():
        path.unlink()
    assert f"{trainset / 'Cat'} holds no images" in refusal(root).what


def test_an_image_of_another_size_is_named(root, trainset):
    path = trainset / "Cat" / "3.Cat.jpg"
    photograph(np.random.default_rng(0), 375, 500).save(path)
    error = refusal(root)
    assert f"{path} has 500x375 pixels" in error.what
    assert "Expected: an image of 64x64" in error.what


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (b"<html>Log in</html>", "is a web page"),
        (b"", "is empty"),
        (b"some text", "is not an image"),
    ],
)
def test_a_damaged_file_is_an_error_even_where_drawn_animals_may_stand_in(root, trainset, damage, problem):
    path = trainset / "Dog" / "7.Dog.jpg"
    path.write_bytes(damage)
    error = refusal(root, embedded=True)
    assert f"{path} {problem}" in error.what
    assert "7.Dog.jpg" in error.remedy


# --- the Oxford-IIIT Pets


def test_pets_are_cut_to_squares_and_resized(pets, images):
    data = cats_dogs("laptop", pets, download=False)
    assert data.source.sizes == {"train": 12, "validation": 3, "test": 6}
    assert data.train.images.shape == (12, 3, 64, 64)
    for part, cats in ((data.train, 4), (data.validation, 1), (data.test, 2)):
        assert int((part.labels == 0).sum()) == cats
        for label, name in zip(part.labels, part.names, strict=True):
            assert name.startswith(("Bengal", "pug")[label])
    square = np.full((80, 200, 3), 30, dtype=np.uint8)
    square[:, 60:140] = 220
    Image.fromarray(square).save(images / data.test.names[0], quality=95)
    again = cats_dogs("laptop", pets).test.images[0]
    assert (abs(again[:, 2:-2, 2:-2].int() - 220) <= 8).all()


def test_pets_are_not_the_reports_data_and_may_be_published(pets):
    source = cats_dogs("laptop", pets).source
    assert source.kind == "copy"
    assert source.publishable is True
    assert "CC BY-SA 4.0" in source.note
    assert source == cats_dogs_data.source(pets)


def test_the_competitions_images_come_first(root, pets):
    shutil.copytree(pets / "oxford-iiit-pet", root / "oxford-iiit-pet")
    assert cats_dogs("laptop", root).source.name == cats_dogs_data.COMPETITION_NAME


def test_pets_have_the_published_numbers():
    assert pets_files.NUMBERS == {"trainval": 3_680, "test": 3_669}


def test_an_image_that_is_listed_but_not_there_is_named(pets, images):
    (images / "pug_test_1.jpg").unlink()
    assert f"{images} lacks image pug_test_1.jpg" in refusal(pets).what


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: "<!DOCTYPE html>\n<html>", "is a web page"),
        (lambda text: text[: text.rindex("pug")], "lists 14 images"),
        (lambda text: text[:-3], "has a line 15 that is not of the form"),
        (lambda text: text.replace(" 2 1\n", " 3 1\n", 1), "has a line 2 that is not of the form"),
        (lambda text: "", "lists 0 images"),
    ],
)
def test_a_damaged_list_is_named_with_what_was_expected(pets, lists, damage, problem):
    path = lists / "trainval.txt"
    path.write_text(damage(path.read_text()))
    error = refusal(pets)
    assert f"{path} {problem}" in error.what
    assert "Expected: a list of 15 images" in error.what
    assert "cnncourse data --fetch cats_dogs" in error.remedy


def test_a_missing_list_is_named(pets, lists):
    (lists / "test.txt").unlink()
    error = refusal(pets)
    assert f"{lists / 'test.txt'} is missing" in error.what
    assert "cnncourse data --fetch cats_dogs" in error.remedy


# --- nothing there


def test_nothing_is_created_where_downloading_is_not_allowed(tmp_path, cache):
    error = refusal(tmp_path / "nothing")
    assert "were not found" in error.what
    assert "download=False" in error.what
    for remedy in ("cnncourse data --fetch cats_dogs", "trainset/Cat", "CNNCOURSE_DATA", "embedded=True"):
        assert remedy in error.remedy
    assert not (tmp_path / "nothing").exists()
    assert not cache.exists()


def test_a_root_that_points_too_deep_is_recognised(root, pets):
    assert f"set CNNCOURSE_DATA to {root}." in refusal(root / "cats_dogs", download=True).remedy
    assert f"set CNNCOURSE_DATA to {pets}." in refusal(pets / "oxford-iiit-pet", download=True).remedy


def test_unknown_profile_is_refused():
    with pytest.raises(CourseError, match="Unknown profile 'labtop'"):
        cats_dogs("labtop")


# --- downloading, by torchvision's own code from a server on this machine


def archive_of(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, folder.name)
    return buffer.getvalue()


@pytest.fixture
def serve(pets, monkeypatch):
    """Start a server with the archives of the small pets; torchvision will download from it."""
    from torchvision.datasets import OxfordIIITPet

    folder = pets / "oxford-iiit-pet"
    (folder / "annotations" / "trimaps").mkdir()
    files = {f"{name}.tar.gz": archive_of(folder / name) for name in ("images", "annotations")}
    (folder / "annotations" / "trimaps").rmdir()
    monkeypatch.setenv("no_proxy", "*")
    with ExitStack() as servers:

        def start(cut=False):
            address = servers.enter_context(serving(files, cut))
            resources = [(address + name, hashlib.md5(data).hexdigest()) for name, data in files.items()]
            monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", resources)

        yield start


@pytest.fixture
def no_network(monkeypatch):
    from torchvision.datasets import OxfordIIITPet

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", [(f"{NOBODY}images.tar.gz", "0" * 32)])


def test_download_lays_out_what_torchvision_accepts(serve, pets, tmp_path):
    from torchvision.datasets import OxfordIIITPet

    serve()
    data = cats_dogs("laptop", tmp_path / "new")
    assert content(tmp_path / "new") == content(pets)
    assert data.source == cats_dogs("laptop", pets).source
    dataset = OxfordIIITPet(tmp_path / "new", target_types="binary-category")
    assert [dataset[i][1] for i in range(4)] == [0, 1, 1, 0]


def test_fetch_mends_what_is_damaged(serve, pets, images, lists):
    serve()
    intact = content(pets)
    (images / "pug_test_1.jpg").unlink()
    (images / "pug_trainval_1.jpg").write_bytes(b"<html>")
    (lists / "test.txt").unlink()
    inventory.fetch("cats_dogs", pets)
    assert content(pets) == intact


def test_fetch_downloads_nothing_where_all_is_there(no_network, pets):
    inventory.fetch("cats_dogs", pets)


def test_a_broken_off_download_leaves_no_file(serve, tmp_path):
    serve(cut=True)
    error = refusal(tmp_path / "new", download=True)
    assert "The download failed" in error.what
    assert content(tmp_path / "new") == {}


def test_without_network_the_error_says_where_was_looked_and_what_to_do(no_network, tmp_path):
    error = refusal(tmp_path / "new", download=True)
    assert str(tmp_path / "new") in error.what
    assert re.search("The download failed: .*refused", error.what)
    assert "cnncourse data --fetch cats_dogs" in error.remedy
    assert content(tmp_path / "new") == {}


def test_a_full_disk_is_named_and_leaves_no_file(tmp_path, monkeypatch):
    from torchvision.datasets import OxfordIIITPet

    def download(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(OxfordIIITPet, "_download", download)
    error = refusal(tmp_path / "new", download=True)
    assert "could not be written: No space left on device" in error.what
    assert "Free 2 GB" in error.remedy
    assert content(tmp_path / "new") == {}


def test_drawn_animals_stand_in_only_when_asked_and_say_so(no_network, root, tmp_path):
    refusal(tmp_path / "new", download=True)
    with pytest.warns(UserWarning, match="Drawn animals stand in"):
        data = cats_dogs("laptop", tmp_path / "new", embedded=True)
    assert data.source.kind == "embedded"
    assert data.source.name == "drawn cats and dogs"
    assert cats_dogs("laptop", root, embedded=True).source.kind == "copy"


# --- the inventory


def test_survey_tells_what_is_there_and_what_is_damaged(root, trainset, pets, tmp_path):
    def survey(root) -> inventory.Entry:
        [entry] = inventory.survey(root, names={"Cats and dogs"})
        return entry

    found = survey(root)
    assert (found.name, found.state) == ("Cats and dogs (competition)", "found")
    assert found.source == cats_dogs("laptop", root).source
    assert survey(pets).source == cats_dogs("laptop", pets).source
    nothing = survey(tmp_path / "nothing")
    assert (nothing.name, nothing.state) == ("Cats and dogs", "not found")
    assert "cnncourse data --fetch cats_dogs" in nothing.remedy
    (trainset / "Cat" / "1.Cat.jpg").write_bytes(b"")
    damaged = survey(root)
    assert (damaged.name, damaged.state) == ("Cats and dogs", "damaged")
    assert "1.Cat.jpg is empty" in damaged.problem
