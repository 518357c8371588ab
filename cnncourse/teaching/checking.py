"""What all exercise checks share: calling a reader's function kindly, comparing, and saying what to look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np


class CheckError(AssertionError):
    """A solution is not accepted; the message speaks to the reader."""


class Unsolved(CheckError):
    """The exercise still holds its stub."""


def exercise(name: str) -> Callable:
    """Turn a function that raises :class:`CheckError` into a check for a notebook.

    The check prints its verdict. It does not raise, so that a notebook with an open exercise runs to its end; while
    nbgrader executes the notebook (it sets ``NBGRADER_EXECUTION``) it does, because there an exception means no points.

    Parameters
    ----------
    name : str
        What the exercise is called on the page.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @wraps(check)
        def checked(solution: Any, *args: Any) -> None:
            try:
                with np.errstate(all="ignore"):
                    _checked(check, solution, *args)
            except CheckError as error:
                if os.environ.get("NBGRADER_EXECUTION"):
                    raise
                mark = "…" if isinstance(error, Unsolved) else "✘"
                print(f"{mark} {name}: {error}")
            else:
                print(f"✔ {name}: accepted.")

        checked.unguarded = check
        return checked

    return decorate


def _checked(check: Callable[..., None], solution: Any, *args: Any) -> None:
    """Run a check; what it stumbles over is a result of a kind that nobody thought of."""
    try:
        check(solution, *args)
    except CheckError:
        raise
    except Exception as error:
        raise CheckError(
            "your function returns something that cannot be compared with the right result "
            f"({type(error).__name__}: {error}). Print it once: has it the type and the shape that the text asks for?"
        ) from error


def call(solution: Callable, *args: Any, **kwargs: Any) -> Any:
    """What `solution` returns; whatever it raises becomes a message, and arrays that it should leave alone are watched.

    Arrays among the arguments (also inside lists) have to come back unchanged.
    """
    arrays = [a for arg in args for a in (arg if isinstance(arg, list) else [arg]) if isinstance(a, np.ndarray)]
    before = [a.copy() for a in arrays]
    result = run(solution, *args, **kwargs)
    for array, old in zip(arrays, before, strict=True):
        if not np.array_equal(array, old, equal_nan=True):
            raise CheckError(
                "your function changes an array that it was given, and its caller may still need the old values. "
                "Write into a new array: no +=, no x[x < 0] = 0 and no out= on an argument."
            )
    return result


def run(solution: Callable, *args: Any, **kwargs: Any) -> Any:
    """As :func:`call`, for functions whose job is to change their arguments."""
    try:
        return solution(*args, **kwargs)
    except Exception as error:
        if type(error) is NotImplementedError and not error.args:  # torch raises it, too, with a text
            raise Unsolved(
                "nothing to check yet. Replace the stub in the cell above, run it, then run this cell."
            ) from None
        raise CheckError(f"your function stops with {type(error).__name__}: {error}") from None


def expect_returned(got: Any) -> None:
    """A function without `return` is the commonest slip of all."""
    if got is None:
        raise CheckError("your function returns None. Is there a return at its end?")


def expect_close(
    got: Any,
    expected: np.ndarray | float,
    slips: Sequence[tuple[str, np.ndarray | float]] = (),
    what: str = "your result",
    rtol: float = 1e-6,
    atol: float = 1e-9,
) -> None:
    """Compare with the right values; where they differ, look for the slip that explains the difference.

    Parameters
    ----------
    got : object
        What the reader's function returned.
    expected : array or float
        The right values.
    slips : sequence of (message, values)
        The values that typical slips lead to, and what to say then. The values are not shown.
    what : str
        How messages call the result.
    rtol, atol : float
        Tolerances, as in ``numpy.allclose``; loose enough for another order of summation or another device.
    """
    expect_returned(got)
    expected = np.asarray(expected)
    try:
        array = np.asarray(got, dtype=float)
    except (TypeError, ValueError):
        raise CheckError(f"{what} should hold numbers, but is a {type(got).__name__}.") from None
    if array.shape == expected.shape and np.allclose(array, expected, rtol=rtol, atol=atol):
        return
    for message, slip in slips:
        if array.shape == np.shape(slip) and np.allclose(array, slip, rtol, atol, equal_nan=True):
            raise CheckError(message)
    if array.shape != expected.shape:
        raise CheckError(f"{what} has shape {array.shape}, expected {expected.shape}.")
    if not np.all(np.isfinite(array)):
        raise CheckError(f"{what} holds nan or inf where the right values are finite.")
    difference = np.abs(array - expected)
    worst = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    place = f" at index {worst[0] if len(worst) == 1 else worst}" if worst else ""
    raise CheckError(f"{what} is off{place}: {array[worst]:.6g}, but {expected[worst]:.6g} is right.")
