"""The search for leaks: it finds a solution in whatever form students could read it, and nothing else."""

import base64
import html
import json
import re
import urllib.parse
import zipfile

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from test_student import CELL, NOTEBOOKS, REGION, write_notebook

from cnncourse.pipeline.exercises import BEGIN, BEGIN_HIDDEN, END, END_HIDDEN, is_solution, regions
from cnncourse.pipeline.leaks import find_leaks
from cnncourse.pipeline.notebooks import Notebook

PNG = base64.b64encode(b"\x89PNG\r\n" + bytes(range(256)) * 20).decode()
ATTACHED = base64.b64encode(("# a file\n" * 9 + REGION).encode()).decode()
LINES = REGION.splitlines()
TRACEBACK = f"""\x1b[0;31mZeroDivisionError\x1b[0m  Traceback (most recent call last)
Cell \x1b[0;32mIn[4], line 3\x1b[0m
\x1b[1;32m      1\x1b[0m def f(xs):
\x1b[1;32m      2\x1b[0m     {LINES[0]}
\x1b[0;32m----> 3\x1b[0m     {LINES[1]}
"""


@pytest.fixture
def secret(tmp_path):
    return Notebook(write_notebook(tmp_path, CELL, solution=True))


def notebook(*cells, **metadata):
    return nbformat.writes(new_notebook(cells=cells, metadata=metadata))


def page(**options):
    return f"<html><body>{highlight(REGION, PythonLexer(), HtmlFormatter(**options))}</body></html>"


def error_output():
    return new_code_cell("f([])", outputs=[new_output("error", ename="E", evalue="", traceback=[TRACEBACK])])


def html_output():
    data = {"text/html": page(), "image/png": PNG}
    return new_code_cell("f", outputs=[new_output("display_data", data=data)])


# Where a solution could hide: the file's name, and what is in it.
PLANTED = {
    "source": ("a.ipynb", notebook(new_code_cell(f"if 1:\n    {REGION}"))),
    "text cell": ("a.ipynb", notebook(new_markdown_cell(f"Answer:\n\n```python\n{REGION}\n```"))),
    "cell metadata": ("a.ipynb", notebook(new_code_cell("1", metadata={"backup": {"was": REGION}}))),
    "notebook metadata": ("a.ipynb", notebook(was=REGION.splitlines())),
    "stream": ("a.ipynb", notebook(new_code_cell("1", outputs=[new_output("stream", text=REGION)]))),
    "error": ("a.ipynb", notebook(error_output())),
    "HTML output": ("a.ipynb", notebook(html_output())),
    "attachment": ("a.ipynb", notebook(new_markdown_cell("x", attachments={"a.py": {"text/plain": ATTACHED}}))),
    "attachment in lines": ("a.txt", "\n".join(re.findall(".{1,60}", ATTACHED))),
    "attachment behind a picture": ("a.json", json.dumps({"a": PNG, "b": ATTACHED})),
    "download inside a page": ("a.html", f'<a href="data:text/plain;base64,{ATTACHED}">solution</a>'),
    "address": ("a.html", f'<a href="data:text/plain,{urllib.parse.quote(REGION)}">solution</a>'),
    "page": ("a.html", page()),
    "page with line numbers": ("a.html", page(linenos="inline")),
    "page with a column of line numbers": ("a.html", page(linenos="table")),
    "page that shows a page": ("a.html", f"<pre>{html.escape(page())}</pre>"),
    "page with a traceback": ("a.html", f"<pre>{html.escape(TRACEBACK)}</pre>"),
    "attribute": ("a.html", f'<button data-copy="{html.escape(REGION)}">copy</button>'),
    "script": ("a.html", f"<script>window.cells = {json.dumps(json.dumps([REGION]))}</script>"),
    "_sources": ("_sources/a.ipynb", json.dumps({"source": REGION.splitlines(keepends=True)}, indent=1)),
    "_sources of text": ("_sources/a.md.txt", f"~~~\n{REGION}\n~~~"),
    "search index": ("searchindex.js", f"Search.setIndex({json.dumps({'text': REGION})})"),
    "search index on one line": ("searchindex.js", json.dumps(" ".join(REGION.split()))),
    "escaped signs": ("a.json", json.dumps(REGION).replace("(", "\\u0028").replace("=", "\\u003d")),
    "other layout": ("a.py", "total=sum( x for x in xs )  # the sum\n\n# divide\n\treturn total/max(len(xs),1)"),
}


