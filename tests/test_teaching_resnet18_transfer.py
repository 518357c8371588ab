"""Checks of notebook 20's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted. And the measures of its experiments."""

import numpy as np
import pytest
import torch
from mutants import exercise_tests
from torch import nn

from cnncourse import models
from cnncourse.analysis import layer_table
from cnncourse.teaching import resnet18_transfer as checks

WINDOWS = [(7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1)]


def frozen_by(rule):
    """Each parameter is trained when `rule` of its name and the parts says so."""

    def freeze(model, parts):
        for name, parameter in model.named_parameters():
            parameter.requires_grad = rule(name, parts)
        return model

    return freeze


def part_of(name, parts):
    return name.split(".")[0] in parts


def set_on_layers(model, parts):
    for name, layer in model.named_children():
        layer.requires_grad = name in parts
    return model


def only_freezes(model, parts):
    for name, layer in model.named_children():
        if name not in parts:
            layer.requires_grad_(False)
    return model


def forgets_return(model, parts):
    frozen_by(part_of)(model, parts)


def spoils(model, parts):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return frozen_by(part_of)(model, parts)


FREEZE = [
    (frozen_by(lambda name, parts: not part_of(name, parts)), "wrong way round"),
    (frozen_by(lambda name, parts: name.startswith(tuple(parts))), "layer10 is not a part"),
    (frozen_by(lambda name, parts: part_of(name, parts) or name.endswith("bias")), "biases of frozen layers"),
    (frozen_by(lambda name, parts: part_of(name, parts) or name.startswith("bn")), "scale and shift"),
    (frozen_by(lambda name, parts: part_of(name, parts) or name.startswith("layer10")), "should not: layer10"),
    (frozen_by(lambda name, parts: name.split(".")[0] == parts[0]), "stay frozen and should not: fc"),
    (set_on_layers, "belongs to each parameter"),
    (only_freezes, "may come frozen in part"),
    (spoils, "values have changed"),
    (forgets_return, "returns None"),
    (lambda model, parts: model, "nothing has changed"),
    (lambda model, parts: nn.Linear(1, 1), "another object"),
]


def chain(size, rule):
    found = []
    for window in WINDOWS:
        size = rule(size, *window)
        found.append(size)
    return found


def with_strides(*strides):
    def sides(size):
        found = []
        for (k, _, p), s in zip(WINDOWS, strides, strict=True):
            size = (size + 2 * p - k) // s + 1
            found.append(size)
        return found

    return sides


