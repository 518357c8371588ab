"""The search for solutions and hidden tests in what students get: notebooks, archives, the pages of a site."""

from __future__ import annotations

import base64
import html
import io
import re
import urllib.parse
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cnncourse.pipeline.exercises import hidden_tests, regions
from cnncourse.pipeline.notebooks import Notebook

RUN = 3  # so many lines in a row give a longer solution away, too
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|([nrt]))")  # at any depth: JSON in a script in JSON
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_COMMENT = re.compile(r"#[^\n]*")
_LAYOUT = re.compile(r"[\s\"'“”‘’,\\]+")  # notebooks keep sources as lists of quoted lines
_TAG = re.compile(r"<[^>]*>")
_LINE_NUMBER = re.compile(r'<span class="linenos?[^>]*>[^<]*</span>')
_LISTING = re.compile(r"^[ \t]*(?:-+>)?[ \t]*\d+[ \t]", re.MULTILINE)  # the margin of a traceback
_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}(?:(?:\\n|[\s\",])+[A-Za-z0-9+/]+)*={0,2}")
_BULK = re.compile(r"[A-Za-z0-9+/]{400,}={0,2}")  # no text, and most of a page with pictures
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"wOFF", b"wOF2")


@dataclass(frozen=True)
class Leak:
    """A solution, or a hidden test, where students can read it.

    Attributes
    ----------
    file : Path
    notebook, cell : str
        Where it comes from.
    form : str
        How it can be read: 'text' (JSON included), 'HTML', 'URL' or 'base64'.
    line : str
        The first line that was found.
    """

    file: Path
    notebook: str
    cell: str
    form: str
    line: str

    def __str__(self) -> str:
        return f"{self.file}: cell {self.cell} of {self.notebook}, from the line `{self.line}` on ({self.form})"


@dataclass(frozen=True)
class _Secret:
    notebook: str
    cell: str
    line: str
    forms: frozenset[str]  # with its comments and without


def find_leaks(folder: Path, notebooks: Iterable[Notebook]) -> list[Leak]:
    """Every file below a folder in which a solution of two lines or more, or a hidden test, can be read.

    Of a longer solution three lines in a row are enough. Comments, blanks, line ends and quotes do not count. Looked
    through are all files and the members of archives: as they are, without the escapes of JSON and of URLs, without
    the tags, entities and line numbers of HTML, without the margins of tracebacks, and behind base64 (attachments,
    downloads inside a page). Wheels are left out: the installed library holds reference implementations, and says so.

    Parameters
    ----------
    folder : Path
        A student edition, or a built site with its ``_sources`` and its search index.
    notebooks : iterable of Notebook
        The sources, with their solutions.

    Returns
    -------
    list of Leak
        One for each file and solution.
    """
    secrets = [secret for notebook in notebooks for secret in _secrets(notebook)]
    leaks = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".whl"):
        found: dict[tuple[str, str], Leak] = {}
        for form, text in _readings(path.read_bytes()):
            for bare in {_bare(text), _bare(_COMMENT.sub("", text))}:
                for secret in secrets:
                    key = (secret.notebook, secret.cell)
                    if key not in found and any(form in bare for form in secret.forms):
                        found[key] = Leak(path, *key, form, secret.line)
        leaks += found.values()
    return leaks


def _secrets(notebook: Notebook) -> Iterator[_Secret]:
    for number, cell in enumerate(notebook.node.cells):
        name = cell.get("id", str(number))
        for least, parts in ((2, regions(cell.source)), (1, hidden_tests(cell.source))):
            for region in parts:
                lines = region.splitlines()
                # Lines that say something: neither blank nor a comment alone.
                code = [k for k, line in enumerate(lines) if _bare(_COMMENT.sub("", line))]
                length = min(len(code), RUN)
                for first, last in zip(code, code[length - 1 :] if len(code) >= least else [], strict=False):
                    text = _unescaped("\n".join(lines[first : last + 1]))
                    forms = frozenset({_bare(text), _bare(_COMMENT.sub("", text))})
                    yield _Secret(notebook.stem, name, lines[first].strip(), forms)


def _bare(text: str) -> str:
    """What is left identifies code however it is laid out and quoted."""
    return _LAYOUT.sub("", text)


def _unescaped(text: str) -> str:
    plain = {"n": "\n", "r": "\n", "t": "\t"}
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else plain[m[2]], text)


def _readings(data: bytes, nested: bool = False) -> Iterator[tuple[str, str]]:
    """The ways in which bytes can be read as text: (form, text)."""
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if not name.endswith(".whl"):
                    yield from _readings(archive.read(name), nested)
        return
    raw = data.decode("utf-8", errors="ignore")
    text = _ANSI.sub("", _unescaped(_BULK.sub("", raw)))
    for form, reading in _decoded(text):
        yield form, reading
        if "-> " in reading:
            yield form, _LISTING.sub("", reading)
    if nested:
        return
    for chunk in _BASE64.findall(raw):
        digits = re.sub(r"\\n|[\s\",=]", "", chunk)
        decoded = base64.b64decode(digits[: len(digits) // 4 * 4] + _padding(digits))
        if not decoded.startswith(_PICTURES):
            for _, reading in _readings(decoded, nested=True):
                yield "base64", reading


def _decoded(text: str) -> Iterator[tuple[str, str]]:
    yield "text", text
    if "<" in text or "&" in text:
        page = _shown(text)
        yield "HTML", page
        yield "HTML", _shown(page)  # a page that shows the source of another
        yield "HTML", html.unescape(text)  # attributes
    if "%20" in text or "%0A" in text.upper():
        yield "URL", urllib.parse.unquote(text)


def _shown(page: str) -> str:
    return html.unescape(_TAG.sub("", _LINE_NUMBER.sub("", page)))


def _padding(digits: str) -> str:
    """The last group of base64 digits, completed; a single digit holds no byte."""
    rest = digits[len(digits) // 4 * 4 :]
    return rest + "=" * (4 - len(rest)) if len(rest) > 1 else ""
