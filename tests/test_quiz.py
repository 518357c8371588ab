"""Quizzes, predictions and sliders without a browser: what they refuse, what is committed of them, what they hold."""

from __future__ import annotations

import ast
import base64
import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat import NotebookNode

from cnncourse.errors import CourseError
from cnncourse.pipeline.outputs import portable
from cnncourse.teaching.page import inline
from cnncourse.teaching.predict import measured, predict
from cnncourse.teaching.quiz import number, question, quiz, right, wrong
from cnncourse.teaching.sliders import slider_figure
from cnncourse.teaching.stepper import kernel_stepper, output_size_explorer

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SHIFT = question(
    "Why may a constant be subtracted before `exp`?",
    wrong("Probabilities shrink.", "They add up to 1 before and after."),
    right("It cancels.", "Numerator and denominator change by the same factor $e^{-c}$."),
)
LAYER = number(
    "How many parameters?", 522_810, "784 · 666 + 666.", slips={522_144: "And the biases?"}, otherwise="Count again."
)


@pytest.fixture(autouse=True, scope="module")
def _notebook_shell():
    """What a kernel has: an interactive shell, which display() needs."""
    InteractiveShell.instance()
    yield
    InteractiveShell.clear_instance()


def shown(call, *args, **kwargs) -> tuple[dict, dict]:
    """The data and metadata of the one output of a call."""
    with capture_output() as captured:
        call(*args, **kwargs)
    (output,) = captured.outputs
    return output.data, output.metadata


# -- what is committed --------------------------------------------------------------------------------------------

CALLS = {
    "quiz": (quiz, ("softmax-shift", SHIFT, LAYER), "Quiz softmax-shift: 2 questions"),
    "predict": (
        predict,
        ("nan-log", "What will it show?", ["a $0$", "`inf`"]),
        "Predict first: What will it show?\n  (a) a $0$\n  (b) `inf`",
    ),
    "predict a number": (predict, ("spread", "How far?"), "Predict first: How far?"),
    "measured": (measured, ("far-away", 0.4, "That is *much*."), "Measured: 0.4\nThat is *much*."),
    "slider": (slider_figure, ({0.1: "<p>a</p>", 0.3: "<p>b</p>"}, "Rate"), "Rate: 0.1, 0.3 (one figure for each)"),
    "stepper": (
        kernel_stepper,
        ([[1, 2, 3], [4, 5, 6]], [[1, 0]]),
        "Cross-correlation, stride 1, padding 0: image 2x3, kernel 1x2, output 2x2",
    ),
    "output size": (output_size_explorer, (), "Output size explorer: H=32, F=5, S=1, P=0, D=1"),
}


@pytest.mark.parametrize("name", CALLS)
def test_only_a_line_of_text_is_committed_and_it_is_the_same_in_every_run(name):
    call, args, text = CALLS[name]
    first, metadata = shown(call, *args)
    second, _ = shown(call, *args)
    assert first == second
    assert first["text/plain"] == text
    assert "<div" in first["text/html"]
    output = NotebookNode(output_type="display_data", data=NotebookNode(first), metadata=NotebookNode(metadata))
    (kept,) = portable([output])
    assert kept.data == {"text/plain": text}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_loaded_from_elsewhere(name):
    call, args, _ = CALLS[name]
    html = shown(call, *args)[0]["text/html"]
    assert not re.search(r"""<link|@import|url\(|<script[^>]+src|<img[^>]+src=["']?http""", html)


def test_a_quiz_leaves_the_random_numbers_of_the_notebook_alone():
    random.seed(3)
    expected = random.random()
    random.seed(3)
    shown(quiz, "softmax-shift", SHIFT)
    assert random.random() == expected


def test_the_ids_of_a_quiz_come_from_its_key():
    html = shown(quiz, "softmax-shift", SHIFT)[0]["text/html"]
    assert 'id="quiz_softmax_shift"' in html
    assert set(re.findall(r'<div id="([^"]+)"', html)) == {"quiz_softmax_shift"}


