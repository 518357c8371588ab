"""Activation functions by name."""

from torch import nn

from cnncourse.models.choices import unknown

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "swish": nn.SiLU,  # x sigmoid(x): called Swish in the reports, SiLU in torch
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "none": nn.Identity,
}


def activation(name: str, negative_slope: float = 0.01) -> nn.Module:
    """A new activation layer.

    Parameters
    ----------
    name : {'relu', 'leaky_relu', 'sigmoid', 'tanh', 'softplus', 'swish', 'silu', 'mish', 'none'}
        'swish' and 'silu' are two names of x * sigmoid(x); 'none' is the identity.
    negative_slope : float, default=0.01
        Slope of 'leaky_relu' below zero; no other activation uses it.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    CourseError
        For an unknown name.
    """
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return nn.LeakyReLU(negative_slope) if name == "leaky_relu" else ACTIVATIONS[name]()
