"""Errors for a word that is not on the list."""

import difflib
from collections.abc import Iterable

from cnncourse.errors import CourseError


def unknown(kind: str, given: object, choices: Iterable[str]) -> CourseError:
    """The error for `given`, which is none of `choices`: names the closest ones, then lists them all.

    Parameters
    ----------
    kind : str
        What was to be chosen, for instance 'activation'.
    given : object
        What was given instead.
    choices : iterable of str
        What can be chosen.

    Returns
    -------
    CourseError
    """
    choices = list(choices)
    folded = {choice.lower(): choice for choice in choices}  # upper or lower case is no difference
    close = [folded[word] for word in difflib.get_close_matches(str(given).lower(), folded, n=3)]
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return CourseError(f"Unknown {kind}: {given!r}.", f"{hint}Choose from: {', '.join(choices)}.")
