"""Checks for the exercises of notebook 07."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cnncourse.teaching.checking import CheckError, exercise, expect_close, expect_returned, run

Batch = tuple[Tensor, Tensor]


def shapes_of(model: nn.Module, X: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of the output of each innermost layer, by name, in the order of computation."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(name: str, layer: nn.Module):
        return layer.register_forward_hook(lambda *args: shapes.update({name: tuple(args[2].shape)}))

    inner = [(name, layer) for name, layer in model.named_modules() if not any(True for _ in layer.children())]
    handles = [watch(name, layer) for name, layer in inner]
    try:
        with torch.no_grad():
            model(X)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def convolutions(count: int, c_in: int, bias: bool) -> list[tuple[int, int]]:
    """All (c_out, F) of convolutions from `c_in` channels with exactly `count` parameters, small F first."""
    costs = {F: c_in * F * F + bias for F in range(1, count + 1) if c_in * F * F + bias <= count}
    return [(count // cost, F) for F, cost in costs.items() if count % cost == 0]


@exercise("output_shapes")
def output_shapes(solution: Callable) -> None:
    """Check ``output_shapes(model, X)``."""
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()))
    model.add_module("classifier", nn.Sequential(nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)))
    X = torch.zeros(6, 2, 6, 6)
    right = shapes_of(model, X)
    inputs = dict(zip(right, [tuple(X.shape), *right.values()], strict=False))
    got = run(solution, model, X)
    hooks = sum(len(layer._forward_hooks) for layer in model.modules())
    expect_returned(got)
    if not isinstance(got, dict):
        raise CheckError(f"a dictionary is asked for, name -> shape; yours is a {type(got).__name__}.")
    if not got:
        raise CheckError(
            "your dictionary is empty. Hooks are called when the model computes: has model(X) been called?"
        )
    _check_names(list(got), list(right))
    shapes = {name: value if isinstance(value, (tuple, list)) else None for name, value in got.items()}
    if None in shapes.values():
        raise CheckError("the values should be shapes, tuples of integers: tuple(output.shape).")
    shapes = {name: tuple(shape) for name, shape in shapes.items()}
    if shapes == inputs:
        raise CheckError("these are the shapes of the layers' inputs. A hook gets (layer, inputs, output).")
    if shapes == {name: shape[1:] for name, shape in right.items()}:
        raise CheckError("the number of images is missing: the whole shape of the output is asked for.")
    if shapes != right:
        name = next(name for name in right if shapes[name] != right[name])
        raise CheckError(f"the shape of {name!r} is off: {shapes[name]}, but {right[name]} is right.")
    if list(got) != list(right):
        raise CheckError("names and shapes are right, but not in the order in which the layers compute.")
    if hooks:
        raise CheckError(
            f"right, but {hooks} hooks stay in the model and will go on collecting. register_forward_hook returns a "
            "handle: call its remove()."
        )


def _check_names(got: list[Any], right: list[str]) -> None:
    if set(got) == set(right):
        return
    if len(got) == 1 and got[0] in right:
        raise CheckError(
            "there is one entry only: all hooks see the last name of the loop. They run after the loop has ended, so "
            "each must keep its own name."
        )
    if not all(isinstance(name, str) for name in got):
        raise CheckError("the keys should be the layers' names, as model.named_modules() gives them.")
    if set(right) < set(got):
        extra = next(name for name in got if name not in right)
        what = "the whole model" if extra == "" else f"{extra!r}"
        raise CheckError(f"{what} is in it, which has layers of its own. Only the innermost layers are asked for.")
    if set(got) <= {"", "features", "classifier"}:
        raise CheckError("only the outermost parts are in it; the layers inside them are asked for.")
    if {name.split(".")[-1] for name in right} >= set(got):
        raise CheckError("the names lack the part that they are in: 'features.0', not '0'. named_modules() gives both.")
    missing = [name for name in right if name not in got]
    raise CheckError(f"the layer {missing[0]!r} is missing. Layers without parameters have outputs, too.")


@exercise("kernels_for")
def kernels_for(solution: Callable) -> None:
    """Check ``kernels_for(count, c_in, bias)``."""
    for count, c_in, bias in ((600, 3, False), (608, 3, True), (680, 3, False), (1152, 8, False), (12, 12, False)):
        right = convolutions(count, c_in, bias)
        got = run(solution, count, c_in, bias)
        expect_returned(got)
        try:
            pairs = [tuple(pair) for pair in got]
        except TypeError:
            raise CheckError(f"a list of pairs (c_out, F) is asked for; yours is {got!r}.") from None
        if pairs == right:
            continue
        what = f"for count={count}, c_in={c_in}, bias={bias}: "
        if any(not float(number).is_integer() for pair in pairs for number in pair):
            raise CheckError(what + "there are no broken numbers of channels. Is there a remainder?")
        raise CheckError(what + _kernel_slip(pairs, right, count, c_in, bias))


def _kernel_slip(pairs: list[tuple], right: list[tuple], count: int, c_in: int, bias: bool) -> str:
    if right and pairs == [pair[::-1] for pair in right]:
        return "the pairs are turned around: c_out comes first, then F."
    if pairs == convolutions(count, c_in, not bias):
        return "you count biases where there are none, or none where there are. Look at `bias`."
    if pairs and pairs == convolutions(count, 1, bias):
        return "the input channels are forgotten: each kernel has c_in slices."
    if sorted(pairs) == sorted(right):
        return "the pairs are right, but the smallest F should come first."
    if set(pairs) < set(right):
        c_out, F = next(pair for pair in right if pair not in pairs)
        return f"a pair is missing, the one with F = {F} and {c_out} channel{'s' * (c_out > 1)}. How far does F go?"
    wrong = next((pair for pair in pairs if pair not in right), pairs)
    return f"{wrong} has another number of parameters. A kernel has F x F weights for each pair of channels."


@exercise("channel_statistics")
def channel_statistics(solution: Callable) -> None:
    """Check ``channel_statistics(images)``."""
    generator = torch.Generator().manual_seed(0)
    light = torch.tensor([20, 60, 110, 150, 190]).view(-1, 1, 1, 1)  # dark and bright images
    tint = torch.tensor([0, 10, 25]).view(1, 3, 1, 1)
    images = (light + tint + torch.randint(-20, 21, (5, 3, 12, 14), generator=generator)).to(torch.uint8)
    X = images.double() / 255
    axes = (0, 2, 3)
    mean, std = X.mean(axes), X.std(axes, correction=0)
    got = run(solution, images)
    expect_returned(got)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise CheckError("two results are asked for: (mean, std), each of shape (3,).")
    got = [value.detach().cpu().numpy() if isinstance(value, Tensor) else value for value in got]
    expect_close(
        got[0],
        mean.numpy(),
        [
            ("the pixels count from 0 to 255. Bring them to the scale from 0 to 1.", (255 * mean).numpy()),
            ("this is one mean over all channels. Each colour has its own.", X.mean().numpy()),
            ("these are the means of the images. Average channel by channel.", X.mean((1, 2, 3)).numpy()),
            ("these are means for each image and channel. Average over the images, too.", X.mean((2, 3)).numpy()),
            ("mean and standard deviation are in the wrong order.", std.numpy()),
        ],
        what="the mean",
        rtol=1e-4,
    )  # fmt: skip
    deviation = "the standard deviation"
    try:  # with N - 1 instead of N: no difference that matters for millions of pixels
        expect_close(got[1], X.std(axes).numpy(), what=deviation, rtol=1e-4)
    except CheckError:
        expect_close(
            got[1],
            std.numpy(),
            [
                ("this is the mean of each image's own deviation, the smaller set of numbers on the web. Take the "
                 "deviation over all pixels of all images at once.", X.std((2, 3), correction=0).mean(0).numpy()),
                ("this is the mean of each image's own deviation, the smaller set of numbers on the web. Take the "
                 "deviation over all pixels of all images at once.", X.std((2, 3)).mean(0).numpy()),
                ("this is the variance. Its root is asked for.", X.var(axes, correction=0).numpy()),
                ("this is the variance. Its root is asked for.", X.var(axes).numpy()),
                ("the deviations count from 0 to 255. Use the same scale as for the mean.", (255 * std).numpy()),
                ("this is one deviation over all channels. Each colour has its own.", X.std(correction=0).numpy()),
                ("this is one deviation over all channels. Each colour has its own.", X.std().numpy()),
            ],
            what=deviation,
            rtol=1e-4,
        )  # fmt: skip


class _Watched(nn.Module):
    """A small classifier that notes in which mode, and with or without gradients, it is called."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            self.layer = nn.Linear(4, 3)
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, X: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled()))
        return self.layer(X)

    @property
    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.parameters()])


