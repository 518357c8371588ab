"""Folders of image files: decoded once, cached safely, and refused with a reason."""

import errno
import os
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncourse.data import image_cache, image_folder
from cnncourse.data.image_folder import class_folders, fingerprint, listed, load
from cnncourse.errors import CourseError

CLASSES = ("cat", "dog")
NUMBER = 6  # images of each class


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setattr(image_cache, "location", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(NUMBER):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def read(folder: Path, size: int = 8, **options) -> image_folder.Images:
    return load(folder, class_folders(folder, CLASSES), size, **options)


def refusal(folder: Path, **options) -> CourseError:
    with pytest.raises(CourseError) as caught:
        read(folder, **options)
    return caught.value


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def no_decoding(monkeypatch):
    """Call it, and from then on images have to come from the cache."""

    def decode(*args):
        raise AssertionError("images were decoded again")

    return lambda: monkeypatch.setattr(image_folder, "decode", decode)


# --- intact images


def test_pixels_labels_and_names_are_those_of_the_files(folder):
    images = read(folder)
    assert images.pixels.shape == (2 * NUMBER, 3, 8, 8)
    assert images.pixels.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert images.names[0] == "cat/0.png"
    assert images.names[-1] == f"dog/{NUMBER - 1}.png"
    for pixels, label, name in zip(images.pixels, images.labels, images.names, strict=True):
        assert name.startswith(CLASSES[label])
        assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(Image.open(folder / name)))


def test_labels_follow_the_order_of_the_classes_and_not_of_the_names(folder):
    files = class_folders(folder, ("dog", "cat"))
    assert [file.name.split("/")[0] for file in files if file.label == 0] == ["dog"] * NUMBER


def test_grey_palette_and_transparent_images_become_rgb(folder):
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    grey.save(folder / "cat" / "0.png")
    grey.convert("P").save(folder / "cat" / "1.png")
    grey.convert("RGBA").save(folder / "cat" / "2.png")
    first, second, third = read(folder).pixels[:3]
    assert np.array_equal(first, np.stack([np.asarray(grey)] * 3))
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)


def test_more_images_than_one_task_takes_stay_in_their_order(folder, monkeypatch):
    expected = read(folder)
    monkeypatch.setattr(image_folder, "_AT_ONCE", 1)
    one_by_one = image_folder.decode(folder, class_folders(folder, CLASSES), 8)
    assert np.array_equal(one_by_one.pixels, expected.pixels)
    assert one_by_one.sha256 == expected.sha256


def test_fitting_cuts_a_square_around_the_centre_and_resizes(tmp_path):
    (tmp_path / "wide").mkdir()
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200  # the square in the middle
    Image.fromarray(pixels).save(tmp_path / "wide" / "a.png")
    files = listed(tmp_path / "wide", [("a.png", 1)])
    images = load(tmp_path / "wide", files, 10, fit=True)
    assert images.pixels.shape == (1, 3, 10, 10)
    assert (abs(images.pixels[0].astype(int) - 200) <= 20).all()  # black borders are cut off
    assert images.labels.tolist() == [1]


def test_hidden_files_are_left_out(folder):
    before = read(folder).sha256
    for path in (folder / ".DS_Store", folder / "cat" / ".hidden.png", folder / "cat" / "Thumbs.db"):
        path.write_bytes(b"?")
    assert read(folder).sha256 == before


# --- identity


def test_sha256_is_the_content_and_not_the_place_nor_the_date(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "cat" / "0.png", (0, 0))
    assert read(folder).sha256 == read(tmp_path / "elsewhere").sha256


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "cat" / "0.png").rename(folder / "cat" / "new.png"),
        lambda folder: (folder / "cat" / "0.png").unlink(),
        lambda folder: (folder / "cat" / "0.png").rename(folder / "dog" / "0.png"),
        lambda folder: shutil.copy(folder / "cat" / "1.png", folder / "cat" / "0.png"),
    ],
)
def test_sha256_changes_with_names_number_labels_and_bytes(folder, change):
    before = read(folder).sha256
    change(folder)
    assert read(folder).sha256 != before


# --- the cache


