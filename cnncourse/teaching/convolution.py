"""Checks for the exercises of notebook 01."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from numbers import Integral

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnncourse.analysis import conv_arithmetic
from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

_IMAGE = np.random.RandomState(1).randint(-3, 9, size=(5, 7))
_KERNEL = np.array([[0.5, -1.0], [2.0, 0.25], [-1.5, 3.0]])  # not square, no symmetry: every mix-up shows


def windows(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """All windows of an image (H, W): shape (H - height + 1, W - width + 1, height, width)."""
    return sliding_window_view(image, (height, width))


def cross_correlation(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Sum over each window of the window times the kernel; the reference that the checks compare with."""
    return np.einsum("ijuv,uv->ij", windows(image, *kernel.shape), kernel)


@exercise("cross_correlate")
def cross_correlate(solution: Callable) -> None:
    """Check ``cross_correlate(image, kernel)``."""
    image, kernel = _IMAGE, _KERNEL
    right = cross_correlation(image, kernel)
    got = call(solution, image, kernel)
    expect_returned(got)
    whole = np.pad(image, ((1, 1), (0, 1)))
    expect_close(
        got,
        right,
        [
            (
                "this is the result for a kernel that is turned by 180 degrees. Do not flip it here: the top left "
                "weight meets the top left pixel of the window.",
                cross_correlation(image, kernel[::-1, ::-1]),
            ),
            ("the kernel is flipped upside down.", cross_correlation(image, kernel[::-1])),
            ("the kernel is flipped left to right.", cross_correlation(image, kernel[:, ::-1])),
            ("you take the mean of the products. Take their sum.", right / kernel.size),
            ("you take the largest of the products. Take their sum.", (windows(image, 3, 2) * kernel).max((2, 3))),
            ("the pixels are added, but the weights of the kernel are missing.", windows(image, 3, 2).sum((2, 3))),
            (
                "the sums lose their fractions: the array for the result holds whole numbers, perhaps because it was "
                "made like the image. Make it with np.zeros(shape).",
                np.trunc(right),
            ),
            (
                "the last row and column of windows are missing. In 5 rows a window of 3 has 5 - 3 + 1 places.",
                right[:-1, :-1],
            ),
            ("the last row of windows is missing. In 5 rows a window of 3 has 5 - 3 + 1 places.", right[:-1]),
            ("the last column of windows is missing. In 7 columns a window of 2 has 7 - 2 + 1 places.", right[:, :-1]),
            ("rows and columns of the result are swapped.", right.T),
            ("you return one sum. There is one for each window.", right.sum()),
        ],
    )
    if np.shape(got) == whole.shape:
        raise CheckError("the result is as large as the image. Only windows that lie wholly inside count here.")


@exercise("convolve")
def convolve(solution: Callable) -> None:
    """Check ``convolve(image, kernel)``."""
    image, kernel = _IMAGE, _KERNEL
    expect_close(
        call(solution, image, kernel),
        cross_correlation(image, kernel[::-1, ::-1]),
        [
            ("this is cross-correlation: did you flip the kernel?", cross_correlation(image, kernel)),
            (
                "the kernel is flipped upside down, but not left to right. It has to turn by 180 degrees.",
                cross_correlation(image, kernel[::-1]),
            ),
            (
                "the kernel is flipped left to right, but not upside down. It has to turn by 180 degrees.",
                cross_correlation(image, kernel[:, ::-1]),
            ),
            (
                "the image is flipped, too. Then nothing is left of the flip but a result that is turned itself.",
                cross_correlation(image[::-1, ::-1], kernel[::-1, ::-1]),
            ),
            (
                "the image is flipped instead of the kernel: the right numbers, in a result that is turned by 180 "
                "degrees.",
                cross_correlation(image[::-1, ::-1], kernel),
            ),
            (
                "the sign is changed. Flipping moves the weights, it does not negate them.",
                -cross_correlation(image, kernel),
            ),
        ],
    )
    square = np.arange(1.0, 10).reshape(3, 3)
    expect_close(
        call(solution, image, square),
        cross_correlation(image, square[::-1, ::-1]),
        [
            (
                "right for a kernel that is not square, but a square one is transposed: .T swaps rows and columns, "
                "which is another motion than a turn by 180 degrees.",
                cross_correlation(image, square.T),
            )
        ],
        what="the result for a 3x3 kernel",
    )


