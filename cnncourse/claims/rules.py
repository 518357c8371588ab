"""The rules of the ledger: each compares measurements and ends in holds, fails or undecided.

A number measured over seeds is judged by the t-interval of its mean (95 %): a rule holds when the whole interval agrees
with it, fails when the whole interval contradicts it, and is undecided between. One seed decides nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from os.path import commonprefix
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cnncourse.claims.evidence import Evidence, Reading, Unsuitable
from cnncourse.claims.text import interval_text, number_text, value_text
from cnncourse.statistics import Interval, mean_interval, paired_interval

Value = bool | int | float | str | list[bool | int | float | str]
MIN_SEEDS = 3  # below it, "in every seed" says little: two seeds agree on a coin toss half of the time
_PREPOSITIONS = "after|at|by|for|from|in|of|on|under|with|without"
_SLACK = 1e-9  # relative: results keep 7 digits, and 2.3025 - 2.3024 is not 1e-4 in binary


@dataclass(frozen=True)
class Outcome:
    """What a rule says about one run. `measured` are texts for the reader, `reason` says what failed or is missing."""

    state: Literal["holds", "fails", "undecided"]
    reason: str = ""
    measured: tuple[str, ...] = ()


class _Leaf(BaseModel):
    """A rule that reads metrics itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def references(self) -> list[str]:
        """The metrics and curves that the rule names."""
        return [self.metric]

    @property
    def named(self) -> list[str]:
        """Those that a reader sees."""
        return self.references

    @property
    def absolute(self) -> bool:
        """Whether it compares a measurement with a number of the report."""
        return True

    @property
    def paired(self) -> list[tuple[str, str]]:
        """The pairs of metrics that are compared seed by seed."""
        return []

    @property
    def by_interval(self) -> bool:
        """Whether a t-interval decides."""
        return False

    def judge(self, evidence: Evidence, reported: dict[str, Any]) -> Outcome:
        whole = evidence.whole(self.references)
        obstacle = next(filter(None, (evidence.obstacle(r, absolute=self.absolute) for r in whole)), "")
        try:
            outcome = self.compare([evidence.read(reference) for reference in self.references], reported)
        except Unsuitable as error:
            outcome = Outcome("undecided", str(error))
        # The value is shown even where it decides nothing.
        return Outcome("undecided", obstacle, outcome.measured) if obstacle else outcome

    def compare(self, readings: list[Reading], reported: dict[str, Any]) -> Outcome:
        raise TypeError(f"{type(self).__name__} does not say how it compares")


class _AgainstValue(_Leaf):
    """A rule about one metric and one value, which is typed here or taken from the claim's `reported`."""

    metric: str
    value: Value | None = None
    reported: str | None = None

    @model_validator(mode="after")
    def _one_value(self):
        if (self.value is None) == (self.reported is None):
            raise ValueError("give either 'value' or 'reported' (a path into the claim's reported values)")
        return self

    def target(self, reported: dict[str, Any]) -> Value:
        return self.value if self.reported is None else follow(self.reported, reported)


class Equal(_AgainstValue):
    """The metric (in every seed) is exactly the value."""

    def compare(self, readings: list[Reading], reported: dict[str, Any]) -> Outcome:
        (reading,) = readings
        target = self.target(reported)
        values = [reading.value] if reading.per_seed is None else list(reading.per_seed.values())
        measured = (f"{reading.label}: {_values_text(values)}{_unit(reading)}",)
        if all(_same(value, target) for value in values):
            return Outcome("holds", measured=measured)
        return Outcome("fails", f"{reading.label}: {_values_text(values)}, not {value_text(target)}", measured)


