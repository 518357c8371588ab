"""Sizes, receptive fields, parameters and multiply-adds of convolutions, in whole numbers.

Formulas after Dumoulin and Visin (2016), "A guide to convolution arithmetic for deep learning", and Araujo, Norris and
Sim (2019), "Computing receptive fields of convolutional neural networks". Windows are square; pooling has the
arithmetic of a convolution. For the layers of a whole network see :mod:`cnncourse.analysis.layers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral

from cnncourse.errors import CourseError


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Height (or width) of what a convolution or pooling makes of maps of height `size`.

    floor((n + 2 p - d (k - 1) - 1) / s) + 1: relationship 15 of Dumoulin and Visin (2016), with dilation 1 their 6.

    Parameters
    ----------
    size : int
        n, in pixels.
    kernel, stride, padding, dilation : int
        k, s, p (on each side) and d.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    CourseError
        When a number is out of range, or the window is larger than the padded map.

    Examples
    --------
    >>> output_size(512, kernel=9)
    504
    """
    check_sizes(size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    room = size + 2 * padding - _extent(kernel, dilation)
    if room < 0:
        raise CourseError(
            f"A window of {_extent(kernel, dilation)} pixels does not fit into {size} + 2 * {padding} pixels.",
            "Use a smaller kernel, more padding or larger images.",
        )
    return room // stride + 1


def same_padding(kernel: int, dilation: int = 1) -> int:
    """Padding on each side with which a convolution of stride 1 keeps the size of the map: d (k - 1) / 2.

    Dumoulin and Visin (2016), relationship 3 ("half padding").

    Raises
    ------
    CourseError
        When d (k - 1) is odd: no padding that is the same on both sides keeps the size then.
    """
    check_sizes(kernel=kernel, dilation=dilation)
    total = dilation * (kernel - 1)
    if total % 2:
        raise CourseError(
            f"A window of {_extent(kernel, dilation)} pixels needs {total} pixels of padding in all, which two sides "
            "cannot share evenly.",
            "Use an odd kernel, or nn.Conv2d(..., padding='same'), which puts one pixel more at the end.",
        )
    return total // 2


def kernels_for(size: int, wanted: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> list[int]:
    """All kernels with which maps of height `size` become maps of height `wanted`: the inverse of `output_size`.

    With stride 1 there is at most one; with stride s up to s, because the floor in the formula forgets a remainder.

    Returns
    -------
    list of int
        Smallest first.

    Raises
    ------
    CourseError
        When there is none.

    Examples
    --------
    >>> kernels_for(512, 504)
    [9]
    """
    check_sizes(size=size, wanted=wanted, stride=stride, padding=padding, dilation=dilation)
    # floor((n + 2p - extent) / s) = wanted - 1 leaves these extents, and extent = d (k - 1) + 1
    largest = size + 2 * padding - stride * (wanted - 1)
    extents = range(max(1, largest - stride + 1), largest + 1)
    kernels = [(extent - 1) // dilation + 1 for extent in extents if (extent - 1) % dilation == 0]
    if not kernels:
        raise CourseError(
            f"No kernel turns {size} pixels into {wanted} with stride {stride}, padding {padding} and dilation "
            f"{dilation}.",
            "Change the stride or the padding: without padding, stride 1 gives at most the size of the input.",
        )
    return kernels


def conv_parameters(c_in: int, c_out: int, kernel: int, *, bias: bool = True, groups: int = 1) -> int:
    """Weights and biases of a convolution: c_out (k^2 c_in / groups + 1).

    A fully connected layer is a convolution with kernel 1 on maps of one pixel.

    Examples
    --------
    >>> conv_parameters(3, 32, kernel=5)
    2432
    """
    check_sizes(c_in=c_in, c_out=c_out, kernel=kernel, groups=groups)
    _check_groups(c_in, c_out, groups)
    return c_out * (kernel**2 * c_in // groups + bool(bias))


def conv_multiply_adds(c_in: int, c_out: int, kernel: int, size_out: int, *, groups: int = 1) -> int:
    """Multiply-adds of a convolution for one image: k^2 (c_in / groups) c_out n^2, with output maps of n x n pixels.

    Additions of biases are not counted, and a multiply-add is one: the number of floating-point operations that
    ``torch.utils.flop_counter`` and most tables print is twice as large, while the "FLOPs" of He et al. (2016) are
    multiply-adds.

    Examples
    --------
    >>> conv_multiply_adds(1, 8, kernel=6, size_out=12)
    41472
    """
    check_sizes(c_in=c_in, c_out=c_out, kernel=kernel, size_out=size_out, groups=groups)
    _check_groups(c_in, c_out, groups)
    return kernel**2 * (c_in // groups) * c_out * size_out**2


@dataclass(frozen=True)
class Field:
    """The square of input pixels that one output of a layer can see.

    Attributes
    ----------
    size : int
        Height (and width) of the square in pixels; it may reach beyond the image, into the padding.
    step : int
        How many input pixels further the square of the next output lies.
    """

    size: int = 1
    step: int = 1

    def seen_through(self, kernel: int, stride: int = 1, dilation: int = 1) -> Field:
        """The field of a layer with this window whose inputs have this field.

        Araujo, Norris and Sim (2019), equation 2, unrolled from the input: size + d (k - 1) step, and step s.
        """
        return Field(self.size + dilation * (kernel - 1) * self.step, self.step * stride)


def receptive_field(windows: Iterable[tuple[int, ...]]) -> Field:
    """Field of one output after a chain of convolutions and poolings.

    Parameters
    ----------
    windows : iterable of (kernel,), (kernel, stride) or (kernel, stride, dilation)
        From the input on.

    Examples
    --------
    Two 3x3 convolutions see what one 5x5 convolution sees.

    >>> receptive_field([(3,), (3,)]) == receptive_field([(5,)])
    True
    """
    field = Field()
    for window in windows:
        if not 1 <= len(window) <= 3:
            raise CourseError(f"{window!r} is no window.", "Write (kernel, stride) or (kernel, stride, dilation).")
        check_sizes(**dict(zip(("kernel", "stride", "dilation"), window, strict=False)))
        field = field.seen_through(*window)
    return field


def _extent(kernel: int, dilation: int) -> int:
    return dilation * (kernel - 1) + 1


def check_sizes(**numbers: int) -> None:
    """CourseError unless all are integers of at least 1 (padding: of at least 0)."""
    for name, value in numbers.items():
        least = 0 if name == "padding" else 1
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise CourseError(f"{name} must be an integer of at least {least}, not {value!r}.", f"Change {name}.")


def _check_groups(c_in: int, c_out: int, groups: int) -> None:
    if c_in % groups or c_out % groups:
        raise CourseError(f"{groups} groups do not divide {c_in} and {c_out} channels.", "Change groups.")
