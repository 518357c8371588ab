"""What the results of one run have to say about a metric that a rule names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cnncourse.claims.text import number_text, words
from cnncourse.results import Curve, DataRecord, Metric, Results

_ENTRY = re.compile(r"(?P<name>.+)\.(?P<index>-?\d+)(?P<onwards>:?)")


class Missing(LookupError):
    """The run recorded no metric and no curve of this name; `hint` proposes names like it."""

    def __init__(self, name: str, known: list[str]):
        close = difflib.get_close_matches(name, known, n=3)
        self.hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        super().__init__(f"this run recorded no {name!r}")


class Unsuitable(ValueError):
    """The metric exists, but is not of the kind that the rule compares (a list, a text, too few entries)."""


@dataclass(frozen=True)
class Reading:
    """One metric (or curve, or one entry of either) as a rule sees it.

    `value` holds a metric without seeds, `per_seed` one with seeds; the other is None.
    """

    reference: str
    kind: str
    value: object | None
    per_seed: dict[int, float] | dict[int, list[float]] | None
    unit: str
    data: str
    name: str
    place: str = ""

    @property
    def label(self) -> str:
        """The reference in words: ``train_loss.9`` is 'train loss at epoch 10'; `name` leaves out the place."""
        return self.name + self.place

    @property
    def is_list(self) -> bool:
        """Whether it holds several numbers per run."""
        first = self.value if self.per_seed is None else next(iter(self.per_seed.values()), None)
        return isinstance(first, list)

    @property
    def seeds(self) -> int:
        """Number of seeds; 0 for a value without."""
        return len(self.per_seed or ())

    def entries(self) -> list[float]:
        """One number per seed, or the only one.

        Raises
        ------
        Unsuitable
            For a list, a text or a truth value.
        """
        numbers = [self.value] if self.per_seed is None else list(self.per_seed.values())
        if not all(_is_number(number) for number in numbers):
            raise Unsuitable(
                f"{self.reference!r} is not one number per run; name an entry, such as {self.reference}.-1"
            )
        return numbers

    def lists(self) -> list[list[float]]:
        """One list of numbers per seed, or the only one. Raises Unsuitable for anything else."""
        lists = [self.value] if self.per_seed is None else list(self.per_seed.values())
        if not all(isinstance(item, list) and all(map(_is_number, item)) for item in lists):
            raise Unsuitable(f"{self.reference!r} is not a list of numbers")
        return lists


class Evidence:
    """The measurements of one run, looked up by the names in rules.

    A name is that of a metric, else that of a curve. Entries of a list count from 0: ``name.3`` and ``name.-1`` are
    single ones, ``name.3:`` are those from there on. A reader sees labels (see :mod:`.labels`) in the place of names.
    """

    def __init__(self, results: Results, labels: Mapping[str, str] | None = None):
        self.results = results
        self.labels = labels or {}

    @property
    def names(self) -> list[str]:
        return [*self.results.metrics, *self.results.curves]

    def read(self, reference: str) -> Reading:
        """The measurement behind a reference.

        Raises
        ------
        Missing
            When there is no such metric or curve.
        Unsuitable
            When an entry is asked of something that is no list, or lies beyond its end.
        """
        name, index = split(reference)
        found = self.results.metrics.get(name) or self.results.curves.get(name)
        if found is None:
            raise Missing(name, self.names)
        place = "" if index is None else f"[{reference.removeprefix(f'{name}.')}]"
        if isinstance(found, Curve):
            place = _place(found, index)
            # A curve over seeds is training; one without data is mathematics, which needs no second machine.
            found = Metric(
                kind="trained" if found.data else "exact", per_seed=found.per_seed, unit=found.unit, data=found.data
            )
        value, per_seed = found.value, found.per_seed
        if index is not None:
            if per_seed is None:
                value = _entry(name, value, index)
            else:
                per_seed = {seed: _entry(name, values, index) for seed, values in per_seed.items()}
        label = self.labels.get(reference)
        if label:  # it names the entry, too
            place = ""
        else:
            label = self.labels.get(name) or words(name)
        return Reading(reference, found.kind, value, per_seed, found.unit, found.data, label, place)

    def whole(self, references: Iterable[str]) -> list[Reading]:
        """The metrics and curves behind references, without their indices, each once per reference."""
        return [self.read(split(reference)[0]) for reference in references]

    def flag(self, name: str) -> bool:
        """Whether the run recorded `name` as true."""
        metric = self.results.metrics.get(name)
        return metric is not None and metric.value is True

    def sources(self, reading: Reading) -> list[DataRecord]:
        """The data that a measurement was made on: the named source, else all that the run used; none without data."""
        if not reading.data:
            return []
        used = self.results.provenance.data
        return [source for source in used if source.name.casefold() == reading.data.casefold()] or used

    def obstacle(self, reading: Reading, *, absolute: bool) -> str:
        """Why this run cannot judge the measurement; empty when it can.

        Parameters
        ----------
        reading : Reading
            The whole metric or curve.
        absolute : bool
            Whether the rule compares it with a number of the report (else: with another measurement of the same run).
        """
        trained = reading.kind == "trained" and bool(reading.data or reading.per_seed)
        if trained and self.results.profile == "smoke":
            return "training is judged in the laptop and full profiles"
        if not reading.data:
            return ""
        sources = self.sources(reading)
        if not sources:
            return f"the run does not say where its data {reading.data!r} came from"
        for source in sources:
            if source.kind == "embedded":
                return f"stand-in data: {source.name}"
            if absolute and source.kind != "original":
                return f"other data: {source.described}"
        return ""


def split(reference: str) -> tuple[str, int | slice | None]:
    """Name and index of a reference: ``'loss.-1'`` gives ``('loss', -1)``, ``'loss'`` gives ``('loss', None)``."""
    match = _ENTRY.fullmatch(reference)
    if not match:
        return reference, None
    index = int(match["index"])
    return match["name"], slice(index, None) if match["onwards"] else index


def _place(curve: Curve, index: int | slice | None) -> str:
    """Where on a curve an index lies, in words."""
    first = index.start if isinstance(index, slice) else index
    if first is None or not -len(curve.x) <= first < len(curve.x):
        return ""
    word = "from" if isinstance(index, slice) else "at"
    label = curve.x_label[:1].lower() + curve.x_label[1:] if curve.x_label[1:].islower() else curve.x_label
    return f" {word} {label} {number_text(curve.x[first])}"


def _entry(name: str, values: object, index: int | slice):
    if not isinstance(values, list):
        raise Unsuitable(f"{name!r} is no list: it has no entries")
    try:
        if isinstance(index, slice):
            values[index.start]  # beyond the end a slice is empty, where an index is an error
        return values[index]
    except IndexError:
        index = index.start if isinstance(index, slice) else index
        raise Unsuitable(f"{name!r} has {len(values)} entries: there is no entry {index} (they count from 0)") from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