class Within(_AgainstValue):
    """The metric lies within `tolerance` of the value; a list does so entry by entry."""

    value: float | list[float] | None = None
    tolerance: float = Field(ge=0)
    relative: bool = False

    @property
    def by_interval(self) -> bool:
        return True

    def compare(self, readings: list[Reading], reported: dict[str, Any]) -> Outcome:
        (reading,) = readings
        target = self.target(reported)
        if not isinstance(target, list):
            intervals, targets = [_interval(reading)], [target]
            measured = f"{reading.label}: {interval_text(intervals[0])}{_unit(reading)}"
        else:
            targets, lists = target, reading.lists()
            shortest = min(map(len, lists))
            if shortest != len(targets) or max(map(len, lists)) != len(targets):
                raise Unsuitable(f"{reading.label}: {shortest} values for the report's {len(targets)}")
            columns = zip(*lists, strict=True)
            intervals = [_exact(c[0]) if reading.per_seed is None else mean_interval(c) for c in columns]
            furthest = max(abs(i.mean - t) for i, t in zip(intervals, targets, strict=True))
            measured = (
                f"{reading.label}: {value_text([i.mean for i in intervals], 5)}{_unit(reading)}, "
                f"at most {number_text(furthest, 2)} from {'the report' if self.reported else value_text(target, 5)}"
            )
        reaches = [self.tolerance * (abs(t) if self.relative else 1) + _SLACK * abs(t) for t in targets]
        bounds = [(t - reach, t + reach) for t, reach in zip(targets, reaches, strict=True)]
        reach = f"{number_text(100 * self.tolerance)} %" if self.relative else number_text(self.tolerance)
        wanted = f"within {reach} of {value_text(target)}" if self.tolerance else value_text(target)
        return _one_of(intervals, bounds, wanted, reading, (measured,))


class Between(_Leaf):
    """The metric lies between two bounds; with `each_seed` every single seed does, and every entry of a list."""

    metric: str
    min: float | None = None
    max: float | None = None
    each_seed: bool = False

    @model_validator(mode="after")
    def _some_bound(self):
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("'min' is larger than 'max'")
        return self

    @property
    def by_interval(self) -> bool:
        return not self.each_seed

    def compare(self, readings: list[Reading], reported: dict[str, Any]) -> Outcome:
        (reading,) = readings
        low = -math.inf if self.min is None else self.min - _SLACK * abs(self.min)
        high = math.inf if self.max is None else self.max + _SLACK * abs(self.max)
        bounds = [("at least", self.min), ("at most", self.max)]
        limits = " and ".join(f"{word} {number_text(bound)}" for word, bound in bounds if bound is not None)
        if not self.each_seed:
            interval = _interval(reading)
            measured = (f"{reading.label}: {interval_text(interval)}{_unit(reading)}",)
            return _one_of([interval], [(low, high)], limits, reading, measured)
        what = f"{reading.label} {limits}"
        runs = reading.lists() if reading.is_list else [[number] for number in reading.entries()]
        lowest, highest = min(map(min, runs)), max(map(max, runs))
        spread = number_text(lowest, 4) + (f" to {number_text(highest, 4)}" if highest > lowest else "")
        measured = (f"{reading.label}: {spread}{_unit(reading)} in {len(runs)} run{'s' if len(runs) > 1 else ''}",)
        return _in_each([low <= min(run) and max(run) <= high for run in runs], what, reading, measured)


class Greater(_Leaf):
    """One metric exceeds another by more than `by`: the interval of the difference over common seeds decides."""

    metric: str
    than: str
    by: float = 0.0

    @property
    def references(self) -> list[str]:
        return [self.metric, self.than]

    @property
    def absolute(self) -> bool:
        return False

    @property
    def paired(self) -> list[tuple[str, str]]:
        return [(self.metric, self.than)]

    @property
    def by_interval(self) -> bool:
        return True

    def compare(self, readings: list[Reading], reported: dict[str, Any]) -> Outcome:
        a, b = readings
        difference = _difference(a, b)
        label = _minus(a.name, b.label) if a.place == b.place else _minus(a.label, b.label)
        unit = " points" if a.unit == "%" else _unit(a)  # a difference of percentages
        measured = (f"{label}: {interval_text(difference, signed=True)}{unit}",)
        if difference.low > self.by:
            return Outcome("holds", measured=measured)
        # Without seeds there is no doubt left: equal is not greater.
        below = difference.high < self.by or (difference.low == difference.high and not (a.per_seed or b.per_seed))
        if below:
            return Outcome("fails", f"“{label}” is not above {number_text(self.by)}", measured)
        return Outcome("undecided", _doubt(label, difference.n, [self.by]), measured)