def _batches() -> list[Batch]:
    """Batches of 8, 8 and 3 points in three clouds, so that the last one counts."""
    generator = torch.Generator().manual_seed(2)
    y = torch.arange(19) % 3
    X = 0.8 * torch.randn(19, 4, generator=generator) + nn.functional.one_hot(y, 4)
    X[16:] = -X[16:]  # the last batch is the hardest
    return list(zip(X.split(8), y.split(8), strict=True))


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)


def epoch(model: nn.Module, batches: Iterable[Batch], optimizer: torch.optim.Optimizer, slip: str = "") -> list[float]:
    """Mean loss and accuracy of an epoch of training; with a `slip`, those that it leads to."""
    model.train()
    losses, hits, sizes = [], [], []
    for X, y in batches:
        if slip != "no zero_grad":
            optimizer.zero_grad()
        logits = model(X)
        loss = cross_entropy(logits.softmax(1) if slip == "softmax" else logits, y)
        loss.backward()
        optimizer.step()
        if slip == "afterwards":
            logits = model(X).detach()
            loss = cross_entropy(logits, y)
        losses.append(float(loss.detach()))
        hits.append(float((logits.argmax(1) == y).float().mean()))
        sizes.append(len(y))
    return _summary(losses, hits, sizes)


def _summary(losses: list[float], hits: list[float], sizes: list[int]) -> list[float]:
    return [sum(v * n for v, n in zip(values, sizes, strict=True)) / sum(sizes) for values in (losses, hits)]


