"""The notebooks of a project: find, select and read them, and check their parameters before anything starts."""

from __future__ import annotations

import ast
import difflib
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import nbformat
from nbformat import NotebookNode
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from cnncourse.errors import CourseError
from cnncourse.project import PROFILES, Project

_NAME = re.compile(r"(\d\d)_\w+")
# What the annotation of a parameter may be made of.
_TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list, dict, tuple)}
_TYPES |= {name: getattr(typing, name) for name in ("Any", "Literal", "Optional", "Union")}
# The three parameters that every notebook has mean the same everywhere, so their values are known.
_RULES: dict[str, Any] = {
    "profile": Literal[PROFILES],
    "seed": Annotated[int, Field(ge=0)],
    "device": Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")],
}


@dataclass(frozen=True)
class Parameter:
    """One variable of the cell tagged ``parameters``: its declaration, its type and its default."""

    declaration: str
    type: Any
    default: Any


@dataclass(frozen=True)
class Notebook:
    """One notebook file; its content is read when it is first asked for.

    Attributes
    ----------
    path : Path
        Its stem, for instance ``02_numpy_mlp``, is the notebook's name.
    """

    path: Path

    @property
    def stem(self) -> str:
        return self.path.stem

    @cached_property
    def node(self) -> NotebookNode:
        """The content. Raises CourseError when the file cannot be read as a notebook."""
        try:
            node = nbformat.reads(self.path.read_text(encoding="utf-8"), as_version=4)
            nbformat.validate(node)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise CourseError(
                f"{self.path} cannot be read as a notebook: {reason}",
                "Restore the file from version control, or open it in JupyterLab and save it again.",
            ) from None
        return node

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The declared parameters by name; empty without a cell tagged ``parameters``.

        Raises
        ------
        CourseError
            When the cell holds anything but annotated assignments of literal values.
        """
        cells = [(i, c) for i, c in enumerate(self.node.cells, 1) if "parameters" in c.metadata.get("tags", [])]
        if len(cells) > 1:
            numbers = " and ".join(str(i) for i, _ in cells)
            raise CourseError(f"{self.stem}: cells {numbers} are tagged 'parameters'.", "Keep them in one cell.")
        return {name: p for i, cell in cells for name, p in self._declarations(i, cell.source)}

    def _declarations(self, number: int, source: str) -> Iterable[tuple[str, Parameter]]:
        where = f"{self.stem}, cell {number} (parameters)"
        try:
            statements = ast.parse(source).body
        except SyntaxError as error:
            raise CourseError(f"{where}: {error.msg} in line {error.lineno}.", "Mend the cell.") from None
        for statement in statements:
            text = ast.unparse(statement)
            if isinstance(statement, ast.ImportFrom) and statement.module == "typing":
                continue
            if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
                raise CourseError(
                    f"{where}: `{text}` is not an annotated parameter.",
                    "Write every parameter with its type, for instance `num_seeds: int = 3`, and nothing else.",
                )
            try:
                kind = eval(ast.unparse(statement.annotation), {"__builtins__": {}, "typing": typing}, dict(_TYPES))
                default = ast.literal_eval(statement.value) if statement.value else ...
                kind = _RULES.get(statement.target.id, kind)
                parameter = Parameter(text, kind, _check(kind, default))
            except (NameError, AttributeError, TypeError, ValueError, SyntaxError, PydanticUserError) as error:
                reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
                raise CourseError(
                    f"{where}: `{text}` cannot be checked: {reason}",
                    "Use plain types (int, float, str, list[int], Literal[...]) and a literal default of that type.",
                ) from None
            yield statement.target.id, parameter

    def bind(self, given: Mapping[str, Any], *, text: bool = False) -> dict[str, Any]:
        """All parameters of a run: the defaults, replaced by what is `given`, each checked against its annotation.

        Parameters
        ----------
        given : mapping
            Values by name.
        text : bool
            Whether the values are text from a command line, to be read as the annotation says: ``"3"`` is 3 for an
            ``int`` and stays text for a ``str``. Otherwise text for an ``int`` is refused.

        Raises
        ------
        CourseError
            For a name that the notebook does not declare, or a value of another type.
        """
        values = {name: parameter.default for name, parameter in self.parameters.items()}
        for name, value in given.items():
            if name not in self.parameters:
                raise unknown_parameter(name, [self])
            parameter = self.parameters[name]
            try:
                values[name] = _read(parameter.type, value) if text else _check(parameter.type, value)
            except ValidationError as error:
                message = error.errors()[0]["msg"]
                choices = typing.get_args(parameter.type) if name == "profile" else ()
                hint = _did_you_mean(str(value), choices) or f"It is declared as `{parameter.declaration}`."
                raise CourseError(f"{self.stem}: {name} = {value!r} is refused: {message}.", hint) from None
        return values

    def changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `values` that differs from the defaults: what has to be injected."""
        same = {name for name, p in self.parameters.items() if name in values and repr(values[name]) == repr(p.default)}
        return {name: value for name, value in values.items() if name not in same}

    def check_syntax(self) -> None:
        """Compile every code cell: a kernel might find a slip hours later. Raises CourseError for the first."""
        from IPython.core.inputtransformer2 import TransformerManager

        for number, cell in enumerate(self.node.cells, 1):
            if cell.cell_type != "code" or {"raises-exception", "skip-execution"} & set(cell.metadata.get("tags", [])):
                continue
            try:
                code = TransformerManager().transform_cell(cell.source)
                compile(code, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
            except SyntaxError as error:
                line = (error.text or "").strip()
                raise CourseError(
                    f"{self.stem}: cell {number}, line {error.lineno}: {error.msg}: {line}", "Mend the cell."
                ) from None


def find(project: Project) -> list[Notebook]:
    """The course's notebooks (``NN_topic.ipynb``) in reading order."""
    paths = (path for path in project.notebooks.glob("*.ipynb") if _NAME.fullmatch(path.stem))
    return [Notebook(path) for path in sorted(paths)]


def select(notebooks: Sequence[Notebook], selectors: Sequence[str] = ()) -> list[Notebook]:
    """The notebooks that `selectors` name, in reading order; all of them without selectors.

    Parameters
    ----------
    notebooks : sequence of Notebook
        Those to choose from.
    selectors : sequence of str
        Each a number (``2``, ``02``), a name (``02_numpy_mlp``, also as a path) or a part of exactly one name.

    Raises
    ------
    CourseError
        When a selector names none or several.
    """
    if not notebooks:
        raise CourseError("There are no notebooks (NN_topic.ipynb) in this course.", "Check the folder notebooks/.")
    if not selectors:
        return list(notebooks)
    chosen = {_one(notebooks, selector).stem for selector in selectors}
    return [notebook for notebook in notebooks if notebook.stem in chosen]


def _one(notebooks: Sequence[Notebook], selector: str) -> Notebook:
    name = Path(selector).name.removesuffix(".ipynb")
    if name.isdecimal():
        matches = [n for n in notebooks if int(n.stem[:2]) == int(name)]
    else:
        matches = [n for n in notebooks if n.stem == name] or [n for n in notebooks if name and name in n.stem]
    if len(matches) == 1:
        return matches[0]
    stems = [n.stem for n in matches or notebooks]
    if matches:
        raise CourseError(f"{selector!r} matches several notebooks: {', '.join(stems)}.", "Name one of them in full.")
    # A typo is as likely in the topic alone as in the whole name.
    topics = {stem[3:]: stem for stem in stems} | {stem: stem for stem in stems}
    close = dict.fromkeys(topics[match] for match in difflib.get_close_matches(name, topics, n=5, cutoff=0.5))
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(stems)}."
    raise CourseError(f"No notebook matches {selector!r}.", hint)


