"""Two figures that compute in the browser: a kernel stepping over an image, and the size of a convolution's output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnncourse.errors import CourseError
from cnncourse.teaching.page import attribute, show

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_MOST = 12  # rows or columns that a reader can still take in, and that fit on a phone


def kernel_stepper(
    image: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: int = 1,
    padding: int = 0,
    flip: bool = False,
) -> None:
    """Step a kernel over an image: at each position the products, their sum, and the output so far.

    Parameters
    ----------
    image : array of shape (rows, columns)
        At most 12 by 12 with its padding.
    kernel : array of shape (rows, columns)
        Not larger than the padded image.
    stride, padding : int
        As in ``torch.nn.functional.conv2d``.
    flip : bool
        Turn the kernel by 180 degrees first, which makes the cross-correlation a convolution.

    Raises
    ------
    CourseError
        When the arrays are not such, or the kernel does not fit.
    """
    image, kernel = np.asarray(image, dtype=float), np.asarray(kernel, dtype=float)
    if image.ndim != 2 or kernel.ndim != 2 or not (np.isfinite(image).all() and np.isfinite(kernel).all()):
        raise CourseError(
            f"The stepper needs two tables of numbers, not shapes {image.shape} and {kernel.shape}.",
            "Pass an image and a kernel of two dimensions.",
        )
    padded = [size + 2 * padding for size in image.shape]
    if (
        stride < 1
        or padding < 0
        or max(padded) > _MOST
        or any(k > p for k, p in zip(kernel.shape, padded, strict=True))
    ):
        raise CourseError(
            f"An image of {padded[0]} x {padded[1]} with its padding and a kernel of {kernel.shape[0]} x"
            f" {kernel.shape[1]} at stride {stride} cannot be stepped through.",
            f"Take an image of at most {_MOST} x {_MOST}, a kernel that fits into it, and a stride of 1 or more.",
        )
    if flip:
        kernel = kernel[::-1, ::-1]
    data = {"image": _plain(np.pad(image, padding)), "kernel": _plain(kernel), "stride": stride, "padding": padding}
    size = [(p - k) // stride + 1 for p, k in zip(padded, kernel.shape, strict=True)]
    title = f"{'Convolution (kernel flipped)' if flip else 'Cross-correlation'}, stride {stride}, padding {padding}"
    markup = (
        '<div class="cnncourse-box cnncourse-stepper"'
        f' data-stepper="{attribute(json.dumps(data))}">'
        f'<p class="caption">{title}</p>'
        '<div class="controls"><button type="button" class="back">Back</button>'
        '<button type="button" class="next">Next</button><button type="button" class="all">All</button>'
        f'<label>Position <input type="range" min="0" max="{size[0] * size[1] - 1}" value="0" autocomplete="off">'
        "</label></div>"
        f'<div class="tables">{_table("Image", data["image"])}{_table("Kernel", data["kernel"])}'
        f"{_table('Output', _output(data, size))}</div>"
        '<p class="sum" aria-live="polite"></p></div>'
    )
    sizes = (("image", image.shape), ("kernel", kernel.shape), ("output", size))
    plain = ", ".join(f"{name} {rows}x{columns}" for name, (rows, columns) in sizes)
    show(f"{title}: {plain}", markup, "stepper.css", "stepper.js")


def output_size_explorer(H: int = 32, F: int = 5, S: int = 1, P: int = 0, D: int = 1) -> None:
    """Sliders for the five numbers that decide how many outputs a convolution has along one side.

    Parameters
    ----------
    H, F, S, P, D : int
        Where the sliders begin: input size, kernel size, stride, padding on each side, dilation.
    """
    sliders = (
        ("H", "input size H", H, 1, 32),
        ("F", "kernel size F", F, 1, 11),
        ("S", "stride S", S, 1, 5),
        ("P", "padding P", P, 0, 5),
        ("D", "dilation D", D, 1, 5),
    )
    for name, _, value, low, high in sliders:
        if not low <= value <= high:
            raise CourseError(f"{name} = {value} lies outside its slider.", f"Choose from {low} to {high}.")
    controls = "".join(
        f'<label><span>{text} = <b>{value}</b></span><input type="range" name="{name}" min="{low}"'
        f' max="{high}" value="{value}" autocomplete="off"></label>'
        for name, text, value, low, high in sliders
    )
    markup = (
        '<div class="cnncourse-box cnncourse-output-size">'
        f'<p class="caption">Output size of a convolution, along one side</p><div class="sizes">{controls}</div>'
        '<p class="formula" aria-live="polite"></p><div class="picture" aria-hidden="true"></div></div>'
    )
    show(f"Output size explorer: H={H}, F={F}, S={S}, P={P}, D={D}", markup, "stepper.css", "stepper.js")


def _plain(array: np.ndarray) -> list[list[float]]:
    return [[int(x) if float(x).is_integer() else float(x) for x in row] for row in array]


def _output(data: dict, size: Sequence[int]) -> list[list[float]]:
    """The whole output, which is what a page without a script shows."""
    image, kernel, s = np.array(data["image"]), np.array(data["kernel"]), data["stride"]
    rows, columns = kernel.shape
    return _plain(
        np.array(
            [
                [(image[i * s : i * s + rows, j * s : j * s + columns] * kernel).sum() for j in range(size[1])]
                for i in range(size[0])
            ]
        )
    )


def _text(x: float) -> str:
    return f"{x:.4g}".replace("-", "−")


def _table(name: str, rows: list[list[float]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{_text(x)}</td>" for x in row) + "</tr>" for row in rows)
    return f'<table class="{name.lower()}"><caption>{name}</caption><tbody>{cells}</tbody></table>'
