"""ImageNet networks from torchvision, new heads, and frozen layers.

Where the ImageNet weights cannot be had, the same three steps (train on a source task, replace the head, train only
some layers on the target task) work with real data that are there: pre-train on some classes, transfer to the others.

>>> source = create("resnet18", num_classes=6)                          # fit it on six classes of CIFAR-10
>>> target = replace_head(source, num_classes=4)                        # keep what it learned, but for the last layer
>>> target = train_only(target, ["features.layer4", "classifier"])      # fit it on the other four
"""

from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from cnncourse.errors import CourseError
from cnncourse.models.choices import unknown

NETWORKS = ("vgg19", "resnet18")


def create_pretrained(name: str, num_classes: int = 10, *, weights: str | None = "IMAGENET1K_V1") -> nn.Module:
    """torchvision's ImageNet network with a new last layer.

    `vgg19` with 10 classes has 139,611,210 parameters (AI604, problem 4). `resnet18` has 11,181,642, of which
    ``train_only(model, ["layer4", "fc"])`` trains 8,398,858 (TDT4265, task 4).

    Parameters
    ----------
    name : {'vgg19', 'resnet18'}
        Which network.
    num_classes : int, default=10
        Outputs of the new last layer, whose weights are random.
    weights : str or None, default='IMAGENET1K_V1'
        Name of torchvision's weights; None starts from random ones.

    Returns
    -------
    torch.nn.Module
        Images (N, 3, H, W), normalised with ImageNet's mean and deviation, to logits (N, num_classes). Trained at
        224x224 pixels, it takes any size from 32x32.

    Raises
    ------
    CourseError
        For an unknown name, or when the weights are neither on this machine nor to be downloaded.
    """
    from torchvision.models import get_model, get_model_weights

    if name not in NETWORKS:
        raise unknown("pre-trained network", name, NETWORKS)
    known = get_model_weights(name).__members__
    if weights is not None and weights not in known:
        raise unknown(f"weights of {name}", weights, known)
    try:
        model = get_model(name, weights=weights)
    # no network or no room is an OSError; a damaged file shows as one of the others
    except (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError) as error:
        if weights is None:
            raise
        url = known[weights].url
        file = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
        state = "cannot be read" if file.exists() else "are not on this machine and could not be downloaded"
        raise CourseError(
            f"The ImageNet weights of {name} {state} ({type(error).__name__}: {error}).",
            f"Put the file of {url} at {file}" + (" in place of the damaged one" if file.exists() else "") + ", or "
            "run once with a network; without either, pre-train on some classes of the data that you have "
            "(see cnncourse.models.pretrained).",
        ) from error
    return replace_head(model, num_classes)


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Put a new linear layer with random weights in place of the last one of `model`, in place.

    Parameters
    ----------
    model : torch.nn.Module
        A network of this package or of torchvision, whose last linear layer gives the logits.
    num_classes : int
        Number of new logits.

    Returns
    -------
    torch.nn.Module
        The same model.
    """
    if num_classes < 1:
        raise CourseError(f"A head needs at least one class, not {num_classes}.", "Change num_classes.")
    name, old = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    new = nn.Linear(old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype)
    setattr(model.get_submodule(parent), child, new)
    return model


def train_only(model: nn.Module, parts: Iterable[str]) -> nn.Module:
    """Freeze all parameters of `model` except those of `parts`, in place.

    The running statistics of batch normalisation are no parameters: in train mode they follow the new data in frozen
    layers, too, unless :func:`keep_statistics` stops them.

    Parameters
    ----------
    model : torch.nn.Module
        Any network.
    parts : iterable of str
        Names of submodules, for instance ["layer4", "fc"].

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    CourseError
        When the model has no such part.
    """
    names = [name for name, _ in model.named_modules() if name]
    for part in parts:
        if part not in names:
            raise unknown("part of this network", part, [name for name in names if name.count(".") < 2])
    model.requires_grad_(False)
    for part in parts:
        model.get_submodule(part).requires_grad_(True)
    return model


class KeptBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that is always in evaluation mode."""

    def train(self, mode: bool = True):
        """Stay in evaluation mode, whatever the rest of the network is put into."""
        return super().train(False)


def keep_statistics(model: nn.Module) -> nn.Module:
    """Let batch normalisation use and keep its running statistics wherever its scale and shift are frozen, in place.

    Call it after :func:`train_only`. The frozen part then computes in training what it computes in evaluation.

    Parameters
    ----------
    model : torch.nn.Module
        Any network.

    Returns
    -------
    torch.nn.Module
        The same model.
    """
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and not any(p.requires_grad for p in layer.parameters()):
            layer.__class__ = KeptBatchNorm2d
            layer.eval()
    return model
