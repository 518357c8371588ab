"""The contract: what a fresh run measures has to agree with the committed results.

Exact metrics have to be equal, trained ones to lie in their band (see :class:`cnncourse.results.Band`).
pytest-regressions was considered: it has one constant tolerance per column and rewrites its file with the new values,
while here each element has its own band, and the band comes from runs at several seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cnncourse.results import Band, Curve, Metric, Results

WIDTH = 4.0  # a band reaches this many sd to either side of the mean
# Results hold 7 significant digits, and float32 sums of some thousand terms agree between machines to about 6.
# This floor keeps a metric that all seeds share (sd = 0) from failing by round-off; it hides nothing larger.
RELATIVE_FLOOR = 1e-6
ABSOLUTE_FLOOR = 1e-12


@dataclass(frozen=True)
class Mismatch:
    """One difference between a fresh run and the committed results."""

    notebook: str
    name: str  # of the metric or curve
    problem: str
    old: str = "-"
    new: str = "-"
    band: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.notebook}: {self.name}: {self.problem}",
            f"  committed: {self.old}",
            f"  fresh:     {self.new}",
        ]
        if self.band:
            lines.append(f"  band:      {self.band}")
        return "\n".join(lines)


def compare(fresh: Results, committed: Results) -> list[Mismatch]:
    """Where a fresh run breaks the contract.

    Parameters
    ----------
    fresh : Results
        Results of a new run.
    committed : Results
        Results in the repository, of the same notebook and profile; its trained metrics carry bands.

    Returns
    -------
    list of Mismatch
        Empty when the contract holds.
    """
    found = [
        Mismatch(committed.notebook, what, "differs", str(old), str(new))
        for what, old, new in [
            ("notebook", committed.notebook, fresh.notebook),
            ("profile", committed.profile, fresh.profile),
            ("seeds", committed.provenance.seeds, fresh.provenance.seeds),
            ("data", *(sorted((d.name, d.kind, d.sha256) for d in r.provenance.data) for r in (committed, fresh))),
        ]
        if old != new
    ]
    for kind, old, new, check in [
        ("metric", committed.metrics, fresh.metrics, _compare_metric),
        ("curve", committed.curves, fresh.curves, _compare_curve),
    ]:
        for name in old.keys() | new.keys():
            if name not in new:
                found.append(Mismatch(committed.notebook, name, f"the fresh run lacks this {kind}", _show(old[name])))
            elif name not in old:
                found.append(Mismatch(committed.notebook, name, f"this {kind} is new", new=_show(new[name])))
            else:
                found += (Mismatch(committed.notebook, name, *rest) for rest in check(new[name], old[name]))
    return sorted(found, key=lambda mismatch: mismatch.name)


def report(mismatches: Iterable[Mismatch]) -> str:
    """The mismatches as text, and how to accept the change when it is meant."""
    mismatches = list(mismatches)
    if not mismatches:
        return ""
    notebooks = sorted({mismatch.notebook for mismatch in mismatches})
    return (
        "\n".join(map(str, mismatches))
        + f"\n\n{len(mismatches)} broken. If the change is meant, accept it with"
        + f"\n  cnncourse refresh {' '.join(notebook[:2] for notebook in notebooks)}"
        + "\nand commit the notebook and its results."
    )


def statistic(metric: Metric) -> float | list[float]:
    """The number (for list metrics: the list) by which a band judges one run: the mean over the run's own seeds.

    Raises
    ------
    ValueError
        When the metric is not numeric or its seeds have lists of different lengths.
    """
    if metric.per_seed is None:
        numbers = metric.value if isinstance(metric.value, list) else [metric.value]
        if any(isinstance(number, (bool, str)) or number is None for number in numbers):
            raise ValueError(f"{metric.value!r} is not a number")
        return [float(number) for number in numbers] if isinstance(metric.value, list) else float(metric.value)
    values = list(metric.per_seed.values())
    if not values:
        raise ValueError("it has no seeds")
    if not isinstance(values[0], list):
        return fmean(values)
    if len({len(value) for value in values}) > 1:
        raise ValueError("its seeds have lists of different lengths")
    return [fmean(column) for column in zip(*values, strict=True)]


def limits(mean: float, sd: float) -> tuple[float, float]:
    """Lowest and highest value that a band with this mean and sd accepts."""
    reach = max(WIDTH * sd, RELATIVE_FLOOR * abs(mean), ABSOLUTE_FLOOR)
    return mean - reach, mean + reach


def _compare_metric(new: Metric, old: Metric) -> Iterable[tuple[str, ...]]:
    """(problem, old, new, band) of each difference between two versions of one metric."""
    for field in ("kind", "unit", "data"):
        if getattr(new, field) != getattr(old, field):
            yield f"another {field}", repr(getattr(old, field)), repr(getattr(new, field))
    if new.kind != old.kind:
        return
    if _shape(new) != _shape(old):
        yield f"another shape, {_shape(new)} instead of {_shape(old)}", _show(old), _show(new)
    elif any(not math.isfinite(number) for number in _numbers(new)):
        yield "not a finite number", _show(old), _show(new)
    elif new.kind == "exact":
        if not _equal((new.value, new.per_seed), (old.value, old.per_seed)):
            yield "an exact metric changed", _show(old), _show(new)
    elif old.band is None:
        yield "the committed metric has no band (its file was not written by refresh)", _show(old), _show(new)
    else:
        yield from _outside(statistic(new), statistic(old), old.band)


def _outside(new: float | list[float], old: float | list[float], band: Band) -> Iterable[tuple[str, ...]]:
    """Problem of a trained metric whose run statistic lies outside its band, if it does."""
    news, olds, means, sds = (v if isinstance(v, list) else [v] for v in (new, old, band.mean, band.sd))
    same_kind = isinstance(new, list) == isinstance(band.mean, list) == isinstance(band.sd, list)
    if not same_kind or not len(news) == len(means) == len(sds):
        yield "the band has another shape than the metric", _short(band.mean), _short(new)
        return
    outside = []
    for i, (value, mean, sd) in enumerate(zip(news, means, sds, strict=True)):
        low, high = limits(mean, sd)
        if not low <= value <= high:
            outside.append((abs(value - mean) / (high - low), i, low, high))
    if outside:
        _, worst, low, high = max(outside)
        problem = "a trained metric left its band"
        if isinstance(new, list):
            problem += f" at {len(outside)} of {len(news)} elements; the furthest is element {worst}"
        text = f"{low:.6g} to {high:.6g} (mean {means[worst]:.6g}, sd {sds[worst]:.3g} over {band.seeds} runs)"
        yield problem, f"{olds[worst]:.6g}", f"{news[worst]:.6g}", text


def _compare_curve(new: Curve, old: Curve) -> Iterable[tuple[str, ...]]:
    """Curves have no band: their labels, their points on the x axis and their seeds have to agree."""
    for field in ("x_label", "y_label", "unit", "data"):
        if getattr(new, field) != getattr(old, field):
            yield f"another {field}", repr(getattr(old, field)), repr(getattr(new, field))
    if not _equal(new.x, old.x):
        yield "other x values", _short(old.x), _short(new.x)
    if new.per_seed.keys() != old.per_seed.keys():
        yield "other seeds", str(list(old.per_seed)), str(list(new.per_seed))
    if any(not math.isfinite(number) for values in new.per_seed.values() for number in values):
        yield "not finite everywhere", "-", "-"


def _equal(new: Any, old: Any) -> bool:
    """Equality that tells True from 1, and takes floats to 6 digits."""
    if type(new) is not type(old):
        return False
    if isinstance(new, dict):
        return new.keys() == old.keys() and all(_equal(new[key], old[key]) for key in new)
    if isinstance(new, (list, tuple)):
        return len(new) == len(old) and all(map(_equal, new, old))
    if isinstance(new, float):
        return math.isclose(new, old, rel_tol=RELATIVE_FLOOR, abs_tol=ABSOLUTE_FLOOR)
    return new == old


def _shape(metric: Metric) -> str:
    """Seeds and lengths of a metric's value, in words."""
    if metric.per_seed is None:
        return _length(metric.value)
    lengths = sorted({_length(value) for value in metric.per_seed.values()})
    return f"{' or '.join(lengths)} for each of the seeds {', '.join(map(str, sorted(metric.per_seed)))}"


def _length(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else "one value"


def _numbers(metric: Metric) -> Iterable[float]:
    for value in metric.per_seed.values() if metric.per_seed is not None else [metric.value]:
        yield from (number for number in (value if isinstance(value, list) else [value]) if isinstance(number, float))


def _show(item: Metric | Curve) -> str:
    if isinstance(item, Curve):
        return f"{len(item.x)} points for {len(item.per_seed)} seed(s)"
    value = _short(item.value if item.per_seed is None else item.per_seed)
    return f"{value} {item.unit}".rstrip()


def _short(value: Any, most: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 4]} ..."
