"""Checks for the exercises of notebook 15, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

PLANS = {  # blocks in each stage: He et al. (2016), table 1
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


def through_block(x: np.ndarray, W1: np.ndarray, W2: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Gradient at x of a loss whose gradient at ``x + W2 relu(W1 x)`` is g."""
    return g + W1.T @ ((W2.T @ g) * (W1 @ x > 0))


def weighted_layers(layers: tuple[int, ...], block: str) -> int:
    """Layers with weights on the longest way through a ResNet: the number in its name."""
    return 2 + {"basic": 2, "bottleneck": 3}[block] * sum(layers)


def parameters_of_block(block: str, c_in: int, channels: int, stride: int) -> int:
    """Parameters of a residual block: convolutions without biases, two for each channel that is normalised."""
    kernels = {"basic": [(3, 1), (3, 1)], "bottleneck": [(1, 1), (3, 1), (1, 4)]}[block]
    total, c = 0, c_in
    for kernel, expansion in kernels:
        total += kernel**2 * c * expansion * channels + 2 * expansion * channels
        c = expansion * channels
    if stride > 1 or c_in != c:
        total += c_in * c + 2 * c
    return total


def gain(variance: float, fan_in: int) -> float:
    """Factor of a layer with ReLU on the root mean square of a signal: He et al. (2015), equation 8."""
    return float(np.sqrt(fan_in * variance / 2))


def lowest_loss(accuracy: float) -> float:
    """Infimum of the mean cross-entropy of a classifier that has this share of its images right."""
    return float((1 - accuracy) * np.log(2))


@exercise("block_gradient")
def block_gradient(solution: Callable) -> None:
    """Check ``block_gradient(x, W1, W2, g)``."""
    W1 = np.array([[0.5, -1.0, 0.3], [-0.7, 0.2, 1.1], [0.9, 0.6, -0.4]])
    W2 = np.array([[1.2, 0.4, -0.8], [-0.3, 0.7, 0.5], [0.6, -1.1, 0.9]])
    x, g = np.array([1.0, -2.0, 0.5]), np.array([0.3, -1.0, -2.0])
    hidden = W1 @ x  # one unit above 0, two below
    mask = hidden > 0
    right = through_block(x, W1, W2, g)
    expect_close(
        call(solution, x, W1, W2, g),
        right,
        [
            ("this is the branch alone. The sum hands g on to both of its terms: add the shortcut's part.", right - g),
            ("this is the shortcut alone. The branch adds its own gradient to it.", g),
            ("the ReLU is missing: nothing passes back where its input was negative.", g + W1.T @ (W2.T @ g)),
            ("the matrices go forward here. Backward they are transposed, in the opposite order.",
             g + W1 @ ((W2 @ g) * mask)),
            ("the matrices go forward here. Backward they are transposed, in the opposite order.",
             g + W2 @ (mask * (W1 @ g))),
            ("transposed, but in the order of the forward pass. The last layer comes first.",
             g + W2.T @ ((W1.T @ g) * mask)),
            ("the ReLU looks at x. It is the input of the ReLU, W1 x, whose sign counts.",
             g + W1.T @ ((W2.T @ g) * (x > 0))),
            ("the ReLU looks at the gradient. It is its input in the forward pass, W1 x, whose sign counts.",
             g + W1.T @ np.maximum(W2.T @ g, 0)),
            ("this multiplies by the values behind the ReLU. Its slope is 1 or 0.",
             g + W1.T @ ((W2.T @ g) * np.maximum(hidden, 0))),
            ("this is the output of the block. The gradient at its input is asked for.", x + W2 @ (hidden * mask)),
            ("the shortcut is multiplied with the branch. The two are added.", g * (right - g)),
        ],
    )  # fmt: skip
    zero = np.zeros((3, 3))
    expect_close(call(solution, x, zero, zero, g), g, what="the gradient for a block whose weights are 0")


@exercise("depth")
def depth(solution: Callable) -> None:
    """Check ``depth(layers, block)``."""
    for name, (block, layers) in PLANS.items():
        got = call(solution, list(layers), block)
        total = sum(layers)
        where = f"layers {list(layers)}, {block}"
        expect_close(
            got,
            name,
            [
                (f"{where}: the convolution of the stem is missing, or the fully connected layer.", name - 1),
                (f"{where}: only the blocks are counted. The stem and the last layer have weights, too.", name - 2),
                (f"{where}: these are the blocks. Each holds several convolutions.", total),
                (f"{where}: each block counts once. A basic block has two convolutions, a bottleneck three.",
                 total + 2),
                (f"{where}: a bottleneck has three convolutions.", 2 * total + 2),
                (f"{where}: a basic block has two convolutions.", 3 * total + 2),
                (f"{where}: the projections are counted, too. They lie beside the longest way, not on it.", name + 3),
                (f"{where}: the projections are counted, too. They lie beside the longest way, not on it.", name + 4),
                (f"{where}: pooling layers have no weights.", name + 1),
                (f"{where}: pooling layers have no weights.", name + 2),
            ],
            what=f"{where}: your depth",
        )  # fmt: skip