@pytest.mark.parametrize("where", PLANTED)
def test_a_planted_leak_is_found(where, secret, tmp_path):
    name, text = PLANTED[where]
    path = tmp_path / "site" / name
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    leaks = find_leaks(tmp_path / "site", [secret])
    assert [(leak.file, leak.notebook, leak.cell, leak.line) for leak in leaks] == [(path, "01_secret", "f", LINES[0])]


def test_every_solution_of_the_course_is_found_in_its_notebook_and_on_its_page(tmp_path):
    expected = set()
    for source in NOTEBOOKS:
        (tmp_path / source.path.name).write_bytes(source.path.read_bytes())
        code = [cell.source for cell in source.node.cells if cell.cell_type == "code"]
        pages = (highlight(text, PythonLexer(), HtmlFormatter()) for text in code)
        (tmp_path / f"{source.stem}.html").write_text("".join(pages), encoding="utf-8")
        for cell in filter(is_solution, source.node.cells):
            lines = [line for line in regions(cell.source)[0].splitlines() if line.strip(" #")]
            if len(lines) > 1:
                expected |= {(f"{source.stem}{suffix}", source.stem, cell.id) for suffix in (".ipynb", ".html")}
    leaks = find_leaks(tmp_path, NOTEBOOKS)
    assert expected
    assert {(leak.file.name, leak.notebook, leak.cell) for leak in leaks} == expected


def test_a_leak_in_an_archive_is_found_but_the_library_is_none(secret, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "library.whl").write_text(REGION)
    with zipfile.ZipFile(site / "a.zip", "w") as archive:
        archive.writestr("library.whl", REGION)
    assert find_leaks(site, [secret]) == []
    with zipfile.ZipFile(site / "a.zip", "a") as archive:
        archive.writestr("deep/a.py", REGION)
    assert [leak.file for leak in find_leaks(site, [secret])] == [site / "a.zip"]


@pytest.mark.parametrize(
    "text",
    [LINES[0] + "\nreturn 0\n", "\n".join(reversed(LINES)), LINES[0] + "\nlog(total)\n" + LINES[1], REGION.upper()],
    ids=["half of it", "the other way round", "with another line between", "capitals"],
)
def test_other_code_is_no_leak(text, secret, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.py").write_text(text)
    assert find_leaks(tmp_path / "site", [secret]) == []


COMMENTED = ["a = xs[0]  # the first", "# then", "b = xs[1:]", 'text = ", ".join("\\n" for x in b)', "return a, text"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\n".join(COMMENTED[:4]), True),
        ("\n".join(COMMENTED[2:]), True),
        (" ".join(COMMENTED[:4]), True),
        (json.dumps("\n".join(COMMENTED[2:]).splitlines(keepends=True), indent=1), True),
        ("\n".join(COMMENTED[:3]), False),
        ("\n".join(COMMENTED[3:]), False),
    ],
)
def test_three_lines_of_a_longer_solution_are_enough(text, found, tmp_path):
    lines = "".join(f"    {line}\n" for line in COMMENTED)
    long = Notebook(write_notebook(tmp_path, f"def f(xs):\n    {BEGIN}\n{lines}    {END}", solution=True))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text(text)
    assert bool(find_leaks(tmp_path / "site", [long])) == found


def test_a_solution_of_one_line_is_not_looked_for(tmp_path):
    short = Notebook(
        write_notebook(tmp_path, f"def f(x):\n    {BEGIN}\n    # so\n    return x\n    {END}", solution=True)
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text("return x")
    assert find_leaks(tmp_path / "site", [short]) == []


def test_hidden_tests_of_one_line_are_looked_for(tmp_path):
    source = f"check.f(f)\n{BEGIN_HIDDEN}\nassert f([40]) == 41\n{END_HIDDEN}"
    hidden = Notebook(write_notebook(tmp_path, source, grade=True, points=1, locked=True))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.html").write_text(page() + "<pre>assert f([40]) == 41</pre>")
    assert [leak.line for leak in find_leaks(tmp_path / "site", [hidden])] == ["assert f([40]) == 41"]