@exercise("pad")
def pad(solution: Callable) -> None:
    """Check ``pad(image, P)``."""
    image, P = _IMAGE + 10, 2  # no pixel is 0
    expect_close(
        call(solution, image, P),
        np.pad(image, P),
        [
            (
                "the zeros are above and to the left only. All four sides get P of them.",
                np.pad(image, ((P, 0), (P, 0))),
            ),
            (
                "the zeros are below and to the right only. All four sides get P of them.",
                np.pad(image, ((0, P), (0, P))),
            ),
            ("rows are added, columns are not.", np.pad(image, ((P, P), (0, 0)))),
            ("columns are added, rows are not.", np.pad(image, ((0, 0), (P, P)))),
            ("there is one pixel of padding on each side, whatever P is.", np.pad(image, 1)),
            ("there are 2 P zeros on each side. P on each side make 2 P more in all.", np.pad(image, 2 * P)),
            (
                "the size is right, but the image sits in the upper left corner: it has to begin P pixels further.",
                np.pad(image, ((0, 2 * P), (0, 2 * P))),
            ),
            ("the border repeats the pixels at the edge. It should be zero.", np.pad(image, P, mode="edge")),
            ("the border mirrors the image. It should be zero.", np.pad(image, P, mode="reflect")),
            ("the border is 1. It should be zero.", np.pad(image, P, constant_values=1)),
        ],
    )
    try:
        expect_close(call(solution, image, 0), image, what="the result for P = 0")
    except CheckError as error:
        raise CheckError(
            f"right for P = 2, but with P = 0 the image should come back as it is; instead {error} "
            "A slice such as [P:-P] is empty for P = 0; [P : P + H] is not."
        ) from None


_SIZES = tuple(product((8, 11, 32), (2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2)))  # (H, F, S, P, D)