@exercise("block_parameters")
def block_parameters(solution: Callable) -> None:
    """Check ``block_parameters(block, c_in, channels, stride)``."""
    cases = [
        ("basic", 64, 64, 1),
        ("basic", 64, 128, 2),
        ("bottleneck", 256, 64, 1),
        ("bottleneck", 64, 64, 1),
        ("bottleneck", 256, 128, 2),
    ]
    for block, c_in, channels, stride in cases:
        right = parameters_of_block(block, c_in, channels, stride)
        c_out = channels * (4 if block == "bottleneck" else 1)
        normalised = 2 * channels if block == "basic" else 6 * channels
        projected = stride > 1 or c_in != c_out
        narrow = 9 * channels**2 + (c_in + channels) * channels + 6 * channels
        slips = [
            ("batch normalisation is missing: two numbers for each channel.",
             right - 2 * normalised - 2 * c_out * projected),
            ("batch normalisation has two numbers for each channel, a scale and a shift.",
             right - normalised - c_out * projected),
            ("batch normalisation has two numbers for each channel that are trained. The running mean and variance "
             "are kept, not trained.", right + 2 * normalised + 2 * c_out * projected),
            ("the convolutions have no biases: batch normalisation would cancel them.",
             right + normalised + c_out * projected),
            ("without the projection. Where the shape changes, in channels or in size, the shortcut has weights.",
             right - (c_in * c_out + 2 * c_out) * projected),
            ("with a projection. Where input and output have the same shape, the shortcut has no weights.",
             right + (c_in * c_out + 2 * c_out) * (not projected)),
            ("the projection is normalised, too.", right - 2 * c_out * projected),
            ("the projection is a 1x1 convolution.", right + 8 * c_in * c_out * projected),
            ("the second convolution already gets the channels of the block.",
             right + 9 * (c_in - channels) * channels if block == "basic" else None),
            ("this is a basic block. A bottleneck has three convolutions: 1x1, 3x3, 1x1.",
             parameters_of_block("basic", c_in, channels, stride) if block == "bottleneck" else None),
            ("the last convolution of a bottleneck widens to four times the channels.",
             narrow if block == "bottleneck" else None),
            ("the last convolution of a bottleneck widens to four times the channels.",
             narrow + (c_in * channels + 2 * channels) * (stride > 1 or c_in != channels)
             if block == "bottleneck" else None),
        ]  # fmt: skip
        got = call(solution, block, c_in, channels, stride)
        expect_returned(got)
        where = f"{block} block from {c_in} channels, channels={channels}, stride {stride}"
        known = [(f"{where}: {m}", s) for m, s in slips if s is not None and s != right]
        expect_close(got, right, known, what=f"{where}: your number", rtol=1e-12)


@exercise("layer_gain")
def layer_gain(solution: Callable) -> None:
    """Check ``layer_gain(variance, fan_in)``."""
    for variance, fan_in in ((1 / 432, 144), (0.5, 36)):
        right = gain(variance, fan_in)
        expect_close(
            call(solution, variance, fan_in),
            right,
            [
                ("the root is missing: this is the factor on the mean square.", right**2),
                ("the half is missing: the ReLU sets half of the values to 0.", right * np.sqrt(2)),
                ("root and half are missing.", 2 * right**2),
                ("halved after the root. The ReLU halves the mean square, under the root.", right / np.sqrt(2)),
                ("the number of inputs is missing: their variances add up.", np.sqrt(variance / 2)),
                ("this is the deviation of a weight alone.", np.sqrt(variance)),
                ("the inputs are averaged. They are added up.", np.sqrt(variance / fan_in / 2)),
                ("the inputs count under the root, like the variance.", fan_in * np.sqrt(variance / 2)),
                ("the variance is squared. It is a square already.", np.sqrt(fan_in * variance**2 / 2)),
                ("the factor is upside down.", 1 / right),
                ("the ReLU doubles nothing: it halves the mean square.", np.sqrt(2 * fan_in * variance)),
            ],
        )


@exercise("least_loss")
def least_loss(solution: Callable) -> None:
    """Check ``least_loss(accuracy)``."""
    for accuracy in (0.9, 0.75):
        errors, right = 1 - accuracy, lowest_loss(accuracy)
        expect_close(
            call(solution, accuracy),
            right,
            [
                ("this is ln 10 for an error: the right class at 1/10. An error can cost less: how close can the right "
                 "class come to the largest?", errors * np.log(10)),
                ("the share of right images is taken. These can cost next to nothing; the errors cannot.",
                 accuracy * np.log(2)),
                ("the logarithm of the accuracy. Look at one image that is wrong: how large can the probability of its "
                 "right class be?", -np.log(accuracy)),
                ("the logarithm of the share of errors. Look at one image that is wrong: how large can the probability "
                 "of its right class be?", -np.log(errors)),
                ("the logarithm to base 2. torch's cross-entropy is in nats.", errors),
                ("the logarithm to base 10. torch's cross-entropy is in nats.", errors * np.log10(2)),
                ("the sign: the logarithm of a probability is negative, and a loss is not.", -right),
                ("that is the cost of one error. The mean is over all images.", np.log(2)),
                ("the entropy of right and wrong. That is what calibrated guesses cost, not the least.",
                 -(accuracy * np.log(accuracy) + errors * np.log(errors))),
                ("zero. It would need the largest probability for the right class, and these images are wrong.", 0.0),
                ("half of it: an error at a probability of 1/2 costs ln 2.", errors * np.log(2) / 2),
                ("the probability itself. Its cost is minus its logarithm.", errors / 2),
            ],
        )  # fmt: skip
    got = call(solution, 1.0)
    if not np.isclose(float(got), 0, atol=1e-9):
        raise CheckError("without errors the loss can come as close to 0 as one likes.")