class Monotone(_Leaf):
    """Several metrics in order (neighbours like `greater`), or one list that rises or falls in every seed."""

    metrics: list[str] | None = Field(default=None, min_length=2)
    metric: str | None = None
    direction: Literal["increasing", "decreasing"]

    @model_validator(mode="after")
    def _one_kind(self):
        if (self.metrics is None) == (self.metric is None):
            raise ValueError("give either 'metrics' (several) or 'metric' (one list)")
        return self

    @property
    def references(self) -> list[str]:
        return self.metrics or [self.metric]

    @property
    def absolute(self) -> bool:
        return False

    @property
    def paired(self) -> list[tuple[str, str]]:
        return list(pairwise(self.metrics or ()))

    @property
    def by_interval(self) -> bool:
        return self.metrics is not None

    def compare(self, readings: list[Reading], reported: dict[str, Any]) -> Outcome:
        if self.metrics is None:
            (reading,) = readings
            lists = reading.lists()
            rises = self.direction == "increasing"
            ordered = [all((b > a) if rises else (b < a) for a, b in pairwise(values)) for values in lists]
            count = (
                f" in {ordered.count(True)} of {len(ordered)} runs"
                if reading.per_seed
                else f": {value_text(all(ordered))}"
            )
            measured = (f"{reading.label} {self.direction} throughout{count}",)
            return _in_each(ordered, f"{reading.label} {self.direction} throughout", reading, measured)
        outcomes = []
        for a, b in pairwise(readings):
            larger, smaller = (b, a) if self.direction == "increasing" else (a, b)
            outcomes.append(Greater(metric=larger.reference, than=smaller.reference).compare([larger, smaller], {}))
        return _all(outcomes)


class Recorded(_Leaf):
    """Something that was asked for exists: curves (a figure) and metrics, with at least `points` values each."""

    NAMED: ClassVar[int] = 2  # more are counted, not listed
    curves: list[str] = []
    metrics: list[str] = []
    points: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _something(self):
        if not self.curves and not self.metrics:
            raise ValueError("give 'curves', 'metrics' or both")
        return self

    @property
    def references(self) -> list[str]:
        return [*self.curves, *self.metrics]

    @property
    def named(self) -> list[str]:
        return self.references if len(self.references) <= self.NAMED else []

    @property
    def absolute(self) -> bool:
        return False

    def compare(self, readings: list[Reading], reported: dict[str, Any]) -> Outcome:
        kinds: dict[str, list[str]] = {}
        for reading in readings:
            values = [reading.value] if reading.per_seed is None else list(reading.per_seed.values())
            fewest = min(len(value) if isinstance(value, list) else 1 for value in values)
            if fewest < self.points:
                return Outcome("undecided", f"{reading.label} has {fewest} of {self.points} points")
            runs = f" in {reading.seeds} run{'s' if reading.seeds > 1 else ''}" if reading.seeds else ""
            kinds.setdefault((f"{fewest} values" if fewest > 1 else "recorded") + runs, []).append(reading.label)
        what = {text: ", ".join(names) if self.named else f"{len(names)} series" for text, names in kinds.items()}
        return Outcome("holds", measured=tuple(f"{names}: {text}" for text, names in what.items()))


_KINDS = ("equal", "within", "between", "greater", "monotone", "recorded", "all", "any", "not")


