"""Looking at networks, before, during and after training.

- `gradient_check`: gradients of any scalar function against central differences
- `conv_arithmetic`: sizes, padding, receptive fields, parameters and multiply-adds of convolutions, in whole numbers
- `layers`: the same for every layer of a network, as a table
- `predictions`: confused classes, confusing and confidently wrong images, calibration
- `features`: kernels, feature maps and attributions of any layer
- `landscape`: bands of the loss, changes of the gradient and beta-smoothness, probed while training

Torch is imported when one of the functions is asked for that need it.
"""

from importlib import import_module

_HOME = {
    "TrainingProbe": "landscape",
    "attribution": "features",
    "calibration": "predictions",
    "check_gradients": "gradient_check",
    "check_weights": "gradient_check",
    "confused_pairs": "predictions",
    "conv_multiply_adds": "conv_arithmetic",
    "conv_parameters": "conv_arithmetic",
    "feature_maps": "features",
    "kernels": "features",
    "kernels_for": "conv_arithmetic",
    "layer_table": "layers",
    "loss_band": "landscape",
    "most_confidently_wrong": "predictions",
    "most_confusing": "predictions",
    "output_size": "conv_arithmetic",
    "probe": "landscape",
    "receptive_field": "conv_arithmetic",
    "same_padding": "conv_arithmetic",
    "steps_until_below": "landscape",
    "to_unit_range": "features",
}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"cnncourse.analysis.{_HOME[name]}"), name)
    raise AttributeError(f"module 'cnncourse.analysis' has no attribute {name!r}")
