"""Output shape, receptive field, parameters and multiply-adds of every layer of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from cnncourse.analysis.conv_arithmetic import Field, check_sizes, conv_multiply_adds, same_padding
from cnncourse.errors import CourseError
from cnncourse.models.resnet import PaddedShortcut
from cnncourse.training.evaluation import evaluation_mode

if TYPE_CHECKING:
    import pandas as pd

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, PaddedShortcut)
COLUMNS = ["kind", "kernel", "stride", "padding", "output", "receptive_field", "parameters", "multiply_adds"]


def layer_table(model: nn.Module, image_size: int | None = None, in_channels: int | None = None) -> pd.DataFrame:
    """What each layer of a network makes of one image, and what it costs.

    The network runs without numbers, on torch's meta device: nothing in it changes, and large images cost no time.

    Parameters
    ----------
    model : torch.nn.Module
        A network of the course or of torchvision.
    image_size, in_channels : int, optional
        Of the image. By default those that a network of the course was built for; 3 channels for others.

    Returns
    -------
    pandas.DataFrame
        One row for each call of a layer that has parameters or a window, in order, named as in the model:

        - kind; kernel, stride and padding of a window, missing where there is none;
        - output: shape, (channels, height, width) or (features,);
        - receptive_field: height of the square of input pixels that one output can see in evaluation mode, in theory;
          where several paths lead to a layer (residual networks), along the widest. It may reach beyond the image;
        - parameters: frozen ones included; 0 where a layer is called again;
        - multiply_adds: of convolutions and linear layers, for one image, as
          :func:`cnncourse.analysis.conv_arithmetic.conv_multiply_adds` counts them: half the number of operations of
          ``torch.utils.flop_counter.FlopCounterMode``. 0 for others.

    Raises
    ------
    CourseError
        When the image size is missing or does not fit, a window is not square, or a layer's cost is not known here.
    """
    import pandas as pd

    image_size = getattr(model, "image_size", None) if image_size is None else image_size
    if image_size is None:
        raise CourseError(
            "This network takes images of more than one size.", "Pass the one to count for, such as image_size=32."
        )
    in_channels = getattr(model, "in_channels", 3) if in_channels is None else in_channels
    check_sizes(image_size=image_size, in_channels=in_channels)

    rows, seen, hooks = [], set(), []
    for name, layer in model.named_modules():
        if isinstance(layer, WINDOWED) or next(layer.parameters(recurse=False), None) is not None:

            def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                cost = multiply_adds(name, layer, output)
                kernel = stride = padding = None
                if isinstance(layer, WINDOWED):
                    kernel, stride, padding, dilation = window(layer, inputs[0])
                    output.field = inputs[0].field.seen_through(kernel, stride, dilation)
                own = 0 if layer in seen else sum(p.numel() for p in layer.parameters(recurse=False))
                seen.add(layer)
                shape, kind = tuple(output.shape[1:]), type(layer).__name__
                rows.append((name, kind, kernel, stride, padding, shape, output.field.size, own, cost))

            hooks.append(layer.register_forward_hook(record))

    tensors = {name: tensor.to("meta") for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    dtype = next((tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()), torch.float32)
    X = torch.empty(1, in_channels, image_size, image_size, device="meta", dtype=dtype)
    X.field = Field()
    try:
        with evaluation_mode(model), torch.no_grad(), FieldPropagation():
            functional_call(model, tensors, X)
    except (RuntimeError, ValueError) as error:
        raise CourseError(
            f"The network cannot take images of shape {tuple(X.shape[1:])}: {str(error).splitlines()[0]}",
            "Pass the image_size and the in_channels that it was made for.",
        ) from error
    finally:
        for handle in hooks:
            handle.remove()
    table = pd.DataFrame(rows, columns=["layer", *COLUMNS]).set_index("layer")
    return table.astype(dict.fromkeys(["kernel", "stride", "padding"], "Int64"))


class FieldPropagation(TorchFunctionMode):
    """While active, the result of a torch function has the receptive field of the function's inputs.

    Where paths join, the widest field and the largest step count: after every layer with a window the table corrects
    what has grown. (A path of one pixel, such as the weights of channels of a squeeze-and-excitation block, has no
    step.) Flattening maps puts all their pixels into the sight of each unit of the layer behind.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = [x for x in tensors(*args, *(kwargs or {}).values()) if hasattr(x, "field")]
        if inputs:
            maps = [x for x in inputs if x.shape[2:].numel() > 1] or inputs
            size, step = max(x.field.size for x in inputs), max(x.field.step for x in maps)
            for output in tensors(result):
                flattened = inputs[0].ndim == 4 and output.ndim == 2
                output.field = Field(size + (inputs[0].shape[2] - 1) * step if flattened else size, step)
        return result


def tensors(*values: object) -> list[Tensor]:
    """Those of the values that are tensors, looked for in lists and tuples, too: what is joined or split."""
    flat = [x for value in values for x in (value if isinstance(value, (list, tuple)) else [value])]
    return [x for x in flat if isinstance(x, Tensor)]


def window(layer: nn.Module, X: Tensor) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation of a layer of `WINDOWED` for input `X` of shape (N, C, H, W)."""
    if isinstance(layer, PaddedShortcut):
        return 1, layer.stride, 0, 1
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        # Output i is the mean of pixels floor(i n / m) to ceil((i + 1) n / m): the widest of these windows.
        n, m = X.shape[2], side(layer, layer.output_size)
        return max(-(-(i + 1) * n // m) - i * n // m for i in range(m)), max(1, n // m), 0, 1
    kernel, stride = side(layer, layer.kernel_size), side(layer, layer.stride)
    dilation = side(layer, getattr(layer, "dilation", 1))
    if isinstance(layer.padding, str):
        return kernel, stride, same_padding(kernel, dilation) if layer.padding == "same" else 0, dilation
    return kernel, stride, side(layer, layer.padding), dilation


def side(layer: nn.Module, value: int | tuple[int, int]) -> int:
    """The number for both axes: torch keeps it as a pair in some layers and as a number in others."""
    pair = value if isinstance(value, tuple) else (value, value)
    if pair[0] != pair[1]:
        raise CourseError(f"{layer} has a window that is not square.", "The table is for square windows.")
    return pair[0]


def multiply_adds(name: str, layer: nn.Module, output: Tensor) -> int:
    """Multiply-adds of a layer for one image, `output` being what it gives for it."""
    if isinstance(layer, nn.Conv2d):
        kernel = side(layer, layer.kernel_size)
        return conv_multiply_adds(layer.in_channels, layer.out_channels, kernel, output.shape[2], groups=layer.groups)
    if isinstance(layer, nn.Linear):
        return layer.in_features * output.numel()
    if any(parameter.ndim > 1 for parameter in layer.parameters(recurse=False)):
        raise CourseError(
            f"What layer {name} ({type(layer).__name__}) costs is not known here.",
            "Count with torch.utils.flop_counter.FlopCounterMode.",
        )
    return 0
