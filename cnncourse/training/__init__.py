"""Training: `fit`, `evaluate` and what they return. torch is imported when one of them is asked for."""

from importlib import import_module

_HOME = {
    "Evaluation": "evaluation",
    "History": "history",
    "LOSSES": "losses",
    "evaluate": "evaluation",
    "evaluation_mode": "evaluation",
    "fit": "loop",
}

__all__ = ["LOSSES", "Evaluation", "History", "evaluate", "evaluation_mode", "fit"]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"cnncourse.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'cnncourse.training' has no attribute {name!r}")
