"""Small convolutional networks with one or two convolutions, after LeNet-5 (LeCun et al., 1998)."""

from cnncourse.models.convnet import ConvNet


def lenet_bn(**options) -> ConvNet:
    """LeNet with batch normalisation for MNIST, 44,470 parameters (AI604, problem 1).

    conv 1->6 5x5 (28 -> 24), BN, ReLU, max pool (12); conv 6->16 5x5 (8), BN, ReLU, max pool (4);
    flatten 256 -> FC 120, ReLU -> FC 84, ReLU -> FC 10. The report lists one pooling layer, which it uses twice, and
    not the order of BN, ReLU and pooling.
    """
    return ConvNet(
        **dict(blocks=((6,), (16,)), kernel_size=5, hidden=(120, 84), batch_norm=True, in_channels=1, image_size=28)
        | options
    )


def conv_bn(**options) -> ConvNet:
    """One convolution with stride 2 for MNIST, 11,842 parameters (AI604, problem 2, question i).

    conv 1->8 6x6, stride 2 (28 -> 12), BN, ReLU; flatten 1,152 -> FC 10.
    """
    return ConvNet(
        **dict(
            blocks=((8,),),
            kernel_size=6,
            stride=2,
            pool=False,
            hidden=(),
            batch_norm=True,
            in_channels=1,
            image_size=28,
        )
        | options
    )


def conv_bn_pool(**options) -> ConvNet:
    """`conv_bn` with max pooling, 3,202 parameters (AI604, problem 2, question j).

    conv 1->8 6x6, stride 2 (28 -> 12), BN, ReLU, max pool (6); flatten 288 -> FC 10. The report never prints this
    network; its count leaves no other.
    """
    return conv_bn(**dict(pool=True) | options)


def simple_cnn(**options) -> ConvNet:
    """SimpleNN for CIFAR-10, 82,030 parameters (ECE 661, labs 1 and 2).

    conv 3->8 5x5 (32 -> 28), ReLU, max pool (14); conv 8->16 3x3 (12), ReLU, max pool (6);
    flatten 576 -> FC 120, ReLU -> FC 84, ReLU -> FC 10. The report's forward pass puts an activation on the logits,
    too: ``activate_logits=True``.
    """
    return ConvNet(**dict(blocks=((8,), (16,)), kernel_size=(5, 3), hidden=(120, 84)) | options)


def simple_cnn_bn(**options) -> ConvNet:
    """`simple_cnn` with batch normalisation before each convolution's activation, 82,078 parameters (ECE 661, lab 2).

    With Swish on all layers: ``activation="swish"``.
    """
    return simple_cnn(**dict(batch_norm=True) | options)


def tutorial_cnn(**options) -> ConvNet:
    """Candidate for NNDL's basic network on CIFAR-10, 62,006 parameters (NNDL 1.1 to 1.3).

    conv 3->6 5x5 (32 -> 28), ReLU, max pool (14); conv 6->16 5x5 (10), ReLU, max pool (5);
    flatten 400 -> FC 120, ReLU -> FC 84, ReLU -> FC 10. The report names the kinds of its layers only; these sizes are
    those of PyTorch's tutorial "Training a classifier". A wider candidate:
    ``blocks=((32,), (64,)), kernel_size=3, padding=1, hidden=(512, 128)``.
    """
    return ConvNet(**dict(blocks=((6,), (16,)), kernel_size=5, hidden=(120, 84)) | options)