class Rule(BaseModel):
    """One rule, named by its single key: a comparison, or `all`, `any`, `not` of other rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    equal: Equal | None = None
    within: Within | None = None
    between: Between | None = None
    greater: Greater | None = None
    monotone: Monotone | None = None
    recorded: Recorded | None = None
    all_: list[Rule] | None = Field(default=None, alias="all", min_length=1)
    any_: list[Rule] | None = Field(default=None, alias="any", min_length=1)
    not_: Rule | None = Field(default=None, alias="not")

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, content: Any):
        if isinstance(content, dict) and len(content) != 1:
            raise ValueError(
                f"a rule has exactly one key of {', '.join(_KINDS)}; this one has {sorted(map(str, content))}"
            )
        return content

    @model_validator(mode="after")
    def _not_empty(self):
        if self._content is None:
            raise ValueError("the rule is empty")
        return self

    @property
    def _content(self) -> _Leaf | list[Rule] | Rule | None:
        parts = (self.equal, self.within, self.between, self.greater, self.monotone, self.recorded)
        return next((part for part in (*parts, self.all_, self.any_, self.not_) if part is not None), None)

    def leaves(self) -> Iterator[_Leaf]:
        """The comparisons that the rule is made of."""
        content = self._content
        if isinstance(content, _Leaf):
            yield content
            return
        for rule in content if isinstance(content, list) else [content]:
            yield from rule.leaves()

    @property
    def references(self) -> list[str]:
        """The metrics and curves that the rule names, each once."""
        return list(dict.fromkeys(reference for leaf in self.leaves() for reference in leaf.references))

    def judge(self, evidence: Evidence, reported: dict[str, Any]) -> Outcome:
        """Hold the rule against one run.

        Parameters
        ----------
        evidence : Evidence
            What the run measured.
        reported : dict
            The claim's reported values, which the rule may refer to.

        Raises
        ------
        Missing
            When the run recorded no metric of a name in the rule.
        """
        content = self._content
        if isinstance(content, _Leaf):
            return content.judge(evidence, reported)
        if isinstance(content, list):
            outcomes = [rule.judge(evidence, reported) for rule in content]
            return _all(outcomes) if self.all_ else _any(outcomes)
        inner = content.judge(evidence, reported)
        if inner.state == "holds":
            return Outcome("fails", "; ".join(inner.measured), inner.measured)
        if inner.state == "fails":
            return Outcome("holds", measured=inner.measured)
        return inner


def follow(path: str, reported: dict[str, Any]) -> Value:
    """The value at a dotted path of the reported values: ``acc.-1`` is the last entry of ``acc``.

    Raises
    ------
    ValueError
        When the path leads nowhere or to something that cannot be compared.
    """
    value: Any = reported
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"the reported values have nothing at {path!r}") from None
    if isinstance(value, dict):
        raise ValueError(f"the reported values at {path!r} are a table, not a value")
    return value


def _all(outcomes: list[Outcome]) -> Outcome:
    """Holds if all hold; fails if any fails, whatever the others would say."""
    return _combine(outcomes, decisive="fails")


def _any(outcomes: list[Outcome]) -> Outcome:
    """Holds if any holds, whatever the others would say; fails if all fail."""
    return _combine(outcomes, decisive="holds")


def _combine(outcomes: list[Outcome], decisive: str) -> Outcome:
    measured = tuple(dict.fromkeys(text for outcome in outcomes for text in outcome.measured))
    states = {outcome.state for outcome in outcomes}
    state = next(s for s in (decisive, "undecided", "holds", "fails") if s in states)
    reasons = dict.fromkeys(o.reason for o in outcomes if o.state == state and o.reason)
    return Outcome(state, "; ".join(reasons), measured)


def _one_of(
    intervals: list[Interval],
    bounds: list[tuple[float, float]],
    wanted: str,
    reading: Reading,
    measured: tuple[str, ...],
) -> Outcome:
    """The outcome of intervals that all have to lie within their bounds."""
    pairs = list(zip(intervals, bounds, strict=True))
    states = [_inside(interval, *bound) for interval, bound in pairs]
    if "fails" in states:
        return Outcome("fails", f"“{reading.label}” is not {wanted}", measured)
    if "undecided" not in states:
        return Outcome("holds", measured=measured)
    if len(pairs) > 1 and reading.seeds != 1:
        return Outcome("undecided", f"some intervals of “{reading.label}” reach beyond {wanted}", measured)
    ((interval, (low, high)), *_) = pairs
    limits = [bound for bound in (low, high) if interval.low <= bound <= interval.high]
    return Outcome("undecided", _doubt(reading.label, reading.seeds, limits), measured)


def _in_each(true: list[bool], what: str, reading: Reading, measured: tuple[str, ...]) -> Outcome:
    """A statement about every single run: one counterexample refutes it, few examples do not prove it."""
    if not all(true):
        count = f"in {true.count(False)} of {len(true)} runs" if reading.per_seed else ""
        return Outcome("fails", f"not so {count}: {what}".replace(" :", ":"), measured)
    if reading.per_seed and len(true) < MIN_SEEDS:
        return Outcome("undecided", f"{what}: {len(true)} of at least {MIN_SEEDS} seeds", measured)
    return Outcome("holds", measured=measured)


def _minus(a: str, b: str) -> str:
    """A difference in words, in which what both labels begin with stands once.

    ``loss, SGD minus Adam``, ``loss (SGD) minus (Adam)`` and ``loss with SGD minus that with Adam``.
    """
    shared = commonprefix([a, b])  # noqa: RUF071 (of texts, letter by letter)
    if (start := max(shared.rfind(", ") + 2, shared.rfind("("))) > 1:
        return f"{a} minus {b[start:]}"
    if found := re.match(rf".*\b(?=(?:{_PREPOSITIONS}) )", shared):
        return f"{a} minus that {b[found.end() :]}" if found.end() else f"{a} minus {b}"
    return f"{a} minus {b}"


def _doubt(label: str, seeds: int, limits: list[float]) -> str:
    if seeds < 2:
        return f"one seed decides nothing about “{label}”"
    # A bound carries a billionth of slack, which is nothing to show.
    return f"the interval of “{label}” contains {' and '.join(number_text(limit, 6) for limit in limits)}"


def _exact(value: float) -> Interval:
    """A value that has no spread, because it does not depend on a seed."""
    return Interval(value, value, value, 1)


def _interval(reading: Reading) -> Interval:
    entries = reading.entries()
    return _exact(entries[0]) if reading.per_seed is None else mean_interval(entries)


def _difference(a: Reading, b: Reading) -> Interval:
    """Interval of a - b over common seeds; a value without seeds is the same for every seed."""
    x, y = a.entries(), b.entries()
    if a.per_seed is None and b.per_seed is None:
        return _exact(x[0] - y[0])
    seeds = [s for s in (a.per_seed or b.per_seed) if s in (b.per_seed or a.per_seed)]
    if not seeds:
        raise Unsuitable(f"{a.label} and {b.label} have no seed in common")
    left, right = a.per_seed or dict.fromkeys(seeds, x[0]), b.per_seed or dict.fromkeys(seeds, y[0])
    return paired_interval([left[s] for s in seeds], [right[s] for s in seeds])


def _inside(interval: Interval, low: float, high: float) -> str:
    if low <= interval.low and interval.high <= high:
        return "holds"
    return "fails" if interval.high < low or interval.low > high else "undecided"


def _same(a: Any, b: Any) -> bool:
    """Equality that tells truth values from numbers (in Python 1 == True)."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _values_text(values: list[Any]) -> str:
    distinct = [v for i, v in enumerate(values) if v not in values[:i]]
    return " or ".join(value_text(value) for value in distinct)


def _unit(reading: Reading) -> str:
    return f" {reading.unit}" if reading.unit else ""
