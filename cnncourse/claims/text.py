"""Numbers and reported values as a reader sees them."""

from __future__ import annotations

import math
from typing import Any

from cnncourse.statistics import Interval

_LONG = 6  # a longer list is shown by its ends


def number_text(value: float, digits: int = 6) -> str:
    """A number with thousands separated and at most `digits` significant digits of a fraction."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def value_text(value: Any, digits: int = 6) -> str:
    """A reported or exact value: truth values as yes and no, a long list of numbers by its ends."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number_text(value, digits)
    if isinstance(value, list):
        if len(value) > _LONG and all(isinstance(item, (int, float)) for item in value):
            if len(set(value)) == 1:
                return f"{number_text(value[0], digits)} ({len(value)} times)"
            return f"{number_text(value[0], digits)} … {number_text(value[-1], digits)} ({len(value)} values)"
        return ", ".join(value_text(item, digits) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{words(key)}: {value_text(item)}" for key, item in value.items())
    return str(value)


_SHORT = {
    "acc": "accuracy",
    "bn": "batch norm",
    "conv": "convolution",
    "convs": "convolutions",
    "fc": "linear layers",
    "lr": "learning rate",
    "params": "parameters",
    "std": "standard deviation",
    "val": "validation",
}


def words(name: object) -> str:
    """A name of the code in words: ``best_val_acc`` is 'best validation accuracy'."""
    return " ".join(_SHORT.get(part, part) for part in str(name).split("_"))


def interval_text(interval: Interval, *, signed: bool = False) -> str:
    """``97.76 ± 0.12``: the half-width with two digits decides how many the mean shows."""
    sign = "+" if signed else ""
    if interval.low == interval.high:
        text = number_text(interval.mean)
        return f"+{text}" if signed and interval.mean > 0 else text
    if math.isinf(interval.half_width):
        return f"{interval.mean:{sign}.4g} (one seed)"
    decimals = max(0, 1 - math.floor(math.log10(interval.half_width)))
    if decimals > 8:
        return f"{interval.mean:{sign}.2e} ± {interval.half_width:.1e}"
    return f"{interval.mean:{sign},.{decimals}f} ± {interval.half_width:,.{decimals}f}"
