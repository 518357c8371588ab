"""Checks for the exercises of notebook 13, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

if TYPE_CHECKING:
    from torch import Tensor, nn

Blocks = Sequence[Sequence[int]]


def layers_with_weights(blocks: Blocks, head: Sequence[int]) -> int:
    """Convolutions and fully connected layers of a network; `head` lists the sizes between which the latter lie."""
    return sum(map(len, blocks)) + len(head) - 1


def parameters(blocks: Blocks, head: Sequence[int], *, kernel=9, bias=1, bn=0, fc_bias=1, colours=3) -> int:
    """Parameters of 3x3 convolutions, `bn` more for each of their channels, and of the fully connected layers."""
    channels = [colours, *(c for block in blocks for c in block)]
    convs = sum((kernel * a + bias + bn) * b for a, b in pairwise(channels))
    return convs + sum((a + fc_bias) * b for a, b in pairwise(head))


@exercise("weight_layers")
def weight_layers(solution: Callable) -> None:
    """Check ``weight_layers(blocks, head)``."""
    cases = [
        ([[8, 8], [16, 16, 16]], [64, 32, 10]),
        ([[8], [16], [16]], [64, 10]),
        ([[4, 4, 4, 4], [8, 8]], [32, 32, 16, 5]),
    ]
    got = [call(solution, [list(block) for block in blocks], list(head)) for blocks, head in cases]
    for value in got:
        expect_returned(value)
    slips: list[tuple[str, Callable]] = [
        ("the list of sizes of the head is longer by one than the list of its layers: a layer lies between two sizes.",
         lambda b, h: sum(map(len, b)) + len(h)),
        ("you count the blocks, not the convolutions in them.", lambda b, h: len(b) + len(h) - 1),
        ("you count the blocks, and the sizes of the head.", lambda b, h: len(b) + len(h)),
        ("the fully connected layers have weights, too.", lambda b, h: sum(map(len, b))),
        ("the convolutions are missing.", lambda b, h: len(h) - 1),
        ("max pooling has no weights: leave the poolings out.", lambda b, h: layers_with_weights(b, h) + len(b)),
    ]  # fmt: skip
    slips_of_all = [(message, [slip(*case) for case in cases]) for message, slip in slips]
    expect_close(got, np.array([layers_with_weights(*case) for case in cases]), slips_of_all, "the list of results")


@exercise("num_params")
def num_params(solution: Callable) -> None:
    """Check ``num_params(blocks, head, batch_norm)``."""
    networks = [([[8, 8], [16]], [64, 32, 10]), ([[6], [4, 4, 4]], [16, 5])]
    cases = [(*network, batch_norm) for network in networks for batch_norm in (False, True)]
    got = [call(solution, [list(b) for b in blocks], list(head), bn) for blocks, head, bn in cases]
    for value in got:
        expect_returned(value)
    slips: list[tuple[str, Callable]] = [
        ("with batch normalisation two more numbers are learned for each channel, gamma and beta; you ignore it.",
         lambda b, h, n: parameters(b, h)),
        ("you count four numbers per channel for batch normalisation. Running mean and variance are measured, not "
         "learned.", lambda b, h, n: parameters(b, h, bn=4 * n)),
        ("you count one number per channel for batch normalisation; it learns a scale and a shift.",
         lambda b, h, n: parameters(b, h, bn=n)),
        ("batch normalisation is counted even where batch_norm is False.", lambda b, h, n: parameters(b, h, bn=2)),
        ("each output channel of a convolution has a bias.", lambda b, h, n: parameters(b, h, bias=0, bn=2 * n)),
        ("each unit of a fully connected layer has a bias.", lambda b, h, n: parameters(b, h, fc_bias=0, bn=2 * n)),
        ("no layer has its biases yet.", lambda b, h, n: parameters(b, h, bias=0, fc_bias=0, bn=2 * n)),
        ("a window has 3 times 3 weights for each input channel.",
         lambda b, h, n: parameters(b, h, kernel=3, bn=2 * n)),
        ("the images have three colours: the first convolution gets 3 channels.",
         lambda b, h, n: parameters(b, h, colours=1, bn=2 * n)),
        ("the fully connected layers are missing.", lambda b, h, n: parameters(b, [1], bn=2 * n)),
        ("the convolutions are missing.", lambda b, h, n: parameters([], h)),
    ]  # fmt: skip
    slips_of_all = [(message, [slip(*case) for case in cases]) for message, slip in slips]
    right = np.array([parameters(b, h, bn=2 * n) for b, h, n in cases])
    expect_close(got, right, slips_of_all, "the list of results (without and with batch normalisation)")


def forward(
    layers: Sequence[tuple[Tensor, Tensor]],
    blocks: Blocks,
    X: Tensor,
    *,
    slope: float = 0.2,
    head_slope: float = 0.0,
    every: bool = True,
    end: Callable = lambda logits: logits,
) -> Tensor:
    """Logits of a VGG with these (weight, bias): the right ones, or those of a slip in the activations."""
    from torch.nn import functional as F

    convs, linears = layers[: sum(map(len, blocks))], layers[sum(map(len, blocks)) :]
    left = iter(convs)
    for block in blocks:
        for k in range(len(block)):
            X = F.conv2d(X, *next(left), padding=1)
            if every or k == len(block) - 1:
                X = F.leaky_relu(X, slope)
        X = F.max_pool2d(X, 2)
    X = X.flatten(1)
    for weight, bias in linears[:-1]:
        X = F.leaky_relu(F.linear(X, weight, bias), head_slope)
    return end(F.linear(X, *linears[-1]))


@exercise("build_vgg")
def build_vgg(solution: Callable) -> None:
    """Check ``build_vgg(blocks, head)``."""
    import torch

    for blocks, head in [([[4, 4], [6], [5, 5, 5]], [80, 12, 9, 7]), ([[4], [6, 6]], [6 * 64, 8])]:
        net = call(solution, [list(block) for block in blocks], list(head))
        layers = _layers(net, blocks, head)
        generator = torch.Generator().manual_seed(0)
        for weight, bias in layers:
            with torch.no_grad():
                spread = (2 / weight[0].numel()) ** 0.5  # the signal neither grows nor dies: every slip shows
                weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
                bias.copy_(torch.randn(bias.shape, generator=generator) * 0.1)
        X = torch.randn(3, 3, 32, 32, generator=generator)
        with torch.no_grad():
            try:
                got = net.cpu()(X)
            except Exception as error:
                raise CheckError(
                    f"images of 32x32 pixels do not get through your network with blocks {blocks} and head {head} "
                    f"({type(error).__name__}: {str(error).splitlines()[0]}). Is there one pooling, at the end of each "
                    "block, and a flattening in front of the head?"
                ) from None
            layers = [(weight.detach().cpu(), bias.detach().cpu()) for weight, bias in layers]
            slips = [
                ("the slope of LeakyReLU is torch's 0.01; the network has 0.2.", {"slope": 0.01}),
                ("the convolutions are followed by ReLU; this network has LeakyReLU there.", {"slope": 0.0}),
                ("there is no activation behind the convolutions.", {"slope": 1.0}),
                ("an activation follows every convolution, not the last one of a block alone.", {"every": False}),
                ("in the head the activation is ReLU, LeakyReLU belongs to the convolutions.", {"head_slope": 0.2}),
                ("there is no activation between the fully connected layers.", {"head_slope": 1.0}),
                ("the logits may be negative: no activation behind the last layer.", {"end": torch.relu}),
                ("the softmax belongs into the loss: the network ends in logits.", {"end": lambda z: z.softmax(1)}),
            ]
            expect_close(
                got,
                forward(layers, blocks, X).numpy(),
                [(message, forward(layers, blocks, X, **options).numpy()) for message, options in slips],
                "what your network makes of an image",
                rtol=1e-3,
                atol=1e-4,
            )


def _layers(net: nn.Module, blocks: Blocks, head: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of the network's layers, which have the right shapes."""
    from torch import nn

    expect_returned(net)
    if not isinstance(net, nn.Module):
        raise CheckError(
            f"your function returns a {type(net).__name__}, not a network: nn.Sequential makes one of a list of layers."
        )
    if any(isinstance(layer, (nn.modules.batchnorm._BatchNorm, nn.Dropout)) for layer in net.modules()):
        raise CheckError("this network has neither batch normalisation nor dropout.")
    convs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    linears = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    channels = [3, *(c for block in blocks for c in block)]
    for what, layers, sizes, window in (("convolution", convs, channels, (3, 3)), ("linear", linears, head, ())):
        wanted = [(b, a, *window) for a, b in pairwise(sizes)]
        found = [tuple(layer.weight.shape) for layer in layers]
        if len(found) != len(wanted):
            raise CheckError(
                f"for blocks {list(blocks)} and head {list(head)} your network has {len(found)} {what} layers, not "
                f"{len(wanted)}."
            )
        if found != wanted:
            k = next(k for k in range(len(found)) if found[k] != wanted[k])
            raise CheckError(
                f"{what} layer {k + 1} has weights of shape {found[k]} instead of {wanted[k]} (out, in"
                f"{', window' if window else ''})."
            )
        if any(layer.bias is None for layer in layers):
            raise CheckError(f"the {what} layers have biases.")
    if any(conv.padding not in ((1, 1), "same") for conv in convs):
        raise CheckError("padding 1 is missing: without it each convolution takes two pixels off height and width.")
    return [(layer.weight, layer.bias) for layer in convs + linears]
