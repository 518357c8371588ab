"""Checks of notebook 07's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

import pytest
import torch
from mutants import exercise_tests, solutions
from torch import nn
from torch.nn.functional import cross_entropy

from cnncourse import models
from cnncourse.teaching import simple_cnn as checks
from cnncourse.teaching.checking import CheckError


def watched(
    model, X, *, inner=True, late=False, take=lambda inputs, output: tuple(output.shape), remove=True, named=None
):
    shapes, handles = {}, []
    layers = list(named(model) if named else model.named_modules())
    for name, layer in layers:
        if inner and list(layer.children()):
            continue
        if late:
            handles.append(layer.register_forward_hook(lambda m, i, o: shapes.update({name: take(i, o)})))  # noqa: B023
        else:
            handles.append(layer.register_forward_hook(lambda m, i, o, name=name: shapes.update({name: take(i, o)})))
    model(X)
    for handle in handles if remove else ():
        handle.remove()
    return shapes


def not_called(model, X):
    return {}


def with_parameters(model, X):
    return {name: shape for name, shape in watched(model, X).items() if list(model.get_submodule(name).parameters())}


OUTPUT_SHAPES = [
    (lambda model, X: watched(model, X, inner=False), "layers of its own"),
    (lambda model, X: watched(model, X, late=True), "one entry only"),
    (lambda model, X: watched(model, X, take=lambda i, o: tuple(i[0].shape)), "inputs"),
    (lambda model, X: watched(model, X, take=lambda i, o: tuple(o.shape[1:])), "number of images"),
    (lambda model, X: watched(model, X, take=lambda i, o: o), "should be shapes"),
    (lambda model, X: watched(model, X, remove=False), "hooks stay"),
    (lambda model, X: watched(model, X, inner=False, named=lambda m: m.named_children()), "outermost"),
    (with_parameters, "is missing"),
    (not_called, "empty"),
    (lambda model, X: list(watched(model, X).items()), "dictionary"),
    (lambda model, X: {k.split(".")[-1]: v for k, v in watched(model, X).items()}, "lack the part"),
    (lambda model, X: dict(reversed(watched(model, X).items())), "order"),
    (lambda model, X: watched(model, X) and None, "returns None"),
]


def kernels(count, c_in, bias, limit=10_000):
    costs = {F: c_in * F * F + bias for F in range(1, min(limit, count + 1))}
    return [(count // cost, F) for F, cost in costs.items() if count % cost == 0]


KERNELS_FOR = [
    (lambda n, c, b: [(F, k) for k, F in kernels(n, c, b)], "turned around"),
    (lambda n, c, b: kernels(n, c, True), "biases"),
    (lambda n, c, b: kernels(n, c, False), "biases"),
    (lambda n, c, b: kernels(n, 1, b), "input channels"),
    (lambda n, c, b: kernels(n, c, b)[::-1], "smallest F"),
    (lambda n, c, b: kernels(n, c, b, limit=8), "How far does F go"),
    (lambda n, c, b: [(k, F) for k, F in kernels(n, c, b) if F % 2], "pair is missing"),
    (lambda n, c, b: [(k, F) for k, F in kernels(n, c, b) if F > 1], "F = 1"),
    (lambda n, c, b: [(n / (c * F * F + b), F) for F in range(1, 12)], "remainder"),
    (lambda n, c, b: [(n // (c * F + b), F) for F in range(1, 50) if n % (c * F + b) == 0], "another number"),
    (lambda n, c, b: 8, "list of pairs"),
    (lambda n, c, b: None, "returns None"),
]


def statistics(images, dim=(0, 2, 3), scale=255, correction=0):
    X = images.float() / scale
    return X.mean(dim), X.std(dim, correction=correction)


def each_image(images):
    X = images.float() / 255
    return X.mean((0, 2, 3)), X.std((2, 3)).mean(0)


CHANNEL_STATISTICS = [
    (each_image, "each image's own"),
    (lambda images: statistics(images, scale=1), "scale from 0 to 1"),
    (lambda images: (statistics(images)[0], statistics(images, scale=1)[1]), "same scale"),
    (lambda images: statistics(images, dim=(0, 1, 2, 3)), "all channels"),
    (lambda images: statistics(images, dim=(1, 2, 3)), "means of the images"),
    (lambda images: statistics(images, dim=(2, 3)), "over the images, too"),
    (lambda images: (statistics(images)[0], statistics(images)[1] ** 2), "variance"),
    (lambda images: statistics(images)[::-1], "wrong order"),
    (lambda images: statistics(images)[0], "two results"),
    (lambda images: (images.mean((0, 2, 3)), images.std((0, 2, 3))), "stops with"),
    (lambda images: None, "returns None"),
]


def trained(
    model, batches, optimizer, *, zero=True, back=True, step=True, mode=True, mean="images", graph=False, softmax=False,
    late=False, scale=1, accuracy="share",
):  # fmt: skip
    model.train(mode)
    total, hits, count = 0.0, 0, 0
    for X, y in batches:
        if zero:
            optimizer.zero_grad()
        logits = model(X)
        loss = cross_entropy(logits.softmax(1) if softmax else logits, y)
        if back:
            loss.backward()
        if step:
            optimizer.step()
        if late:
            logits = model(X)
            loss = cross_entropy(logits, y)
        value = loss if graph else loss.item()
        total = total + value * (len(y) if mean in ("images", "sum") else 1)
        hits += (logits.argmax(1) == y).sum().item()
        count += len(y)
    divisor = {"images": count, "batches": len(batches), "sum": 1, "mixed": count}[mean]
    return total / divisor, {"share": hits / count, "hits": hits, "percent": 100 * hits / count}[accuracy]


def first_batch(model, batches, optimizer):
    return trained(model, batches[:1], optimizer)


def one_step(model, batches, optimizer):
    X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return trained(model, [(X, y)], optimizer)


TRAIN_EPOCH = [
    (lambda m, b, o: trained(m, b, o, zero=False), "add up"),
    (lambda m, b, o: trained(m, b, o, step=False), "step"),
    (lambda m, b, o: trained(m, b, o, back=False), "backward"),
    (lambda m, b, o: trained(m, b, o, mode=False), "evaluation mode"),
    (lambda m, b, o: trained(m, b, o, mean="batches"), "mean over the batches"),
    (lambda m, b, o: trained(m, b, o, mean="sum"), "sum over the images"),
    (lambda m, b, o: trained(m, b, o, graph=True), "graph"),
    (lambda m, b, o: trained(m, b, o, softmax=True), "softmax of its own"),
    (lambda m, b, o: trained(m, b, o, late=True), "after the step"),
    (lambda m, b, o: trained(m, b, o, accuracy="hits"), "number of hits"),
    (lambda m, b, o: trained(m, b, o, accuracy="percent"), "percentage"),
    (first_batch, "first batch"),
    (one_step, "in this order"),
    (lambda m, b, o: trained(m, b, o)[0], "two numbers"),
    (lambda m, b, o: trained(m, b, o) and None, "returns None"),
]


def looked(model, batches, *, mode=False, gradients=False, mean="images", accuracy="share"):
    model.train(mode)
    with torch.set_grad_enabled(gradients):
        losses = [cross_entropy(model(X), y).item() for X, y in batches]
        shares = [(model(X).argmax(1) == y).float().mean().item() for X, y in batches]
    sizes = [len(y) for _, y in batches]
    if mean == "batches":
        return sum(losses) / len(losses), sum(shares) / len(shares)
    count = sum(sizes)
    loss = sum(v * n for v, n in zip(losses, sizes, strict=True)) / count
    share = sum(v * n for v, n in zip(shares, sizes, strict=True)) / count
    return {"images": loss, "sum": loss * count, "mixed": sum(losses) / count}[mean], {
        "share": share, "percent": 100 * share, "missed": 1 - share, "hits": share * count}[accuracy]  # fmt: skip


def learns(model, batches):
    return trained(model, batches, torch.optim.SGD(model.parameters(), lr=0.1))


VALIDATE = [
    (lambda m, b: looked(m, b, mode=True), "training mode"),
    (lambda m, b: looked(m, b, gradients=True), "no_grad"),
    (learns, "weights have changed"),
    (lambda m, b: looked(m, b, mean="batches"), "mean over the batches"),
    (lambda m, b: looked(m, b, mean="sum"), "sum over the images"),
    (lambda m, b: looked(m, b, mean="mixed"), "multiply each"),
    (lambda m, b: looked(m, b, accuracy="percent"), "percentage"),
    (lambda m, b: looked(m, b, accuracy="missed"), "not right"),
    (lambda m, b: looked(m, b, accuracy="hits"), "number of hits"),
    (lambda m, b: looked(m, b[-1:]), "last batch"),
    (lambda m, b: (2.3, 0.1), "has not been called"),
    (lambda m, b: looked(m, b) and None, "returns None"),
]
MUTANTS = {
    "output_shapes": OUTPUT_SHAPES,
    "kernels_for": KERNELS_FOR,
    "channel_statistics": CHANNEL_STATISTICS,
    "train_epoch": TRAIN_EPOCH,
    "validate": VALIDATE,
}


def set_to_none(model, batches, optimizer):
    """Zeroes the gradients after the step, through the model, and weighs sums."""
    model.train()
    model.zero_grad()
    rows = []
    for X, y in batches:
        scores = model(X)
        loss = nn.CrossEntropyLoss(reduction="sum")(scores, y)
        (loss / len(y)).backward()
        optimizer.step()
        model.zero_grad()
        rows.append([loss.item(), (scores.argmax(1) == y).sum().item(), len(y)])
    loss, hits, count = map(sum, zip(*rows, strict=True))
    return loss / count, hits / count


@torch.no_grad()
def all_at_once(model, batches):
    X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    logits = model.eval()(X)
    return cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()


def variance_by_squares(images):
    X = images.double().permute(1, 0, 2, 3).flatten(1) / 255
    mean = X.mean(1)
    return [mean.tolist(), ((X**2).mean(1) - mean**2).sqrt().tolist()]


def by_trial(count, c_in, bias):
    return [[k, F] for F in range(1, 50) for k in range(1, count + 1) if k * (c_in * F * F + bias) == count]


OTHERWISE_WRITTEN = [
    ("output_shapes", watched),
    ("output_shapes", lambda model, X: watched(model, X, take=lambda i, o: o.shape)),
    ("kernels_for", kernels),
    ("kernels_for", by_trial),
    ("channel_statistics", lambda images: statistics(images, correction=1)),
    ("channel_statistics", variance_by_squares),
    ("train_epoch", set_to_none),
    ("validate", all_at_once),
    ("validate", looked),
]  # fmt: skip

globals().update(
    exercise_tests("07_simple_cnn", checks, MUTANTS, OTHERWISE_WRITTEN, {"nn": nn, "torch": torch, "check": checks})
)


def test_the_combined_loop_accepts_what_the_notebook_solves():
    found = solutions("07_simple_cnn", {"nn": nn, "torch": torch, "check": checks})
    checks.loop.unguarded((found["train_epoch"], found["validate"]))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((lambda m, b, o: trained(m, b, o, zero=False), looked), "in epoch 2|in epoch 1"),
        ((trained, lambda m, b: looked(m, b, accuracy="percent")), "validation accuracy"),
        ((lambda m, b, o: None, looked), "returns None"),
    ],
)
def test_the_combined_loop_names_the_first_epoch_that_is_off(pair, message):
    with pytest.raises(CheckError, match=message):
        checks.loop.unguarded(pair)


def test_shapes_of_the_reports_network():
    shapes = checks.shapes_of(models.create("simple_cnn"), torch.zeros(5, 3, 32, 32))
    assert [shape[2] for shape in shapes.values() if len(shape) == 4] == [28, 28, 14, 12, 12, 6]
    assert list(shapes.values())[-1] == (5, 10)


@pytest.mark.parametrize(
    ("count", "bias", "found"), [(680, False, []), (680, True, [(170, 1)]), (608, True, [(152, 1), (8, 5)])]
)
def test_convolutions_with_so_many_parameters(count, bias, found):
    assert checks.convolutions(count, 3, bias) == found
