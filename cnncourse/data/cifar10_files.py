"""CIFAR-10's batch files in the data root: look for them, verify them, download them."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnncourse.data import download, faults
from cnncourse.data.faults import WrongContent
from cnncourse.data.root import VARIABLE, misplaced, origin
from cnncourse.errors import CourseError

if TYPE_CHECKING:
    import numpy as np

FOLDER = "cifar-10-batches-py"
COPY = "CIFAR-10-images"  # the same images as files, one folder per class
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Batch:
    """What a file must hold: its name, its size in bytes, and its MD5 sum, as torchvision publishes it."""

    name: str
    size: int
    md5: str


TRAIN = (
    Batch("data_batch_1", 31_035_704, "c99cafc152244af753f735de768cd75f"),
    Batch("data_batch_2", 31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
    Batch("data_batch_3", 31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
    Batch("data_batch_4", 31_035_696, "634d18415352ddfa80567beed471001a"),
    Batch("data_batch_5", 31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
)
TEST = (Batch("test_batch", 31_035_526, "40351d587109b95175f43aff81a1287e"),)
ARCHIVE = Batch("cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a")


@dataclass(frozen=True)
class Found:
    """What lies in a data root: the content of verified files, missing files, what is the matter with the others."""

    contents: dict[str, bytes]
    missing: tuple[str, ...]
    problems: tuple[CourseError, ...]

    @property
    def nothing(self) -> bool:
        return not self.contents and not self.problems


def look(root: Path) -> Found:
    """Read and verify the files in `root`, or in torchvision's archive there; changes nothing."""
    try:
        present = faults.names_in(root / FOLDER)
        if not present.intersection(batch.name for batch in TRAIN + TEST) and ARCHIVE.name in faults.names_in(root):
            return Found(_unpack(root / ARCHIVE.name), (), ())
    except CourseError as error:
        return Found({}, (), (error,))
    contents, problems = {}, []
    for batch in TRAIN + TEST:
        if batch.name in present:
            try:
                contents[batch.name] = _read(root / FOLDER / batch.name, batch)
            except CourseError as error:
                problems.append(error)
    missing = tuple(batch.name for batch in TRAIN + TEST if batch.name not in present)
    return Found(contents, missing, tuple(problems))


def arrays(found: Found, batches: tuple[Batch, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 (N, 3, 32, 32), and labels, int64 (N,), of verified files."""
    import numpy as np

    # Unpickling executes what a file says; these are known by their checksums.
    tables = [pickle.loads(found.contents[batch.name], encoding="latin1") for batch in batches]
    pixels = np.concatenate([table["data"] for table in tables]).reshape(-1, 3, 32, 32)
    return pixels, np.concatenate([np.array(table["labels"], dtype=np.int64) for table in tables])


def fingerprint() -> str:
    """SHA-256 that stands for the verified files: of the lines that ``md5sum`` prints for them."""
    return hashlib.sha256("".join(f"{batch.md5}  {batch.name}\n" for batch in TRAIN + TEST).encode()).hexdigest()


def fetch(root: Path) -> None:
    """Download CIFAR-10 with torchvision; put into `root` what is missing or damaged there.

    Raises
    ------
    CourseError
        When the download fails or the folder cannot be written.
    """
    intact = look(root).contents
    wanted = tuple(batch.name for batch in TRAIN + TEST if batch.name not in intact)
    if not wanted:
        return
    with download.scratch(root, "600 MB", lambda *why: not_found(root, wanted, *why)) as scratch:
        from torchvision.datasets import CIFAR10

        CIFAR10(scratch, download=True)
        (root / FOLDER).mkdir(exist_ok=True)
        for batch in TRAIN + TEST:
            if batch.name in wanted:
                arrived = scratch / FOLDER / batch.name
                _read(arrived, batch)
                arrived.replace(root / FOLDER / batch.name)
        meta = scratch / FOLDER / "batches.meta"  # not needed here, but torchvision asks for it
        meta.replace(root / FOLDER / meta.name)


def damaged(problems: tuple[CourseError, ...]) -> CourseError:
    """One error for all that is the matter with the files."""
    remedies = list(dict.fromkeys(problem.remedy for problem in problems))
    if all(isinstance(problem, WrongContent) for problem in problems):
        remedies.append("Or let `cnncourse data --fetch cifar10` replace what is damaged by verified downloads.")
    return CourseError(
        "CIFAR-10 is there, but cannot be used.\n" + "\n".join(problem.what for problem in problems),
        "\n".join(remedies),
    )


def not_found(root: Path, missing: tuple[str, ...], because: str = "", first: str = "With a network") -> CourseError:
    """The error for files that are not there, with everything that can be done about it."""
    folder = root / FOLDER
    state = "is incomplete" if len(missing) < len(TRAIN + TEST) else "was not found"
    return CourseError(
        f"CIFAR-10 {state}: {folder}{origin(root)} lacks {', '.join(missing)}.\n{because}".rstrip(),
        too_deep(root)
        or "Do one of these:\n"
        f"- {first}: cnncourse data --fetch cifar10\n"
        f"- Put torchvision's {ARCHIVE.name} into {root}, or the missing files into {folder}\n"
        f"- Put a copy as image files into {root / COPY}, as train/CLASS/*.jpg and test/CLASS/*.jpg\n"
        f"- Set {VARIABLE} to a folder that has one of these\n"
        "- Work with the drawn shapes instead: profile 'smoke', or cifar10(profile, embedded=True)",
    )


def too_deep(root: Path) -> str:
    """A sentence about data that lie in `root` itself; empty when there are none."""
    return misplaced(root, FOLDER, TRAIN[0].name) or misplaced(root, COPY, "train/airplane")


def _read(path: Path, batch: Batch) -> bytes:
    """The content of a file, after its checksum was verified."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise faults.unreadable(path, error) from None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest == batch.md5:
        return content
    raise WrongContent(
        f"{path} {_diagnose(content, batch, digest)}.\nExpected: {batch.size:,} bytes, MD5 {batch.md5}.",
        f"Put an intact {batch.name} in its place.",
    )


def _diagnose(content: bytes, batch: Batch, digest: str) -> str:
    if not content:
        return "is empty"
    if faults.is_web_page(content[:512]):
        return faults.WEB_PAGE
    for other in TRAIN + TEST:
        if digest == other.md5:
            return f"holds the data of {other.name}"
    if not content.startswith(b"\x1f\x8b" if batch == ARCHIVE else b"\x80\x02"):
        return f"is another kind of file: it starts with {content[:4].hex(' ')}"
    if len(content) < batch.size:
        return f"is truncated: {len(content):,} of {batch.size:,} bytes"
    if len(content) > batch.size:
        return f"is {len(content) - batch.size:,} bytes too long"
    return f"was altered: right size, but MD5 {digest}"


def _unpack(path: Path) -> dict[str, bytes]:
    """The files in torchvision's archive, which is read where it lies."""
    from io import BytesIO

    with tarfile.open(fileobj=BytesIO(_read(path, ARCHIVE))) as archive:
        return {batch.name: archive.extractfile(f"{FOLDER}/{batch.name}").read() for batch in TRAIN + TEST}
