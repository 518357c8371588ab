"""Downloading into a scratch folder, with a time limit, and saying why it failed."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from cnncourse.errors import CourseError

TIMEOUT_S = 30  # of each network operation: torchvision sets none and would wait for ever


@contextmanager
def scratch(folder: Path, space: str, refusal: Callable[..., CourseError]) -> Iterator[Path]:
    """A folder inside `folder` to download into; move out of it what was verified. It is gone afterwards.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    space : str
        What has to be free there, for instance '70 MB'.
    refusal : callable
        ``refusal(because, first)`` makes the error that replaces the system's; `first` is how its first remedy
        starts, if that is special.

    Raises
    ------
    CourseError
        When the download fails or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as place, _network_timeout():
            yield Path(place)
    except (RuntimeError, HTTPException, URLError, ConnectionError, TimeoutError, ssl.SSLError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise refusal(f"The download failed: {reason}") from error
    except OSError as error:
        problem = f"The download could not be written: {error.strerror or error}."
        raise refusal(problem, f"Free {space} there and make the folder writable, then") from error


@contextmanager
def _network_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
