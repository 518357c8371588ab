"""Plain convolutional networks: blocks of convolutions and max pooling, then fully connected layers."""

from collections.abc import Sequence
from itertools import count

from torch import nn

from cnncourse.errors import CourseError
from cnncourse.models.classifier import Classifier, check_probability, fully_connected
from cnncourse.models.initialisation import initialise_


class ConvNet(Classifier):
    """Blocks of convolutions, each block ended by max pooling; then fully connected layers.

    From LeNet to VGG only the numbers differ. A convolution is followed by (batch normalisation and) an activation.
    Layers are named as in the VGG paper: ``model.features.conv3_2`` is the second convolution of the third block,
    ``model.features.conv3`` the only one of a block.

    Parameters
    ----------
    blocks : sequence of sequences of int
        Output channels of the convolutions, block by block: ((64, 64), (128, 128)) has two blocks of two.
    hidden : sequence of int
        Units of the hidden fully connected layers; () connects the features to the logits.
    kernel_size, padding : int or sequence of int
        Of all convolutions, or of each.
    stride : int
        Of all convolutions.
    pool : bool
        End each block with 2x2 max pooling.
    bn_after_activation : bool
        Normalise what the activation gives, instead of what it gets.
    conv_dropout : float
        Probability of dropping an output of a block.
    dropout_first : bool
        Drop the inputs of the hidden fully connected layers, instead of their outputs.
    **options
        See :class:`cnncourse.models.classifier.Classifier`.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[int]],
        hidden: Sequence[int] = (),
        *,
        kernel_size: int | Sequence[int] = 3,
        padding: int | Sequence[int] = 0,
        stride: int = 1,
        pool: bool = True,
        bn_after_activation: bool = False,
        conv_dropout: float = 0.0,
        dropout_first: bool = False,
        **options,
    ):
        super().__init__(**options)
        if self.image_size is None:
            raise CourseError("The first fully connected layer needs to know the image size.", "Pass image_size.")
        check_probability("conv_dropout", conv_dropout)
        if not all(isinstance(block, Sequence) for block in blocks):
            raise CourseError(
                f"blocks must list the convolutions of each block, not {blocks!r}.",
                "Write for instance blocks=((32,), (64, 64)): one convolution, then two.",
            )
        blocks = [self.scaled("blocks", block) for block in blocks]
        num_convs = sum(map(len, blocks))
        kernel_sizes = iter(for_each_conv("kernel_size", kernel_size, num_convs))
        paddings = iter(for_each_conv("padding", padding, num_convs))

        c_in = self.in_channels
        for b, block in enumerate(blocks, start=1):
            for c, c_out in enumerate(block, start=1):
                number = f"{b}_{c}" if len(block) > 1 else f"{b}"
                conv = nn.Conv2d(c_in, c_out, next(kernel_sizes), stride, next(paddings))
                self.features.add_module(f"conv{number}", conv)
                normalise = self.batch_norm and (c == 1 or self.batch_norm != "first")
                if normalise and not bn_after_activation:
                    self.features.add_module(f"bn{number}", nn.BatchNorm2d(c_out))
                self.features.add_module(f"act{number}", self.activation())
                if normalise and bn_after_activation:
                    self.features.add_module(f"bn{number}", nn.BatchNorm2d(c_out))
                c_in = c_out
            if pool:
                self.features.add_module(f"pool{b}", nn.MaxPool2d(2))
            if conv_dropout:
                self.features.add_module(f"dropout{b}", nn.Dropout(conv_dropout))
        size = map_size(self.features, self.image_size)
        self.features.add_module("flatten", nn.Flatten())

        self.classifier = fully_connected(
            [c_in * size**2, *self.scaled("hidden", hidden), self.num_classes],
            self.fc_activation,
            dropout=self.dropout,
            dropout_first=dropout_first,
        )
        initialise_(self, self.init)


def for_each_conv(option: str, value: int | Sequence[int], num_convs: int) -> Sequence[int]:
    """`value` for each of the convolutions; `option` is its name."""
    values = [value] * num_convs if isinstance(value, int) else list(value)
    if len(values) != num_convs:
        raise CourseError(
            f"{option} has {len(values)} values for {num_convs} convolutions.",
            "Give one number for all of them, or one for each.",
        )
    return values


def map_size(features: nn.Module, image_size: int) -> int:
    """Height and width of the maps that `features` makes of square images.

    Each convolution or pooling with window k, stride s and padding p turns size n into floor((n + 2p - k) / s) + 1.

    Raises
    ------
    CourseError
        When nothing is left of the image.
    """

    def left_of(size: int) -> int:
        for layer in features.modules():
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)) and size > 0:
                # torch keeps what is the same for both axes as a pair in Conv2d and as a number in MaxPool2d
                window = (layer.kernel_size, layer.stride, layer.padding)
                k, s, p = (x[0] if isinstance(x, tuple) else x for x in window)
                size = (size + 2 * p - k) // s + 1
        return max(size, 0)

    if not left_of(image_size):
        least = next(size for size in count(image_size + 1) if left_of(size))
        raise CourseError(
            f"Nothing is left of images of {image_size}x{image_size} pixels after these convolutions and poolings.",
            f"Use images of at least {least}x{least} pixels (image_size={least}), or fewer blocks.",
        )
    return left_of(image_size)