def score(model: nn.Module, batches: Iterable[Batch]) -> list[float]:
    """Mean loss and accuracy in evaluation mode."""
    model.eval()
    with torch.no_grad():
        found = [(float(cross_entropy(model(X), y)), float((model(X).argmax(1) == y).float().mean()), len(y))
                 for X, y in batches]  # fmt: skip
    return _summary(*map(list, zip(*found, strict=True)))


@exercise("train_epoch")
def train_epoch(solution: Callable) -> None:
    """Check ``train_epoch(model, batches, optimizer)``."""
    batches = _batches()
    before = _Watched()
    model = deepcopy(before).eval()
    got = run(solution, model, deepcopy(batches), _sgd(model))
    right = deepcopy(before)
    values = epoch(right, batches, _sgd(right))
    if not model.calls:
        raise CheckError("the model has not been called. Each batch has to pass through it.")
    if not all(gradients for _, gradients in model.calls):
        raise CheckError("the model is called without gradients. no_grad belongs into the validation.")
    if torch.equal(model.weights, before.weights):
        has_gradients = model.layer.weight.grad is not None
        missing = "the step is missing" if has_gradients else "there are no gradients without a backward pass"
        raise CheckError(f"no weight has changed: {missing}.")
    if not torch.allclose(model.weights, right.weights, atol=1e-6):
        _explain_weights(model, before, batches)
    if not all(training for training, _ in model.calls):
        raise CheckError("the model computes in evaluation mode. Switch it to training mode before the first batch.")
    sizes = [len(y) for _, y in batches]
    _check_values(got, values, _batch_means(before, batches), sizes, afterwards=_slipped(before, batches, "afterwards"))


def _slipped(before: nn.Module, batches: list[Batch], slip: str) -> list[float]:
    model = deepcopy(before)
    return epoch(model, batches, _sgd(model), slip)


def _explain_weights(model: _Watched, before: _Watched, batches: list[Batch]) -> None:
    """CheckError that says which slip has led to these weights."""
    messages = {
        "no zero_grad": "the gradients of all batches add up: backward() adds to what is there. Call zero_grad().",
        "softmax": "cross_entropy has a softmax of its own: give it the logits, without another one.",
    }
    for slip, message in messages.items():
        other = deepcopy(before)
        epoch(other, batches, _sgd(other), slip)
        if torch.allclose(model.weights, other.weights, atol=1e-6):
            raise CheckError(message)
    other = deepcopy(before)
    epoch(other, batches[:1], _sgd(other))
    if torch.allclose(model.weights, other.weights, atol=1e-6):
        raise CheckError("only the first batch is used. Is the return inside the loop?")
    raise CheckError(
        "the weights after the epoch are not right. For each batch, in this order: zero_grad, logits, the mean "
        "cross-entropy, backward, one step."
    )


