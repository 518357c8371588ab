"""Checks for the exercises of notebook 20, and the same computations for its experiments."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnncourse.analysis.conv_arithmetic import output_size
from cnncourse.data.drawing import Dice, Nuisance, background, cells, paint, photograph, random_colour, random_pose
from cnncourse.data.embedded_shapes import clutter
from cnncourse.data.source import Source
from cnncourse.data.stencils import OPAQUE, ellipse, grid, polygon, stencil
from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned, run

if TYPE_CHECKING:
    from torch import nn

BINS = 32  # along a spectrum
# kernel, stride and padding of what may change the side of a map: first convolution, pooling, start of each stage
STEM_AND_STAGES = ((7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1))
SCENE = Nuisance(  # at 224x224 pixels
    radius=(120, 150),
    shift=60,
    angle=10,
    colours=(60, 170),
    tint=(10, 10, -20),
    patches=45,
    clutter=2,
    clutter_radius=(25, 50),
    noise=(5, 20),
    light=(52, 72),
)


def sides(size: int) -> list[int]:
    """Sides of the maps in a ResNet-18 for ImageNet: first convolution, pooling, four stages."""
    found = []
    for window in STEM_AND_STAGES:
        size = output_size(size, *window)
        found.append(size)
    return found


def met(side: int, stride: int = 1) -> np.ndarray:
    """How often each weight of a 3x3 kernel with padding 1 meets a value of the map, the middle one at every place.

    Parameters
    ----------
    side : int
        Of the map that comes in.
    stride : int
        Of the convolution.

    Returns
    -------
    numpy.ndarray
        Shares of all places, shape (3, 3). A weight with the share 0 only ever meets padding.
    """
    places = np.arange(output_size(side, 3, stride, 1)) * stride - 1
    along = np.array([np.mean((places + k >= 0) & (places + k < side)) for k in range(3)])
    return np.outer(along, along)


def padding_only(size: int, channels: tuple[int, int] = (256, 512)) -> int:
    """Weights of the last stage's 3x3 kernels that only ever meet padding, for images of `size` pixels.

    `channels` are those of the maps before and in the last stage: 256 and 512 in ResNet-18.
    """
    before, inside = sides(size)[-2:]
    wide, narrow = (int((met(side, stride) == 0).sum()) for side, stride in ((before, 2), (inside, 1)))
    return channels[1] * (wide * channels[0] + 3 * narrow * channels[1])


@dataclass(frozen=True, eq=False)
class Zebras:
    """Pictures whose content is known to the pixel.

    Attributes
    ----------
    images, scenes : numpy.ndarray
        uint8, shape (N, 3, size, size): with the animal, and the same without it.
    masks : numpy.ndarray
        bool, shape (N, size, size): pixels of which the animal covers half or more.
    source : Source
    """

    images: np.ndarray
    scenes: np.ndarray
    masks: np.ndarray
    source: Source


def zebras(number: int, size: int = 224, seed: int = 0) -> Zebras:
    """Drawn striped animals in drawn scenes, each with its exact mask, and the scenes without them.

    Parameters
    ----------
    number : int
        How many.
    size : int
        Pixels along an image; the animal is about 135 pixels wide.
    seed : int
        Place, size, angle, colours and clutter are drawn from it, with integers alone.
    """
    dice = Dice(seed)
    canvas = background(dice, random_colour(dice, number, SCENE), size, clutter(), SCENE)
    pose = random_pose(dice, number, size, SCENE.radius, SCENE.shift, SCENE.angle)
    body, stripes = animal()
    where = cells(np.zeros(number, dtype=np.int32), pose, size)
    coverage = body.reshape(-1).take(where)
    empty = canvas.copy()
    paint(canvas, coverage, np.full((number, 3), 225, dtype=np.int16))
    paint(canvas, stripes.reshape(-1).take(where), np.full((number, 3), 25, dtype=np.int16))
    images, scenes = (photograph(Dice(seed + 1), drawn, SCENE) for drawn in (canvas, empty))
    source = Source(
        name="drawn zebras",
        kind="embedded",
        sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        sizes={"pictures": number},
        note="Striped animals that the program draws, with their masks (CC BY 4.0).",
        location="drawn by the program",
    )
    return Zebras(images, scenes, coverage * 2 >= OPAQUE, source)


def animal() -> tuple[np.ndarray, np.ndarray]:
    """Stencils of a zebra's body and of its stripes."""
    x, y = grid()
    body = ellipse(-12, -8, 84, 40) | polygon((40, -25), (66, -92), (90, -78), (72, 8)) | ellipse(92, -80, 30, 15)
    for left in (-82, -54, 24, 52):
        body |= polygon((left, 0), (left + 18, 0), (left + 15, 112), (left + 3, 112))
    body |= polygon((-88, -25), (-108, 40), (-101, 42), (-80, -10))
    stripes = body & ((x + abs(y + 10) // 3) % 22 < 10)
    return stencil(body), stencil(stripes)


def spectrum(kernel: np.ndarray) -> np.ndarray:
    """Magnitudes of the 2-D Fourier spectrum of a kernel (k, k) less its mean, padded to `BINS` x `BINS`."""
    return np.abs(np.fft.fft2(kernel - np.mean(kernel), s=(BINS, BINS)))


def angles() -> np.ndarray:
    """Direction, in degrees from 0 to 180, in which the wave of each bin of a spectrum changes."""
    frequencies = np.fft.fftfreq(BINS)
    return np.degrees(np.arctan2(frequencies[:, None], frequencies[None, :])) % 180


def peak_orientation(kernel: np.ndarray) -> float:
    """Direction in degrees, from 0 (along x: a vertical edge) to 180, of the strongest wave in a kernel (k, k)."""
    return float(angles().flat[spectrum(kernel).argmax()])


def apart(a: float, b: float) -> float:
    """Degrees between two directions that are the same after half a turn: 0 to 90."""
    return abs((a - b + 90) % 180 - 90)


def peak_share(kernel: np.ndarray, reach: float = 22.5) -> float:
    """Share of a spectrum's energy whose direction is at most `reach` degrees from that of its peak."""
    energy = spectrum(kernel) ** 2
    near = np.abs((angles() - peak_orientation(kernel) + 90) % 180 - 90) <= reach
    return float(energy[near].sum() / energy.sum())


def coarse_share(kernel: np.ndarray, length: float = 5.0) -> float:
    """Share of a colour kernel's energy (3, k, k), its mean included, in waves of at least `length` pixels."""
    frequencies = np.fft.fftfreq(BINS)
    energy = (np.abs(np.fft.fft2(kernel, s=(BINS, BINS))) ** 2).sum(0)
    coarse = np.hypot(frequencies[:, None], frequencies[None, :]) <= 1 / length
    return float(energy[coarse].sum() / energy.sum())


def chroma_luma(kernel: np.ndarray) -> float:
    """Energy of a colour kernel (3, k, k) around its mean over the channels, over the energy of that mean."""
    luma = kernel.mean(0)
    return float(((kernel - luma) ** 2).sum() / (3 * (luma**2).sum()))


def overlap(activation: np.ndarray, mask: np.ndarray) -> float:
    """Share of a map's activation inside a mask, over the mask's share of the area; nan for a dead map.

    Parameters
    ----------
    activation : numpy.ndarray
        At least 0, shape (h, w).
    mask : numpy.ndarray
        bool, shape (h s, w s): each place of the map stands for s x s pixels.
    """
    total = activation.sum()
    return float((activation * covered(mask, len(activation))).sum() / total / mask.mean()) if total > 0 else np.nan


def covered(mask: np.ndarray, side: int) -> np.ndarray:
    """Share of each of side x side squares that a mask covers."""
    s = len(mask) // side
    return mask.reshape(side, s, side, s).mean((1, 3))


@exercise("freeze")
def freeze(solution: Callable) -> None:
    """Check ``freeze(model, parts)``."""
    for parts in (["layer4", "fc"], ["layer1"], ["fc"]):
        model = _small()
        model.layer1.requires_grad_(False)  # an earlier call may have frozen what is to be trained now
        before = [p.detach().clone() for p in model.parameters()]
        got = run(solution, model, list(parts))
        expect_returned(got)
        if got is not model:
            raise CheckError("change the model that you are given, and return it; yours is another object.")
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        right = {name for name, _ in model.named_parameters() if name.split(".")[0] in parts}
        if trained == right:
            if any(not np.array_equal(a.detach(), b.detach()) for a, b in zip(model.parameters(), before, strict=True)):
                raise CheckError("the right parameters are frozen, but their values have changed: leave them alone.")
            continue
        everything = {name for name, _ in model.named_parameters()}
        said = f"With parts {parts}"
        if trained == everything - right:
            raise CheckError(f"{said} it is the wrong way round: `parts` are trained, the rest is frozen.")
        if any("requires_grad" in vars(layer) for layer in model.modules()):
            raise CheckError(
                "`requires_grad` of a layer means nothing to torch: it belongs to each parameter. A layer has the "
                "method requires_grad_() for all of its parameters."
            )
        if trained == everything - {name for name in everything if name.startswith("layer1.")}:
            raise CheckError(f"{said} nothing has changed.")
        if right - trained:
            raise CheckError(
                f"{said} these stay frozen and should not: {', '.join(sorted(right - trained))}. The model may come "
                "frozen in part, so set what is trained, too."
            )
        extra = ", ".join(sorted(trained - right))
        if "layer1" in parts and any(name.startswith("layer10") for name in trained):
            raise CheckError(f"{said} {extra} is trained, too: layer10 is not a part of layer1, its name begins alike.")
        if all(name.endswith("bias") for name in trained - right):
            raise CheckError(f"{said} the biases of frozen layers are trained, too: {extra}.")
        if all(name.startswith("bn") for name in trained - right):
            raise CheckError(f"{said} batch normalisation is trained, too: its scale and shift are parameters as well.")
        raise CheckError(f"{said} these are trained and should not: {extra}.")


@exercise("map_sides")
def map_sides(solution: Callable) -> None:
    """Check ``map_sides(size)``."""
    sizes = [224, 112, 100, 64, 32]
    got = [call(solution, size) for size in sizes]
    for value in got:
        expect_returned(value)
    if any(np.shape(value) != (6,) for value in got):
        raise CheckError(f"six numbers are asked for, as a list. For 224 you return {got[0]!r}.")
    slips: list[tuple[str, Callable]] = [
        ("7 becomes 4, not 3, at stride 2: a window of 3 with padding 1 also starts on the last row. Halving and "
         "rounding down is not the formula.", lambda n: _chain(n, lambda m, k, s, p: m // s)),
        ("the padding is missing.", lambda n: _chain(n, lambda m, k, s, p: max((m - k) // s + 1, 1))),
        ("padding is added on both sides: 2p.", lambda n: _chain(n, lambda m, k, s, p: (m + p - k) // s + 1)),
        ("the 1 at the end of the formula is missing.", lambda n: _chain(n, lambda m, k, s, p: (m + 2 * p - k) // s)),
        ("round down: half a window gives no value.", lambda n: _chain(n, lambda m, k, s, p: (m + 2 * p - k) / s + 1)),
        ("layer1 has stride 1: it keeps the side of the map.", lambda n: _strides(n, (2, 2, 2, 2, 2, 2))),
        ("the pooling has stride 2, too.", lambda n: _strides(n, (2, 1, 1, 2, 2, 2))),
        ("the first convolution has stride 2, too.", lambda n: _strides(n, (1, 2, 1, 2, 2, 2))),
    ]  # fmt: skip
    known = [(message, [slip(size) for size in sizes]) for message, slip in slips]
    expect_close(got, np.array([sides(size) for size in sizes]), known, "the list of your five results")


@exercise("train_mode")
def train_mode(solution: Callable) -> None:
    """Check ``train_mode(model)``."""
    from torch import nn

    model = _small().eval()
    for name in ("layer1", "bn1"):
        model.get_submodule(name).requires_grad_(False)
    needs = {name: p.requires_grad for name, p in model.named_parameters()}
    got = run(solution, model)
    expect_returned(got)
    if got is not model:
        raise CheckError("change the model that you are given, and return it; yours is another object.")
    norms = {name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    modes = {name: layer.training for name, layer in model.named_modules() if name}
    right = {name: name != "bn1" for name in modes}
    if {name: p.requires_grad for name, p in model.named_parameters()} != needs:
        raise CheckError("`requires_grad` has changed. Only the modes are yours to set.")
    if modes == right:
        if not model.training:
            raise CheckError("the model itself is still in evaluation mode.")
        return
    if all(modes.values()):
        raise CheckError(
            "everything is in training mode, so the frozen batch normalisation `bn1` goes on collecting statistics. "
            "(Putting the whole model into training mode reaches all layers, and undoes what came before.)"
        )
    if not any(modes.values()):
        raise CheckError("everything is in evaluation mode. Layers that are trained belong into training mode.")
    if not any(modes[name] for name in norms):
        raise CheckError("batch normalisation whose scale and shift are trained (`bn4`) belongs into training mode.")
    if not modes["layer1"] and modes["layer4"]:
        raise CheckError(
            "only batch normalisation has a reason to stay behind: `layer1` is a frozen convolution, which computes "
            "the same in both modes, and the text asks for training mode."
        )
    if modes["bn1"] and not modes["bn4"]:
        raise CheckError("it is the wrong way round: the *frozen* batch normalisation gets evaluation mode.")
    wrong = ", ".join(name for name, mode in modes.items() if mode != right[name])
    raise CheckError(f"these layers are in the other mode than asked for: {wrong}.")


@exercise("orientation")
def orientation(solution: Callable) -> None:
    """Check ``orientation(kernel)``."""
    y, x = np.mgrid[-3:4, -3:4]
    waves = [np.cos(0.9 * (x * np.cos(t) + y * np.sin(t)) + 0.4) for t in np.radians([0, 90, 45, 120, 160])]
    kernels = [wave * np.exp(-(x**2 + y**2) / 12) + 0.3 for wave in waves]
    got = [call(solution, kernel) for kernel in kernels]
    for value in got:
        expect_returned(value)
    try:
        found = np.array([float(value) for value in got])
    except (TypeError, ValueError):
        raise CheckError("return one number for a kernel, its angle in degrees.") from None
    right = np.array([peak_orientation(kernel) for kernel in kernels])

    def same(values: Sequence[float]) -> bool:
        return all(apart(a, b) < 0.5 for a, b in zip(found, values, strict=True))

    if same(right):
        if (found < -1e-9).any() or (found > 180 + 1e-9).any():
            raise CheckError(
                f"the direction is right, but {found[(found < -1e-9) | (found > 180)][0]:.0f} degrees is outside 0 to "
                "180: a wave has no front and back, take the angle modulo 180."
            )
        return
    radians = np.degrees(found)
    if all(apart(a, b) < 0.5 for a, b in zip(radians, right, strict=True)):
        raise CheckError("these are radians. The text asks for degrees.")
    if np.allclose(found, 0, atol=1e-6):
        raise CheckError(
            "every kernel gets 0 degrees: the peak that you find is the mean (frequency 0). Subtract the mean first."
        )
    if same(90 - right):
        raise CheckError("x and y are exchanged: rows of the spectrum are frequencies along y. A vertical edge, which "
                         "changes along x, has 0 degrees.")  # fmt: skip
    if same(-right):
        raise CheckError("the sense of rotation is the other one: y points down, as rows do.")
    if same(90 + right):
        raise CheckError(
            "this is the direction *along* the edge. Asked for is the one in which the kernel changes, 90 degrees on."
        )
    bins = [int(spectrum(kernel).argmax()) for kernel in kernels]
    row, column = np.unravel_index(bins, (BINS, BINS))
    if same(np.degrees(np.arctan2(row, column))):
        raise CheckError(
            "bin 31 of 32 is not the frequency 31: the second half of a spectrum holds the negative ones. "
            "`np.fft.fftfreq(32)` gives the frequency of each bin."
        )
    raw = [np.abs(np.fft.fft2(kernel - kernel.mean())) for kernel in kernels]
    coarse = [np.unravel_index(int(r.argmax()), r.shape) for r in raw]
    frequencies = np.fft.fftfreq(7)
    if same([np.degrees(np.arctan2(frequencies[r], frequencies[c])) for r, c in coarse]):
        raise CheckError("7 bins are too coarse for an angle: pad the kernel with zeros to 32x32 (the argument `s`).")
    raise CheckError(
        f"for a wave that changes along {right[3]:.0f} degrees you find {found[3]:.1f}. Take the bin with the largest "
        "magnitude, look up its two frequencies, then the angle."
    )


@exercise("chroma_to_luma")
def chroma_to_luma(solution: Callable) -> None:
    """Check ``chroma_to_luma(kernel)``."""
    kernels = [np.random.default_rng(seed).normal(size=(3, 5, 5)) for seed in range(3)]
    kernels[1] += kernels[1].mean(0) * 2
    kernels.append(np.stack([kernels[0][0]] * 3))
    got = [call(solution, kernel) for kernel in kernels]
    for value in got:
        expect_returned(value)

    def energies(kernel: np.ndarray) -> tuple[float, float]:
        luma = kernel.mean(0)
        return float(((kernel - luma) ** 2).sum()), float((luma**2).sum())

    def several(formula: Callable[[float, float], float]) -> list[float]:
        return [formula(*energies(kernel)) for kernel in kernels]

    with np.errstate(all="ignore"):
        slips = [
            ("the luma stands in each of three channels: its energy counts three times.", several(lambda c, y: c / y)),
            ("this is luma over chroma.", several(lambda c, y: np.divide(3 * y, c))),
            ("this is the root of the ratio. Energies are sums of squares.", several(lambda c, y: (c / y / 3) ** 0.5)),
            ("this is the share of chroma in the whole. Divide by the luma alone.",
             several(lambda c, y: c / (c + 3 * y))),
            ("you take absolute values where the text has squares.",
             [np.abs(k - k.mean(0)).sum() / (3 * np.abs(k.mean(0)).sum()) for k in kernels]),
            ("the mean is over the channels, one for each place, not over the whole kernel.",
             [((k - k.mean()) ** 2).sum() / (3 * 25 * k.mean() ** 2) for k in kernels]),
            ("divide by the energy of the luma, not of the whole kernel.",
             [((k - k.mean(0)) ** 2).sum() / (k**2).sum() for k in kernels]),
        ]  # fmt: skip
    right = np.array([chroma_luma(kernel) for kernel in kernels])
    expect_close(got, right, slips, "the list of your ratios", rtol=1e-5, atol=1e-7)


@exercise("mask_ratio")
def mask_ratio(solution: Callable) -> None:
    """Check ``mask_ratio(activation, mask)``."""
    generator = np.random.default_rng(4)
    mask = np.zeros((28, 28), dtype=bool)
    mask[5:17, 3:22] = True
    activations = [
        np.ones((7, 7)),
        generator.gamma(1.0, size=(7, 7)),
        np.pad([[3.0, 1.0], [2.0, 5.0]], ((1, 4), (2, 3))),
    ]
    got = [call(solution, activation, mask) for activation in activations]
    for value in got:
        expect_returned(value)
    right = np.array([overlap(activation, mask) for activation in activations])
    shares = covered(mask, 7)
    hard, any_ = shares >= 0.5, shares > 0
    slips = [
        ("divide by the mask's share of the area: a map that is the same everywhere then has the ratio 1.",
         right * mask.mean()),
        ("divide by the activation outside and inside together.",
         [(a * shares).sum() / mask.mean() for a in activations]),
        ("this is inside over outside. Take the share of the whole.",
         [(a * shares).sum() / (a * (1 - shares)).sum() / mask.mean() for a in activations]),
        ("a place of the map stands for 4x4 pixels, of which the mask may cover a part: take that share, not only 0 or "
         "1.", [(a * hard).sum() / a.sum() / mask.mean() for a in activations]),
        ("a place of the map stands for 4x4 pixels, of which the mask may cover a part: take that share, not only 0 or "
         "1.", [(a * hard).sum() / a.sum() / hard.mean() for a in activations]),
        ("you count a place as inside as soon as the mask touches it. Take the share of it that is covered.",
         [(a * any_).sum() / a.sum() / mask.mean() for a in activations]),
        ("you look at one pixel of each square of 4x4. Take the mean of all sixteen.",
         [(a * mask[::4, ::4]).sum() / a.sum() / mask.mean() for a in activations]),
        ("the mask's share of the area is its number of pixels over that of *all pixels*.",
         [(a * shares).sum() / a.sum() / mask.sum() for a in activations]),
        ("this is the mean activation inside over that outside. The text asks for shares of the whole.",
         [(a * shares).sum() / shares.sum() / ((a * (1 - shares)).sum() / (1 - shares).sum()) for a in activations]),
    ]  # fmt: skip
    expect_close(got, right, slips, "the list of your ratios", rtol=1e-5, atol=1e-7)
    dead = call(solution, np.zeros((7, 7)), mask)
    expect_returned(dead)
    if not np.isnan(dead):
        raise CheckError(f"a dead map, zero everywhere, has no share: return nan, not {dead!r}.")


def _small() -> nn.Module:
    """A network with parts whose names begin alike, with and without batch normalisation."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            layer1=nn.Conv2d(3, 2, 3),
            bn1=nn.BatchNorm2d(2),
            layer10=nn.Conv2d(2, 2, 3),
            layer4=nn.Conv2d(2, 2, 3),
            bn4=nn.BatchNorm2d(2),
            fc=nn.Linear(2, 2),
        )
    )


def _chain(size: float, rule: Callable) -> list[float]:
    found = []
    for window in STEM_AND_STAGES:
        size = rule(size, *window)
        found.append(size)
    return found


def _strides(size: int, strides: Sequence[int]) -> list[int]:
    found = []
    for (kernel, _, padding), stride in zip(STEM_AND_STAGES, strides, strict=True):
        size = output_size(size, kernel, stride, padding)
        found.append(size)
    return found
