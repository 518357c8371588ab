"""Folders of image files: listed, decoded once, and refused with a reason when something is the matter."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cnncourse.data import faults, image_cache
from cnncourse.data.faults import WrongContent
from cnncourse.errors import CourseError

if TYPE_CHECKING:
    import numpy as np

_VERSION = 1  # of what is made of a file; another one makes the cached images old
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}  # put there by file managers, like the names that start with a dot
_SHOWN = 3  # problems that an error spells out
_AT_ONCE = 500  # files per task of a thread


class File(NamedTuple):
    """One image file: its name relative to the folder, its label, and what tells whether it has changed."""

    name: str
    label: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded image files.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8, shape (N, 3, size, size).
    labels : numpy.ndarray
        int64, shape (N,).
    names : tuple of str
        File of each image, relative to the folder.
    sha256 : str
        Of names, labels and bytes of all files: the same wherever the folder lies, and whatever decodes them.
    """

    pixels: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    sha256: str


def class_folders(folder: Path, classes: Sequence[str]) -> list[File]:
    """List a folder that has one folder of images for each class.

    Parameters
    ----------
    folder : Path
        Holds one folder per class, and nothing else.
    classes : sequence of str
        Names of these folders; the index is the label.

    Returns
    -------
    list of File
        Sorted by name. Hidden files are left out.

    Raises
    ------
    CourseError
        When a class is missing or empty, when there is anything else in the folder, or when it cannot be read.
    """
    present = {name for name in faults.names_in(folder) if not _hidden(name)}
    if missing := [name for name in classes if name not in present]:
        raise CourseError(
            f"{folder} has no folder for {_some(missing, 'class', 'classes')}.\n"
            f"Expected: one folder of images for each class: {', '.join(classes)}.",
            f"Complete {folder}, for instance by unpacking it again.",
        )
    if others := sorted(present.difference(classes)):
        raise CourseError(
            f"{folder} holds {others[0]}, which is not one of its classes.\n"
            f"Expected: one folder of images for each class, and nothing else: {', '.join(classes)}.",
            f"Move {folder / others[0]} away.",
        )
    files: list[File] = []
    for label, name in enumerate(classes):
        members = _files_in(folder / name, name, label)
        if not members:
            raise CourseError(
                f"{folder / name} holds no images.\nExpected: the images of the class {name}.",
                "Put them there, for instance by unpacking the data set again.",
            )
        files += members
    return sorted(files)


def load(folder: Path, files: Sequence[File], size: int, fit: bool = False) -> Images:
    """The images in `files`, from the user's cache or else decoded and kept there.

    The cached images are used as long as names, labels, sizes and modification times of the files are the same.

    Parameters
    ----------
    folder : Path
        What the names are relative to. Nothing is written into it.
    files : sequence of File
        Which images, as listed by one of the other functions.
    size : int
        Height and width of the images.
    fit : bool
        Whether to cut each image to a square around its centre and resize it. Otherwise images of another size are an
        error.

    Raises
    ------
    CourseError
        When a file cannot be read, is not an image or is damaged, or has another size.
    """
    name, key = _entry(folder, size, fit), _key(files, size, fit)
    if kept := image_cache.load(name, key, "pixels", "labels", "names", "sha256"):
        return Images(kept["pixels"], kept["labels"], tuple(kept["names"].tolist()), kept["sha256"].item())
    images = decode(folder, files, size, fit)
    _keep(name, key, images)
    return images


def fingerprint(folder: Path, files: Sequence[File], size: int, fit: bool = False) -> str:
    """``load(...).sha256``, without reading the images when they are in the user's cache already."""
    kept = image_cache.load(_entry(folder, size, fit), _key(files, size, fit), "sha256")
    return kept["sha256"].item() if kept else load(folder, files, size, fit).sha256


def decode(folder: Path, files: Sequence[File], size: int, fit: bool = False) -> Images:
    """What :func:`load` does for images that are not in the cache."""
    import numpy as np
    from tqdm import tqdm

    pixels = np.empty((len(files), 3, size, size), dtype=np.uint8)
    digests: list[str] = []
    problems: list[CourseError] = []

    def task(start: int) -> tuple[list[str], list[CourseError]]:
        good, bad = [], []
        for number, file in enumerate(files[start : start + _AT_ONCE], start):
            try:
                digest, image = _decode_file(folder / file.name, size, fit)
            except CourseError as error:
                bad.append(error)
                continue
            pixels[number] = image.transpose(2, 0, 1)
            good.append(f"{digest} {file.label} {file.name}\n")
        return good, bad

    starts = range(0, len(files), _AT_ONCE)
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(files), desc=f"Decoding {folder.name}", unit="image", leave=False, disable=None) as bar,
    ):
        for good, bad in pool.map(task, starts):
            digests += good
            problems += bad
            bar.update(len(good) + len(bad))
    if problems:
        raise _together(problems)
    return Images(
        pixels=pixels,
        labels=np.array([file.label for file in files], dtype=np.int64),
        names=tuple(file.name for file in files),
        sha256=hashlib.sha256("".join(digests).encode()).hexdigest(),
    )


