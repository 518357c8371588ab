"""A multilayer perceptron in NumPy only: forward pass, loss, backward pass, update.

The reference implementation behind notebook 02 (IFT6135, problem 1). Everything a framework does for a ReLU network
with a softmax output is written out here once; the notebook's exercises ask for the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from cnncourse.errors import CourseError

INITS = ("zero", "normal", "glorot")
LOSS_FLOOR = 1e-8
"""What the report adds to a probability inside the logarithm; it caps the loss of one image at -ln(1e-8) = 18.42."""

Rng = np.random.Generator | np.random.RandomState


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0), element by element, as a new array."""
    return np.maximum(x, 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities, row by row.

    Parameters
    ----------
    logits : array of shape (m, num_classes)
        Any real numbers.

    Returns
    -------
    array of shape (m, num_classes)
        Non-negative, each row adds up to 1.
    """
    # The largest logit of a row is subtracted first: the quotient stays the same and exp cannot overflow.
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def cross_entropy(probs: np.ndarray, y: np.ndarray, floor: float = LOSS_FLOOR, nan_to_zero: bool = False) -> float:
    """Mean of -log(p + floor) over the images, p being the probability of the right class, in nats.

    Parameters
    ----------
    probs : array of shape (m, num_classes)
        Rows of class probabilities.
    y : integer array of shape (m,)
        Right classes.
    floor : float
        Added to p inside the logarithm. 0 gives the textbook cross-entropy, which is infinite where p is 0.
    nan_to_zero : bool
        Count an image whose probability is not a number as loss 0, as the IFT6135 report's code does.
    """
    with np.errstate(divide="ignore"):
        losses = -np.log(probs[np.arange(len(y)), y] + floor)
    return float(np.mean(np.where(np.isnan(losses), 0.0, losses) if nan_to_zero else losses))


def one_hot(y: np.ndarray, num_classes: int = 10) -> np.ndarray:
    """Class numbers (m,) as rows of zeros with a single one, shape (m, num_classes)."""
    return np.eye(num_classes)[y]


def initial_weights(dims: Sequence[int], init: str, rng: Rng) -> list[np.ndarray]:
    """Weight matrices of shape (fan_in, fan_out), drawn layer after layer in float64.

    Parameters
    ----------
    dims : sequence of int
        Widths from the input to the output.
    init : {"zero", "normal", "glorot"}
        All zeros; independent draws from N(0, 1); uniform in +-sqrt(6 / (fan_in + fan_out))
        (Glorot and Bengio 2010, eq. 16).
    rng : numpy Generator or RandomState
        ``RandomState(seed)`` draws the same numbers as ``np.random.seed(seed)`` and the functions of ``np.random``.
    """
    if init not in INITS:
        raise CourseError(f"There is no initialisation {init!r}.", f"Choose one of {', '.join(INITS)}.")
    weights = []
    for fan_in, fan_out in pairwise(dims):
        bound = np.sqrt(6 / (fan_in + fan_out))
        weights.append(
            {
                "zero": lambda shape: np.zeros(shape),
                "normal": lambda shape: rng.normal(0, 1, shape),
                "glorot": lambda shape, bound=bound: rng.uniform(-bound, bound, shape),
            }[init]((fan_in, fan_out))
        )
    return weights


def minibatches(
    num_images: int, batch_size: int, rng: Rng, shuffle: Literal["batches", "images"] = "batches"
) -> list[np.ndarray]:
    """Indices of the mini-batches of one epoch, in the order in which they are used.

    Parameters
    ----------
    num_images, batch_size : int
        How many images there are, and how many make one batch.
    rng : numpy Generator or RandomState
        Draws the order.
    shuffle : {"batches", "images"}
        "batches": consecutive slices of the data whose order is shuffled, so that an image always meets the same
        companions (the IFT6135 report's iterator). "images": all images are shuffled first, the usual way.

    Returns
    -------
    list of integer arrays
        The slice at the end of the data is shorter when `batch_size` does not divide `num_images`.
    """
    indices = np.arange(num_images)
    if shuffle == "images":
        rng.shuffle(indices)
    batches = [indices[start : start + batch_size] for start in range(0, num_images, batch_size)]
    if shuffle == "batches":
        batches = [batches[k] for k in rng.permutation(len(batches))]
    return batches


class Gradients(NamedTuple):
    """Derivatives of the mean loss of one batch, in the shapes of the parameters."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]


class NumpyMLP:
    """Fully connected ReLU network with a softmax output, trained by plain gradient descent on mini-batches.

    Parameters
    ----------
    dims : sequence of int
        Widths from the input to the output; (784, 666, 666, 10) is the IFT6135 report's network.
    init : {"zero", "normal", "glorot"}
        How the weights start, see :func:`initial_weights`. Biases start at zero.
    rng : int, numpy Generator or RandomState
        An int seeds a fresh ``RandomState``.
    dtype : numpy dtype
        float64 by default: gradient checks need it.

    Attributes
    ----------
    weights : list of arrays of shape (fan_in, fan_out)
    biases : list of arrays of shape (fan_out,)
    activations : list of arrays
        Input, outputs of the hidden layers and class probabilities of the latest :meth:`forward`.
    """

    def __init__(
        self,
        dims: Sequence[int] = (784, 666, 666, 10),
        init: str = "glorot",
        rng: int | Rng = 0,
        dtype: np.dtype | type = np.float64,
    ):
        if len(dims) < 2:
            raise CourseError(
                f"A network needs an input and an output width, got {tuple(dims)}.",
                "Pass widths such as (784, 666, 666, 10).",
            )
        if isinstance(rng, int | np.integer):
            rng = np.random.RandomState(rng)
        self.dims = tuple(dims)
        self.weights = [W.astype(dtype) for W in initial_weights(dims, init, rng)]
        self.biases = [np.zeros(width, dtype) for width in self.dims[1:]]
        self.activations: list[np.ndarray] = []

    @property
    def layer_params(self) -> list[int]:
        """Trainable parameters of each layer."""
        return [W.size + b.size for W, b in zip(self.weights, self.biases, strict=True)]

    @property
    def num_params(self) -> int:
        """Trainable parameters in all."""
        return sum(self.layer_params)

    def parameters(self) -> dict[str, np.ndarray]:
        """The arrays by name: W1, b1, W2, b2, ..."""
        pairs = zip(self.weights, self.biases, strict=True)
        return {name + str(k): array for k, pair in enumerate(pairs, 1) for name, array in zip("Wb", pair, strict=True)}

    def forward(self, X: np.ndarray, start: int = 0) -> np.ndarray:
        """Class probabilities of shape (m, dims[-1]); what the backward pass needs is kept in `activations`.

        Parameters
        ----------
        X : array of shape (m, dims[start])
            Images as rows of pixels, or the inputs of layer `start`.
        start : int
            Begin at this layer; 0 is the first.
        """
        if X.ndim != 2 or X.shape[1] != self.dims[start]:
            raise CourseError(
                f"The input of layer {start + 1} has shape {X.shape}, expected (m, {self.dims[start]}).",
                "Flatten each image into one row: images.reshape(len(images), -1).",
            )
        self.activations = [X]
        last = len(self.weights) - 1
        for k in range(start, last + 1):
            pre = self.activations[-1] @ self.weights[k] + self.biases[k]
            self.activations.append(softmax(pre) if k == last else relu(pre))
        return self.activations[-1]

    def backward(self, y: np.ndarray) -> Gradients:
        """Gradients of the mean cross-entropy (floor 0) of the batch that went through :meth:`forward` last.

        Parameters
        ----------
        y : integer array of shape (m,)
            Right classes.
        """
        if len(self.activations) != len(self.dims):
            raise CourseError("backward() needs the activations of a whole forward pass.", "Call forward(X) first.")
        m = len(y)
        delta = self.activations[-1].copy()
        delta[np.arange(m), y] -= 1  # softmax minus one-hot labels: d loss / d logits of one image
        delta /= m
        weights, biases = [], []
        for k in reversed(range(len(self.weights))):
            h = self.activations[k]
            weights.append(h.T @ delta)
            biases.append(delta.sum(axis=0))
            if k > 0:
                delta = (delta @ self.weights[k].T) * (h > 0)  # ReLU passes the gradient where it was on
        return Gradients(weights[::-1], biases[::-1])

    def update(self, gradients: Gradients, lr: float) -> None:
        """One step of gradient descent, in place: parameter -= lr * gradient."""
        for parameters, derivatives in zip((self.weights, self.biases), gradients, strict=True):
            for parameter, derivative in zip(parameters, derivatives, strict=True):
                parameter -= lr * derivative

    def train_epoch(self, X: np.ndarray, y: np.ndarray, lr: float, batches: Iterable[np.ndarray]) -> None:
        """One update per batch; `batches` holds index arrays, see :func:`minibatches`."""
        for batch in batches:
            self.forward(X[batch])
            self.update(self.backward(y[batch]), lr)

    def evaluate(self, X: np.ndarray, y: np.ndarray, batch_size: int = 5000) -> tuple[float, float]:
        """Mean loss in nats as the IFT6135 report prints it (floor 1e-8, NaN counted as 0), and accuracy in percent."""
        loss, right = 0.0, 0
        for start in range(0, len(y), batch_size):
            part = slice(start, start + batch_size)
            probs = self.forward(X[part])
            loss += cross_entropy(probs, y[part], nan_to_zero=True) * len(probs)
            right += int((probs.argmax(axis=1) == y[part]).sum())
        return loss / len(y), 100 * right / len(y)