def test_a_plain_interpreter_gets_the_text(capsys):
    InteractiveShell.clear_instance()
    try:
        quiz("softmax-shift", SHIFT)
    finally:
        InteractiveShell.instance()
    assert capsys.readouterr().out == "Quiz softmax-shift: 1 question\n"


# -- texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("`x < 1` and *this* and **that**", "<code>x &lt; 1</code> and <em>this</em> and <strong>that</strong>"),
        ("$x_1 < 2$, not 3 * 4 * 5", r"\(x_1 &lt; 2\), not 3 * 4 * 5"),
        ("`a * b * c`", "<code>a * b * c</code>"),
        ("**bold with `code`**", "<strong>bold with <code>code</code></strong>"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ],
)
def test_inline_markdown(text, html):
    assert inline(text) == html


def test_every_answer_and_its_feedback_stand_in_the_page_without_a_script():
    html = shown(quiz, "softmax-shift", SHIFT, LAYER)[0]["text/html"]
    unfolding = html[html.index('class="unfolding"') : html.index('<div id="quiz_softmax_shift"')]
    for answer in SHIFT.answers:
        assert inline(answer.text) in unfolding
        assert inline(answer.feedback) in unfolding
    for text in ("522,810", "784 · 666 + 666.", "522,144", "And the biases?", "Count again."):
        assert text in unfolding
    assert unfolding.count("✔ Right.") == 2
    assert unfolding.count("✘ Not this one.") == 3


# -- what authors are told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: question("Only one?", right("a", "b")), "two answers or more"),
        (lambda: question("None right?", wrong("a", "b"), wrong("c", "d")), "one of them right"),
        (lambda: right("a", " "), "no feedback"),
        (lambda: number("n", 1, "f", otherwise=""), "without feedback"),
        (lambda: number("n", 1, "f", slips={1.05: "s"}, otherwise="o", tolerance=0.1), "right within its tolerance"),
        (lambda: quiz("softmax shift", SHIFT), "no name"),
        (lambda: quiz("empty"), "no question"),
        (lambda: predict("one", "Which?", ["only this"]), "no choice"),
        (lambda: predict("text", "Which?", "abc"), "no choice"),
        (lambda: slider_figure({1: "<p>a</p>"}, "Rate"), "has 1 frames"),
        (lambda: slider_figure({1: "<p>a</p>", 2: "<p>b</p>"}, "Rate", start=3), "no frame 3"),
        (lambda: slider_figure({1: b"png", 2: b"png"}, "Rate"), "no alternative text for 1"),
        (lambda: slider_figure({1: 2.0, 2: 3.0}, "Rate", alt="a"), "is a float"),
        (lambda: slider_figure({1: "x" * 900, 2: "y" * 200}, "Rate", limit_kb=1), "weigh 1 kB together, more than 1"),
        (lambda: kernel_stepper([1, 2, 3], [[1]]), "two tables"),
        (lambda: kernel_stepper([[1, 2], [3, 4]], [[1, 2, 3]]), "cannot be stepped"),
        (lambda: kernel_stepper([[0] * 30] * 3, [[1]]), "cannot be stepped"),
        (lambda: output_size_explorer(H=100), "H = 100"),
    ],
)
def test_a_mistake_of_an_author_is_an_error_that_says_what_to_do(make, says):
    with pytest.raises(CourseError) as caught, capture_output():
        make()
    assert says in caught.value.what
    assert caught.value.remedy


def test_a_measured_answer_is_one_of_the_options():
    with capture_output():
        predict("nan-log", "What?", ["infinity", "a good one"])
    with pytest.raises(CourseError, match="options a, b, not 'c'"):
        measured("nan-log", "c")
    assert shown(measured, "nan-log", "b")[0]["text/plain"] == "Measured: (b) a good one"


