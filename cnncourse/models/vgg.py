"""Networks after Simonyan and Zisserman (2015): 3x3 convolutions with padding 1, and a small head."""

from cnncourse.models.convnet import ConvNet


def vgg_a(**options) -> ConvNet:
    """VGG-A for CIFAR-10, 9,750,922 parameters (NNDL 2.1).

    conv 3->64, pool (32 -> 16); 64->128, pool (8); 128->256->256, pool (4); 256->512->512, pool (2); 512->512->512,
    pool (1); ReLU after each convolution; FC 512, ReLU -> FC 512, ReLU -> FC 10. The report gives no layer sizes; these
    are those of the course's public skeleton. VGG-A Dropout drops before the two hidden layers: ``dropout=0.5``.
    """
    return ConvNet(
        **dict(
            blocks=((64,), (128,), (256, 256), (512, 512), (512, 512)),
            padding=1,
            hidden=(512, 512),
            dropout_first=True,
        )
        | options
    )


def vgg_a_bn(**options) -> ConvNet:
    """`vgg_a` with batch normalisation after each convolution, 9,756,426 parameters (NNDL 2.1)."""
    return vgg_a(**dict(batch_norm=True) | options)


def vgg_a_light(**options) -> ConvNet:
    """VGG-A Light, 285,162 parameters (NNDL 2.1).

    conv 3->16, ReLU, pool (32 -> 16); conv 16->32, ReLU, pool (8); flatten 2,048 -> FC 128, ReLU -> FC 128, ReLU ->
    FC 10. Sizes of the public skeleton.
    """
    return vgg_a(**dict(blocks=((16,), (32,)), hidden=(128, 128)) | options)


def vgg16_leaky(**options) -> ConvNet:
    """What AI604 prints as "VGG19": VGG-16 with a small head, 15,044,298 parameters (AI604, problem 3).

    Blocks of 64 64 | 128 128 | 256 256 256 | 512 512 512 | 512 512 512 channels, each ended by a pool (32 -> 1),
    LeakyReLU with slope 0.2 after each convolution; FC 512, ReLU -> FC 128, ReLU -> FC 10. That makes 13 convolutions
    and 3 fully connected layers: 16 layers with weights, not 19.
    """
    return ConvNet(
        **dict(
            blocks=((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
            padding=1,
            hidden=(512, 128),
            activation="leaky_relu",
            negative_slope=0.2,
            fc_activation="relu",
        )
        | options
    )


def vgg19_leaky(**options) -> ConvNet:
    """The VGG-19 that AI604 meant, with the same head, 20,353,994 parameters (AI604, problem 3).

    As `vgg16_leaky` with four convolutions in each of the last three blocks.
    """
    return vgg16_leaky(**dict(blocks=((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)) | options)


def vgg19_leaky_bn(**options) -> ConvNet:
    """`vgg19_leaky` with batch normalisation, 20,365,002 parameters: what AI604's own test expects (problem 3)."""
    return vgg19_leaky(**dict(batch_norm=True) | options)


def small_vggnet(**options) -> ConvNet:
    """SmallVGGNet for MNIST, 839,802 parameters (IFT6135, problem 2).

    conv 1->16 with padding 3 (28 -> 32), 16->16, pool (16); 16->32->32, pool (8); 32->64->64, pool (4); ReLU after each
    convolution; flatten 1,024 -> FC 500, ReLU -> FC 500, ReLU -> FC 10; Glorot initialisation. The report prints
    padding 3 for the second convolution, too; padding 1 is that of the public code, and has the same count. It ends in
    a softmax, which belongs into the loss.
    """
    return ConvNet(
        **dict(
            blocks=((16, 16), (32, 32), (64, 64)),
            padding=(3, 1, 1, 1, 1, 1),
            hidden=(500, 500),
            init="glorot",
            in_channels=1,
            image_size=28,
        )
        | options
    )


def catdog_vgg(**options) -> ConvNet:
    """VGG for cats and dogs of 64x64 pixels, 5,884,162 parameters (IFT6135, problem 3; the report states 4,729,506).

    conv 3->32, pool (64 -> 32); 32->64->64, pool (16); 64->128->128, pool (8); 128->256->256, pool (4); ReLU after each
    convolution (not printed, taken from public code); flatten 4,096 -> FC 1,024, ReLU -> FC 512, ReLU -> FC 2; Glorot
    initialisation. The design that the report started from: ``blocks=((32,), (64,), (128, 128), (256, 256),
    (256, 256))``; the larger head: ``hidden=(2048, 1024)``.
    """
    return ConvNet(
        **dict(
            blocks=((32,), (64, 64), (128, 128), (256, 256)),
            padding=1,
            hidden=(1024, 512),
            init="glorot",
            num_classes=2,
            image_size=64,
        )
        | options
    )
