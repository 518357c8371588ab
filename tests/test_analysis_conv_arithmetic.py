"""Conv arithmetic: the formulas agree with torch for any window, and invert each other."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnncourse.analysis.conv_arithmetic import (
    Field,
    conv_multiply_adds,
    conv_parameters,
    kernels_for,
    output_size,
    receptive_field,
    same_padding,
)
from cnncourse.errors import CourseError

relaxed = settings(deadline=None)  # the first call of a torch function may take long

SIZES = st.integers(1, 30)
KERNELS, STRIDES, PADDINGS, DILATIONS = st.integers(1, 7), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3)


@relaxed
@given(SIZES, KERNELS, STRIDES, PADDINGS, DILATIONS)
def test_output_size_is_that_of_torch(size, kernel, stride, padding, dilation):
    X, W = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel)
    try:
        expected = F.conv1d(X, W, stride=stride, padding=padding, dilation=dilation).shape[-1]
    except RuntimeError:  # torch: kernel size can't be greater than actual input size
        with pytest.raises(CourseError, match="does not fit"):
            output_size(size, kernel, stride, padding, dilation)
    else:
        assert output_size(size, kernel, stride, padding, dilation) == expected


@relaxed
@given(SIZES, KERNELS, DILATIONS)
def test_same_padding_keeps_every_size_or_says_why_not(size, kernel, dilation):
    if dilation * (kernel - 1) % 2:
        with pytest.raises(CourseError, match="evenly"):
            same_padding(kernel, dilation)
    else:
        assert output_size(size, kernel, 1, same_padding(kernel, dilation), dilation) == size


@relaxed
@given(SIZES, SIZES, STRIDES, PADDINGS, DILATIONS)
def test_kernels_for_finds_all_kernels_and_no_other(size, wanted, stride, padding, dilation):
    def gives(kernel):
        try:
            return output_size(size, kernel, stride, padding, dilation) == wanted
        except CourseError:
            return False

    expected = [kernel for kernel in range(1, size + 2 * padding + 1) if gives(kernel)]
    if expected:
        assert kernels_for(size, wanted, stride, padding, dilation) == expected
    else:
        with pytest.raises(CourseError, match="No kernel"):
            kernels_for(size, wanted, stride, padding, dilation)


def test_the_questions_of_tdt4265_task_1():
    assert same_padding(5) == 2
    assert kernels_for(512, 504) == [9]
    assert output_size(504, kernel=2, stride=2) == 252
    assert output_size(252, kernel=3) == 250
    assert sum(conv_parameters(*layer) for layer in [(3, 32, 5), (32, 64, 5), (64, 128, 5), (2048, 64, 1)]) == 389_760
    assert kernels_for(6, 2, stride=3) == [1, 2, 3]  # a stride leaves a choice


@relaxed
@given(st.integers(1, 4), st.integers(1, 4), KERNELS, st.booleans(), st.integers(1, 3))
def test_conv_parameters_are_those_of_torch(c_in, c_out, kernel, bias, groups):
    layer = nn.Conv2d(c_in * groups, c_out * groups, kernel, bias=bias, groups=groups)
    counted = sum(p.numel() for p in layer.parameters())
    assert conv_parameters(c_in * groups, c_out * groups, kernel, bias=bias, groups=groups) == counted


def test_multiply_adds_count_every_product_of_a_naive_convolution():
    c_in, c_out, kernel, size_out, products = 2, 3, 3, 4, 0
    for _channel in range(c_out):
        for _place in range(size_out * size_out):
            products += c_in * kernel * kernel  # one window
    assert conv_multiply_adds(c_in, c_out, kernel, size_out) == products
    assert conv_multiply_adds(4, 6, 3, 5, groups=2) == conv_multiply_adds(2, 6, 3, 5)


WINDOWS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(WINDOWS)
def test_receptive_field_is_where_the_gradient_is_not_zero(windows):
    X = torch.zeros(1, 1, 2000, dtype=torch.float64, requires_grad=True)
    out = X
    for kernel, stride, dilation in windows:
        out = F.conv1d(out, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride, dilation=dilation)
    middle = out.shape[-1] // 2
    starts = []
    for place in (middle, middle + 1):
        (gradient,) = torch.autograd.grad(out[0, 0, place], X, retain_graph=True)
        seen = gradient[0, 0].nonzero()
        starts.append(int(seen.min()))
    field = receptive_field(windows)
    # A dilated window that is last in line, or steps over pixels, leaves holes; its ends count.
    assert field.size == int(seen.max() - seen.min()) + 1
    assert field.step == starts[1] - starts[0]


def test_two_small_windows_see_what_a_large_one_sees():
    assert receptive_field([(3,), (3,)]) == receptive_field([(5,)]) == Field(5, 1)
    assert receptive_field([(7, 2), (3, 2)]) == Field(11, 4)
    assert receptive_field([]) == Field(1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: output_size(0, 3), "size must be an integer of at least 1, not 0"),
        (lambda: output_size(8, 2.5), r"kernel must be an integer of at least 1, not 2\.5"),
        (lambda: output_size(8, 3, padding=-1), "padding must be an integer of at least 0"),
        (lambda: output_size(8, 3, stride=True), "stride must be"),
        (lambda: output_size(4, 5), "window of 5 pixels does not fit into 4"),
        (lambda: kernels_for(8, 9), "No kernel turns 8 pixels into 9"),
        (lambda: conv_parameters(3, 8, 3, groups=2), "groups do not divide"),
        (lambda: receptive_field([(3, 1, 1, 1)]), "is no window"),
        (lambda: receptive_field([(3, 0)]), "stride must be"),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(CourseError, match=message):
        call()