MAP_SIDES = [
    (lambda n: [n // 2, n // 4, n // 4, n // 8, n // 16, n // 32], "7 becomes 4"),
    (lambda n: chain(n, lambda m, k, s, p: max((m - k) // s + 1, 1)), "padding is missing"),
    (lambda n: chain(n, lambda m, k, s, p: (m + p - k) // s + 1), "both sides"),
    (lambda n: chain(n, lambda m, k, s, p: (m + 2 * p - k) // s), "the 1 at the end"),
    (lambda n: chain(n, lambda m, k, s, p: (m + 2 * p - k) / s + 1), "round down"),
    (with_strides(2, 2, 2, 2, 2, 2), "layer1 has stride 1"),
    (with_strides(2, 1, 1, 2, 2, 2), "pooling has stride 2"),
    (with_strides(1, 2, 1, 2, 2, 2), "first convolution has stride 2"),
    (lambda n: with_strides(2, 2, 1, 2, 2, 2)(n)[1:], "six numbers"),
    (lambda n: None, "returns None"),
]


def modes(rule, *, before=True, after=False):
    """Training mode, then evaluation mode for the layers that `rule` picks."""

    def train_mode(model):
        if before:
            model.train()
        for layer in model.modules():
            if rule(layer):
                layer.eval()
        if after:
            model.train()
        return model

    return train_mode


def frozen(layer):
    return not any(parameter.requires_grad for parameter in layer.parameters())


def norm(layer):
    return isinstance(layer, nn.BatchNorm2d)


def touches_gradients(model):
    model.requires_grad_(True)
    return modes(lambda layer: norm(layer) and frozen(layer))(model)


def children_only(model):
    for layer in model.children():
        layer.train(not (norm(layer) and frozen(layer)))
    return model


TRAIN_MODE = [
    (lambda model: model.train(), "goes on collecting"),
    (modes(lambda layer: norm(layer) and frozen(layer), after=True), "goes on collecting"),
    (lambda model: model.eval(), "everything is in evaluation mode"),
    (modes(norm), "bn4"),
    (modes(lambda layer: frozen(layer)), "frozen convolution"),
    (modes(lambda layer: norm(layer) and not frozen(layer)), "wrong way round"),
    (touches_gradients, "has changed"),
    (children_only, "the model itself"),
    (lambda model: nn.Linear(1, 1), "another object"),
    (lambda model: None, "returns None"),
]


def direction(kernel, *, mean=True, size=(32, 32), degrees=True, swap=False, turn=0, sign=1, whole=False, modulo=True):
    spectrum = np.abs(np.fft.fft2(kernel - kernel.mean() * mean, s=size))
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    frequencies = np.arange(spectrum.shape[0]) if whole else np.fft.fftfreq(spectrum.shape[0])
    y, x = frequencies[row], frequencies[column]
    angle = np.arctan2(x, y) if swap else np.arctan2(sign * y, x)
    angle = np.degrees(angle) + turn if degrees else angle % np.pi
    return angle % 180 if modulo and degrees else angle


ORIENTATION = [
    (lambda kernel: direction(kernel, mean=False), "mean"),
    (lambda kernel: direction(kernel, size=None), "too coarse"),
    (lambda kernel: direction(kernel, degrees=False), "radians"),
    (lambda kernel: direction(kernel, swap=True), "exchanged"),
    (lambda kernel: direction(kernel, sign=-1), "sense of rotation"),
    (lambda kernel: direction(kernel, turn=90), "along"),
    (lambda kernel: direction(kernel, whole=True), "bin 31"),
    (lambda kernel: direction(kernel, modulo=False) - 180, "modulo 180"),
    (lambda kernel: 17.0, "largest magnitude"),
    (lambda kernel: "vertical", "one number"),
    (lambda kernel: None, "returns None"),
]


def ratio(kernel, *, channels=3, power=2, invert=False, root=False, whole=False, mean=None):
    luma = kernel.mean(0) if mean is None else kernel.mean()
    chroma, bright = (np.abs(kernel - luma) ** power).sum(), channels * (np.abs(luma) ** power).sum()
    bright *= 25 if mean is not None else 1
    value = bright / chroma if invert else chroma / (bright + whole * chroma)
    return value**0.5 if root else value


CHROMA = [
    (lambda kernel: ratio(kernel, channels=1), "three times"),
    (lambda kernel: ratio(kernel, invert=True), "luma over chroma"),
    (lambda kernel: ratio(kernel, root=True), "root"),
    (lambda kernel: ratio(kernel, whole=True), "share of chroma"),
    (lambda kernel: ratio(kernel, power=1), "absolute"),
    (lambda kernel: ratio(kernel, mean="all"), "over the channels"),
    (lambda kernel: kernel.mean(0), "shape"),
    (lambda kernel: None, "returns None"),
]


def of_mask(activation, mask, *, area=True, soft=True, dead=np.nan, mean=None):
    """A right solution, which the options make wrong."""
    s = mask.shape[0] // activation.shape[0]
    blocks = np.add.reduceat(np.add.reduceat(mask.astype(float), range(0, len(mask), s), 0), range(0, len(mask), s), 1)
    inside = blocks / s**2
    inside = inside if soft is True else (inside > soft).astype(float)
    if activation.sum() == 0:
        return dead
    return np.sum(activation * inside) / np.sum(activation) / ((mean or mask.mean()) if area else 1)


def outside(activation, mask):
    inside = checks.covered(mask, 7)
    return (activation * inside).sum() / (activation * (1 - inside)).sum() / mask.mean()


def of_means(activation, mask):
    inside = checks.covered(mask, 7)
    share = (activation * inside).sum() / inside.sum()
    return share / ((activation * (1 - inside)).sum() / (1 - inside).sum())


MASK_RATIO = [
    (lambda a, m: of_mask(a, m, area=False), "share of the area"),
    (lambda a, m: of_mask(a, m) * a.sum(), "outside and inside together"),
    (outside, "inside over outside"),
    (of_means, "mean activation inside"),
    (lambda a, m: of_mask(a, m, soft=0.49), "cover a part"),
    (lambda a, m: of_mask(a, m, soft=0), "touches"),
    (lambda a, m: (a * m[::4, ::4]).sum() / a.sum() / m.mean(), "one pixel"),
    (lambda a, m: of_mask(a, m, mean=m.sum()), "all pixels"),
    (lambda a, m: of_mask(a, m, dead=0.0), "dead map"),
    (lambda a, m: None, "returns None"),
]

MUTANTS = {
    "freeze": FREEZE,
    "map_sides": MAP_SIDES,
    "train_mode": TRAIN_MODE,
    "orientation": ORIENTATION,
    "chroma_to_luma": CHROMA,
    "mask_ratio": MASK_RATIO,
}


def luma_by_projection(kernel):
    """Parseval: the energy along (1, 1, 1) / sqrt(3), and the rest."""
    along = np.tensordot(np.ones(3) / np.sqrt(3), kernel, 1)
    return ((kernel**2).sum() - (along**2).sum()) / (along**2).sum()


OTHERWISE_WRITTEN = [
    ("freeze", frozen_by(part_of)),
    ("map_sides", with_strides(2, 2, 1, 2, 2, 2)),
    ("map_sides", lambda n: np.array(checks.sides(n))),
    ("train_mode", modes(lambda layer: norm(layer) and frozen(layer))),
    ("orientation", direction),
    ("orientation", lambda kernel: direction(kernel, turn=180)),
    ("chroma_to_luma", luma_by_projection),
    ("mask_ratio", of_mask),
    (
        "mask_ratio",
        lambda a, m: np.kron(a, np.ones((4, 4)))[m].mean() / a.mean() if a.any() else float("nan"),
    ),
]

globals().update(exercise_tests("20_resnet18_transfer", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "nn": nn}))


@pytest.mark.parametrize("size", [32, 100, 112, 224])
def test_sides_and_idle_weights_are_those_of_the_network(size):
    model = models.create("resnet18", stem="imagenet", width=0.125).eval()
    table = layer_table(model, size)
    names = ["conv1", "maxpool", "layer1.1.conv2", "layer2.1.conv2", "layer3.1.conv2", "layer4.1.conv2"]
    assert checks.sides(size) == [table.loc[f"features.{name}", "output"][-1] for name in names]
    torch.manual_seed(0)
    model(torch.randn(2, 3, size, size)).logsumexp(1).sum().backward()
    idle = 0
    for conv in (layer for layer in model.features.layer4.modules() if isinstance(layer, nn.Conv2d)):
        reached = conv.weight.grad.abs().amax((0, 1))
        idle += int((reached < 1e-6 * reached.max()).sum()) * conv.in_channels * conv.out_channels
    assert idle == checks.padding_only(size, (32, 64))


def test_a_zebra_fills_its_mask_and_nothing_else():
    drawn = checks.zebras(3)
    assert drawn.images.shape == drawn.scenes.shape == (3, 3, 224, 224)
    assert drawn.masks.shape == (3, 224, 224)
    assert all(0.05 < mask.mean() < 0.2 for mask in drawn.masks)
    differs = (drawn.images != drawn.scenes).any(1)
    assert differs[drawn.masks].mean() > 0.97
    assert differs[~drawn.masks].mean() < 0.06  # soft edges
    assert checks.zebras(3).source == drawn.source


def test_measures_of_a_pure_wave_and_of_noise():
    y, x = np.mgrid[-3:4, -3:4]
    window = np.exp(-(x**2 + y**2) / 8)
    assert checks.peak_orientation(np.sin(x) * window) == pytest.approx(0, abs=3)
    assert checks.apart(checks.peak_orientation(np.sin(x - y) * window), 135) < 5
    noise = np.random.default_rng(0).normal(size=(50, 7, 7))
    assert checks.peak_share(np.sin(x) * window) > 0.6
    assert 0.25 < np.mean([checks.peak_share(kernel) for kernel in noise]) < 0.4
    # the disc of radius 1/5 in the square of frequencies from -1/2 to 1/2
    assert np.mean([checks.coarse_share(kernel[None]) for kernel in noise]) == pytest.approx(np.pi / 25, abs=0.03)
    assert checks.coarse_share(np.ones((3, 7, 7))) > 0.8
    assert checks.apart(179, 1) == pytest.approx(2)


def test_an_even_map_has_the_ratio_1_and_a_dead_one_none():
    mask = checks.zebras(1).masks[0]
    assert checks.overlap(np.ones((7, 7)), mask) == pytest.approx(1)
    assert checks.overlap(checks.covered(mask, 7), mask) > 3
    assert np.isnan(checks.overlap(np.zeros((7, 7)), mask))
