"""Analytic gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cnncourse.models.numpy_mlp import LOSS_FLOOR, NumpyMLP, cross_entropy


def central_difference(
    loss: Callable[[], float], parameter: np.ndarray, index: tuple[int, ...], epsilon: float
) -> float:
    """(loss(w + epsilon) - loss(w - epsilon)) / (2 epsilon) for one entry w of `parameter`.

    The entry is changed in place, `loss()` is called, and the entry gets its old value back. The truncation error is
    epsilon^2 / 6 times the third derivative; the round-off error is about the machine precision times loss / epsilon.
    """
    before = parameter[index]
    try:
        parameter[index] = before + epsilon
        above = loss()
        parameter[index] = before - epsilon
        below = loss()
    finally:
        parameter[index] = before
    return (above - below) / (2 * epsilon)


class GradientCheck(NamedTuple):
    """One comparison.

    Attributes
    ----------
    analytic : array of shape (num_weights,)
        What back-propagation gives (its formula has no floor).
    numeric : array of shape (num_epsilons, num_weights)
        What central differences of the loss give.
    """

    analytic: np.ndarray
    numeric: np.ndarray

    @property
    def max_difference(self) -> np.ndarray:
        """Largest absolute difference over the weights, for each epsilon; shape (num_epsilons,)."""
        return np.abs(self.numeric - self.analytic).max(axis=1)


def check_weights(
    network: NumpyMLP,
    X: np.ndarray,
    y: np.ndarray,
    *,
    layer: int,
    epsilons: Sequence[float],
    unit: int = 0,
    num_weights: int = 10,
    floor: float = LOSS_FLOOR,
) -> GradientCheck:
    """Check the first weights into one unit, as the IFT6135 report does (layer 2, unit 0, ten weights).

    Parameters
    ----------
    network : NumpyMLP
        Should hold float64 parameters.
    X : array of shape (m, dims[0])
        Images as rows of pixels.
    y : integer array of shape (m,)
        Right classes.
    layer : int
        1 is the layer next to the pixels.
    epsilons : sequence of float
        Step sizes.
    unit : int
        The unit of that layer whose weights are checked.
    num_weights : int
        Weights into that unit that are checked, from the first input on.
    floor : float
        Inside the logarithm of the loss that is differentiated numerically.
    """
    network.forward(X)
    W = network.weights[layer - 1]
    # A weight of this layer changes nothing below it, so each evaluation may start at the layer's own input.
    inputs = network.activations[layer - 1]
    analytic = network.backward(y).weights[layer - 1][:num_weights, unit].copy()
    probes = range(min(num_weights, W.shape[0]))

    def loss() -> float:
        return cross_entropy(network.forward(inputs, start=layer - 1), y, floor)

    numeric = [[central_difference(loss, W, (i, unit), epsilon) for i in probes] for epsilon in epsilons]
    return GradientCheck(analytic, np.array(numeric))