def test_a_measured_number_has_the_unit_of_the_prediction():
    with capture_output():
        predict("spread", "How far?", unit="points")
    assert shown(measured, "spread", 0.4)[0]["text/plain"] == "Measured: 0.4 points"


# -- sliders ------------------------------------------------------------------------------------------------------


def test_figures_are_stored_as_small_pngs_of_one_size_and_closed():
    import matplotlib.pyplot as plt
    from PIL import Image

    def figure(power: int):
        figure, ax = plt.subplots(figsize=(6, 3))
        ax.plot([10**power * x for x in range(5)])
        ax.set(xlabel="x", ylabel="a label that would be cut off")
        return figure

    html = shown(slider_figure, {p: figure(p) for p in (0, 5)}, "Power", alt="A line to ten to the {value}")[0][
        "text/html"
    ]
    frames = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]
    images = [Image.open(io.BytesIO(frame)) for frame in frames]
    assert [(image.mode, image.size) for image in images] == [("P", (600, 300))] * 2
    assert all(len(frame) < 10_000 for frame in frames)
    assert all(image.convert("L").crop((0, 0, 3, 300)).getextrema() == (255, 255) for image in images)
    assert re.findall(r'alt="([^"]+)"', html) == ["A line to ten to the 0", "A line to ten to the 5"]
    assert not plt.get_fignums()


def test_the_stepper_agrees_with_torch():
    import torch

    image, kernel = torch.arange(30.0).reshape(5, 6) % 7, torch.tensor([[1.0, 0, -2], [0.5, 3, 0]])
    for options in ({}, {"stride": 2}, {"padding": 1}, {"stride": 3, "padding": 2}):
        html = shown(kernel_stepper, image, kernel, **options)[0]["text/html"]
        table = html[html.index('<table class="output">') :]
        rows = [re.findall(r"<td>([^<]+)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
        got = torch.tensor([[float(x.replace("−", "-")) for x in row] for row in rows])
        assert torch.equal(got, torch.nn.functional.conv2d(image[None, None], kernel[None, None], **options)[0, 0])


def test_a_flipped_kernel_is_shown_flipped():
    html = shown(kernel_stepper, [[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[1, 2], [3, 4]], flip=True)[0]["text/html"]
    data = json.loads(re.search(r'data-stepper="([^"]+)"', html)[1].replace("&quot;", '"'))
    assert data["kernel"] == [[4, 3], [2, 1]]
    assert "Convolution (kernel flipped)" in html


# -- the notebooks ------------------------------------------------------------------------------------------------


def calls(path: Path, name: str) -> Iterator[tuple[NotebookNode, ast.Call]]:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and f"{name}(" in cell.source:
            for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in (name, f"predict.{name}"):
                    yield cell, node


def hidden(cell: NotebookNode) -> bool:
    """Whether the source is folded away: on the page, in JupyterLab, in Colab."""
    metadata = cell.metadata
    return (
        "remove-input" in metadata.get("tags", [])
        and metadata.get("jupyter", {}).get("source_hidden") is True
        and metadata.get("cellView") == "form"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_shows_the_answers_of_a_quiz_or_of_a_prediction_in_its_source(path):
    open_cells = [cell.id for cell, _ in calls(path, "quiz") if not hidden(cell)]
    open_cells += [
        cell.id for cell, call in calls(path, "measured") if isinstance(call.args[1], ast.Constant) and not hidden(cell)
    ]
    assert open_cells == [], (
        'these cells need the metadata {"tags": ["remove-input"], "jupyter": {"source_hidden": true}, '
        '"cellView": "form"}'
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_keys_are_unique_and_every_measured_answer_has_its_prediction(path):
    keys = {name: [ast.literal_eval(call.args[0]) for _, call in calls(path, name)] for name in ("quiz", "predict")}
    for found in keys.values():
        assert len(found) == len(set(found))
    answered = [ast.literal_eval(call.args[0]) for _, call in calls(path, "measured")]
    assert set(answered) <= set(keys["predict"])
    assert len(answered) == len(set(answered))
