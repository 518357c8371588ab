"""Helpers behind the notebooks of the course. Heavy packages are imported by the functions that use them."""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {"start": "session", "Session": "session", "CourseError": "errors"}
_MODULES = ("analysis", "claims", "data", "models", "plotting", "teaching", "training")

__all__ = ["CourseError", "Session", "__version__", "start"]


def __getattr__(name: str):
    # Lazy, so that `import cnncourse` costs nothing next to `import torch` (PEP 562).
    if name in _HOME:
        return getattr(import_module(f"cnncourse.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"cnncourse.{name}")
    raise AttributeError(f"module 'cnncourse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