@exercise("output_size")
def output_size(solution: Callable) -> None:
    """Check ``output_size(H, F, S, P, D)``."""
    cases = [case for case in _SIZES if case[0] + 2 * case[3] > case[4] * (case[1] - 1)]
    got = [call(solution, *case) for case in cases]
    right = [conv_arithmetic.output_size(*case) for case in cases]
    for value in got:
        expect_returned(value)
    numbers = np.array([float(value) for value in got])
    slips = {
        "one is missing at the end: a window that just fits has 1 place, not 0.": lambda H, F, S, P, D: (
            (H + 2 * P - D * (F - 1) - 1) // S
        ),
        "the padding counts once, but it lies on both sides: 2 P.": lambda H, F, S, P, D: (
            (H + P - D * (F - 1) - 1) // S + 1
        ),
        "the padding is not used.": lambda H, F, S, P, D: (H - D * (F - 1) - 1) // S + 1,
        "the padding is taken away instead of added.": lambda H, F, S, P, D: (H - 2 * P - D * (F - 1) - 1) // S + 1,
        "the stride is not used: divide the room that is left by S.": lambda H, F, S, P, D: H + 2 * P - D * (F - 1),
        "the dilation is not used: a window with gaps reaches over D (F - 1) + 1 pixels.": lambda H, F, S, P, D: (
            (H + 2 * P - F) // S + 1
        ),
        "a window with gaps is shorter than D F: between F weights there are F - 1 steps.": lambda H, F, S, P, D: (
            (H + 2 * P - D * F) // S + 1
        ),
        "sizes are rounded to the nearest number. A window that sticks out does not count: round down.": (
            lambda H, F, S, P, D: round((H + 2 * P - D * (F - 1) - 1) / S) + 1
        ),
        "sizes are rounded up. A window that sticks out does not count: round down.": lambda H, F, S, P, D: (
            -(-(H + 2 * P - D * (F - 1) - 1) // S) + 1
        ),
        "sizes are not whole numbers: where the last step does not fit, round down (//).": lambda H, F, S, P, D: (
            (H + 2 * P - D * (F - 1) - 1) / S + 1
        ),
        "the 1 is added before the division. It stands behind it: the first window needs no step.": (
            lambda H, F, S, P, D: (H + 2 * P - D * (F - 1)) // S
        ),
    }
    if np.array_equal(numbers, right):
        if not all(isinstance(value, Integral) for value in got):
            raise CheckError("the numbers are right, but a size is a whole number: use //, or int().")
        return
    for message, slip in slips.items():
        if np.allclose(numbers, [slip(*case) for case in cases]):
            raise CheckError(message)
    first = int(np.flatnonzero(numbers != right)[0])
    names = ", ".join(f"{name}={value}" for name, value in zip("HFSPD", cases[first], strict=True))
    raise CheckError(f"for {names} you return {got[first]}, but the layer gives {right[first]}.")


@exercise("conv_parameters")
def conv_parameters(solution: Callable) -> None:
    """Check ``conv_parameters(C_in, C_out, F)``."""
    cases = [(3, 32, 5), (32, 64, 5), (1, 7, 3), (10, 4, 1), (2, 6, 4)]
    got = [call(solution, *case) for case in cases]
    for value in got:
        expect_returned(value)
    slips: list[tuple[str, Callable[[int, int, int], int]]] = [
        ("the biases are missing: one for each output channel.", lambda i, o, f: f * f * i * o),
        ("there is one bias for each output channel, not one in all.", lambda i, o, f: f * f * i * o + 1),
        ("the biases are counted per input channel. There is one for each output channel.",
         lambda i, o, f: f * f * i * o + i),
        ("there is a bias for each pair of channels. There is one for each output channel.",
         lambda i, o, f: (f * f + 1) * i * o),
        ("each kernel reaches through all input channels: F x F x C_in weights.", lambda i, o, f: (f * f + 1) * o),
        ("a kernel of height F and width F has F times F weights for each input channel.",
         lambda i, o, f: (f * i + 1) * o),
    ]  # fmt: skip
    right = [conv_arithmetic.conv_parameters(*case) for case in cases]
    if [float(value) for value in got] == right:
        return
    for message, slip in slips:
        if np.allclose([float(value) for value in got], [slip(*case) for case in cases]):
            raise CheckError(message)
    first = next(k for k, value in enumerate(got) if float(value) != right[k])
    C_in, C_out, F = cases[first]
    raise CheckError(
        f"for {C_in} -> {C_out} channels and F = {F} you return {got[first]}, but there are {right[first]}."
    )


def pooled(image: np.ndarray, F: int, S: int) -> np.ndarray:
    """Largest pixel of each F x F window, S pixels apart."""
    return windows(image, F, F)[::S, ::S].max((2, 3))


@exercise("max_pool")
def max_pool(solution: Callable) -> None:
    """Check ``max_pool(image, F, S)``."""
    image = np.random.RandomState(2).normal(size=(7, 9)) - 2  # mostly negative: zeros in a border would win
    blocks = windows(image, 2, 2)[::2, ::2]
    edge = np.pad(image, ((0, 1), (0, 1)), constant_values=-np.inf)
    expect_close(
        call(solution, image, 2, 2),
        pooled(image, 2, 2),
        [
            ("you take the mean of each window. Take its largest value.", blocks.mean((2, 3))),
            ("you take the smallest value of each window. Take the largest.", blocks.min((2, 3))),
            ("you add the window up. Take its largest value.", blocks.sum((2, 3))),
            ("you take the first pixel of each window. Take the largest.", blocks[..., 0, 0]),
            ("the windows are 1 pixel apart. They should be S pixels apart.", pooled(image, 2, 1)),
            (
                "windows that stick out at the right and below are counted, too. Only those wholly inside count.",
                pooled(edge, 2, 2),
            ),
            ("zeros around the image have won against its negative pixels: there is no padding here.",
             pooled(np.pad(image, ((0, 1), (0, 1))), 2, 2)),
            ("you return the places of the largest values. Return the values.",
             blocks.reshape(*blocks.shape[:2], 4).argmax(2)),
            ("you return one number, the maximum of the image. Each window has its own.", image.max()),
            ("only the rows are pooled, the columns are not.", windows(image, 2, 1)[::2].max((2, 3))),
            ("large values are kept, but negative ones have become 0.", np.maximum(pooled(image, 2, 2), 0)),
        ],
    )  # fmt: skip
    expect_close(
        call(solution, image, 3, 2),
        pooled(image, 3, 2),
        [
            (
                "right for F = S, but windows may overlap: they are F pixels wide and S pixels apart.",
                pooled(image, 3, 3),
            ),
            (
                "right for F = S, but windows may overlap: they are F pixels wide and S pixels apart.",
                pooled(image, 2, 2),
            ),
        ],
        what="the result for F = 3 and S = 2",
    )
