"""Checks of notebook 14's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted. Its formulas agree with torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mutants import exercise_tests
from torch import nn

from cnncourse import models
from cnncourse.teaching import resnet20 as checks


def padded(Z, c_out, front=0, value=0.0):
    new = c_out - Z.shape[1]
    return F.pad(Z, (0, 0, 0, 0, front, new - front), value=value)


def in_place(X, c_out, stride):
    result = padded(X[:, :, ::stride, ::stride], c_out)
    X *= 0
    return result


SHORTCUT = [
    (lambda X, c, s: padded(X[:, :, ::s, ::s], c, front=c - X.shape[1]), "come first"),
    (lambda X, c, s: padded(X[:, :, ::s, ::s], c, front=(c - X.shape[1]) // 2), "half of the new"),
    (lambda X, c, s: padded(F.avg_pool2d(X, s), c), "averaged"),
    (lambda X, c, s: padded(F.max_pool2d(X, s), c), "largest pixel"),
    (lambda X, c, s: padded(X[:, :, : X.shape[2] // s, : X.shape[3] // s], c), "upper left"),
    (lambda X, c, s: padded(X[:, :, ::s], c), "rows are left out"),
    (lambda X, c, s: padded(X[..., ::s], c), "columns are left out"),
    (lambda X, c, s: padded(X, c), "stride is missing"),
    (lambda X, c, s: X[:, :, ::s, ::s], "new channels are missing"),
    (lambda X, c, s: padded(X[:, :, ::s, ::s], c, value=1.0), "hold ones"),
    (lambda X, c, s: padded(X[:, :, ::s, ::s], c + X.shape[1]), "come on top"),
    (lambda X, c, s: X[:, :, ::s, ::s].repeat(1, c, 1, 1)[:, :c], "repeat old ones"),
    (in_place, "changes the X"),
    (lambda X, c, s: None, "returns None"),
    (lambda X, c, s: X.shape, "a tensor is asked for"),
    (lambda X, c, s: padded(X[::s], c), "shape"),
]


class Block(nn.Module):
    """A residual block whose parts can be replaced."""

    def __init__(self, c_in, c_out, stride, *, bias=False, kernel=3, strides=None, shared=False, middle=None):
        super().__init__()
        strides, middle = strides or (stride, 1), middle or c_out
        self.conv1 = nn.Conv2d(c_in, middle, kernel, strides[0], padding=kernel // 2, bias=bias)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, c_out, kernel, strides[1], padding=kernel // 2, bias=bias)
        self.bn2 = self.bn1 if shared else nn.BatchNorm2d(c_out)
        self.past = checks.make_shortcut(c_in, c_out, stride)

    def inner(self, X):
        return self.bn1(self.conv1(X))

    def branch(self, X):
        return self.bn2(self.conv2(torch.relu(self.inner(X))))

    def forward(self, X):
        return torch.relu(self.branch(X) + self.past(X))


def block_with(forward, **options):
    """A maker of blocks with another forward pass."""

    class Changed(Block):
        pass

    Changed.forward = forward
    return lambda c_in, c_out, stride: Changed(c_in, c_out, stride, **options)


def projection(c_in, c_out, stride):
    block = Block(c_in, c_out, stride)
    if (c_in, stride) != (c_out, 1):
        block.past = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
    return block


def no_second_norm(c_in, c_out, stride):
    block = Block(c_in, c_out, stride)
    block.bn2 = nn.Identity()
    return block


def one_convolution(c_in, c_out, stride):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


RESIDUAL_BLOCK = [
    (block_with(lambda self, X: torch.relu(self.branch(X))), "shortcut is missing"),
    (block_with(lambda self, X: self.branch(X)), "shortcut and the last ReLU"),
    (block_with(lambda self, X: self.branch(X) + self.past(X)), "last ReLU is missing"),
    (block_with(lambda self, X: torch.relu(self.branch(X)) + self.past(X)), "before the sum"),
    (block_with(lambda self, X: torch.relu(self.bn2(self.conv2(self.inner(X))) + self.past(X))), "between the two"),
    (block_with(lambda self, X: self.bn2(self.conv2(self.inner(X))) + self.past(X)), "no ReLU at all"),
    (
        block_with(lambda self, X: torch.relu(self.bn2(self.conv2(torch.relu(self.inner(X))) + self.past(X)))),
        "into the last batch norm",
    ),
    (block_with(lambda self, X: torch.relu(self.branch(X) - self.past(X))), "subtracted"),
    (block_with(lambda self, X: torch.relu(self.branch(X) * self.past(X))), "multiplied"),
    (block_with(lambda self, X: torch.relu(self.branch(X) + torch.relu(self.past(X)))), "ReLU of its own"),
    (
        block_with(lambda self, X: torch.relu(self.conv2(self.bn2(torch.relu(self.inner(X)))) + self.past(X))),
        "order is convolution",
    ),
    (lambda c_in, c_out, stride: Block(c_in, c_out, stride, shared=True), "serves both convolutions"),
    (lambda c_in, c_out, stride: Block(c_in, c_out, stride, bias=True), "have biases"),
    (lambda c_in, c_out, stride: Block(c_in, c_out, stride, kernel=5), "3x3 kernels"),
    (lambda c_in, c_out, stride: Block(c_in, c_out, stride, strides=(1, stride)), "that of the first"),
    (lambda c_in, c_out, stride: Block(c_in, c_out, stride, middle=c_in), "from c_in to c_out"),
    (projection, "option B"),
    (no_second_norm, "yours applies 1"),
    (one_convolution, "two convolutions; X passes through 1"),
    (lambda c_in, c_out, stride: Block, "Is an instance"),
    (lambda c_in, c_out, stride: Block(c_in, c_out, 1), "strides"),
    (lambda c_in, c_out, stride: None, "returns None"),
]


def network(n, *, channels=(16, 32, 64), strides=None, stem=(), head=None, last=(), linear=None, bias=False):
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=bias), *(stem or (nn.BatchNorm2d(16), nn.ReLU()))]
    c_in = 16
    for g, c_out in enumerate(channels):
        for k in range(n):
            stride = strides(g, k) if strides else 1 + (g > 0 and k == 0)
            layers.append(checks.make_block(c_in, c_out, stride))
            c_in = c_out
    head = head if head is not None else (nn.AdaptiveAvgPool2d(1),)
    return nn.Sequential(*layers, *head, nn.Flatten(), linear or nn.Linear(c_in, 10), *last)


class Repeated(nn.Module):
    """Each block of a group but the first is one and the same."""

    def __init__(self, n):
        super().__init__()
        self.layers = network(1)
        self.n = n

    def forward(self, X):
        for layer in self.layers:
            X = layer(X)
            if isinstance(layer, models.resnet.BasicBlock):
                for _ in range(self.n - 1):
                    X = torch.relu(X)
        return X


RESNET = [
    (lambda n: network(n, strides=lambda g, k: 1), "No block has stride 2"),
    (lambda n: network(n, strides=lambda g, k: 1 + (k == 0)), "first group keeps"),
    (lambda n: network(n, strides=lambda g, k: 1 + (g > 0)), "Only the first block"),
    (lambda n: network(n + 1), "there are 6 blocks"),
    (lambda n: network(3), "there are 9 blocks"),
    (lambda n: network(n, channels=(64, 64, 64), strides=lambda g, k: 1 + (g > 0 and k == 0)), "channels; the groups"),
    (lambda n: network(n, last=(nn.Softmax(1),)), "ends in a softmax"),
    (lambda n: network(n, last=(nn.LogSoftmax(1),)), "log-softmax"),
    (lambda n: network(n, last=(nn.ReLU(),)), "activation behind the last"),
    (lambda n: network(n, last=(nn.Sigmoid(),)), "activation behind the last"),
    (lambda n: network(n, bias=True), "has a bias"),
    (lambda n: network(n, stem=(nn.ReLU(),)), "batch normalisation behind the first"),
    (lambda n: network(n, stem=(nn.BatchNorm2d(16),)), "has its ReLU"),
    (lambda n: network(n, head=(), linear=nn.Linear(64 * 64, 10)), "8x8 pixels"),
    (lambda n: network(n, linear=nn.Linear(64, 10, bias=False)), "linear layer has no bias"),
    (lambda n: network(n, linear=nn.Linear(64, 1000)), r"\(8, 1000\)"),
    (Repeated, "there are 3 blocks"),
    (lambda n: None, "returns None"),
    (lambda n: [], "a module is asked for"),
]

LOSS_FLOOR = [
    (lambda K: 0.0, "0 would be"),
    (lambda K: np.log(K), "guessing costs"),
    (lambda K: np.e / (np.e + K - 1), "probability"),
    (lambda K: np.log(np.e / (np.e + K - 1)), "sign"),
    (lambda K: -np.log(np.e / (np.e + K)), "K - 1 other"),
    (lambda K: -np.log2(np.e / (np.e + K - 1)), "another base"),
    (lambda K: np.log(1 + (K - 1) * np.e), "upside down"),
    (lambda K: np.log((K - 1) / np.e), "1 is missing"),
    (lambda K: np.log(np.e + K - 1), "highest loss"),
    (lambda K: None, "returns None"),
]


def with_kind(**changed):
    """The right schedules, but for some kinds: functions of the epochs e, T, lr and every."""

    def schedule(kind, num_epochs, lr, every):
        e = np.arange(num_epochs)
        return changed[kind](e, num_epochs, lr, every) if kind in changed else checks.rates(kind, num_epochs, lr, every)

    return schedule


SCHEDULE = [
    (with_kind(linear=lambda e, T, lr, every: lr * (1 - e / (T - 1))), "linear: it reaches 0"),
    (with_kind(linear=lambda e, T, lr, every: lr * (1 - (e + 1) / T)), "full rate"),
    (with_kind(linear=lambda e, T, lr, every: lr * e / T), "it rises"),
    (with_kind(linear=lambda e, T, lr, every: lr - e / T), "same amount"),
    (with_kind(linear=lambda e, T, lr, every: 1 - e / T), "missing as a factor"),
    (with_kind(halving=lambda e, T, lr, every: lr * 0.5**e), "in each epoch"),
    (with_kind(halving=lambda e, T, lr, every: lr * 0.5 ** ((e + 1) // every)), "one epoch early"),
    (with_kind(halving=lambda e, T, lr, every: lr * (1 - 0.5 * (e // every))), "equal amounts"),
    (with_kind(halving=lambda e, T, lr, every: lr / (1 + e // every)), "anew"),
    (with_kind(halving=lambda e, T, lr, every: lr * 0.5 ** (e / every)), "a little in each"),
    (with_kind(halving=lambda e, T, lr, every: np.where(e < every, lr, lr / 2)), "once and for all"),
    (with_kind(halving=lambda e, T, lr, every: lr * (1 - e / T)), "this is linear"),
    (with_kind(cosine=lambda e, T, lr, every: lr * np.cos(np.pi * e / T)), "negative"),
    (with_kind(cosine=lambda e, T, lr, every: lr * (1 + np.cos(np.pi * e / T))), "twice the rate"),
    (with_kind(cosine=lambda e, T, lr, every: lr * (1 + np.cos(2 * np.pi * e / T)) / 2), "up again"),
    (with_kind(cosine=lambda e, T, lr, every: lr * np.cos(np.pi * e / T / 2)), "quarter"),
    (with_kind(cosine=lambda e, T, lr, every: lr * (1 - np.cos(np.pi * e / T)) / 2), "minus"),
    (with_kind(cosine=lambda e, T, lr, every: lr * (1 + np.cos(180 * e / T)) / 2), "radians"),
    (lambda kind, T, lr, every: list(checks.rates(kind, T, lr, every))[:-1], "shape"),
    (lambda kind, T, lr, every: None, "returns None"),
]


def jumps_from(mean_of, spread_of=None):
    """Two numbers from functions of the changes behind the drops, the other changes, and all of them."""

    def jumps(accuracy, drops):
        changes = np.diff(accuracy)
        behind = np.array(drops) - 1
        others = np.delete(changes, behind)
        spread = spread_of(changes[behind], others, changes) if spread_of else others.std()
        return mean_of(changes[behind], others, changes), spread

    return jumps


JUMPS = [
    (lambda a, d: checks.jump_and_spread(a, [k + 1 for k in d]), "one epoch late"),
    (lambda a, d: checks.jump_and_spread(a, [k - 1 for k in d]), "one epoch early"),
    (lambda a, d: checks.jump_and_spread(a, d)[::-1], "wrong way round"),
    (lambda a, d: (a[d].mean(), checks.jump_and_spread(a, d)[1]), "not its change"),
    (jumps_from(lambda b, o, c: b.sum()), "sum over the drops"),
    (jumps_from(lambda b, o, c: b.max()), "largest change"),
    (jumps_from(lambda b, o, c: c.mean()), "mean over all epochs"),
    (jumps_from(lambda b, o, c: b[0]), "first drop alone"),
    (jumps_from(lambda b, o, c: -b.mean()), "sign"),
    (jumps_from(lambda b, o, c: b.mean(), lambda b, o, c: c.std()), "all changes are in it"),
    (jumps_from(lambda b, o, c: b.mean(), lambda b, o, c: o.std(ddof=1)), "n - 1"),
    (jumps_from(lambda b, o, c: b.mean(), lambda b, o, c: o.var()), "variance"),
    (jumps_from(lambda b, o, c: b.mean(), lambda b, o, c: o.mean()), "mean of the other"),
    (jumps_from(lambda b, o, c: b.mean(), lambda b, o, c: np.abs(o).mean()), "mean size"),
    (jumps_from(lambda b, o, c: b.mean(), lambda b, o, c: 2 * o.std()), "twice"),
    (lambda a, d: checks.jump_and_spread(a, d)[0], "two numbers"),
    (lambda a, d: None, "returns None"),
]

MUTANTS = {
    "shortcut": SHORTCUT,
    "residual_block": RESIDUAL_BLOCK,
    "resnet": RESNET,
    "loss_floor": LOSS_FLOOR,
    "schedule": SCHEDULE,
    "jumps": JUMPS,
}


class Stacked(nn.Module):
    """A network with its groups in modules of their own, and the mean taken by hand."""

    def __init__(self, n):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, padding="same", bias=False), nn.BatchNorm2d(16)
        self.groups = nn.ModuleList()
        for c_in, c_out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            first = checks.make_block(c_in, c_out, stride)
            self.groups.append(nn.Sequential(first, *(checks.make_block(c_out, c_out, 1) for _ in range(n - 1))))
        self.fc = nn.Linear(64, 10)

    def forward(self, X):
        X = F.relu(self.bn(self.conv(X)))
        for group in self.groups:
            X = group(X)
        return self.fc(X.mean((2, 3)))


def loop_jumps(accuracy, drops):
    behind = [accuracy[d] - accuracy[d - 1] for d in drops]
    others = [accuracy[k] - accuracy[k - 1] for k in range(1, len(accuracy)) if k not in drops]
    return [sum(behind) / len(behind), np.std(others)]


OTHERWISE_WRITTEN = [
    ("shortcut", lambda X, c, s: padded(X[..., ::s, ::s], c)),
    ("residual_block", Block),
    ("residual_block", checks.make_block),
    ("resnet", Stacked),
    ("resnet", lambda n: models.create("resnet20", layers=(n, n, n))),
    ("loss_floor", lambda K: np.log(np.e + K - 1) - 1),
    ("loss_floor", lambda K: float(F.cross_entropy(torch.eye(K, dtype=torch.double)[:1], torch.tensor([0])))),
    ("schedule", lambda kind, T, lr, every: torch.tensor(checks.rates(kind, T, lr, every))),
    ("jumps", loop_jumps),
]

globals().update(
    exercise_tests(
        "14_resnet20", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "torch": torch, "nn": nn, "check": checks}
    )
)


@pytest.mark.parametrize("K", [2, 10, 100])
def test_floor_is_the_loss_of_a_certain_network_that_ends_in_a_softmax(K):
    p = (1e3 * torch.eye(K, dtype=torch.double)).softmax(1)
    assert float(F.cross_entropy(p, torch.arange(K))) == pytest.approx(checks.softmax_twice_floor(K))


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, 10)),
        ("halving", lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10)),
    ],
)
def test_rates_are_those_of_torch(kind, make):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimizer)
    found = []
    for _ in range(10):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(checks.rates(kind, 10, 0.3, 3), found, rtol=1e-6, atol=1e-9)


def test_blocks_of_the_checks_make_the_librarys_network():
    assert models.count_parameters(network(3)) == models.count_parameters(models.create("resnet20")) == 269_722


def test_jump_of_a_curve_that_moves_only_behind_drops():
    assert checks.jump_and_spread([10, 10, 15, 15, 22, 22], [2, 4]) == (6.0, 0.0)
