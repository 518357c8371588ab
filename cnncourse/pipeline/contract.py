"""The contract: what a fresh run measures has to agree with the committed results.

Exact metrics have to be equal, trained metrics and curves to lie in their band (see :class:`cnncourse.results.Band`).
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
# Results hold 7 significant digits: exact floats are equal when 6 of them are.
EXACT = 1e-6
# Trained values that all seeds share (sd = 0: fixed cases, saturated accuracies) still differ by round-off between
# processors: 5e-6 of the value was seen for a slope fitted to finite differences. No band is narrower than this.
RELATIVE_FLOOR = 1e-4
ABSOLUTE_FLOOR = 1e-12  # for values that are round-off themselves


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
                found.append(Mismatch(committed.notebook, name, f"the fresh run lacks this {kind}", show(old[name])))
            elif name not in old:
                found.append(Mismatch(committed.notebook, name, f"this {kind} is new", new=show(new[name])))
            else:
                floor = _one_image(committed) if old[name].unit == "%" else 0.0
                found += (Mismatch(committed.notebook, name, *rest) for rest in check(new[name], old[name], floor))
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


def statistic(item: Metric | Curve) -> float | list[float]:
    """The number (for curves and list metrics: the list) by which a band judges one run: the mean over its own seeds.

    Raises
    ------
    ValueError
        When the values are not numbers or the seeds have lists of different lengths.
    """
    if item.per_seed is None:
        numbers = item.value if isinstance(item.value, list) else [item.value]
        if any(isinstance(number, (bool, str)) or number is None for number in numbers):
            raise ValueError(f"is trained, but holds {item.value!r}, which is not a number")
        return [float(number) for number in numbers] if isinstance(item.value, list) else float(item.value)
    values = list(item.per_seed.values())
    if not values:
        raise ValueError("has no seeds")
    if not isinstance(values[0], list):
        return fmean(values)
    if len({len(value) for value in values}) > 1:
        raise ValueError("has lists of different lengths for its seeds")
    return [fmean(column) for column in zip(*values, strict=True)]


def limits(mean: float, sd: float, floor: float = 0.0) -> tuple[float, float]:
    """Lowest and highest value that a band with this mean and sd accepts; it reaches at least `floor` to each side."""
    reach = max(WIDTH * sd, RELATIVE_FLOOR * abs(mean), ABSOLUTE_FLOOR, floor)
    return mean - reach, mean + reach


def _one_image(results: Results) -> float:
    """Percent that one image is of the smallest split: round-off may tip one over even where all seeds agree."""
    sizes = [size for data in results.provenance.data for size in data.sizes.values() if size]
    return 100 / min(sizes) if sizes else 0.0


def _compare_metric(new: Metric, old: Metric, floor: float) -> Iterable[tuple[str, ...]]:
    """(problem, old, new, band) of each difference between two versions of one metric."""
    yield from _compare_fields(new, old, "kind", "unit", "data")
    if new.kind != old.kind:
        return
    if new.kind == "trained" or _shape(new) != _shape(old):
        yield from _compare_trained(new, old, floor)
    elif not equal((new.value, new.per_seed), (old.value, old.per_seed)):
        yield "an exact metric changed", show(old), show(new)


def _compare_curve(new: Curve, old: Curve, floor: float) -> Iterable[tuple[str, ...]]:
    """As for metrics; the points on the x axis are exact."""
    yield from _compare_fields(new, old, "x_label", "y_label", "unit", "data")
    if not equal(new.x, old.x):
        yield "other x values", _short(old.x), _short(new.x)
    else:
        yield from _compare_trained(new, old, floor)


def _compare_fields(new: Metric | Curve, old: Metric | Curve, *fields: str) -> Iterable[tuple[str, ...]]:
    for field in fields:
        if getattr(new, field) != getattr(old, field):
            yield f"another {field}", repr(getattr(old, field)), repr(getattr(new, field))


def _compare_trained(new: Metric | Curve, old: Metric | Curve, floor: float) -> Iterable[tuple[str, ...]]:
    if _shape(new) != _shape(old):
        yield f"another shape, {_shape(new)} instead of {_shape(old)}", show(old), show(new)
        return
    if old.band is None:
        yield "the committed values have no band (their file was not written by refresh)", show(old), show(new)
        return
    try:
        news, olds = statistic(new), statistic(old)
    except ValueError as error:
        yield str(error), show(old), show(new)
        return
    yield from _outside(news, olds, old.band, floor)


def _outside(new: float | list[float], old: float | list[float], band: Band, floor: float) -> Iterable[tuple[str, ...]]:
    """Problem of trained values whose run statistic lies outside its band, if it does."""
    same_kind = isinstance(new, list) == isinstance(band.mean, list) == isinstance(band.sd, list)
    news, olds, means, sds = (v if isinstance(v, list) else [v] for v in (new, old, band.mean, band.sd))
    if not same_kind or not len(news) == len(means) == len(sds):
        yield "the band has another shape than the values", _short(band.mean), _short(new)
        return
    outside = []
    for i, (value, mean, sd) in enumerate(zip(news, means, sds, strict=True)):
        low, high = limits(mean, sd, floor)
        if not low <= value <= high:  # also NaN
            distance = abs(value - mean) / (high - low)
            outside.append((float("inf") if math.isnan(distance) else distance, i, low, high))
    if outside:
        _, worst, low, high = max(outside)
        problem = "trained values left their band"
        if isinstance(new, list):
            problem += f" at {len(outside)} of {len(news)} elements; the furthest is element {worst}"
        text = f"{low:.6g} to {high:.6g} (mean {means[worst]:.6g}, sd {sds[worst]:.3g} over {band.seeds} runs)"
        yield problem, f"{olds[worst]:.6g}", f"{news[worst]:.6g}", text


def equal(new: Any, old: Any) -> bool:
    """Equality that tells True from 1, and takes floats to 6 digits."""
    if type(new) is not type(old):
        return False
    if isinstance(new, dict):
        return new.keys() == old.keys() and all(equal(new[key], old[key]) for key in new)
    if isinstance(new, (list, tuple)):
        return len(new) == len(old) and all(map(equal, new, old))
    if isinstance(new, float):
        return math.isclose(new, old, rel_tol=EXACT, abs_tol=ABSOLUTE_FLOOR)
    return new == old


def _shape(item: Metric | Curve) -> str:
    """Seeds and lengths of the values, in words."""
    if item.per_seed is None:
        return _length(item.value)
    lengths = sorted({_length(value) for value in item.per_seed.values()})
    return f"{' or '.join(lengths)} for each of the seeds {', '.join(map(str, sorted(item.per_seed)))}"


def _length(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else "one value"


def show(item: Metric | Curve) -> str:
    """A metric's value or a curve's extent, short."""
    if isinstance(item, Curve):
        return f"{len(item.x)} points for {len(item.per_seed)} seed(s)"
    value = _short(item.value if item.per_seed is None else item.per_seed)
    return f"{value} {item.unit}".rstrip()


def _short(value: Any, most: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 4]} ..."