def bind_all(
    notebooks: Sequence[Notebook], given: Mapping[str, Any], text: Mapping[str, str]
) -> dict[str, dict[str, Any] | CourseError]:
    """Parameters of each notebook of a run by stem; the error in its place for a notebook that cannot be read.

    A notebook gets those parameters that it declares.

    Parameters
    ----------
    notebooks : sequence of Notebook
        Those that were selected.
    given : mapping
        Values by name.
    text : mapping of str to str
        Values from the command line by name.

    Raises
    ------
    CourseError
        For a name that none of the notebooks declares, or a value of the wrong type: the run does not start.
    """
    bound: dict[str, dict[str, Any] | CourseError] = {}
    readable = []
    for notebook in notebooks:
        try:
            notebook.check_syntax()
            bound[notebook.stem] = {name: p.default for name, p in notebook.parameters.items()}
            readable.append(notebook)
        except CourseError as error:
            bound[notebook.stem] = error
    for name in (*given, *text):
        if readable and not any(name in notebook.parameters for notebook in readable):
            raise unknown_parameter(name, readable)
    for notebook in readable:
        known = notebook.parameters
        typed = notebook.bind({name: value for name, value in given.items() if name in known})
        read = notebook.bind({name: value for name, value in text.items() if name in known}, text=True)
        bound[notebook.stem] = typed | {name: read[name] for name in text if name in known}
    return bound


def unknown_parameter(name: str, notebooks: Sequence[Notebook]) -> CourseError:
    names = sorted({declared for notebook in notebooks for declared in notebook.parameters})
    where = notebooks[0].stem if len(notebooks) == 1 else "None of the selected notebooks"
    what = f"{where} has no parameter {name!r}." if len(notebooks) == 1 else f"{where} has a parameter {name!r}."
    known = f"The parameters are: {', '.join(names)}." if names else "There are no parameters."
    return CourseError(what, f"{_did_you_mean(name, names)} {known}".strip())


def _check(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value, strict=True)


def _read(kind: Any, text: str) -> Any:
    """The value that `text` stands for: the text itself, or the literal in it, whichever the type accepts."""
    candidates = [text]
    try:
        literal = ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text, text))
        candidates.insert(0, literal)
    except (ValueError, SyntaxError):
        pass
    if kind is str:
        candidates = [text]
    for candidate in candidates[:-1]:
        try:
            return _check(kind, candidate)
        except ValidationError:
            continue
    return _check(kind, candidates[-1])


def _did_you_mean(name: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""
