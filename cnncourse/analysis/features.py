"""What a network has learned to look at: kernels, feature maps, attributions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cnncourse.errors import CourseError
from cnncourse.models.choices import unknown
from cnncourse.training.evaluation import evaluation_mode

PIXEL_METHODS = {"saliency": "Saliency", "integrated_gradients": "IntegratedGradients", "occlusion": "Occlusion"}
LAYER_METHODS = {"grad_cam": "LayerGradCam", "gradient_x_activation": "LayerGradientXActivation"}


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that name: "features.conv1", "features.layer2.0.conv1".

    Raises
    ------
    CourseError
        When there is none; lists the closest names.
    """
    layers = dict(model.named_modules())
    if name in layers:
        return layers[name]
    # Of hundreds of names show those that end alike, and the layers next to where the path was left.
    path = name.split(".")
    parent = max((p for p in layers if path[: len(p.split("."))] == p.split(".")), key=len, default="")
    near = [f"{parent}.{child}".lstrip(".") for child, _ in layers[parent].named_children()]
    alike = [other for other in layers if other.split(".")[-1] == path[-1]]
    raise unknown("layer", name, dict.fromkeys(near + alike[:10]))


def kernels(model: nn.Module, layer: str) -> Tensor:
    """A copy of the kernels of a convolution, on the CPU.

    Parameters
    ----------
    model : torch.nn.Module
        Any network.
    layer : str
        Name of a convolution.

    Returns
    -------
    torch.Tensor
        Shape (c_out, c_in, k, k).

    Raises
    ------
    CourseError
        When there is no such layer, or it is no convolution.
    """
    found = find_layer(model, layer)
    if not isinstance(found, nn.Conv2d):
        convs = [name for name, other in model.named_modules() if isinstance(other, nn.Conv2d)]
        raise CourseError(
            f"{layer} is a {type(found).__name__}: it has no kernels.",
            f"Choose a convolution: {', '.join(convs[:20])}{', ...' if len(convs) > 20 else ''}."
            if convs
            else "This network has no convolution.",
        )
    return found.weight.detach().cpu().clone()


def to_unit_range(kernels: Tensor, *, each: bool = True) -> Tensor:
    """Kernels scaled linearly so that the smallest weight becomes 0 and the largest 1, to be drawn as images.

    Drawn raw, all negative weights, about half of them, look the same: matplotlib clips colours to 0..1.

    Parameters
    ----------
    kernels : float tensor of shape (c_out, c_in, k, k)
        Weights.
    each : bool
        Scale each of the c_out kernels by itself, its input channels together. Otherwise all by the same, so that
        their strengths can be compared.

    Returns
    -------
    torch.Tensor
        Same shape; a kernel whose weights are all the same becomes 0.5.
    """
    dims = tuple(range(1, kernels.ndim)) if each else tuple(range(kernels.ndim))
    low, high = kernels.amin(dims, keepdim=True), kernels.amax(dims, keepdim=True)
    return torch.where(high > low, (kernels - low) / (high - low), 0.5)


def feature_maps(model: nn.Module, X: Tensor, layers: str | Iterable[str]) -> dict[str, Tensor]:
    """What layers give for images, in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        Any network; it is left as it was.
    X : float tensor of shape (N, C, H, W)
        Images, normalised as for training, on the model's device.
    layers : str or iterable of str
        Names of layers. Of a layer that is called more than once, the last output is kept.

    Returns
    -------
    dict of str to torch.Tensor
        By name, on the CPU: (N, channels, height, width), or (N, features) of fully connected layers.

    Raises
    ------
    CourseError
        When there is no such layer, there are no images, or the model cannot take them.
    """
    layers = [layers] if isinstance(layers, str) else list(layers)
    maps: dict[str, Tensor] = {}
    found = {name: find_layer(model, name) for name in layers}
    _check_images(X)

    def keep(name: str):
        def hook(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
            maps[name] = output.detach().to("cpu", copy=True)  # a copy: an activation in place would overwrite it

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in found.items()]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(X)
    except (RuntimeError, ValueError) as error:
        raise _unfit("A forward pass", X, error) from error
    finally:
        for hook in hooks:
            hook.remove()
    for name in layers:
        if name not in maps:
            raise CourseError(f"Layer {name} takes no part in the forward pass.", "Choose another layer.")
    return {name: maps[name] for name in layers}


