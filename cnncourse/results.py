"""What a notebook measured: the schema of ``results/PROFILE/NN_topic.json``."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnncourse.errors import CourseError

SCHEMA = 1
DIGITS = 7  # significant digits kept of a float: more than any tolerance needs, and the diffs stay readable

Exact = bool | int | float | str | list[bool] | list[int] | list[float] | list[str]
PerSeed = dict[int, float] | dict[int, list[float]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Model):
    """Where a trained metric or curve of a fresh run has to lie: ``mean ± 4 sd``.

    Written by ``cnncourse refresh`` from runs at several seeds that share no seed, never typed. One run contributes
    one number, the mean over its own seeds (for lists and curves element by element), and ``sd`` is the spread of
    that number from run to run: what a single new run, at the default seed, may be compared with. Where the keys are
    fixed cases in place of seeds, the same in every run, the runs may not differ at all; then ``sd`` is at least the
    standard error of the mean over the cases. The comparison widens a band that is narrower than round-off.
    """

    mean: float | list[float]
    sd: float | list[float]
    seeds: int = Field(ge=5)  # how many runs


class Metric(_Model):
    """One named measurement.

    ``exact`` metrics (counts, shapes, proofs) must be equal on every machine; floats among them to 6 digits.
    ``trained`` metrics depend on training, which is not portable in its digits: a band judges them.
    """

    kind: Literal["exact", "trained"]
    value: Exact | None = None
    per_seed: PerSeed | None = None
    unit: str = ""
    data: str = ""
    band: Band | None = None


class Curve(_Model):
    """One named curve: a list of y values per seed over shared x values."""

    x: list[float]
    per_seed: dict[int, list[float]]
    x_label: str
    y_label: str
    unit: str = ""
    data: str = ""
    band: Band | None = None


class DataRecord(_Model):
    """Which data a run used."""

    name: str
    kind: Literal["original", "copy", "embedded"]
    sha256: str
    sizes: dict[str, int]
    note: str = ""

    @property
    def described(self) -> str:
        """The name, with what it is where that is not the original and the name does not say so."""
        if self.kind == "original" or self.kind in self.name:
            return self.name
        return f"{self.name} ({'embedded stand-in' if self.kind == 'embedded' else self.kind})"


class Provenance(_Model):
    """How a run came about."""

    profile: Literal["smoke", "laptop", "full"]
    seed: int
    seeds: list[int]
    device: str
    device_name: str
    threads: int
    data: list[DataRecord]
    python: str
    packages: dict[str, str]
    commit: str | None = None
    finished: str
    wall_time_s: float


@dataclass(frozen=True)
class Series:
    """The values of one metric or curve, for a figure.

    Attributes
    ----------
    per_seed : dict
        Seed -> value of a metric, or -> one value per point of a curve.
    origin : str
        Whose values, in words for a title, for instance 'published run (laptop), MNIST'.
    provenance : Provenance
        How that run came about.
    x : list of float, optional
        The points of a curve.
    """

    per_seed: dict
    origin: str
    provenance: Provenance
    x: list[float] | None = None


class Results(_Model):
    """Everything that one run of one notebook measured."""

    schema_version: Literal[1] = SCHEMA
    notebook: str
    provenance: Provenance
    metrics: dict[str, Metric] = {}
    curves: dict[str, Curve] = {}

    @property
    def profile(self) -> str:
        return self.provenance.profile

    def series(self, name: str, run: str = "this run") -> Series | None:
        """Values by seed of the metric or curve `name`, or None; `run` says in words whose values they are."""
        found = self.curves.get(name) or self.metrics.get(name)
        if found is None:
            return None
        per_seed = {self.provenance.seed: found.value} if found.per_seed is None else found.per_seed
        origin = f"{run}, {found.data}" if found.data else run
        return Series(per_seed, origin, self.provenance, getattr(found, "x", None))

    def save(self, path: Path) -> None:
        """Write as JSON; the file appears complete or not at all."""
        content = {"schema_version": SCHEMA, **self.model_dump(mode="json", exclude_defaults=True)}
        text = _one_line_lists(json.dumps(_rounded(content), indent=1))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            os.chmod(temporary, 0o644)  # mkstemp makes it private
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read and check a results file.

        Raises
        ------
        CourseError
            When the file is missing, is not JSON, has another schema version or does not fit the schema.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CourseError(f"No results at {path}.", "Run the notebook first: cnncourse run.") from None
        except (OSError, ValueError) as error:
            raise CourseError(
                f"{path} cannot be read as results: {error}", "Delete it and run the notebook again."
            ) from None
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA:
            raise CourseError(
                f"{path} has results of schema version {version!r}; this cnncourse reads version {SCHEMA}.",
                "Run the notebook again with this version, or install the version that wrote the file.",
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CourseError(
                f"{path} does not fit the results schema at {where}: {first['msg']}",
                "Run the notebook again.",
            ) from None


def _rounded(value):
    """The same structure with floats at `DIGITS` significant digits."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("results hold finite numbers only")
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _one_line_lists(text: str) -> str:
    """Lists of plain values on one line: a curve is one line of a diff, not fifty."""
    innermost = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")
    return innermost.sub(lambda match: "[" + re.sub(r"\n\s*", " ", match[1]) + "]", text)
