"""Initial weights by name."""

from functools import partial

from torch import nn

from cnncourse.models.choices import unknown

WEIGHTS = {
    "zero": nn.init.zeros_,
    "normal": nn.init.normal_,
    "glorot": nn.init.xavier_uniform_,
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
}


def initialise_(model: nn.Module, init: str) -> nn.Module:
    """Draw the weights of all convolutions and linear layers anew, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Batch normalisation keeps its start, scale 1 and shift 0.
    init : {'default', 'zero', 'normal', 'glorot', 'he'}
        - 'default': torch's own. Nothing changes: weights and biases stay U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
        - 'zero': all weights 0.
        - 'normal': N(0, 1).
        - 'glorot': U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), Glorot and Bengio (2010), equation 16.
        - 'he': N(0, 2 / fan_in), He et al. (2015), equation 10.

        All but 'default' set biases to 0. The fan of a convolution counts its window:
        fan_in = in_channels * kernel height * kernel width.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    CourseError
        For an unknown name.
    """
    if init == "default":
        return model
    if init not in WEIGHTS:
        raise unknown("initialisation", init, ["default", *WEIGHTS])
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            WEIGHTS[init](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model