def _batch_means(before: nn.Module, batches: list[Batch], train: bool = True) -> list[list[float]]:
    """Loss and accuracy of each batch on its own."""
    model = deepcopy(before)
    optimizer = _sgd(model)
    return [epoch(model, [batch], optimizer) if train else score(model, [batch]) for batch in batches]


def _check_values(
    got: Any, right: list[float], single: list[list[float]], sizes: list[int], afterwards: list[float] | None = None
) -> None:
    """Compare (loss, accuracy) with the right ones and with those of the usual slips."""
    expect_returned(got)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise CheckError("two numbers are asked for: (mean loss, accuracy).")
    if any(isinstance(value, Tensor) and value.requires_grad for value in got):
        raise CheckError(
            "the loss that you return is a tensor that holds on to the graph of the whole epoch. Add up loss.item()."
        )
    loss, accuracy = (float(value) for value in got)
    sums = [sum(values[k] * n for values, n in zip(single, sizes, strict=True)) for k in (0, 1)]
    means = [sum(values[k] for values in single) / len(single) for k in (0, 1)]
    slips = [
        ("this is the mean over the batches. The last batch is smaller, so each batch counts by its size.", means[0]),
        ("this is the sum over the images. Divide by their number.", sums[0]),
        ("this is the sum over the batches.", sum(values[0] for values in single)),
        ("mean losses are added up and then divided by the number of images: multiply each by its batch's size.",
         sum(values[0] for values in single) / sum(sizes)),
        ("this is the loss of the last batch.", single[-1][0]),
    ]  # fmt: skip
    if afterwards is not None:
        late = "it comes from logits after the step. Use those that the step was computed from."
        slips.append((late, afterwards[0]))
    expect_close(loss, right[0], slips, what="the mean loss", rtol=1e-4)
    slips = [
        ("this is a percentage. A share from 0 to 1 is asked for.", 100 * right[1]),
        ("this is the number of hits. Divide by the number of images.", sums[1]),
        ("this is the mean over the batches. The last batch is smaller, so count hits and images.", means[1]),
        ("this is the share of images that were not right.", 1 - right[1]),
        ("this is the accuracy of the last batch.", single[-1][1]),
    ]
    if afterwards is not None:
        slips.append((late, afterwards[1]))
    expect_close(accuracy, right[1], slips, what="the accuracy", rtol=1e-4)


@exercise("validate")
def validate(solution: Callable) -> None:
    """Check ``validate(model, batches)``."""
    batches = _batches()
    model = _Watched().train()
    before = model.weights
    got = run(solution, model, deepcopy(batches))
    if not model.calls:
        raise CheckError("the model has not been called. Each batch has to pass through it.")
    if not torch.equal(model.weights, before):
        raise CheckError("the weights have changed. Validation only looks: no backward, no step.")
    if any(training for training, _ in model.calls):
        raise CheckError(
            "the model computes in training mode, with dropout on. Switch it to evaluation mode before the first batch."
        )
    if model.layer.weight.grad is not None:
        raise CheckError("there are gradients afterwards. Validation needs no backward.")
    if any(gradients for _, gradients in model.calls):
        raise CheckError("the graph for gradients is recorded, which costs memory. Put the loop under torch.no_grad().")
    sizes = [len(y) for _, y in batches]
    _check_values(got, score(deepcopy(model), batches), _batch_means(model, batches, train=False), sizes)


@exercise("your loop")
def loop(solutions: tuple[Callable, Callable]) -> None:
    """Run ``train_epoch`` and ``validate`` for 30 epochs, and compare the log with that of the course's own."""
    training, validation = _batches(), _batches()[:1]
    logs = []
    for step, look in (solutions, (epoch, score)):
        model = _Watched()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        log = []
        for _ in range(30):
            row = []
            for result in (run(step, model, training, optimizer), run(look, model, validation)):
                expect_returned(result)
                row += [float(value) for value in result]
            log.append(row)
        logs.append(log)
    got, right = logs
    columns = ("training loss", "training accuracy", "validation loss", "validation accuracy")
    for number, (row, wanted) in enumerate(zip(got, right, strict=True), start=1):
        for column, value, expected in zip(columns, row, wanted, strict=True):
            if abs(value - expected) > 1e-3 * max(1.0, abs(expected)):
                raise CheckError(
                    f"in epoch {number} the {column} is {value:.4g}, but {expected:.4g} is right. Are both exercises "
                    "above accepted?"
                )
