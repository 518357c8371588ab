"""Reading files in the IDX format (MNIST's), and saying what is the matter with a bad one."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from cnncourse.data import faults
from cnncourse.data.faults import WrongContent

if TYPE_CHECKING:
    import numpy as np

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class IdxFile:
    """What a file of unsigned bytes must hold.

    Attributes
    ----------
    name : str
        File name; ``NAME.gz`` is accepted in its place.
    shape : tuple of int
        (N, H, W) for images, (N,) for labels.
    sha256 : str
        Of the uncompressed file.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        # Magic number (8: unsigned byte, then the number of axes) and the axes, all big-endian.
        return bytes((0, 0, 8, len(self.shape))) + b"".join(n.to_bytes(4, "big") for n in self.shape)

    @property
    def size(self) -> int:
        """Bytes of the uncompressed file."""
        return len(self.header) + prod(self.shape)


def locate(folder: Path, files: Sequence[IdxFile]) -> dict[IdxFile, Path]:
    """Where in `folder` each of `files` lies, plain or else compressed. Files that are not there are left out.

    Raises
    ------
    CourseError
        When the folder cannot be listed. A folder that does not exist is just empty.
    """
    present = faults.names_in(folder)
    return {
        file: folder / name
        for file in files
        for name in (f"{file.name}.gz", file.name)  # the plain one, coming last, wins
        if name in present
    }


def read(path: Path, file: IdxFile, family: Sequence[IdxFile] = ()) -> np.ndarray:
    """The array in `path`, after its checksum was verified.

    Parameters
    ----------
    path : Path
        Plain or gzip-compressed (name ending in .gz).
    file : IdxFile
        What it has to hold.
    family : sequence of IdxFile
        Files that it may have been mistaken for.

    Returns
    -------
    numpy.ndarray
        uint8, of shape ``file.shape``.

    Raises
    ------
    WrongContent
        When the file holds anything else: nothing, a part, a web page, another file, altered data.
    CourseError
        When it cannot be read.
    """
    import numpy as np

    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise faults.unreadable(path, error) from None
    if path.suffix == ".gz" and content.size:
        try:
            content = np.frombuffer(bytearray(gzip.decompress(content.tobytes())), dtype=np.uint8)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise _wrong(path, file, *_diagnose_compressed(content[:512].tobytes(), content.size)) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise _wrong(path, file, *_diagnose(content[:512].tobytes(), content.size, digest, file, family))
    return content[len(file.header) :].reshape(file.shape)


def _diagnose(start: bytes, size: int, digest: str, file: IdxFile, family: Sequence[IdxFile]) -> tuple[str, str]:
    """What a file is that should be `file`, as the end of a sentence; and what to do, if that is special."""
    if not start:
        return "is empty", ""
    for other in family:
        if digest == other.sha256:
            return f"holds the data of {other.name}", (
                f"Give {file.name} its right name, {other.name}, and put the right file in its place."
            )
    if start.startswith(_GZIP):
        return "is still compressed", f"Rename {file.name} to {file.name}.gz."
    if faults.is_web_page(start):
        return faults.WEB_PAGE, ""
    for other in family:
        if other.shape != file.shape and start.startswith(other.header):
            return f"is, by its header, a file of {_contents(other)}", ""
    head = start[: len(file.header)]
    if not file.header.startswith(head):
        return f"is another kind of file: it starts with {head.hex(' ')}", ""
    if size < file.size:
        return f"is truncated: {size:,} of {file.size:,} bytes", ""
    if size > file.size:
        return f"is {size - file.size:,} bytes too long", ""
    # Fashion-MNIST and others come under the same file names.
    return f"was altered or is another data set's: right size, right header, but SHA-256 {digest}", ""


def _diagnose_compressed(start: bytes, size: int) -> tuple[str, str]:
    if faults.is_web_page(start):
        return faults.WEB_PAGE, ""
    if start.startswith(_GZIP):
        return f"is truncated or altered: its {size:,} bytes cannot be decompressed", ""
    return f"is not a gzip file: it starts with {start[:4].hex(' ')}", ""


def _wrong(path: Path, file: IdxFile, problem: str, remedy: str) -> WrongContent:
    unpacked = " when decompressed" if path.suffix == ".gz" else ""
    return WrongContent(
        f"{path} {problem}.\n"
        f"Expected{unpacked}: {_contents(file)}, {file.size:,} bytes "
        f"that start with {file.header.hex(' ')}, SHA-256 {file.sha256}.",
        remedy or f"Put an intact {path.name} in its place.",
    )


def _contents(file: IdxFile) -> str:
    number, *size = file.shape
    return f"{number:,} images of {'x'.join(map(str, size))}" if size else f"{number:,} labels"
