"""Checks of notebook 02's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

import re

import numpy as np
import pytest
from mutants import exercise_tests, solutions

from cnncourse.teaching import numpy_mlp as checks
from cnncourse.teaching.checking import CheckError

NOTEBOOK = "02_numpy_mlp"


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# --- relu -----------------------------------------------------------------------------------------------------------
def relu_in_place(x):
    x[x < 0] = 0
    return x


def relu_loops(x):
    out = np.empty_like(x)
    for index, value in np.ndenumerate(x):
        out[index] = value if value > 0 else 0
    return out


RELU = [
    (relu_in_place, "changes an array that it was given"),
    (lambda x: np.abs(x), "come out positive"),
    (lambda x: np.minimum(0, x), "swapped"),
    (lambda x: x > 0, "True and False"),
    (lambda x: (x > 0).astype(float), "derivative of ReLU"),
    (lambda x: np.where(x > 0, x, 0.01 * x), r"is off at index \(0, 0\): -0.02"),
    (lambda x: x[x > 0], "Keep the shape"),
    (lambda x: np.max(x), "element by element"),
    (lambda x: max(x, 0), "stops with ValueError"),
    (lambda x: np.clip(x, 0, 1), "cut off at 1"),
    (lambda x: 1 / (1 + np.exp(-x)), "sigmoid"),
    (lambda x: None, "returns None"),
    (lambda x: np.where(x > 0, x, 1e-12 * x), "exactly 0"),
]

# --- softmax --------------------------------------------------------------------------------------------------------
SOFTMAX = [
    (lambda z: np.exp(z) / np.exp(z).sum(), "the whole table"),
    (lambda z: np.exp(z) / np.exp(z).sum(axis=0), "the columns add up"),
    (lambda z: np.exp(z) / np.exp(z).sum(axis=1), "ValueError"),
    (
        lambda z: np.exp(z) / (s if (s := np.exp(z).sum(axis=1)).size == z.shape[1] else s[:, None]),
        "right for 4 images and 3 classes",
    ),
    (lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), "exp overflows"),
    (lambda z: (e := np.exp(z - z.max())) / e.sum(axis=1, keepdims=True), "whole row becomes 0 / 0"),
    (lambda z: np.exp(z - z.max(axis=1, keepdims=True)), "not divided"),
    (lambda z: np.exp(z), "not divided"),
    (lambda z: z / z.sum(axis=1, keepdims=True), "exponential is missing"),
    (lambda z: softmax(-z), "sign inside exp"),
    (lambda z: 1 / (1 + np.exp(-z)), "sigmoid"),
    (lambda z: np.log(softmax(z)), "logarithms"),
    (lambda z: [softmax(z)[0]], r"shape \(1, 3\), expected \(4, 3\)"),
]


# --- glorot_uniform -------------------------------------------------------------------------------------------------
def uniform(bound):
    return lambda rng, n, m: rng.uniform(-bound(n, m), bound(n, m), (n, m))


GLOROT = [
    (lambda rng, n, m: rng.normal(0, np.sqrt(2 / (n + m)), (n, m)), "normal distribution"),
    (lambda rng, n, m: rng.uniform(0, np.sqrt(6 / (n + m)), (n, m)), "both sides of 0"),
    (lambda rng, n, m: rng.uniform(-np.sqrt(6 / (n + m)), np.sqrt(6 / (n + m)), (m, n)), "lies on its side"),
    (lambda rng, n, m: rng.uniform(-np.sqrt(6 / (n + m)), np.sqrt(6 / (n + m)), n), "has shape"),
    (uniform(lambda n, m: np.sqrt(1 / (n + m))), "the 6 under the root"),
    (uniform(lambda n, m: np.sqrt(2 / (n + m))), "is the variance"),
    (uniform(lambda n, m: 6 / (n + m)), "square root is missing"),
    (uniform(lambda n, m: np.sqrt(6 / n)), "only fan_in"),
    (uniform(lambda n, m: np.sqrt(6 / m)), "only fan_out"),
    (uniform(lambda n, m: np.sqrt(6) / (n + m)), "covers the 6 only"),
    (uniform(lambda n, m: np.sqrt(6 / (n * m))), "multiplied"),
    (uniform(lambda n, m: 1), "from -1 to 1"),
    (uniform(lambda n, m: 0.3), "the interval ends at"),
    (lambda rng, n, m: np.random.uniform(-np.sqrt(6 / (n + m)), np.sqrt(6 / (n + m)), (n, m)), "rng that is passed in"),
    (
        lambda rng, n, m: np.random.RandomState(0).uniform(-np.sqrt(6 / (n + m)), np.sqrt(6 / (n + m)), (n, m)),
        "rng that is passed in",
    ),
]


# --- forward --------------------------------------------------------------------------------------------------------
def layers(hidden, output, bias=True, first=True, keep=True):
    def forward(X, weights, biases):
        h, outputs = X, [X] if first else []
        for k, (W, b) in enumerate(zip(weights, biases, strict=True)):
            h = h @ W + (b if bias else 0)
            h = output(h) if k == len(weights) - 1 else hidden(h)
            outputs.append(h)
        return outputs if keep else h

    return forward


def relu(x):
    return np.maximum(x, 0)


def identity(x):
    return x


def forward_three_layers_by_hand(X, weights, biases):
    W1, W2, W3 = weights
    b1, b2, b3 = biases
    h1 = np.where((a1 := X.dot(W1) + b1) > 0, a1, 0)
    h2 = np.where((a2 := h1.dot(W2) + b2) > 0, a2, 0)
    return X, h1, h2, softmax(h2.dot(W3) + b3)


def forward_bias_in_place(X, weights, biases):
    biases[0] += 1
    return layers(relu, softmax)(X, weights, biases)


FORWARD = [
    (layers(relu, softmax, bias=False), "biases are missing"),
    (layers(identity, softmax), "no ReLU"),
    (layers(relu, identity), "logits"),
    (layers(relu, lambda x: softmax(relu(x))), "through ReLU before softmax"),
    (layers(relu, relu), "needs softmax instead"),
    (layers(softmax, softmax), "softmax is for the output"),
    (layers(relu, softmax, first=False), "begin with X"),
    (layers(relu, softmax, keep=False), "list of all activations"),
    (lambda X, weights, biases: layers(relu, softmax)(X, weights[:2], biases[:2]), "has 3 entries, expected 4"),
    (lambda X, weights, biases: layers(relu, softmax)(X, [W.T for W in weights], biases), "ValueError"),
    (layers(np.tanh, softmax), "the output of layer 1 is off"),
    (forward_bias_in_place, "changes an array"),
]

# --- cross_entropy --------------------------------------------------------------------------------------------------
CROSS_ENTROPY = [
    (lambda p, y: np.log(p[np.arange(len(y)), y] + 1e-8).mean(), "sign"),
    (lambda p, y: -np.log(p[np.arange(len(y)), y] + 1e-8).sum(), "sum over the images"),
    (lambda p, y: -np.log(p[np.arange(len(y)), y] + 1e-8), "one loss per image"),
    (lambda p, y: -np.log(p[:, y] + 1e-8).mean(), "picks len"),
    (lambda p, y: -np.log10(p[np.arange(len(y)), y] + 1e-8).mean(), "base 10"),
    (lambda p, y: -np.log2(p[np.arange(len(y)), y] + 1e-8).mean(), "base 2"),
    (lambda p, y: -np.log(p[np.arange(len(y)), y]).mean(), "Add 1e-8"),
    (lambda p, y: 1e-8 - np.log(p[np.arange(len(y)), y]).mean(), "Add 1e-8"),
    (lambda p, y: -np.log(p[np.arange(len(y)), y] + 1e-7).mean(), "is 1e-8 added"),
    (lambda p, y: -(np.eye(p.shape[1])[y] * np.log(p + 1e-8)).mean(), "images times classes"),
    (lambda p, y: -np.log(p + 1e-8).sum() / len(y), "all classes"),
    (lambda p, y: -np.log(p[np.arange(len(y)), y].mean()), "logarithm first"),
    (lambda p, y: (1 - p[np.arange(len(y)), y]).mean(), "1 - p"),
    (lambda p, y: "0.5", "the loss is off"),
]


# --- backward -------------------------------------------------------------------------------------------------------
def backprop(
    hot=1, share=True, mask=lambda h: h > 0, sign=1, flip=True, transpose=False, bias=lambda d: d.sum(0), alias=False
):
    def backward(activations, y, weights):
        probs = activations[-1]
        delta = probs if alias else probs.copy()
        delta[np.arange(len(y)), y] -= hot
        delta = sign * delta / (len(y) if share else 1)
        dW, db = [], []
        for k in range(len(weights) - 1, -1, -1):
            gradient = activations[k].T @ delta
            dW.append(gradient.T if transpose else gradient)
            db.append(bias(delta))
            if k:
                delta = (delta @ weights[k].T) * mask(activations[k])
        return (dW[::-1], db[::-1]) if flip else (dW, db)

    return backward


def backward_by_hand(activations, y, weights):
    X, h1, h2, probs = activations
    d3 = (probs - np.eye(probs.shape[1])[y]) / len(X)
    d2 = np.where(h2 > 0, d3 @ weights[2].T, 0)
    d1 = np.where(h1 > 0, d2 @ weights[1].T, 0)
    rows = np.ones((1, len(X)))
    return [X.T @ d1, h1.T @ d2, h2.T @ d3], [rows @ d1, rows @ d2, rows @ d3]


def backward_input_mask(activations, y, weights):
    """The mask of the layer below: h1 where h2 belongs (shapes differ here)."""
    X, h1, h2, probs = activations
    d3 = (probs - np.eye(probs.shape[1])[y]) / len(X)
    d2 = (d3 @ weights[2].T) * (h2 > 0)
    d1 = d2 @ weights[1].T
    return [X.T @ d1, h1.T @ d2, h2.T @ d3], [d1.sum(0), d2.sum(0), d3.sum(0)]


BACKWARD = [
    (backprop(share=False), "too large"),
    (backprop(hot=0), "nothing is subtracted"),
    (backprop(mask=np.ones_like), "not masked"),
    (backprop(mask=identity), "multiplied by h"),
    (backprop(sign=-1), "sign of all gradients is off"),
    (backprop(flip=False), "last layer to the first"),
    (backprop(transpose=True), "transposed"),
    (backprop(bias=lambda d: d.mean(0)), "mean of the deltas"),
    (backprop(bias=lambda d: d), "one row per image"),
    (backprop(bias=lambda d: 0 * d.sum(0)), "gradient of b3 is zero"),
    (backprop(bias=lambda d: d.sum()), "gradient of b3 has shape"),
    (backprop(alias=True), "changes an array"),
    (backward_input_mask, "not masked"),
    (lambda a, y, w: backprop()(a, y, w)[0], "two lists"),
    (lambda a, y, w: (backprop()(a, y, w)[0], []), "list of 3 arrays"),
]


# --- update ---------------------------------------------------------------------------------------------------------
def each(step):
    def update(parameters, gradients, lr):
        for p, g in zip(parameters, gradients, strict=True):
            step(p, g, lr)

    return update


def update_rebinding(parameters, gradients, lr):
    for p, g in zip(parameters, gradients, strict=True):
        p = p - lr * g


def update_new_list(parameters, gradients, lr):
    return [p - lr * g for p, g in zip(parameters, gradients, strict=True)]


def update_new_arrays(parameters, gradients, lr):
    for k in range(len(parameters)):
        parameters[k] = parameters[k] - lr * gradients[k]


def update_gradients_too(parameters, gradients, lr):
    for p, g in zip(parameters, gradients, strict=True):
        g *= lr
        p -= g


def update_with_out(parameters, gradients, lr):
    for p, g in zip(parameters, gradients, strict=True):
        np.subtract(p, np.multiply(lr, g), out=p)
    return parameters


UPDATE = [
    (update_rebinding, "only your function sees"),
    (update_new_list, "in place"),
    (update_new_arrays, "the network keeps the old ones"),
    (update_gradients_too, "gradients are changed"),
    (each(lambda p, g, lr: p.__iadd__(lr * g)), "climb"),
    (each(lambda p, g, lr: p.__isub__(g)), "learning rate is not used"),
    (each(lambda p, g, lr: p.__isub__(g / lr)), "divides the gradient"),
    (each(lambda p, g, lr: p.__isub__(lr * np.sign(g))), "only the sign"),
    (each(lambda p, g, lr: np.copyto(p, -lr * g)), "replaced by the step"),
    (lambda ps, gs, lr: each(lambda p, g, lr: p.__isub__(lr * g))(ps[:2], gs[:2], lr), "number 2 of the list"),
    (
        lambda ps, gs, lr: [p.__isub__(lr * g) for p, g in zip(ps, gs, strict=True) if p.ndim > 1],
        "number 1 of the list",
    ),
    (each(lambda p, g, lr: p.__isub__(0.01 * g)), "a parameter after the update is off"),
]


# --- central_difference ---------------------------------------------------------------------------------------------
def difference(quotient, restore=True, steps=(1, -1)):
    def central_difference(loss, W, index, epsilon):
        old = W[index]
        losses = []
        for step in steps:
            W[index] = old + step * epsilon
            losses.append(loss())
        if restore:
            W[index] = old
        return quotient(*losses, epsilon)

    return central_difference


def difference_on_a_copy(loss, W, index, epsilon):
    W = W.copy()
    return difference(lambda a, b, e: (a - b) / (2 * e))(loss, W, index, epsilon)


def difference_back_by_one_step(loss, W, index, epsilon):
    W[index] += epsilon
    above = loss()
    W[index] -= epsilon
    below = loss()
    return (above - below) / (2 * epsilon)


def difference_by_steps(loss, W, index, epsilon):
    W[index] += epsilon
    above = loss()
    W[index] -= 2 * epsilon
    below = loss()
    W[index] += epsilon
    return 0.5 * (above - below) / epsilon


CENTRAL = [
    (difference(lambda a, b, e: (a - b) / e, steps=(1, 0)), "forward difference"),
    (difference(lambda a, b, e: (a - b) / e, steps=(0, -1)), "backward difference"),
    (difference(lambda a, b, e: (a - b) / e), "twice too large"),
    (difference(lambda a, b, e: (a - b) / 2 * e), "in brackets"),
    (difference(lambda a, b, e: a - b), "not divided"),
    (difference(lambda a, b, e: (b - a) / (2 * e)), "sign is off"),
    (difference(lambda a, b, e: (a - b) / (2 * e), restore=False), "keeps a changed value"),
    (difference_on_a_copy, "not a copy of it"),
    (difference_back_by_one_step, "step back by 2 epsilon"),
    (difference(lambda a, b, c, d, e: (a - b) / (2 * e), steps=(1, -1, 2, -2)), "evaluated 4 times"),
    (difference(lambda a, b, e: (a - b) / (3 * e)), "the difference quotient is off"),
]

MUTANTS = {
    "relu": RELU,
    "softmax": SOFTMAX,
    "glorot_uniform": GLOROT,
    "forward": FORWARD,
    "cross_entropy": CROSS_ENTROPY,
    "backward": BACKWARD,
    "update": UPDATE,
    "central_difference": CENTRAL,
}

OTHERWISE_WRITTEN = [
    ("relu", relu_loops),
    ("relu", lambda x: x * (x > 0)),
    ("relu", lambda x: (x + np.abs(x)) / 2),
    ("softmax", lambda z: np.stack([np.exp(r - max(r)) / sum(np.exp(r - max(r))) for r in z])),
    ("softmax", lambda z: 1 / np.exp(z[:, None, :] - z[:, :, None]).sum(axis=2)),
    ("glorot_uniform", lambda rng, n, m: (2 * rng.random_sample((n, m)) - 1) * (6 / (n + m)) ** 0.5),
    ("forward", forward_three_layers_by_hand),
    ("cross_entropy", lambda p, y: float(np.mean([-np.log(row[k] + 1e-8) for row, k in zip(p, y, strict=True)]))),
    ("cross_entropy", lambda p, y: -(np.eye(p.shape[1])[y] * np.log(p + 1e-8)).sum() / len(y)),
    ("backward", backward_by_hand),
    ("update", update_with_out),
    ("central_difference", difference_by_steps),
]


globals().update(exercise_tests(NOTEBOOK, checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np}))


def separable_images():
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=400)
    return np.eye(10)[y] @ rng.normal(size=(10, 30)) + 0.3 * rng.normal(size=(400, 30)), y


def stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((stub, backprop(), update_with_out), "nothing to check yet"),
        ((layers(relu, softmax), stub, update_with_out), "nothing to check yet"),
        ((layers(relu, softmax), backprop(), stub), "nothing to check yet"),
        ((layers(relu, softmax), backprop(sign=-1), update_with_out), "Which of the checks"),
        ((layers(relu, softmax), backprop(), update_rebinding), "Which of the checks"),
        ((layers(relu, softmax, keep=False), backprop(), update_with_out), "stops with"),
        ((layers(relu, softmax), lambda a, y, w: None, update_with_out), "two lists of gradients"),
    ],
)
def test_a_network_of_unfinished_parts_is_not_accepted(functions, message):
    with pytest.raises(CheckError, match=message), np.errstate(all="ignore"):
        checks.network.unguarded(functions, *separable_images())


def test_a_network_of_right_parts_learns(capsys):
    space = solutions(NOTEBOOK, {"np": np})
    for functions in (
        (space["forward"], space["backward"], space["update"]),
        (layers(relu, softmax), backprop(bias=lambda d: d.sum(0, keepdims=True)), update_with_out),
    ):
        checks.network(functions, *separable_images())
        assert re.fullmatch(r"Your network reads \d+ % .*\n✔ your network: accepted.\n", capsys.readouterr().out)


def test_a_mistake_is_printed_and_the_notebook_goes_on(capsys, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    checks.relu(np.abs)
    assert re.fullmatch(r"✘ relu: negative values come out positive.*\n", capsys.readouterr().out)


def test_nbgrader_sees_an_exception(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(CheckError, match="come out positive"):
        checks.relu(np.abs)
