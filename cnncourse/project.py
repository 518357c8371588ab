"""Where things lie: the folders of a checkout, and the committed results that travel with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cnncourse.errors import CourseError

PROFILES = ("smoke", "laptop", "full")
_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Project:
    """The folders of one checkout of the course.

    Parameters
    ----------
    root : Path
        Folder that holds ``_toc.yml`` and ``notebooks/``.
    output : Path, optional
        Folder for what is built, by default ``_build`` in the root.
    """

    root: Path
    output: Path | None = None

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def ledger(self) -> Path:
        return self.root / "book" / "claims"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def build(self) -> Path:
        return self.output or self.root / "_build"

    def executed(self, profile: str) -> Path:
        return self.build / "executed" / profile

    def fresh_results(self, profile: str) -> Path:
        return self.build / "results" / profile

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project that `start` (default: the working directory) lies in.

        Raises
        ------
        CourseError
            When no parent folder is a checkout of the course.
        """
        start = Path(start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
                return cls(folder)
        raise CourseError(
            f"No course found in {start} or above it (looked for _toc.yml beside notebooks/).",
            "Change to a checkout of the course, or name it with --project.",
        )


def committed(kind: str) -> Path:
    """Folder of the committed ``results`` or ``claims``.

    A checkout's own files come first, so that an editable install sees edits; an installed wheel carries copies.
    """
    checkout = {"results": "results", "claims": "book/claims"}[kind]
    source = _PACKAGE.parent / checkout
    if (_PACKAGE.parent / "_toc.yml").is_file() and source.is_dir():
        return source
    return _PACKAGE / "_committed" / kind


def module_files() -> dict[str, Path]:
    """Source file of every module of the package, by dotted name."""
    files = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files
