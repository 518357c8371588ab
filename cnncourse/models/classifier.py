"""What all networks of the course share."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from math import inf
from numbers import Integral, Real

from torch import Tensor, nn

from cnncourse.errors import CourseError
from cnncourse.models.activations import activation as make_activation


class Classifier(nn.Module):
    """Images in, one score for each class out: `features`, then `classifier`, then `output`.

    A network fills `features` (images to one vector each) and `classifier` (vectors to logits) according to these
    options. `output` is empty, unless one of the two slips at the end of the list is asked for.

    Parameters
    ----------
    num_classes : int, default=10
        Number of logits.
    in_channels : int, default=3
        Channels of the images.
    image_size : int or None, default=32
        Height and width of the images in pixels. None: any (only networks that average over the whole map).
    width : float, default=1.0
        Multiplies all numbers of channels and hidden units, rounded: a network of the same depth that costs less.
    activation : str, default='relu'
        See :func:`cnncourse.models.activations.activation`.
    fc_activation : str, optional
        Activation between fully connected layers; by default `activation`.
    negative_slope : float, default=0.01
        Slope below zero where the activation is 'leaky_relu'.
    batch_norm : bool or 'first', default=False
        Batch normalisation, Ioffe and Szegedy (2015). 'first': only after the first convolution of each block.
    dropout : float, default=0.0
        Probability with which a hidden unit of the fully connected part is dropped; its inputs, where it has no
        hidden layer.
    init : str, default='default'
        See :func:`cnncourse.models.initialisation.initialise_`.
    activate_logits : bool, default=False
        The slip of two reports: put the (fully connected) activation on the logits, too. Logits should be unbounded;
        those of ReLU cannot be negative, and an image whose logits are all 0 has no gradient left.
    softmax_output : bool, default=False
        The slip of one report: end in a softmax although torch's cross-entropy holds one. The loss then sees a
        softmax of numbers between 0 and 1 and cannot fall below ln(1 + (num_classes - 1) / e).

    Raises
    ------
    CourseError
        When an option makes no sense; and in the forward pass for images of another shape or of integers.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int | None = 32,
        width: float = 1.0,
        activation: str = "relu",
        fc_activation: str | None = None,
        negative_slope: float = 0.01,
        batch_norm: bool | str = False,
        dropout: float = 0.0,
        init: str = "default",
        activate_logits: bool = False,
        softmax_output: bool = False,
    ):
        super().__init__()
        for name, value in [("num_classes", num_classes), ("in_channels", in_channels), ("image_size", image_size)]:
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise CourseError(f"{name} must be an integer of at least 1, not {value!r}.", f"Change {name}.")
        if not isinstance(width, Real) or not 0 < width < inf:
            raise CourseError(f"width must be a positive number, not {width!r}.", "Use width=1 for the full network.")
        if batch_norm not in (True, False, "first"):
            raise CourseError(f"batch_norm must be True, False or 'first', not {batch_norm!r}.", "Choose one of them.")
        check_probability("dropout", dropout)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.image_size = image_size
        self.width = width
        self.activation = partial(make_activation, activation, negative_slope)
        self.fc_activation = partial(make_activation, fc_activation or activation, negative_slope)
        self.batch_norm = "first" if batch_norm == "first" else bool(batch_norm)
        self.dropout = dropout
        self.init = init
        self.features = nn.Sequential()
        self.classifier = nn.Sequential()
        self.output = nn.Sequential()
        logit_activation = self.fc_activation()  # made in any case, so that a wrong name is noticed
        if activate_logits:
            self.output.append(logit_activation)
        if softmax_output:
            self.output.append(nn.Softmax(dim=1))

    def scaled(self, option: str, sizes: Iterable[int]) -> tuple[int, ...]:
        """`sizes` times `width`, each rounded; `option` is the name of the option that they came from."""
        if isinstance(sizes, str) or not isinstance(sizes, Iterable):
            raise CourseError(f"{option} must list sizes, not {sizes!r}.", f"Write for instance {option}=(64, 32).")
        sizes = tuple(sizes)
        for size in sizes:
            if not isinstance(size, Integral) or size < 1:
                raise CourseError(f"{option} holds {size!r}: a layer needs at least 1 unit.", f"Change {option}.")
            if round(size * self.width) < 1:
                raise CourseError(
                    f"width={self.width} leaves nothing of a layer with {size} channels or units.",
                    f"Use a width of at least {1 / size:g}.",
                )
        return tuple(round(size * self.width) for size in sizes)

    def check(self, X: Tensor) -> None:
        """Raise CourseError unless `X` can be a batch of the images that this network was built for."""
        if X.ndim != 4:
            raise CourseError(
                f"Images come as a batch of shape (N, channels, height, width), not as {tuple(X.shape)}.",
                "Add the missing axes: X.unsqueeze(0) makes a batch of one image.",
            )
        channels, height, width = X.shape[1:]
        if channels != self.in_channels and width == self.in_channels:
            raise CourseError(
                f"The images have shape {tuple(X.shape)}: their channels come last.",
                "Put them first: X.permute(0, 3, 1, 2).",
            )
        if channels != self.in_channels:
            raise CourseError(
                f"The images have {channels} channel(s); this network was built for {self.in_channels}.",
                f"Create it with in_channels={channels}, or pass images of shape (N, {self.in_channels}, ...).",
            )
        if self.image_size is not None and (height != self.image_size or width != self.image_size):
            raise CourseError(
                f"The images measure {height}x{width}; this network was built for {self.image_size}x{self.image_size}.",
                "Create it with the image_size of your (square) images, or resize them.",
            )
        if not X.is_floating_point():
            raise CourseError(
                f"The images hold {X.dtype}; a network computes in floating point.",
                "Scale and normalise them first, for instance (X.float() / 255 - mean) / std.",
            )

    def forward(self, X: Tensor) -> Tensor:
        """Logits (N, num_classes) of the images `X` (N, channels, height, width)."""
        self.check(X)
        return self.output(self.classifier(self.features(X)))


