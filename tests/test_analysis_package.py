"""The package: every name is found, and heavy packages are imported only when they are needed."""

import subprocess
import sys

import pytest

from cnncourse import analysis


@pytest.mark.parametrize("name", analysis.__all__)
def test_every_name_is_found_at_home(name):
    found = getattr(analysis, name)
    assert found.__name__ == name
    assert found.__doc__


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'saliency'"):
        analysis.saliency  # noqa: B018


USE = """
import sys
import cnncourse.analysis
from cnncourse.analysis import check_weights, output_size
assert output_size(512, kernel=9) == 504
assert "torch" not in sys.modules
import torch
from cnncourse import models
model, X, y = models.create("lenet_bn"), torch.randn(4, 1, 28, 28), torch.arange(4)
logits = model(X).detach()
cnncourse.analysis.layer_table(model)
cnncourse.analysis.calibration(logits, y)
cnncourse.analysis.most_confusing(logits, y)
cnncourse.analysis.feature_maps(model, X, "features")
cnncourse.analysis.attribution(model, X, y, "grad_cam", layer="features")
cnncourse.analysis.probe(model, X, y, [0.1])
print(*{"scipy", "sklearn"} & set(sys.modules))
"""


def test_a_machine_without_scipy_and_scikit_learn_will_do():
    result = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr
