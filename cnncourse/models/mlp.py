"""Multi-layer perceptrons."""

from torch import Tensor, nn

from cnncourse.errors import CourseError
from cnncourse.models.classifier import Classifier, fully_connected
from cnncourse.models.initialisation import initialise_


class MLP(Classifier):
    """Fully connected layers on the flattened image, in the order linear, (batch normalisation,) activation.

    Parameters
    ----------
    hidden : sequence of int
        Units of the hidden layers; () is softmax regression.
    **options
        See :class:`cnncourse.models.classifier.Classifier`. Here `batch_norm` is True or False, and the forward pass
        also takes images that are flat already, (N, channels * height * width).
    """

    def __init__(self, hidden=(50, 30), **options):
        super().__init__(**options)
        if self.batch_norm == "first" or self.image_size is None:
            raise CourseError(
                "An MLP has no convolutions: batch_norm='first' and image_size=None do not fit it.",
                "Use batch_norm=True or False and the size of the images.",
            )
        self.num_inputs = self.in_channels * self.image_size**2
        self.features.flatten = nn.Flatten()
        self.classifier = fully_connected(
            [self.num_inputs, *self.scaled("hidden", hidden), self.num_classes],
            self.activation,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
        )
        initialise_(self, self.init)

    def check(self, X: Tensor) -> None:
        if X.ndim != 2:
            super().check(X)
        elif X.shape[1] != self.num_inputs:
            raise CourseError(
                f"The flat images have {X.shape[1]} pixels; this network was built for {self.num_inputs}.",
                "Create it with the in_channels and image_size of your images.",
            )


def mlp_30(**options) -> MLP:
    """One hidden layer for MNIST, 23,860 parameters (AI604, problem 2, experiments 1 and 2).

    784 -> FC 30, ReLU -> FC 10. The report does not give the hidden size; 30 is that of the course's public skeleton.
    """
    return MLP(**dict(hidden=(30,), in_channels=1, image_size=28) | options)


def mlp_50_30(**options) -> MLP:
    """Two hidden layers for MNIST, 41,090 parameters (AI604, problem 2, experiments 3 to 5).

    784 -> FC 50, ReLU -> FC 30, ReLU -> FC 10. The experiments with sigmoid: ``activation="sigmoid"``.
    """
    return MLP(**dict(hidden=(50, 30), in_channels=1, image_size=28) | options)


def mlp_50_30_bn(**options) -> MLP:
    """`mlp_50_30` with batch normalisation before each ReLU, 41,250 parameters (AI604, problem 2, questions f and g).

    The report prints the layers without their order; linear, BN, ReLU is that of the public skeleton.
    """
    return mlp_50_30(**dict(batch_norm=True) | options)