def listed(folder: Path, labels: Iterable[tuple[str, int]]) -> list[File]:
    """The files in `folder` with the given names and labels, in the order given.

    Raises
    ------
    CourseError
        When some of them are not there.
    """
    present = {file.name: file for file in _files_in(folder, "", 0)}
    labels = list(labels)
    if missing := [name for name, _ in labels if name not in present]:
        raise CourseError(
            f"{folder} lacks {_some(missing, 'image', 'images')}.\nExpected: {len(labels):,} images, listed by name.",
            f"Complete {folder}, for instance by unpacking it again.",
        )
    return [present[name]._replace(label=label) for name, label in labels]


def _files_in(folder: Path, prefix: str, label: int) -> list[File]:
    try:
        with os.scandir(folder) as entries:
            files = []
            for entry in entries:
                if _hidden(entry.name):
                    continue
                path = folder / entry.name
                try:
                    status = entry.stat()
                except OSError as error:
                    raise faults.unreadable(path, error) from None
                if entry.is_dir():
                    raise faults.unreadable(path, IsADirectoryError())
                name = f"{prefix}/{entry.name}" if prefix else entry.name
                files.append(File(name, label, status.st_size, status.st_mtime_ns))
            return files
    except NotADirectoryError:
        raise CourseError(f"{folder} is a file, but should be a folder of images.", "Move that file away.") from None
    except OSError as error:
        raise faults.unreadable(folder, error) from None


def _decode_file(path: Path, size: int, fit: bool) -> tuple[str, np.ndarray]:
    """SHA-256 of a file, and its pixels as uint8 of shape (size, size, 3)."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        content = path.read_bytes()
    except OSError as error:
        raise faults.unreadable(path, error) from None
    try:
        image = Image.open(BytesIO(content))
        if not fit and image.size != (size, size):
            raise WrongContent(
                f"{path} has {image.width}x{image.height} pixels.\nExpected: an image of {size}x{size}.",
                f"Put the image of {size}x{size} in its place, or move it away.",
            )
        image = image.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise _wrong(path, size, fit, _diagnose(content)) from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise _wrong(path, size, fit, f"is a damaged image: {error}") from None
    if fit:
        image = ImageOps.fit(image, (size, size))
    return hashlib.sha256(content).hexdigest(), np.asarray(image)


def _diagnose(content: bytes) -> str:
    if not content:
        return "is empty"
    if faults.is_web_page(content[:512]):
        return faults.WEB_PAGE
    return f"is not an image: it starts with {content[:4].hex(' ')}"


def _wrong(path: Path, size: int, fit: bool, problem: str) -> WrongContent:
    expected = "an image" if fit else f"an image of {size}x{size}"
    return WrongContent(f"{path} {problem}.\nExpected: {expected}.", f"Put an intact {path.name} in its place.")


def _together(problems: Sequence[CourseError]) -> CourseError:
    shown = [problem.what for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"And {len(problems) - _SHOWN:,} more files like these.")
    remedies = dict.fromkeys(problem.remedy for problem in problems[:_SHOWN])
    return CourseError("\n".join(shown), "\n".join(remedies))


def _some(names: Sequence[str], one: str, many: str) -> str:
    """'class cat', 'classes cat, dog', 'images a, b, c and 17 more'."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{one if len(names) == 1 else many} {', '.join(names[:_SHOWN])}{more}"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def _entry(folder: Path, size: int, fit: bool) -> str:
    # One entry per folder: images that changed replace their predecessors, and the cache does not grow.
    place = f"{folder.resolve()} {size} {fit}"
    return f"{folder.name}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"


def _key(files: Sequence[File], size: int, fit: bool) -> str:
    lines = [f"{_VERSION} {size} {fit}", *("/".join(map(str, file)) for file in files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _keep(name: str, key: str, images: Images) -> None:
    import numpy as np

    arrays = {
        "pixels": images.pixels,
        "labels": images.labels,
        "names": np.array(images.names),
        "sha256": np.array(images.sha256),
    }
    image_cache.store(name, key, arrays)