def check_probability(option: str, value: float) -> None:
    """Raise CourseError unless `value` can be a probability of dropping a unit."""
    if not isinstance(value, Real) or not 0 <= value < 1:
        raise CourseError(f"{option} is a probability from 0 to below 1, not {value!r}.", f"Change {option}.")


def fully_connected(
    sizes: Iterable[int],
    activation: Callable[[], nn.Module],
    *,
    batch_norm: bool = False,
    dropout: float = 0.0,
    dropout_first: bool = False,
) -> nn.Sequential:
    """Linear layers, each but the last followed by (batch normalisation,) activation (and dropout).

    Parameters
    ----------
    sizes : iterable of int
        (256, 120, 84, 10) gives fc1, act1, fc2, act2, fc3.
    activation : callable
        Makes a new activation layer.
    batch_norm : bool
        Normalise before each activation.
    dropout : float
        Probability of dropping a hidden unit; an input, where there is no hidden layer.
    dropout_first : bool
        Drop the inputs of each layer but the last, instead of the outputs.

    Returns
    -------
    torch.nn.Sequential
        Features of shape (N, sizes[0]) to logits of shape (N, sizes[-1]).
    """
    pairs = list(pairwise(sizes))
    layers = nn.Sequential()
    for i, (n_in, n_out) in enumerate(pairs, start=1):
        hidden = i < len(pairs)
        if dropout and ((dropout_first and hidden) or len(pairs) == 1):
            layers.add_module(f"dropout{i}", nn.Dropout(dropout))
        layers.add_module(f"fc{i}", nn.Linear(n_in, n_out))
        if hidden and batch_norm:
            layers.add_module(f"bn{i}", nn.BatchNorm1d(n_out))
        if hidden:
            layers.add_module(f"act{i}", activation())
        if hidden and dropout and not dropout_first:
            layers.add_module(f"dropout{i}", nn.Dropout(dropout))
    return layers
