"""Convolutional networks with three or four blocks for CIFAR-10 (TDT4265, tasks 2 and 3)."""

from cnncourse.models.convnet import ConvNet


def cnn_5x5(**options) -> ConvNet:
    """Base network, 390,410 parameters (TDT4265, tasks 1g and 2).

    Three times conv 5x5 with padding 2, ReLU, max pool: 3->32 (32 -> 16), 32->64 (8), 64->128 (4);
    flatten 2,048 -> FC 64, ReLU -> FC 10.
    """
    return ConvNet(**dict(blocks=((32,), (64,), (128,)), kernel_size=5, padding=2, hidden=(64,)) | options)


def cnn_3x3_bn(**options) -> ConvNet:
    """Model 1, 225,482 parameters (TDT4265, task 3).

    As `cnn_5x5` with 3x3 windows and, after each convolution, ReLU, BN, max pool, dropout 0.1, in this order. The
    channels that the report tabulates do not fit together; 32, 64, 128 fit its fully connected layer of 2,048 inputs.
    """
    return cnn_3x3(**dict(batch_norm=True) | options)


def cnn_3x3(**options) -> ConvNet:
    """`cnn_3x3_bn` without batch normalisation, 225,034 parameters (TDT4265, task 3d)."""
    return cnn_5x5(**dict(kernel_size=3, padding=1, bn_after_activation=True, conv_dropout=0.1) | options)


def cnn_5x5_bn(**options) -> ConvNet:
    """`cnn_3x3_bn` with 5x5 windows and padding 2, 390,858 parameters (TDT4265, task 3c)."""
    return cnn_3x3_bn(**dict(kernel_size=5, padding=2) | options)


def deep_cnn_mish(**options) -> ConvNet:
    """Model 2, 4,181,002 parameters (TDT4265, task 3).

    Four times conv 3x3 with padding 1, Mish, BN, max pool, dropout 0.1: 3->64 (32 -> 16), 64->128 (8), 128->256 (4),
    256->512 (2); flatten 2,048 -> FC 1,024, ReLU -> FC 512, ReLU -> FC 10. The channels that the report tabulates do
    not fit together; these fit its fully connected layers and its text. Its table marks ReLU on the logits, too:
    ``activate_logits=True``.
    """
    return cnn_3x3_bn(
        **dict(blocks=((64,), (128,), (256,), (512,)), hidden=(1024, 512), activation="mish", fc_activation="relu")
        | options
    )


def final_cnn_wide(**options) -> ConvNet:
    """Final model, reading A, 6,382,090 parameters (TDT4265, task 3e).

    Three times conv 3x3, BN, Mish, conv 3x3, Mish, max pool: 3->32->64 (32 -> 16), 64->128->128 (8),
    128->256->256 (4); flatten 4,096 -> FC 1,024, Mish -> FC 1,024, Mish -> FC 10. The report tabulates 256 channels
    but BN of 128 and 2,048 features: here the channels hold. It marks Mish on the logits, too:
    ``activate_logits=True``.
    """
    return ConvNet(
        **dict(
            blocks=((32, 64), (128, 128), (256, 256)),
            padding=1,
            hidden=(1024, 1024),
            activation="mish",
            batch_norm="first",
        )
        | options
    )


def final_cnn(**options) -> ConvNet:
    """Final model, reading B, 3,694,602 parameters (TDT4265, task 3e).

    As `final_cnn_wide` with a third block of 128->128->128, so that BN of 128 and 2,048 features hold.
    """
    return final_cnn_wide(**dict(blocks=((32, 64), (128, 128), (128, 128))) | options)
