"""Training: `fit` and `evaluate`; experiments as values, sweeps of them, and the store that keeps their outcomes.

torch is imported when one of them is asked for.
"""

from importlib import import_module

_HOME = {
    "Evaluation": "evaluation",
    "Experiment": "experiment",
    "History": "history",
    "LOSSES": "losses",
    "Run": "experiment",
    "Store": "store",
    "Sweep": "sweeps",
    "evaluate": "evaluation",
    "evaluation_mode": "evaluation",
    "fit": "loop",
    "sweep": "sweeps",
    "train": "experiment",
}

__all__ = [
    "LOSSES",
    "Evaluation",
    "Experiment",
    "History",
    "Run",
    "Store",
    "Sweep",
    "evaluate",
    "evaluation_mode",
    "fit",
    "sweep",
    "train",
]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"cnncourse.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'cnncourse.training' has no attribute {name!r}")
