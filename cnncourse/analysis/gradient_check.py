"""Analytic gradients against finite differences.

:func:`check_gradients` checks any scalar function of parameters, of PyTorch (against autograd, or against gradients
written by hand; many weights at once) or of NumPy (against gradients written by hand; one weight after the other).
:func:`check_weights` is the check of the IFT6135 report. Torch is imported only for tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnncourse.errors import CourseError
from cnncourse.models.numpy_mlp import LOSS_FLOOR, NumpyMLP, cross_entropy

if TYPE_CHECKING:
    import pandas as pd
    import torch

Parameters = Mapping[str, Any]
"""Tensors, or arrays, by name."""

CHUNK_NUMBERS, FEWEST_PAIRS = 2**20, 8
"""Numbers that the largest tensor may have when many perturbations are evaluated together (8 MB, about a cache): with
more of them the check waits for memory. So few pairs are evaluated together all the same: with fewer it waits for
Python."""


def central_difference(
    loss: Callable[[], float], parameter: np.ndarray | torch.Tensor, index: tuple[int, ...], epsilon: float
) -> float:
    """(loss(w + epsilon) - loss(w - epsilon)) / (2 epsilon) for one entry w of `parameter`.

    The entry is changed in place, `loss()` is called, and the entry gets its old value back. The truncation error is
    epsilon^2 / 6 times the third derivative; the round-off error is about the machine precision times loss / epsilon.
    """
    before = float(parameter[index])
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


@dataclass(frozen=True, eq=False)
class GradientComparison:
    """Gradients of a scalar function, computed in two ways, by name of the parameter.

    Attributes
    ----------
    analytic, numeric : dict of str to array of shape (num_checked,)
        float64. By back-propagation (of autograd or by hand), and by central differences.
    entries : dict of str to array of shape (num_checked,)
        Which entries of the flattened parameter were checked.
    resolution : float
        Slopes that are smaller than this drown in the round-off of the differences.
    """

    analytic: dict[str, np.ndarray]
    numeric: dict[str, np.ndarray]
    entries: dict[str, np.ndarray]
    resolution: float

    @property
    def max_difference(self) -> float:
        """Largest absolute difference of any entry."""
        return max(float(np.abs(self.numeric[name] - self.analytic[name]).max()) for name in self.analytic)

    @property
    def relative_error(self) -> float:
        """Largest relative error of any parameter: ||a - n|| / max(||a||, ||n||).

        Of a whole parameter at a time: entry by entry, those whose gradient is nearly 0 would show their round-off
        only. For the same reason it is 0 where both gradients are below the resolution (root mean square), as those of
        a bias before batch normalisation are. In float64 with epsilon 1e-5 a right gradient of a smooth function stays
        below 1e-7, a wrong one is rarely below 1e-3; a kink (ReLU, max pooling) within epsilon of a weight may bring a
        right one in between.
        """
        return max(self._relative(name) for name in self.analytic)

    def table(self) -> pd.DataFrame:
        """One row for each parameter: entries checked, `max_difference`, `relative_error`, and `worst` entry."""
        import pandas as pd

        rows = {}
        for name, analytic in self.analytic.items():
            gaps = np.abs(self.numeric[name] - analytic)
            worst = int(self.entries[name][gaps.argmax()])
            rows[name] = (len(gaps), float(gaps.max()), self._relative(name), worst)
        columns = ["checked", "max_difference", "relative_error", "worst"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("parameter")

    def _relative(self, name: str) -> float:
        a, n = self.analytic[name], self.numeric[name]
        size = max(np.linalg.norm(a), np.linalg.norm(n))
        return float(np.linalg.norm(a - n) / size) if size > self.resolution * np.sqrt(len(a)) else 0.0


def check_gradients(
    function: Callable[[Parameters], Any],
    parameters: Parameters,
    gradients: Parameters | None = None,
    *,
    epsilon: float = 1e-5,
    max_entries: int | None = None,
    vectorize: bool = True,
) -> GradientComparison:
    """Compare gradients with central differences (f(w + epsilon) - f(w - epsilon)) / (2 epsilon), in float64.

    The truncation error is epsilon^2 / 6 times the third derivative, the round-off error about 1e-16 f / epsilon
    (:func:`central_difference`).

    Parameters
    ----------
    function : callable
        Takes the parameters by name, returns a scalar. With tensors it must compute from what it is given, and
        its data must be float64, too.
    parameters : mapping of str to tensor or to float64 array
        All tensors (they are copied, as float64), or all arrays (entries are changed in place and put back, so that
        a function may also look at the object that holds them).
    gradients : mapping of str to tensor or array, optional
        Written by hand, for some or all of the parameters; only these are checked. By default those of autograd, which
        needs tensors.
    epsilon : float
        Step to each side.
    max_entries : int, optional
        Of larger parameters only so many entries are checked, evenly spread.
    vectorize : bool
        For tensors: evaluate many perturbations together (``torch.func.vmap``). False: one after the other, for a
        function that vmap cannot take, such as one with an ``if`` on a value.

    Returns
    -------
    GradientComparison

    Raises
    ------
    CourseError
        When parameters, gradients and function do not fit together, the function draws random numbers (dropout), its
        value is no finite scalar, or an argument makes no sense.

    Examples
    --------
    >>> model = create("simple_cnn", width=0.5).double().eval()
    >>> def loss(weights):
    ...     return F.cross_entropy(torch.func.functional_call(model, weights, X.double()), y)
    >>> check_gradients(loss, dict(model.named_parameters())).relative_error
    """
    if not np.isfinite(epsilon) or epsilon <= 0:
        raise CourseError(f"epsilon must be a positive number, not {epsilon!r}.", "Use for instance 1e-5.")
    if max_entries is not None and max_entries < 1:
        raise CourseError(f"max_entries must be at least 1, not {max_entries!r}.", "Leave it out to check all entries.")
    if _are_arrays(parameters):
        if gradients is None:
            raise CourseError("NumPy has no autograd to compare with.", "Pass the gradients computed by hand.")
        return _compare(function, parameters, gradients, epsilon, max_entries, vectorize=False)
    import torch

    parameters = {name: parameter.detach().double().clone() for name, parameter in parameters.items()}
    with torch.no_grad():
        return _compare(function, parameters, gradients, epsilon, max_entries, vectorize)


def _compare(
    function: Callable[[Parameters], Any],
    parameters: Parameters,
    gradients: Parameters | None,
    epsilon: float,
    max_entries: int | None,
    vectorize: bool,
) -> GradientComparison:
    value = _value(function, parameters)
    gradients = _autograd(function, parameters) if gradients is None else gradients
    if not gradients:
        raise CourseError("There is no gradient to check.", "Pass that of at least one parameter.")
    flat = {name: _flat_gradient(gradient, parameters, name) for name, gradient in gradients.items()}
    differences = partial(_together, largest=_largest_tensor(function, parameters)) if vectorize else _one_by_one
    analytic, numeric, entries = {}, {}, {}
    for name, gradient in flat.items():
        size = gradient.size
        entries[name] = np.unique(np.linspace(0, size - 1, min(size, max_entries or size)).astype(int))
        analytic[name] = gradient[entries[name]]
        numeric[name] = differences(function, parameters, name, entries[name], epsilon)
        if not np.isfinite(numeric[name]).all():
            raise CourseError(
                f"The function is not finite near the given values of {name}.",
                "Choose other values, or a smaller epsilon.",
            )
    # Each value is known to a few units in its last place.
    return GradientComparison(analytic, numeric, entries, float(10 * np.finfo(float).eps * abs(value) / epsilon))


def _one_by_one(
    function: Callable, parameters: Parameters, name: str, entries: np.ndarray, epsilon: float
) -> np.ndarray:
    """Central differences for entries of one parameter: two evaluations for each."""
    parameter = parameters[name]
    places = [np.unravel_index(entry, tuple(parameter.shape)) for entry in entries]
    return np.array(
        [central_difference(lambda: float(function(parameters)), parameter, place, epsilon) for place in places]
    )


def _together(
    function: Callable, parameters: Parameters, name: str, entries: np.ndarray, epsilon: float, *, largest: int
) -> np.ndarray:
    """The same for tensors: many perturbed copies of the parameter at once, the other parameters shared by all."""
    import torch

    parameter = parameters[name]
    evaluate = torch.func.vmap(lambda perturbed: function({**parameters, name: perturbed}))
    pairs = min(len(entries), max(FEWEST_PAIRS, CHUNK_NUMBERS // (2 * max(largest, parameter.numel()))))
    # Filled once: to write all copies anew for every chunk takes as long as the function itself.
    copies = parameter.flatten().repeat(2, pairs, 1)
    slopes = []
    for part in torch.from_numpy(entries).to(parameter.device).split(pairs):
        rows = torch.arange(len(part), device=part.device)
        values = parameter.flatten()[part]
        copies[0, rows, part] = values + epsilon
        copies[1, rows, part] = values - epsilon
        try:
            above, below = evaluate(copies[:, : len(part)].reshape(-1, *parameter.shape)).view(2, -1)
        except (RuntimeError, ValueError) as error:
            raise CourseError(
                f"torch.func.vmap cannot take the function: {_first_line(error)}",
                "Put the model into evaluation mode (dropout and batch statistics are in the way), or pass "
                "vectorize=False.",
            ) from error
        copies[:, rows, part] = values
        slopes.append((above - below) / (2 * epsilon))
    return torch.cat(slopes).cpu().numpy()


def _largest_tensor(function: Callable, parameters: Parameters) -> int:
    """Numbers in the largest tensor that the function computes."""
    import torch

    sizes = [1]

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    with Sizes():
        function(parameters)
    return max(sizes)


def _autograd(function: Callable, parameters: Parameters) -> Parameters:
    import torch

    leaves = {name: parameter.clone().requires_grad_() for name, parameter in parameters.items()}
    with torch.enable_grad():
        value = function(leaves)
        if not getattr(value, "requires_grad", False):
            raise CourseError(
                "The function does not depend on its parameters, as far as autograd can see.",
                "Compute with the tensors that it is given, in torch from end to end (no .item(), no .detach()).",
            )
        gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


def _are_arrays(parameters: Parameters) -> bool:
    """Whether the parameters are arrays, not tensors; CourseError unless they are all of one kind."""
    if not isinstance(parameters, Mapping) or not parameters:
        raise CourseError(
            f"Parameters come by name, at least one, not as {type(parameters).__name__} {parameters!r:.60}.",
            "Pass a dictionary, for instance dict(model.named_parameters()).",
        )
    arrays = {name for name, parameter in parameters.items() if isinstance(parameter, np.ndarray)}
    for name, parameter in parameters.items():
        if name not in arrays if arrays else not hasattr(parameter, "detach"):
            raise CourseError(
                f"{name} is a {type(parameter).__name__}; parameters are all tensors, or all arrays.",
                "Turn them into one kind, for instance with torch.as_tensor.",
            )
        if not np.prod(parameter.shape):
            raise CourseError(f"{name} has no entries: its shape is {tuple(parameter.shape)}.", "Leave it out.")
        if arrays and parameter.dtype != np.float64:
            raise CourseError(
                f"{name} must be float64, not {parameter.dtype}: finite differences need its digits.",
                "Make the network in float64, or pass parameter.astype(float).",
            )
    return bool(arrays)


def _flat_gradient(gradient: Any, parameters: Parameters, name: str) -> np.ndarray:
    if name not in parameters:
        raise CourseError(
            f"There is a gradient of {name!r}, but no such parameter.", f"Parameters: {', '.join(parameters)}."
        )
    gradient = np.asarray(gradient.detach().cpu() if hasattr(gradient, "detach") else gradient, dtype=float)
    if gradient.shape != tuple(parameters[name].shape):
        raise CourseError(
            f"The gradient of {name} has shape {gradient.shape}, the parameter {tuple(parameters[name].shape)}.",
            "A gradient has the shape of its parameter: look for a missing transpose.",
        )
    return gradient.reshape(-1)


def _value(function: Callable, parameters: Parameters) -> float:
    """What the function gives; CourseError unless it gives the same finite scalar twice."""
    try:
        values = [function(parameters) for _ in range(2)]
    except (RuntimeError, ValueError, TypeError) as error:
        raise CourseError(
            f"The function cannot be evaluated at the parameters in float64: {_first_line(error)}",
            "It is called with them by name; its data must be float64, too (X.double(), model.double()).",
        ) from error
    shape = tuple(getattr(values[0], "shape", ()))
    if np.prod(shape) != 1:
        raise CourseError(
            f"The function must return one number, not something of shape {shape}.", "Take the mean over the images."
        )
    first, second = map(float, values)
    if not np.isfinite(first):
        raise CourseError(f"The function is {first} at the given parameters.", "Start from values where it is finite.")
    if abs(first - second) > 1e-12 * abs(first):
        raise CourseError(
            f"The function gives {first!r} and then {second!r} at the same parameters.",
            "Leave out what is drawn at random: put the model into evaluation mode, so that dropout drops nothing.",
        )
    return first


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]
