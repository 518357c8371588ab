"""What can be the matter with a file or a folder, said the same way by every reader."""

from __future__ import annotations

import os
from pathlib import Path

from cnncourse.errors import CourseError

WEB_PAGE = "is a web page (HTML): a login or error page was saved in place of the data"


class WrongContent(CourseError):
    """A file that can be read, but holds something else than it should: an intact copy mends it."""


def is_web_page(start: bytes) -> bool:
    """Whether a file that starts so is HTML."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def names_in(folder: Path) -> set[str]:
    """Names of the files and folders in `folder`. A folder that does not exist is just empty.

    Raises
    ------
    CourseError
        When the folder cannot be listed.
    """
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        raise CourseError(
            f"{folder} should be a folder, but it or a folder above it is a file.", "Move that file away."
        ) from None
    except OSError as error:
        raise unreadable(folder, error) from None


def unreadable(path: Path, error: OSError) -> CourseError:
    """The error for a file or folder that the system refused to open."""
    if isinstance(error, FileNotFoundError):
        return CourseError(f"{path} is a link to a file that is not there.", "Mend or delete the link.")
    if isinstance(error, IsADirectoryError):
        return CourseError(f"{path} is a folder, but should be a file.", "Move the folder away.")
    return CourseError(
        f"{path} cannot be read: {error.strerror or error}.",
        "Give yourself permission to read it and its folder."
        if isinstance(error, PermissionError)
        else "Put an intact copy in its place.",
    )
