"""Residual networks, He et al. (2016): each block adds what it computes to what it got."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from cnncourse.errors import CourseError
from cnncourse.models.choices import unknown
from cnncourse.models.classifier import Classifier
from cnncourse.models.initialisation import initialise_


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: ``activation(branch(X) + shortcut(X))``, without the sum where `shortcut` is None.

    Maps X of shape (N, c_in, H, W) to (N, channels, H / stride, W / stride).
    """

    expansion = 1

    def __init__(
        self,
        c_in: int,
        channels: int,
        stride: int,
        shortcut: nn.Module | None,
        conv_bn: Callable[..., tuple[nn.Module, nn.Module]],
        activation: Callable[[], nn.Module],
    ):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(c_in, channels, 3, stride)
        self.act1 = activation()
        self.conv2, self.bn2 = conv_bn(channels, channels, 3, first=False)
        self.shortcut = shortcut
        self.act2 = activation()

    def forward(self, X: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(X)))
        out = self.bn2(self.conv2(out))
        return self.act2(out if self.shortcut is None else out + self.shortcut(X))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, of which the last widens the maps four times.

    Maps X of shape (N, c_in, H, W) to (N, 4 * channels, H / stride, W / stride). The stride is that of the 3x3
    convolution, as in torchvision; the paper has it in the first 1x1.
    """

    expansion = 4

    def __init__(
        self,
        c_in: int,
        channels: int,
        stride: int,
        shortcut: nn.Module | None,
        conv_bn: Callable[..., tuple[nn.Module, nn.Module]],
        activation: Callable[[], nn.Module],
    ):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(c_in, channels, 1)
        self.act1 = activation()
        self.conv2, self.bn2 = conv_bn(channels, channels, 3, stride, first=False)
        self.act2 = activation()
        self.conv3, self.bn3 = conv_bn(channels, 4 * channels, 1, first=False)
        self.shortcut = shortcut
        self.act3 = activation()

    def forward(self, X: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(X)))
        out = self.act2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.act3(out if self.shortcut is None else out + self.shortcut(X))


class PaddedShortcut(nn.Module):
    """Option A of the paper: take every `stride`-th pixel and append channels of zeros. No parameters."""

    def __init__(self, new_channels: int, stride: int):
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, X: Tensor) -> Tensor:
        return F.pad(X[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(Classifier):
    """Stem, stages of residual blocks, average over the map, one fully connected layer.

    The first block of every stage but the first halves the map. Layers are named as in torchvision:
    ``model.features.layer2[0].conv1``.

    Parameters
    ----------
    layers : sequence of int
        Blocks in each stage.
    channels : sequence of int
        Channels of each stage (of the narrow convolutions, for bottlenecks).
    block : {'basic', 'bottleneck'}
        Two 3x3 convolutions, or 1x1, 3x3, 1x1.
    stem : {'cifar', 'imagenet'}
        One 3x3 convolution; or 7x7 with stride 2 and 3x3 max pooling with stride 2.
    shortcut : {'projection', 'padding'}
        Where a block changes the shape: 1x1 convolution (option B of the paper) or zeros for new channels (option A).
    residual : bool
        False: no shortcuts, the "plain" network of the paper.
    conv_bias : bool, optional
        Biases in the convolutions. By default only in those without batch normalisation, which would cancel them.
    shortcut_bn : bool
        Whether batch normalisation is applied to projections, too.
    zero_init_residual : bool
        Start each block as its shortcut: the scale of its last batch normalisation, or else its last convolution, is 0.
    batch_norm : bool or 'first'
        'first': only in the stem and after the first convolution of each block; none on projections.
    image_size : int or None
        By default None: averaging over the map makes any size fit.
    **options
        See :class:`cnncourse.models.classifier.Classifier`. `dropout` drops inputs of the fully connected layer.
    """

    def __init__(
        self,
        layers: Sequence[int],
        channels: Sequence[int] = (64, 128, 256, 512),
        *,
        block: str = "basic",
        stem: str = "cifar",
        shortcut: str = "projection",
        residual: bool = True,
        conv_bias: bool | None = None,
        shortcut_bn: bool = True,
        zero_init_residual: bool = False,
        batch_norm: bool | str = True,
        image_size: int | None = None,
        **options,
    ):
        super().__init__(batch_norm=batch_norm, image_size=image_size, **options)
        for kind, given, choices in [
            ("block", block, BLOCKS),
            ("stem", stem, ["cifar", "imagenet"]),
            ("shortcut", shortcut, ["projection", "padding"]),
        ]:
            if given not in choices:
                raise unknown(kind, given, choices)
        channels = self.scaled("channels", channels)
        if not isinstance(layers, Sequence) or len(layers) != len(channels):
            raise CourseError(
                f"layers is {layers!r}, but there are {len(channels)} stages of channels.",
                "Give layers and channels one number for each stage.",
            )
        conv_bn = partial(convolution, batch_norm=self.batch_norm, bias=conv_bias)
        make_block = BLOCKS[block]

        c_in = channels[0]
        kernel_size, stride = (3, 1) if stem == "cifar" else (7, 2)
        self.features.conv1, self.features.bn1 = conv_bn(self.in_channels, c_in, kernel_size, stride)
        self.features.act1 = self.activation()
        if stem == "imagenet":
            self.features.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for s, (num_blocks, stage_channels) in enumerate(zip(layers, channels, strict=True), start=1):
            stage = nn.Sequential()
            for b in range(num_blocks):
                stride = 2 if s > 1 and b == 0 else 1
                c_out = stage_channels * make_block.expansion
                if not residual:
                    skip = None
                elif stride == 1 and c_in == c_out:
                    skip = nn.Identity()
                elif shortcut == "padding":
                    skip = PaddedShortcut(c_out - c_in, stride)
                else:
                    conv, bn = conv_bn(c_in, c_out, 1, stride, batch_norm=shortcut_bn and self.batch_norm is True)
                    skip = nn.Sequential(OrderedDict(conv=conv, bn=bn))
                stage.append(make_block(c_in, stage_channels, stride, skip, conv_bn, self.activation))
                c_in = c_out
            self.features.add_module(f"layer{s}", stage)
        self.features.avgpool = nn.AdaptiveAvgPool2d(1)
        self.features.flatten = nn.Flatten()

        if self.dropout:
            self.classifier.dropout = nn.Dropout(self.dropout)
        self.classifier.fc = nn.Linear(c_in, self.num_classes)

        initialise_(self, self.init)
        if zero_init_residual:
            for layer in self.modules():
                if isinstance(layer, (BasicBlock, Bottleneck)):
                    zero_last_(layer)


def convolution(
    c_in: int,
    c_out: int,
    kernel_size: int,
    stride: int = 1,
    *,
    first: bool = True,
    batch_norm: bool | str,
    bias: bool | None,
) -> tuple[nn.Module, nn.Module]:
    """A convolution that keeps the size of the map (but for the stride), and its batch normalisation or the identity.

    `first`: whether it is the first convolution of its block, the only one that ``batch_norm="first"`` normalises.
    """
    normalised = bool(batch_norm) and (first or batch_norm != "first")
    if bias is None:
        bias = not normalised
    conv = nn.Conv2d(c_in, c_out, kernel_size, stride, padding=kernel_size // 2, bias=bias)
    return conv, nn.BatchNorm2d(c_out) if normalised else nn.Identity()


def zero_last_(block: BasicBlock | Bottleneck) -> None:
    """Make the branch of a residual block 0, in place."""
    conv, bn = (block.conv2, block.bn2) if isinstance(block, BasicBlock) else (block.conv3, block.bn3)
    if isinstance(bn, nn.BatchNorm2d):
        nn.init.zeros_(bn.weight)
        return
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def resnet18(**options) -> ResNet:
    """ResNet-18 for 32x32 images, 11,173,962 parameters (NNDL 1.4 and 1.5).

    conv 3->64 3x3, BN, ReLU; stages of 64, 128, 256, 512 channels (maps of 32, 16, 8, 4) with 2, 2, 2, 2 basic
    blocks; projections with BN where the shape changes; average pooling; FC 10. The network for ImageNet:
    ``stem="imagenet", num_classes=1000``.
    """
    return ResNet(**dict(layers=(2, 2, 2, 2)) | options)


def resnet34(**options) -> ResNet:
    """ResNet-34: as `resnet18` with 3, 4, 6, 3 basic blocks, 21,282,122 parameters (NNDL 1.5)."""
    return ResNet(**dict(layers=(3, 4, 6, 3)) | options)


def resnet50(**options) -> ResNet:
    """ResNet-50: as `resnet18` with 3, 4, 6, 3 bottlenecks, 23,520,842 parameters (NNDL 1.5)."""
    return ResNet(**dict(layers=(3, 4, 6, 3), block="bottleneck") | options)


def resnet101(**options) -> ResNet:
    """ResNet-101: as `resnet18` with 3, 4, 23, 3 bottlenecks, 42,512,970 parameters (NNDL 1.5)."""
    return ResNet(**dict(layers=(3, 4, 23, 3), block="bottleneck") | options)


def resnet152(**options) -> ResNet:
    """ResNet-152: as `resnet18` with 3, 8, 36, 3 bottlenecks, 58,156,618 parameters (NNDL 1.5)."""
    return ResNet(**dict(layers=(3, 8, 36, 3), block="bottleneck") | options)


def resnet20(**options) -> ResNet:
    """The paper's ResNet-20 for CIFAR-10, 269,722 parameters (ECE 661, lab 3).

    conv 3->16 3x3, BN, ReLU; stages of 16, 32, 64 channels (maps of 32, 16, 8) with three basic blocks each; shortcuts
    padded with zeros (option A); average pooling; FC 10. The report's variant normalises after the first convolution
    of each block only: ``batch_norm="first"``; its first attempt ended in a softmax: ``softmax_output=True``. Depth
    6 n + 2 has n blocks a stage; ``layers=(9, 9, 9), residual=False`` is the plain network of 56 layers (NNDL 1.4).
    """
    return ResNet(**dict(layers=(3, 3, 3), channels=(16, 32, 64), shortcut="padding") | options)


def resnet20_projection(**options) -> ResNet:
    """`resnet20` with projections where the shape changes (option B), 272,474 parameters (ECE 661, lab 3)."""
    return resnet20(**dict(shortcut="projection") | options)


def catdog_resnet18(**options) -> ResNet:
    """ResNet-18 for cats and dogs, 11,172,866 parameters (IFT6135, problem 3, appendix).

    As `resnet18` with biases in all convolutions, projections without BN, FC 2, Glorot initialisation. The report gives
    no layers; these are those of a public notebook of the course.
    """
    return resnet18(**dict(conv_bias=True, shortcut_bn=False, init="glorot", num_classes=2) | options)


def catdog_resnet18_nobn(**options) -> ResNet:
    """`catdog_resnet18` without batch normalisation, 11,165,058 parameters (IFT6135, problem 3, appendix)."""
    return catdog_resnet18(**dict(batch_norm=False) | options)
