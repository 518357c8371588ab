"""Every network of the course by its name. Torch is imported when one is created, not before."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

from cnncourse.errors import CourseError
from cnncourse.models.choices import unknown

if TYPE_CHECKING:
    from torch import nn

# module of this package -> the functions in it that build a network; each docstring has the layers and their source
FAMILIES = {
    "mlp": ("mlp_30", "mlp_50_30", "mlp_50_30_bn"),
    "lenet": ("lenet_bn", "conv_bn", "conv_bn_pool", "simple_cnn", "simple_cnn_bn", "tutorial_cnn"),
    "deep_cnn": ("cnn_5x5", "cnn_5x5_bn", "cnn_3x3", "cnn_3x3_bn", "deep_cnn_mish", "final_cnn", "final_cnn_wide"),
    "vgg": (
        "vgg_a",
        "vgg_a_bn",
        "vgg_a_light",
        "vgg16_leaky",
        "vgg19_leaky",
        "vgg19_leaky_bn",
        "small_vggnet",
        "catdog_vgg",
    ),
    "resnet": (
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet20",
        "resnet20_projection",
        "catdog_resnet18",
        "catdog_resnet18_nobn",
    ),
}


def names() -> list[str]:
    """Names of all networks that :func:`create` builds."""
    return [name for family in FAMILIES.values() for name in family]


def create(name: str, **options) -> nn.Module:
    """Build a network of the course, with new weights from torch's global generator.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    **options
        What is to differ from the network of that name. All networks take `num_classes`, `in_channels`, `image_size`,
        `width`, `activation`, `fc_activation`, `negative_slope`, `batch_norm`, `dropout`, `init`, `activate_logits`
        and `softmax_output` (:class:`cnncourse.models.classifier.Classifier`); more of them by family:
        :class:`cnncourse.models.mlp.MLP`, :class:`cnncourse.models.convnet.ConvNet`,
        :class:`cnncourse.models.resnet.ResNet`.

    Returns
    -------
    torch.nn.Module
        Images (N, in_channels, image_size, image_size), float, to logits (N, num_classes). It has the parts `features`,
        `classifier` and `output`.

    Raises
    ------
    CourseError
        For an unknown name or option, or a value that does not fit.

    Examples
    --------
    >>> model = create("simple_cnn", width=0.5, activation="swish")
    """
    family = next((family for family, members in FAMILIES.items() if name in members), None)
    if family is None:
        raise unknown("model", name, names())
    build = getattr(import_module(f"cnncourse.models.{family}"), name)
    known = options_of(inspect.signature(build).return_annotation)
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    try:
        return build(**options)
    except CourseError as error:
        raise CourseError(f"{name}: {error.what}", error.remedy) from None


def options_of(network: type) -> list[str]:
    """Names of the options that a class of networks takes, its own and then those of its base."""
    parameters = {
        parameter.name: None
        for cls in network.__mro__
        if cls.__module__.startswith(__package__)
        for parameter in inspect.signature(cls.__init__).parameters.values()
        if parameter.name != "self" and parameter.kind != parameter.VAR_KEYWORD
    }
    return list(parameters)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters: weights, biases, scales and shifts of batch normalisation."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
