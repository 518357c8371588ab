"""The ledger: one YAML file per report in ``book/claims``, one entry per claim."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cnncourse.claims.rules import Equal, Rule, Within, follow
from cnncourse.errors import CourseError
from cnncourse.project import committed

Need = Literal[
    "original-cifar10",
    "paired-seeds-3",
    "paired-interval",
    "images-16000",
    "full-scale",
    "imagenet-weights",
    "hand-labels",
]
Kind = Literal["architecture", "math", "number", "comparison", "procedure", "figure", "written-answer"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Correction(_Model):
    """The statement that holds where the report's does not, and the rule that proves it."""

    text: str = Field(min_length=1)
    rule: Rule


class Claim(_Model):
    """One claim of a report, how it is judged, and what a verdict needs."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$")
    where: str
    kind: Kind
    notebook: str = Field(pattern=r"^\d\d_[a-z0-9_]+$")
    claim: str = Field(min_length=1)
    reported: dict[str, Any]
    needs: list[Need] = []
    rule: Rule | None = None
    correction: Correction | None = None
    reason: str = ""

    @property
    def rules(self) -> list[Rule]:
        return [rule for rule in (self.rule, self.correction and self.correction.rule) if rule]

    @property
    def references(self) -> list[str]:
        """The metrics and curves that the claim's rules name, each once."""
        return list(dict.fromkeys(reference for rule in self.rules for reference in rule.references))

    @model_validator(mode="after")
    def _consistent(self):
        if self.correction and not self.rule:
            raise ValueError("a correction needs a rule that the report's statement can fail")
        if self.rule and self.reason:
            raise ValueError("'reason' says why there is no rule; this claim has one")
        for leaf in (leaf for rule in self.rules for leaf in rule.leaves()):
            if isinstance(leaf, (Equal, Within)) and leaf.reported is not None:
                target = follow(leaf.reported, self.reported)
                if isinstance(leaf, Within) and not _numeric(target):
                    raise ValueError(f"the reported value at {leaf.reported!r} is no number: 'within' needs one")
        if self.rule and "paired-interval" in self.needs and not any(leaf.by_interval for leaf in self.rule.leaves()):
            raise ValueError("needs 'paired-interval', but no part of the rule is judged by an interval")
        return self


class Report(_Model):
    """One file of the ledger: the claims of one report in the report's order."""

    report: str
    title: str
    claims: list[Claim]

    @model_validator(mode="after")
    def _own_claims(self):
        for claim in self.claims:
            if not claim.id.startswith(f"{self.report}-"):
                raise ValueError(f"the id {claim.id!r} does not begin with the report's name {self.report!r}")
        return self


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML's safe loader, which refuses a key that occurs twice (plain YAML keeps the last one silently)."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} occurs twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def files(folder: Path | None = None) -> list[Path]:
    """The files of the ledger, sorted by name; by default those of the checkout or of the installed package."""
    return sorted((folder or committed("claims")).glob("*.yml"))


def load(folder: Path | None = None) -> tuple[Report, ...]:
    """Read and check the whole ledger.

    Parameters
    ----------
    folder : Path, optional
        Folder with the YAML files (default: the checkout's ``book/claims``, or the copy in the installed package).

    Returns
    -------
    tuple of Report
        Sorted by file name.

    Raises
    ------
    CourseError
        When there is no file, or one is not YAML, does not fit the schema (file, claim and field are named), or two
        claims share an id.
    """
    paths = files(folder)
    if not paths:
        raise CourseError(f"No ledger in {folder or committed('claims')}.", "Expected book/claims/*.yml.")
    reports = tuple(map(read, paths))
    owner: dict[str, str] = {}
    for path, report in zip(paths, reports, strict=True):
        for claim in report.claims:
            if claim.id in owner:
                raise CourseError(
                    f"The claim {claim.id} occurs twice: in {owner[claim.id]} and in {path.name}.",
                    "Give each claim its own id.",
                )
            owner[claim.id] = path.name
    return reports


def read(path: Path) -> Report:
    """Read and check one file of the ledger; CourseError as :func:`load`."""
    return _parse(path.read_text(encoding="utf-8"), path.name)


@lru_cache(maxsize=32)  # by content: a notebook asks for its claims several times
def _parse(text: str, name: str) -> Report:
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise CourseError(
            f"{name}{where} is not valid YAML: {getattr(error, 'problem', None) or error}.", "Mend the line."
        ) from None
    try:
        return Report.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  {_place(problem['loc'], content)}: {_message(problem)}" for problem in error.errors())
        raise CourseError(f"{name} does not fit the ledger's schema:\n{problems}", "Mend these fields.") from None


def _place(location: tuple, content: Any) -> str:
    """A validation error's place in words: the claim's id, then the path of the field."""
    path = list(location)
    if len(path) >= 2 and path[0] == "claims" and isinstance(path[1], int):
        entry = content["claims"][path[1]]
        name = entry.get("id") if isinstance(entry, dict) else None
        return ": ".join([name or f"claim number {path[1] + 1}", ".".join(map(str, path[2:]))]).removesuffix(": ")
    return ".".join(map(str, path)) or "the file"


def _message(problem: dict[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown field"
    return problem["msg"].removeprefix("Value error, ")


def _numeric(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in items)
