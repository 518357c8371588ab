"""Networks of the course: ``create("lenet_bn")``, ``names()``. Torch is imported when one is created."""

from importlib import import_module

from cnncourse.models.registry import count_parameters, create, names

_HOME = {
    "NumpyMLP": "numpy_mlp",
    "create_pretrained": "pretrained",
    "initialise_": "initialisation",
    "keep_statistics": "pretrained",
    "replace_head": "pretrained",
    "train_only": "pretrained",
}

__all__ = ["count_parameters", "create", "names", *_HOME]


def __getattr__(name: str):
    # Lazy, so that `import cnncourse.models` imports neither torch nor numpy (PEP 562).
    if name in _HOME:
        return getattr(import_module(f"cnncourse.models.{_HOME[name]}"), name)
    raise AttributeError(f"module 'cnncourse.models' has no attribute {name!r}")