def test_images_are_decoded_once_and_nothing_is_written_into_the_folder(folder, cache, no_decoding):
    before = content(folder)
    first = read(folder)
    assert len(content(cache)) == 1
    no_decoding()
    second = read(folder)
    for name in ("pixels", "labels"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert (first.names, first.sha256) == (second.names, second.sha256)
    assert fingerprint(folder, class_folders(folder, CLASSES), 8) == first.sha256
    assert content(folder) == before


def test_fingerprint_decodes_and_keeps_what_is_not_in_the_cache(folder, no_decoding):
    digest = fingerprint(folder, class_folders(folder, CLASSES), 8)
    no_decoding()
    assert read(folder).sha256 == digest


def test_a_changed_file_is_noticed_and_the_cache_does_not_grow(folder, cache):
    before = read(folder)
    pixels = np.full((8, 8, 3), 7, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "cat" / "0.png")
    after = read(folder)
    assert (after.pixels[0] == 7).all()
    assert after.sha256 != before.sha256
    assert len(content(cache)) == 1


def test_a_file_of_the_same_size_but_another_date_is_read_again(folder):
    path = folder / "cat" / "0.bmp"
    (folder / "cat" / "0.png").unlink()
    Image.fromarray(np.full((8, 8, 3), 1, dtype=np.uint8)).save(path)
    read(folder)
    size = path.stat().st_size
    Image.fromarray(np.full((8, 8, 3), 2, dtype=np.uint8)).save(path)
    os.utime(path, (1, 1))
    assert path.stat().st_size == size
    assert (read(folder).pixels[0] == 2).all()


def test_other_sizes_do_not_mix_in_the_cache(folder):
    assert read(folder, size=4, fit=True).pixels.shape[-1] == 4
    assert read(folder).pixels.shape[-1] == 8


def test_whatever_byte_of_the_cache_is_damaged_the_images_are_right(folder, cache):
    expected = read(folder)
    [path] = cache.iterdir()
    intact = path.read_bytes()
    places = sorted({*range(0, len(intact), 97), *range(60), *range(len(intact) - 120, len(intact))})
    for place in places:
        path.write_bytes(intact[:place] + bytes([intact[place] ^ 0xFF]) + intact[place + 1 :])
        images = read(folder)
        assert np.array_equal(images.pixels, expected.pixels), place
        assert np.array_equal(images.labels, expected.labels), place
        assert (images.names, images.sha256) == (expected.names, expected.sha256), place


@pytest.mark.parametrize("damage", [b"", b"<html>", b"\x93NUMPY", b"PK\x03\x04"])
def test_a_damaged_cache_is_made_again(folder, cache, no_decoding, damage):
    expected = read(folder)
    [path] = cache.iterdir()
    path.write_bytes(damage)
    assert np.array_equal(read(folder).pixels, expected.pixels)
    with zipfile.ZipFile(path) as entry:
        assert entry.testzip() is None
    no_decoding()
    read(folder)


def test_a_cache_that_cannot_be_written_costs_time_and_a_warning(folder, cache, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="could not be kept in .*No space left on device"):
        images = read(folder)
    assert len(images.pixels) == 2 * NUMBER
    assert content(cache) == {}


def test_a_file_in_place_of_the_cache_is_no_reason_to_stop(folder, cache):
    cache.write_text("")
    with pytest.warns(UserWarning, match="could not be kept"):
        assert len(read(folder).pixels) == 2 * NUMBER


# --- folders that are not as they should be


def test_a_missing_class_is_named(folder):
    shutil.rmtree(folder / "dog")
    error = refusal(folder)
    assert f"{folder} has no folder for class dog." in error.what
    assert "cat, dog" in error.what
    assert str(folder) in error.remedy


def test_a_folder_that_does_not_exist_lacks_all_classes(tmp_path):
    assert "has no folder for classes cat, dog." in refusal(tmp_path / "nothing").what


def test_an_empty_class_is_named(folder):
    for path in (folder / "dog").iterdir():
        path.unlink()
    error = refusal(folder)
    assert f"{folder / 'dog'} holds no images." in error.what
    assert "the class dog" in error.what


def test_what_is_not_a_class_is_named(folder):
    (folder / "horse").mkdir()
    error = refusal(folder)
    assert "holds horse, which is not one of its classes" in error.what
    assert f"Move {folder / 'horse'} away." in error.remedy


def test_a_file_in_place_of_a_folder_and_the_reverse_are_named(folder):
    (folder / "cat" / "more").mkdir()
    assert f"{folder / 'cat' / 'more'} is a folder, but should be a file" in refusal(folder).what
    shutil.rmtree(folder / "cat")
    (folder / "cat").write_text("")
    assert f"{folder / 'cat'} is a file, but should be a folder" in refusal(folder).what


def test_a_dangling_link_is_named(folder):
    (folder / "cat" / "link.png").symlink_to("nowhere")
    assert f"{folder / 'cat' / 'link.png'} is a link to a file that is not there" in refusal(folder).what


def test_an_image_of_a_list_that_is_not_there_is_named(folder):
    with pytest.raises(CourseError, match=r"lacks images a\.png, b\.png") as caught:
        listed(folder / "cat", [("0.png", 0), ("a.png", 0), ("b.png", 1)])
    assert "3 images" in caught.value.what
    with pytest.raises(CourseError, match=r"lacks images 0, 1, 2 and 7 more"):
        listed(folder / "cat", [(str(number), 0) for number in range(10)])


# --- files that are not as they should be


def png(size: int = 8) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def altered(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 20]) + data[middle + 20 :]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Log in</title>", "is a web page"),
        (b"just a note", "is not an image: it starts with 6a 75 73 74"),
        (png()[:100], "is a damaged image"),
        (png()[:20], "is a damaged image"),
        (altered(png()), "is a damaged image"),
        (jpeg()[:-100], "is a damaged image"),
        (png(16), "has 16x16 pixels"),
    ],
)
def test_a_damaged_file_is_refused_by_name_with_what_was_expected(folder, cache, damage, problem):
    path = folder / "dog" / "3.png"
    path.write_bytes(damage)
    error = refusal(folder)
    assert f"{path} {problem}" in error.what
    assert "Expected: an image of 8x8." in error.what
    assert "in its place" in error.remedy
    assert not cache.exists()  # nothing half done is kept


def test_many_damaged_files_are_counted_and_the_first_are_named(folder):
    for path in (folder / "cat").iterdir():
        path.write_bytes(b"")
    error = refusal(folder)
    assert f"{folder / 'cat' / '0.png'} is empty" in error.what
    assert f"And {NUMBER - 3} more files" in error.what
    assert f"{NUMBER - 1}.png" not in error.what


def test_a_file_that_cannot_be_read_is_named(folder, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)  # chmod would not keep an administrator from reading
    error = refusal(folder)
    assert f"{folder / 'cat' / '0.png'} cannot be read: Permission denied" in error.what
    assert "permission" in error.remedy
