"""Checks for the exercises of notebook 14, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned, run

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

CHANNELS = (16, 32, 64)
KINDS = ("linear", "halving", "cosine")


def make_shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    """What carries the input past a block: the input itself, or every `stride`-th pixel and channels of zeros."""
    from torch import nn

    from cnncourse.models.resnet import PaddedShortcut

    return nn.Identity() if (c_in, stride) == (c_out, 1) else PaddedShortcut(c_out - c_in, stride)


def make_block(c_in: int, c_out: int, stride: int) -> nn.Module:
    """The residual block of the library: maps (N, c_in, H, W) to (N, c_out, H / stride, W / stride)."""
    from torch import nn

    from cnncourse.models.resnet import BasicBlock, convolution

    conv_bn = partial(convolution, batch_norm=True, bias=None)
    return BasicBlock(c_in, c_out, stride, make_shortcut(c_in, c_out, stride), conv_bn, nn.ReLU)


def softmax_twice_floor(K: int) -> float:
    """Lowest cross-entropy, in nats, of a softmax of probabilities of K classes: of e against K - 1 ones."""
    return float(np.log(1 + (K - 1) / np.e))


def rates(kind: str, num_epochs: int, lr: float, every: int) -> np.ndarray:
    """Learning rate of each epoch for one of ``KINDS``; `every`: epochs between two halvings."""
    e = np.arange(num_epochs)
    return (
        lr
        * {
            "linear": 1 - e / num_epochs,
            "halving": 0.5 ** (e // every),
            "cosine": (1 + np.cos(np.pi * e / num_epochs)) / 2,
        }[kind]
    )


def jump_and_spread(accuracy: Sequence[float], drops: Sequence[int]) -> tuple[float, float]:
    """Mean change of the accuracy over the epochs behind drops of the rate, and standard deviation of all others.

    `accuracy` holds one value per epoch; the rate falls at the end of the epochs `drops`, counted from 1.
    """
    changes = np.diff(accuracy)
    behind = np.isin(np.arange(1, len(accuracy)), drops)
    return float(changes[behind].mean()), float(changes[~behind].std())


@exercise("shortcut")
def shortcut(solution: Callable) -> None:
    """Check ``shortcut(X, c_out, stride)``."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(0)
    for c_in, c_out, stride, side in ((2, 6, 2, 6), (3, 3, 1, 4), (2, 5, 1, 4), (2, 6, 3, 6)):
        X = torch.randn(2, c_in, side, side, generator=generator)
        before = X.clone()
        got = run(solution, X, c_out, stride)
        expect_returned(got)
        if not isinstance(got, torch.Tensor):
            raise CheckError(f"a tensor is asked for; yours is a {type(got).__name__}.")
        if not torch.equal(X, before):
            raise CheckError("your function changes the X that it was given. The block still needs it.")
        new = c_out - c_in
        small = X[:, :, ::stride, ::stride]

        def padded(Z: Tensor, front: int = 0, new: int = new) -> Tensor:
            return F.pad(Z, (0, 0, 0, 0, front, new - front))

        crop = X[:, :, : side // stride, : side // stride]
        slips = [
            ("the new channels come first. They are appended behind the old ones.", padded(small, new)),
            ("half of the new channels come first. All of them are appended behind the old ones.",
             padded(small, new // 2)),
            ("the pixels are averaged. Take every stride-th one as it is.", padded(F.avg_pool2d(X, stride))),
            ("the largest pixel of each window is taken. Take every stride-th one as it is.",
             padded(F.max_pool2d(X, stride))),
            ("the upper left corner is taken. Take every stride-th row and column of the whole map.", padded(crop)),
            ("rows are left out and columns are not. The stride goes both ways.", padded(X[:, :, ::stride])),
            ("columns are left out and rows are not. The stride goes both ways.", padded(X[:, :, :, ::stride])),
            ("the stride is missing: maps shrink by it in both directions.", padded(X)),
            ("the new channels are missing: the sum needs as many as the branch has.", small),
            ("the new channels hold ones. Zeros add nothing to the branch.",
             torch.cat([small, torch.ones_like(padded(small)[:, c_in:])], 1)),
            ("the new channels repeat old ones. They hold zeros.",
             small.repeat(1, -(-c_out // c_in), 1, 1)[:, :c_out]),
            ("the new channels come on top: c_out counts the old ones, too.",
             F.pad(small, (0, 0, 0, 0, 0, c_out))),
        ]  # fmt: skip
        expect_close(
            got.detach().cpu(),
            padded(small).numpy(),
            [(message, slip.numpy()) for message, slip in slips],
            what=f"the result for {c_in} to {c_out} channels with stride {stride}",
        )


@exercise("residual_block")
def residual_block(solution: Callable) -> None:
    """Check ``residual_block(c_in, c_out, stride)``, which returns a module."""
    import torch
    from torch import nn

    for c_in, c_out, stride in ((3, 6, 2), (4, 4, 1)):
        block = run(solution, c_in, c_out, stride)
        expect_returned(block)
        if not isinstance(block, nn.Module):
            raise CheckError(
                f"a module is asked for; yours is a {type(block).__name__}. Is an instance of the class returned?"
            )
        block = block.cpu().train()
        calls: list[nn.Module] = []
        layers = [layer for layer in block.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
        hooks = [layer.register_forward_hook(_noted_in(calls)) for layer in layers]
        X = torch.randn(4, c_in, 8, 8, generator=torch.Generator().manual_seed(1))
        before = X.clone()
        with torch.no_grad():
            got = run(block, X)
        for hook in hooks:
            hook.remove()
        expect_returned(got)
        if not torch.equal(X, before):
            raise CheckError("the block changes its input. The shortcut needs it as it was: no in-place ReLU on X.")
        _expect_layers(calls, c_in, c_out, stride)
        if tuple(got.shape) != (4, c_out, 8 // stride, 8 // stride):
            raise CheckError(
                f"for X of shape {tuple(X.shape)} the block ({c_in}, {c_out}, {stride}) returns shape "
                f"{tuple(got.shape)}; expected is {(4, c_out, 8 // stride, 8 // stride)}."
            )
        with torch.no_grad():
            expect_close(got, *_outputs(calls, make_shortcut(c_in, c_out, stride), X), rtol=1e-4, atol=1e-5)


def _noted_in(calls: list[nn.Module]) -> Callable[..., None]:
    """A forward hook that appends the layer to a list."""
    return lambda layer, *_: calls.append(layer)


def _expect_layers(calls: Sequence[nn.Module], c_in: int, c_out: int, stride: int) -> None:
    """CheckError unless the layers, in the order of their calls, are those of a basic block."""
    from torch import nn

    convs = [layer for layer in calls if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in calls if isinstance(layer, nn.BatchNorm2d)]
    if any(conv.kernel_size == (1, 1) for conv in convs):
        raise CheckError(
            "there is a 1x1 convolution, the other kind of shortcut (option B). Here make_shortcut serves, without "
            "parameters."
        )
    if len(convs) != 2:
        raise CheckError(f"a block has two convolutions; X passes through {len(convs)} in yours.")
    if convs[0] is convs[1]:
        raise CheckError("one convolution is used twice. The two have weights of their own.")
    if any(conv.kernel_size != (3, 3) or conv.padding not in ((1, 1), "same") for conv in convs):
        raise CheckError("the convolutions have 3x3 kernels and padding 1, so that only the stride shrinks the map.")
    if [(conv.in_channels, conv.out_channels) for conv in convs] != [(c_in, c_out), (c_out, c_out)]:
        raise CheckError("channels: the first convolution leads from c_in to c_out, the second from c_out to c_out.")
    if [conv.stride for conv in convs] == [(1, 1), (stride, stride)] and stride > 1:
        raise CheckError("the stride is that of the first convolution; the second one has stride 1.")
    if [conv.stride for conv in convs] != [(stride, stride), (1, 1)]:
        raise CheckError("strides: the first convolution has the block's stride, the second one has 1.")
    if any(conv.bias is not None for conv in convs):
        raise CheckError(
            "the convolutions have biases. The batch normalisation behind each subtracts them again: bias=False."
        )
    if len(norms) != 2:
        raise CheckError(f"each of the two convolutions has its batch normalisation; yours applies {len(norms)}.")
    if norms[0] is norms[1]:
        raise CheckError(
            "one batch normalisation serves both convolutions. Give each its own: section 4 shows what happens else."
        )
    if [isinstance(layer, nn.Conv2d) for layer in calls] != [True, False, True, False]:
        raise CheckError("the order is convolution, batch normalisation, and the same again.")


def _outputs(
    calls: Sequence[nn.Module], shortcut: nn.Module, X: Tensor
) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Right output of a block with these four layers, and outputs of typical slips with their messages."""
    import torch

    conv1, bn1, conv2, bn2 = calls
    relu = torch.relu
    inner = bn1(conv1(X))
    linear, branch, past = bn2(conv2(inner)), bn2(conv2(relu(inner))), shortcut(X)
    slips = [
        ("the shortcut is missing: add it before the last ReLU.", relu(branch)),
        ("the shortcut and the last ReLU are missing.", branch),
        ("the last ReLU is missing: it comes after the sum.", branch + past),
        ("the last ReLU comes before the sum. First add, then cut off below 0.", relu(branch) + past),
        ("the ReLU between the two convolutions is missing.", relu(linear + past)),
        ("there is no ReLU at all: one stands between the convolutions, one after the sum.", linear + past),
        ("the shortcut goes into the last batch normalisation. Add it behind that.",
         relu(bn2(conv2(relu(inner)) + past))),
        ("the shortcut is subtracted. It is added.", relu(branch - past)),
        ("the shortcut passes through a ReLU of its own before the sum.", relu(branch + relu(past))),
        ("branch and shortcut are multiplied. Add them.", relu(branch * past)),
        ("the mean of branch and shortcut is taken. It is the sum.", relu((branch + past) / 2)),
    ]  # fmt: skip
    return relu(branch + past).numpy(), [(message, slip.numpy()) for message, slip in slips]


@exercise("resnet")
def resnet(solution: Callable) -> None:
    """Check ``resnet(n)``, which returns a module."""
    import torch
    from torch import nn

    from cnncourse.models.resnet import BasicBlock

    for n in (1, 3):
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model = run(solution, n)
            expect_returned(model)
            if not isinstance(model, nn.Module):
                raise CheckError(f"a module is asked for; yours is a {type(model).__name__}.")
            blocks = [layer for layer in model.modules() if isinstance(layer, BasicBlock)]
            if len(blocks) != 3 * n:
                raise CheckError(f"for n = {n} there are {len(blocks)} blocks; three groups of n make {3 * n}.")
            if len({id(block) for block in blocks}) < 3 * n:
                raise CheckError("one block is used several times. Make a new one each time.")
            seen: list[tuple[Tensor, Tensor]] = []
            for block in blocks:
                block.register_forward_hook(lambda _, inputs, output, seen=seen: seen.append((inputs[0], output)))
            with torch.no_grad():
                logits = run(model.cpu().train(), torch.randn(8, 3, 32, 32))
        expect_returned(logits)
        _expect_maps(seen, n)
        _expect_logits(logits)
        _expect_parameters(model, n)
        if bool((seen[0][0] < 0).any()):
            raise CheckError("the first convolution has its ReLU, too: what enters the first block is not negative.")


def _expect_maps(seen: Sequence[tuple[Tensor, Tensor]], n: int) -> None:
    maps = [(int(output.shape[1]), int(output.shape[2])) for _, output in seen]
    right = [(channels, side) for channels, side in zip(CHANNELS, (32, 16, 8), strict=True) for _ in range(n)]
    if maps == right:
        return
    if len(maps) != 3 * n:
        raise CheckError(f"X passes through {len(maps)} of the {3 * n} blocks.")
    if [c for c, _ in maps] != [c for c, _ in right]:
        raise CheckError(f"the blocks have {[c for c, _ in maps]} channels; the groups have 16, 32 and 64, in order.")
    sides = [side for _, side in maps]
    said = f"the maps of the blocks have sides of {sides}; the groups have 32, 16 and 8."
    if len(set(sides)) == 1:
        raise CheckError(f"{said} No block has stride 2.")
    if sides[0] < 32:
        raise CheckError(f"{said} The first group keeps the size: its blocks have stride 1.")
    if min(sides) < 8:
        raise CheckError(f"{said} Only the first block of a group has stride 2.")
    raise CheckError(said)


def _expect_logits(logits: Any) -> None:
    import torch

    if tuple(logits.shape) != (8, 10):
        raise CheckError(f"8 images give an output of shape {tuple(logits.shape)}; expected is (8, 10).")
    if torch.allclose(logits.sum(1), torch.ones(8), atol=1e-4) and bool((logits >= 0).all()):
        raise CheckError(
            "the network ends in a softmax. It ends in logits: the softmax is part of the loss (section 3)."
        )
    if torch.allclose(logits.exp().sum(1), torch.ones(8), atol=1e-4):
        raise CheckError("the network ends in a log-softmax. It ends in logits: the rest is part of the loss.")
    if bool((logits >= 0).all()):
        raise CheckError("no logit is negative: there is an activation behind the last layer. Logits are unbounded.")


def _expect_parameters(model: nn.Module, n: int) -> None:
    count = sum(parameter.numel() for parameter in model.parameters())
    stem = 3 * 9 * 16 + 2 * 16
    pairs = [(16, 16), *[(16, 16)] * (2 * n - 1), (16, 32), *[(32, 32)] * (2 * n - 1), (32, 64)]
    pairs += [(64, 64)] * (2 * n - 1)
    blocks = sum(9 * a * b + 2 * b for a, b in pairs)
    right = stem + blocks + 650
    slips = {
        right + 16: "the first convolution has a bias. Batch normalisation subtracts it again: bias=False.",
        right - 32: "the batch normalisation behind the first convolution is missing.",
        right - 16: "the first convolution has a bias, and its batch normalisation is missing.",
        right - 10: "the linear layer has no bias. It has one: no batch normalisation follows.",
        right - 640 + 64 * 64 * 10: "the linear layer sees all 8x8 pixels of the maps. Average over each map before.",
    }
    if count != right:
        raise CheckError(slips.get(count, f"for n = {n} your network has {count:,} parameters, {right:,} are right."))


@exercise("loss_floor")
def loss_floor(solution: Callable) -> None:
    """Check ``loss_floor(K)``."""
    K = np.array([10, 2, 100])
    got = [call(solution, int(k)) for k in K]
    for value in got:
        expect_returned(value)
    q = np.e / (np.e + K - 1)
    slips = [
        ("0 would be the floor without the extra softmax: there the logits may grow without bound.", 0.0 * K),
        ("ln K is what guessing costs: all outputs alike. Put one output to 1 and the others to 0.", np.log(K)),
        ("this is the probability. The loss is minus its logarithm.", q),
        ("the sign: the logarithm of a probability is negative, and a loss is not.", np.log(q)),
        ("the other outputs are 0, and e to the power of 0 is 1, not 0.", -np.log(np.e / (np.e + 0 * K)) + 0 * K),
        ("there are K - 1 other classes: the right one is not among them.", -np.log(np.e / (np.e + K))),
        ("another base than e.", -np.log2(q)),
        ("another base than e.", -np.log10(q)),
        ("the fraction is upside down: e belongs to the right class.", np.log(1 + (K - 1) * np.e)),
        ("the 1 is missing: the right class stands in the denominator, too.", np.log((K - 1) / np.e)),
        ("this is the highest loss there can be: another class has the 1.", np.log(np.e + K - 1)),
    ]
    expect_close(got, -np.log(q), slips, "the list of your results for K = 10, 2, 100")


@exercise("schedule")
def schedule(solution: Callable) -> None:
    """Check ``schedule(kind, num_epochs, lr, every)``."""
    T, lr, every = 10, 0.4, 3
    e = np.arange(T)
    slips: dict[str, list[tuple[str, np.ndarray]]] = {
        "linear": [
            ("it reaches 0 in the last epoch, which then learns nothing. It would reach 0 one epoch later.",
             lr * (1 - e / (T - 1))),
            ("the first epoch has the full rate; count epochs from 0.", lr * (1 - (e + 1) / T)),
            ("it rises. It starts at lr and falls.", lr * e / T),
            ("it rises. It starts at lr and falls.", lr * (e + 1) / T),
            ("lr - e / T takes the same amount off whatever lr is. It is lr that shrinks in proportion.", lr - e / T),
        ],
        "halving": [
            ("it is halved in each epoch. It stays for `every` epochs.", lr * 0.5**e),
            ("the first halving comes one epoch early: the first `every` epochs have the full rate.",
             lr * 0.5 ** ((e + 1) // every)),
            ("equal amounts are taken off. Each halving multiplies by 1/2.", lr * (1 - 0.5 * (e // every))),
            ("lr / 2, lr / 3, ...: each halving multiplies by 1/2 anew.", lr / (1 + e // every)),
            ("it falls a little in each epoch. It stays for `every` epochs, then halves at once.",
             lr * 0.5 ** (e / every)),
            ("it is halved once and for all.", np.where(e < every, lr, lr / 2)),
            ("it doubles.", lr * 2.0 ** (e // every)),
            ("it is divided by 10. It is to be halved.", lr * 0.1 ** (e // every)),
        ],
        "cosine": [
            ("a rate cannot be negative. Add 1 to the cosine, then halve.", lr * np.cos(np.pi * e / T)),
            ("it begins at twice the rate: halve 1 + cos.", lr * (1 + np.cos(np.pi * e / T))),
            ("it comes up again: half a period of the cosine is enough, from 0 to pi.",
             lr * (1 + np.cos(2 * np.pi * e / T)) / 2),
            ("a quarter of a period. From 0 to pi, the cosine falls from 1 to -1.", lr * np.cos(np.pi * e / T / 2)),
            ("it reaches 0 in the last epoch. It would reach 0 one epoch later.",
             lr * (1 + np.cos(np.pi * e / (T - 1))) / 2),
            ("it rises. Is there a minus before the cosine?", lr * (1 - np.cos(np.pi * e / T)) / 2),
            ("the cosine takes radians: pi, not 180.", lr * (1 + np.cos(180 * e / T)) / 2),
        ],
    }  # fmt: skip
    for kind in KINDS:
        got = call(solution, kind, T, lr, every)
        expect_returned(got)
        named = [(f"{kind}: {message}", slip) for message, slip in slips[kind]]
        named += [(f"{kind}: this is {other}.", rates(other, T, lr, every)) for other in KINDS if other != kind]
        named += [(f"{kind}: the rate lr is missing as a factor.", rates(kind, T, 1.0, every))]
        expect_close(got, rates(kind, T, lr, every), named, f"{kind}: your list of {T} rates", atol=1e-8)


@exercise("jumps")
def jumps(solution: Callable) -> None:
    """Check ``jumps(accuracy, drops)``."""
    accuracy, drops = np.array([20.0, 31.0, 30.0, 38.0, 47.0, 45.0, 48.0, 58.0, 55.0]), [4, 7]
    got = call(solution, accuracy, drops)
    expect_returned(got)
    if np.shape(got) != (2,):
        raise CheckError("two numbers are asked for: the mean change behind the drops, and the spread of the others.")
    right = np.array(jump_and_spread(accuracy, drops))
    changes = np.diff(accuracy)
    late = jump_and_spread(accuracy, [d + 1 for d in drops])
    early = jump_and_spread(accuracy, [d - 1 for d in drops])
    others = np.delete(changes, np.array(drops) - 1)
    two = [
        ("one epoch late: the rate falls at the end of epoch d, so epoch d + 1 is the first at the new rate.", late),
        ("one epoch early: this is the change up to the drop. Epoch d + 1 is the first at the new rate.", early),
        ("the two numbers are the wrong way round.", right[::-1]),
    ]
    for message, slip in two:
        if np.allclose(got, slip):
            raise CheckError(message)
    expect_close(
        got[0],
        right[0],
        [
            ("this is the accuracy, not its change.", accuracy[drops].mean()),
            ("this is the accuracy, not its change.", accuracy[np.array(drops) - 1].mean()),
            ("the sum over the drops. The mean is asked for.", 2 * right[0]),
            ("the largest change. The mean over the drops is asked for.", changes[np.array(drops) - 1].max()),
            ("the mean over all epochs. Take those behind a drop.", changes.mean()),
            ("the first drop alone. Take the mean over all of them.", changes[drops[0] - 1]),
            ("the sign: after minus before.", -right[0]),
            ("the change over two epochs.", np.mean([accuracy[d] - accuracy[d - 2] for d in drops])),
        ],
        what="the mean change behind the drops",
    )
    expect_close(
        got[1],
        right[1],
        [
            ("all changes are in it. Leave those behind the drops out.", changes.std()),
            ("all changes are in it. Leave those behind the drops out.", changes.std(ddof=1)),
            ("divided by n - 1. Divide by n, as np.std does by itself.", others.std(ddof=1)),
            ("the variance. Its root has the unit of the changes.", others.var()),
            ("the spread of the accuracies. A rising curve has a large one; take the changes.", accuracy.std()),
            ("the mean of the other changes. Their standard deviation is asked for.", others.mean()),
            ("the mean size of the other changes. Their standard deviation is asked for.", np.abs(others).mean()),
            ("twice the standard deviation. Return it once.", 2 * right[1]),
        ],
        what="the spread of the other changes",
    )
