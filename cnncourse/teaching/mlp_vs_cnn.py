"""Checks for the exercises of notebook 05, and the transformations of its images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncourse.analysis.conv_arithmetic import conv_multiply_adds
from cnncourse.teaching.checking import CheckError, Unsolved, call, exercise, expect_close, expect_returned


def permuted(images: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Images (N, H, W) whose new pixel k is the old pixel ``order[k]``, counted row by row."""
    return images.reshape(len(images), -1)[:, order].reshape(images.shape)


def shifted(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Images (N, H, W) moved `dy` rows down and `dx` columns to the right; zeros come in, what leaves is lost."""
    H, W = images.shape[1:]
    P = max(abs(dy), abs(dx))
    bordered = np.pad(images, ((0, 0), (P, P), (P, P)))
    return bordered[:, P - dy : P - dy + H, P - dx : P - dx + W]


@exercise("multiply_adds")
def multiply_adds(solution: Callable) -> None:
    """Check ``multiply_adds(C_in, C_out, F, H)``."""
    cases = [(1, 16, 3, 32), (16, 32, 3, 16), (3, 5, 5, 7), (4, 2, 1, 9)]
    right = [conv_multiply_adds(*case) for case in cases]
    got = [call(solution, *case) for case in cases]
    for value in got:
        expect_returned(value)
    slips: dict[str, Callable[[int, int, int, int], int]] = {
        "these are the weights. Each of them is used at every one of the H x H places of the output.": (
            lambda i, o, f, h: f * f * i * o
        ),
        "these are the parameters. Each weight is used at every one of the H x H places of the output.": (
            lambda i, o, f, h: (f * f * i + 1) * o
        ),
        "the output has H rows and H columns: count its places in both directions.": lambda i, o, f, h: (
            f * f * i * o * h
        ),
        "the input channels are missing: a kernel reaches through all of them.": lambda i, o, f, h: f * f * o * h * h,
        "the output channels are missing: each of them has a kernel of its own.": lambda i, o, f, h: f * f * i * h * h,
        "a kernel has F rows and F columns.": lambda i, o, f, h: f * i * o * h * h,
        "the biases are counted, too. Adding one is no multiplication: leave them out.": (
            lambda i, o, f, h: (f * f * i + 1) * o * h * h
        ),
        "multiplications and additions are counted apart. One of each is one multiply-add.": (
            lambda i, o, f, h: 2 * f * f * i * o * h * h
        ),
        "H is the size of the output already: do not take the kernel off again.": lambda i, o, f, h: (
            f * f * i * o * (h - f + 1) ** 2
        ),
    }
    numbers = [float(value) for value in got]
    if numbers == right:
        return
    for message, slip in slips.items():
        if numbers == [slip(*case) for case in cases]:
            raise CheckError(message)
    first = next(k for k, value in enumerate(numbers) if value != right[k])
    names = ", ".join(f"{name}={value}" for name, value in zip(("C_in", "C_out", "F", "H"), cases[first], strict=True))
    raise CheckError(f"for {names} you return {got[first]}, but there are {right[first]}.")


_RANDOM = np.random.RandomState(3)
_IMAGES = _RANDOM.permutation(np.arange(1, 61)).reshape(4, 3, 5)  # not square; no two pixels are equal, none is 0
_ORDER = np.array([4, 0, 9, 7, 13, 2, 11, 1, 14, 3, 6, 12, 5, 10, 8])  # not its own inverse


@exercise("permute")
def permute(solution: Callable) -> None:
    """Check ``permute(images, order)``."""
    flat = _IMAGES.reshape(4, -1)
    columns_first = _IMAGES.transpose(0, 2, 1).reshape(4, -1)[:, _ORDER].reshape(4, 5, 3).transpose(0, 2, 1)
    state = np.random.get_state()
    got = call(solution, _IMAGES, _ORDER)
    again = call(solution, _IMAGES, _ORDER)
    np.random.set_state(state)
    expect_returned(got)
    if not np.array_equal(got, again):
        raise CheckError("two calls give two results: something is drawn at random. The order is given.")
    expect_close(
        got,
        permuted(_IMAGES, _ORDER),
        [
            (
                "this is the inverse: old pixel k goes to place order[k]. Here new pixel k comes from there.",
                flat[:, np.argsort(_ORDER)].reshape(_IMAGES.shape),
            ),
            ("the pixels are right, but still in one row. Give the images their shape back.", flat[:, _ORDER]),
            ("nothing has moved: these are the images as they were.", _IMAGES),
            (
                "the pixels are counted column by column. Count row by row, as reshape does.",
                columns_first,
            ),
            (
                "only the first image is permuted. All of them are, in the same way.",
                np.concatenate([permuted(_IMAGES[:1], _ORDER), _IMAGES[1:]]),
            ),
            (
                "you return the first image alone. All of them are asked for.",
                permuted(_IMAGES[:1], _ORDER)[0],
            ),
            ("rows and columns of the images are swapped.", permuted(_IMAGES, _ORDER).transpose(0, 2, 1)),
            ("the pixels are reversed. The order says where each comes from.", flat[:, ::-1].reshape(_IMAGES.shape)),
        ],
    )


@exercise("rearrange")
def rearrange(solution: Callable) -> None:
    """Check ``rearrange(W, order)``."""
    W = np.random.RandomState(4).normal(size=(15, 15))  # square: rows and columns can be mixed up
    inverse = np.argsort(_ORDER)
    expect_close(
        call(solution, W, _ORDER),
        W[_ORDER],
        [
            (
                "this is the inverse. Pixel k of a permuted image is the old pixel order[k]: it needs that one's row.",
                W[inverse],
            ),
            (
                "the columns are rearranged. A column belongs to a hidden unit, a row to a pixel.",
                W[:, _ORDER],
            ),
            (
                "the columns are rearranged. A column belongs to a hidden unit, a row to a pixel.",
                W[:, inverse],
            ),
            ("rows and columns are both rearranged. The hidden units stay as they are.", W[_ORDER][:, _ORDER]),
            ("the weights are as they were. Then permuted pixels meet the weights of others.", W),
            ("rows and columns are swapped: the result has to fit behind the same pixels.", W.T),
            ("rows and columns are swapped: the result has to fit behind the same pixels.", W[_ORDER].T),
            ("the rows are reversed. The order says which belongs where.", W[::-1]),
            ("the rows are sorted by value. They belong to pixels, and move with them.", np.sort(W, axis=0)),
        ],
    )
    tall = np.arange(45.0).reshape(15, 3)
    expect_close(call(solution, tall, _ORDER), tall[_ORDER], what="the result for 15 pixels and 3 hidden units")


@exercise("shift")
def shift(solution: Callable) -> None:
    """Check ``shift(images, dy, dx)``."""
    X = _IMAGES
    for dy, dx in ((1, 2), (-1, 1), (0, -2), (0, 0), (2, 0)):
        right = shifted(X, dy, dx)
        slips = [  # the first case has positive shifts only: a sign that is always lost shows there
            ("a negative shift is taken as a positive one.", shifted(X, abs(dy), abs(dx))),
            ("a negative shift is taken as none.", shifted(X, max(dy, 0), max(dx, 0))),
            ("what leaves on one side comes back on the other. It should be lost, and zeros come in.",
             np.roll(X, (dy, dx), (1, 2))),
            ("the images move the other way: dy > 0 is down, dx > 0 is to the right.", shifted(X, -dy, -dx)),
            ("up and down are the wrong way round: dy > 0 is down.", shifted(X, -dy, dx)),
            ("left and right are the wrong way round: dx > 0 is to the right.", shifted(X, dy, -dx)),
            ("dy and dx are swapped: dy counts rows, dx counts columns.", shifted(X, dx, dy)),
            ("the images do not move down or up: dy is not used.", shifted(X, 0, dx)),
            ("the images do not move to the side: dx is not used.", shifted(X, dy, 0)),
            ("the pixels move, but the border is filled by the pixels at the edge. Zeros come in.",
             edge_shifted(X, dy, dx)),
        ]  # fmt: skip
        slips = [(message, slip) for message, slip in slips if not np.array_equal(slip, right)]
        try:
            expect_close(call(solution, X, dy, dx), right, slips)
        except CheckError as error:
            place = f"for dy = {dy} and dx = {dx}: "
            zero = " A slice such as [:-0] is empty." if 0 in (dy, dx) else ""
            if isinstance(error, Unsolved):
                raise
            raise CheckError(f"{place}{error}{zero}") from None


def edge_shifted(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """As :func:`shifted`, but the pixels at the edge are repeated."""
    rows, columns = (np.clip(np.arange(n) - d, 0, n - 1) for n, d in zip(images.shape[1:], (dy, dx), strict=True))
    return images[:, rows][:, :, columns]
