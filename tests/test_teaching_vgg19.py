"""Checks of notebook 13's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

from itertools import chain, pairwise

import pytest
from mutants import exercise_tests
from torch import nn

from cnncourse import models
from cnncourse.teaching import vgg19 as checks


def count(blocks, head, batch_norm, *, kernel=9, bias=1, bn=2, fc_bias=1, start=3):
    """By walking through the layers."""
    total, c_in = 0, start
    for c_out in chain(*blocks):
        total += kernel * c_in * c_out + bias * c_out + (bn * c_out if batch_norm else 0)
        c_in = c_out
    return total + sum(a * b + fc_bias * b for a, b in pairwise(head))


def build(blocks, head, *, act=lambda: nn.LeakyReLU(0.2), head_act=nn.ReLU, end=(), pool=True, start=3, **options):
    """A right solution, which the options make wrong."""
    conv_options = {"padding": 1} | {name: value for name, value in options.items() if name in ("padding", "bias")}
    layers, c_in = [], start
    for block in blocks:
        for k, c_out in enumerate(block):
            layers.append(nn.Conv2d(c_in, c_out, options.get("kernel", 3), **conv_options))
            if options.get("batch_norm"):
                layers.append(nn.BatchNorm2d(c_out))
            if not options.get("last_only") or k == len(block) - 1:
                layers.append(act())
            if options.get("pool_each"):
                layers.append(nn.MaxPool2d(2))
            c_in = c_out
        if pool and not options.get("pool_each"):
            layers.append(nn.MaxPool2d(2))
    if options.get("flatten", True):
        layers.append(nn.Flatten())
    for a, b in pairwise(head[:-1] if options.get("short") else head):
        layers += [nn.Linear(a, b), head_act()]
    return nn.Sequential(*layers[:-1], *end)


class Otherwise(nn.Module):
    """The same network with modules of its own."""

    def __init__(self, blocks, head):
        super().__init__()
        self.blocks = nn.ModuleList()
        c_in = 3
        for block in blocks:
            self.blocks.append(nn.ModuleList(nn.Conv2d(a, b, 3, padding="same") for a, b in pairwise([c_in, *block])))
            c_in = block[-1]
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(head))

    def forward(self, X):
        for block in self.blocks:
            for conv in block:
                X = nn.functional.leaky_relu(conv(X), 0.2)
            X = nn.functional.max_pool2d(X, 2)
        X = X.reshape(len(X), -1)
        for linear in self.head[:-1]:
            X = linear(X).clamp(min=0)
        return self.head[-1](X)


MUTANTS = {
    "weight_layers": [
        (lambda b, h: sum(map(len, b)) + len(h), "between two sizes"),
        (lambda b, h: len(b) + len(h) - 1, "not the convolutions"),
        (lambda b, h: len(b) + len(h), "sizes of the head"),
        (lambda b, h: sum(map(len, b)), "have weights, too"),
        (lambda b, h: len(h) - 1, "convolutions are missing"),
        (lambda b, h: sum(map(len, b)) + len(h) - 1 + len(b), "no weights"),
        (lambda b, h: None, "returns None"),
    ],
    "num_params": [
        (lambda b, h, n: count(b, h, False), "ignore it"),
        (lambda b, h, n: count(b, h, n, bn=4), "measured, not"),
        (lambda b, h, n: count(b, h, n, bn=1), "scale and a shift"),
        (lambda b, h, n: count(b, h, True), "even where"),
        (lambda b, h, n: count(b, h, n, bias=0), "channel of a convolution has a bias"),
        (lambda b, h, n: count(b, h, n, fc_bias=0), "unit of a fully connected"),
        (lambda b, h, n: count(b, h, n, bias=0, fc_bias=0), "no layer"),
        (lambda b, h, n: count(b, h, n, kernel=3), "3 times 3"),
        (lambda b, h, n: count(b, h, n, start=1), "three colours"),
        (lambda b, h, n: count(b, [], n), "fully connected layers are missing"),
        (lambda b, h, n: count([], h, n), "convolutions are missing"),
        (lambda b, h, n: None, "returns None"),
    ],
    "build_vgg": [
        (lambda b, h: build(b, h, act=nn.LeakyReLU), "0.01"),
        (lambda b, h: build(b, h, act=nn.ReLU), "followed by ReLU"),
        (lambda b, h: build(b, h, act=nn.Identity), "no activation behind the convolutions"),
        (lambda b, h: build(b, h, last_only=True), "every convolution"),
        (lambda b, h: build(b, h, head_act=lambda: nn.LeakyReLU(0.2)), "in the head"),
        (lambda b, h: build(b, h, head_act=nn.Identity), "between the fully"),
        (lambda b, h: build(b, h, end=[nn.ReLU()]), "may be negative"),
        (lambda b, h: build(b, h, end=[nn.Softmax(1)]), "belongs into the loss"),
        (lambda b, h: build(b, h, padding=0), "padding 1"),
        (lambda b, h: build(b, h, pool=False), "do not get through"),
        (lambda b, h: build(b, h, pool_each=True), "do not get through"),
        (lambda b, h: build(b, h, flatten=False), "do not get through"),
        (lambda b, h: build(b, h, kernel=5, padding=2), "instead of"),
        (lambda b, h: build(b, h, start=1), "instead of"),
        (lambda b, h: build(b, h, bias=False), "have biases"),
        (lambda b, h: build(b, h, batch_norm=True), "neither batch normalisation"),
        (lambda b, h: build(b, h, short=True), "linear layers"),
        (lambda b, h: build(b[:-1], h), "convolution layers"),
        (lambda b, h: list(build(b, h)), "list, not a network"),
        (lambda b, h: None, "returns None"),
    ],
}
OTHERWISE_WRITTEN = [
    ("weight_layers", lambda b, h: sum(1 for block in b for _ in block) + len(h[1:])),
    ("num_params", count),
    ("build_vgg", build),
    ("build_vgg", Otherwise),
]

globals().update(
    exercise_tests("13_vgg19", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": None, "nn": nn, "pairwise": pairwise})
)


@pytest.mark.parametrize(
    ("name", "convs", "batch_norm"),
    [
        ("vgg16_leaky", (2, 2, 3, 3, 3), 0),
        ("vgg19_leaky", (2, 2, 4, 4, 4), 0),
        ("vgg19_leaky_bn", (2, 2, 4, 4, 4), 1),
    ],
)
def test_the_count_is_that_of_the_networks(name, convs, batch_norm):
    blocks = [[c] * n for c, n in zip((4, 8, 16, 32, 32), convs, strict=True)]
    net = models.create(name, width=1 / 16)
    assert checks.parameters(blocks, [32, 32, 8, 10], bn=2 * batch_norm) == models.count_parameters(net)