def attribution(
    model: nn.Module,
    X: Tensor,
    target: int | Tensor,
    method: str = "saliency",
    layer: str | None = None,
    **options,
) -> Tensor:
    """How much each pixel, or each place of a layer's maps, did for the score of a class: captum's methods by name.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images to logits; used in evaluation mode and left as it was.
    X : float tensor of shape (N, C, H, W)
        Images, normalised as for training, on the model's device.
    target : int or int64 tensor of shape (N,)
        The class asked about, for all images or for each: its true class, or the predicted one.
    method : str
        Of pixels: 'saliency' (absolute gradient, Simonyan et al. 2014), 'integrated_gradients' (Sundararajan et al.
        2017; adds up to the score's difference from that of `baselines`), 'occlusion' (Zeiler and Fergus 2014; needs
        `sliding_window_shapes`). Of a layer: 'grad_cam' (Selvaraju et al. 2017; pass
        ``relu_attributions=True`` to keep what speaks for the class only, as they do), 'gradient_x_activation'.
    layer : str, optional
        Name of the layer, for the methods of layers.
    **options
        Of the `attribute` method of captum's class.

    Returns
    -------
    torch.Tensor
        On the CPU: the shape of `X` for pixels; for a layer that of its output, with one channel for 'grad_cam'.

    Raises
    ------
    CourseError
        For an unknown method or layer, a layer that is missing or too much, no images, or images or targets that do
        not fit.
    """
    import captum.attr  # brings matplotlib: imported only when asked for

    known = PIXEL_METHODS | LAYER_METHODS
    if method not in known:
        raise unknown("method", method, known)
    if (layer is None) != (method in PIXEL_METHODS):
        raise CourseError(
            f"{method} is a method for {'pixels' if method in PIXEL_METHODS else 'the maps of a layer'}.",
            f"Leave layer out, or use one of {', '.join(LAYER_METHODS)}."
            if layer
            else f"Pass the name of a layer, or use one of {', '.join(PIXEL_METHODS)}.",
        )
    parts = () if layer is None else (find_layer(model, layer),)
    _check_images(X)
    attributor = getattr(captum.attr, known[method])(model, *parts)
    try:
        with evaluation_mode(model):
            target = _checked_target(model, X, target)
            result = attributor.attribute(X.detach().clone().requires_grad_(), target=target, **options)
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        raise _unfit(method, X, error) from error
    return result.detach().cpu()


def _check_images(X: Tensor) -> None:
    if not len(X):
        raise CourseError("There are no images.", "Pass at least one, as a batch of shape (N, C, H, W).")


def _checked_target(model: nn.Module, X: Tensor, target: int | Tensor) -> int | Tensor:
    # A negative class would count from the end, and one that is too large would stop a GPU for good.
    with torch.no_grad():
        K = model(X[:1]).shape[1]
    classes = torch.as_tensor(target)
    fits = classes.shape in [(), X.shape[:1]] and classes.dtype == torch.int64
    if not fits or classes.min() < 0 or classes.max() >= K:
        raise CourseError(
            f"The target must be a class from 0 to {K - 1}, for all images or for each of the {len(X)}, not "
            f"{target!r:.80}.",
            "Pass the true classes y, or the predicted ones.",
        )
    return classes.to(X.device) if classes.ndim else int(classes)


def _unfit(doing: str, X: Tensor, error: Exception) -> CourseError:
    return CourseError(
        f"{doing} of images of shape {tuple(X.shape)} is not possible: {(str(error) or repr(error)).splitlines()[0]}",
        "Pass a batch (N, C, H, W) as in training, and targets and options that fit it.",
    )
