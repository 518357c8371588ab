"""Quizzes, predictions and sliders in a real browser: on a page of the site, and each alone in a frame, as in Colab."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import launch_options, serve
from filelock import FileLock
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbconvert import HTMLExporter
from nbformat import v4
from playwright.sync_api import Page, expect, sync_playwright

from cnncourse.pipeline import assets, site
from cnncourse.project import Project
from cnncourse.results import Provenance, Results

CHECKOUT = Path(__file__).parents[1]
SETUP = """
from cnncourse.teaching.predict import measured, predict
from cnncourse.teaching.quiz import number, question, quiz, right, wrong
from cnncourse.teaching.sliders import slider_figure
from cnncourse.teaching.stepper import kernel_stepper, output_size_explorer
from IPython.display import SVG
SQUARE = "<svg xmlns='http://www.w3.org/2000/svg' width='60' height='60'><rect width='60' height='60'/></svg>"
"""
QUIZ = """
quiz(
    "first-quiz",
    question("Two and two?", wrong("Three", "One more."), right("Four", "Count your fingers."), wrong("Five", "Less.")),
    question("Which are even?", right("Two", "Half is one."), wrong("Three", "Odd."), right("Four", "Half is two.")),
    number("Ten times ten?", 100, "A square, $10^2$.", slips={20: "That is the sum."}, otherwise="Multiply."),
    number("A third?", 0.333, "Rounded.", otherwise="One by three.", tolerance=0.004),
)
"""
# One notebook; each string is a code cell, each pair a Markdown cell
CELLS = [
    SETUP,
    ("md", "## Quiz"),
    QUIZ,
    ("md", "## Prediction\n\nBefore."),
    'predict("first-guess", "What comes out?", ["a circle", "a square"])',
    "x = 1",
    'print("the first " + "output")',
    "SVG(SQUARE)",
    'measured("first-guess", "ba"[1 - x])',
    ("md", "**What you should see.** It is a square.\n\n**Question.** Why?"),
    'print("an output " + "after it")',
    ("md", "### Number"),
    'predict("second-guess", "How many corners?", unit="corners")',
    'print("four " * 2)',
    ("md", "They are counted.\n\n## Slider"),
    'slider_figure({n: f"<p>{n} dots: {chr(8226) * n}</p>" for n in (1, 2, 3)}, "Dots", texts={2: "Two of them."})',
    ("md", "## Steppers"),
    "kernel_stepper([[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[1, 0], [0, -1]])",
    "output_size_explorer(H=7, F=3, S=1, P=0, D=1)",
]


def executed() -> nbformat.NotebookNode:
    """The notebook, executed here: a kernel would show the same and take seconds."""
    shell = InteractiveShell.instance()
    cells = [v4.new_markdown_cell("# Page\n\nIn one paragraph.")]
    try:
        for count, cell in enumerate(CELLS, 1):
            if isinstance(cell, tuple):
                cells.append(v4.new_markdown_cell(cell[1]))
                continue
            with capture_output() as captured:
                result = shell.run_cell(cell)
            result.raise_error()
            outputs = [v4.new_output("display_data", data=o.data, metadata=o.metadata) for o in captured.outputs]
            if result.result is not None:
                data = {"text/plain": "<SVG>", "image/svg+xml": result.result.data}
                outputs = [v4.new_output("display_data", data=data)]
            elif captured.stdout:
                outputs.insert(0, v4.new_output("stream", name="stdout", text=captured.stdout))
            cells.append(v4.new_code_cell(cell, execution_count=count, outputs=outputs))
    finally:
        InteractiveShell.clear_instance()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def build(root: Path) -> None:
    """The site of a course with that one notebook, with the course's own configuration and extensions."""
    shutil.copy(CHECKOUT / "_config.yml", root)
    for folder in ("_ext", "_static"):
        shutil.copytree(CHECKOUT / "book" / folder, root / "book" / folder)
    shutil.copy(CHECKOUT / "book" / "references.bib", root / "book")
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n  - file: notebooks/01_page\n  - file: book/working\n"
    )
    (root / "book" / "index.md").write_text("# Start\n\n```{bibliography}\n```\n")
    (root / "book" / "working.md").write_text("# Working\n\n## Profiles\n")
    project = Project(root)
    target = project.executed("smoke") / "01_page.ipynb"
    target.parent.mkdir(parents=True)
    nbformat.write(executed(), target)
    project.notebooks.mkdir()
    shutil.copy(target, project.notebooks)  # the download of the page
    facts = dict(
        profile="smoke", seed=0, seeds=[0], device="cpu", device_name="A Processor", threads=1, data=[], python="3.11"
    )
    provenance = Provenance(**facts, packages={}, finished="2026-11-21 10:00 UTC", wall_time_s=1)
    Results(notebook="01_page", provenance=provenance).save(project.fresh_results("smoke") / "01_page.json")
    # Without npm: the page has no maths and no ipywidgets, so empty scripts do, and nothing is asked of another host
    vendored = root / "scripts"
    for name in ("mathjax/tex-mml-chtml.js", "widgets/embed.js"):
        path = vendored / "vendor" / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "vendored", lambda cache: (vendored, ""))
        site.build(project, editions=["instructor"])


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """Folder of the course; the workers of pytest-xdist share one build."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "quiz-course"
    with FileLock(f"{root}.lock"):
        if not (root / "_build" / "site" / "index.html").is_file():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            build(root)
    return root


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options(playwright))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, course):
    """Opens the notebook's page in a fresh browser; at the end nothing may have gone wrong on it."""
    address, stop = serve(course / "_build" / "site" / "instructor")
    contexts, faults = [], []

    def open_(**options) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)

        def route(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                faults.append(f"asks another host: {route.request.url}")
                route.abort()

        context.route("**/*", route)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
        page.on("console", lambda m: faults.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
        page.on("response", lambda r: faults.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.goto(f"{address}/notebooks/01_page.html")
        return page

    yield open_
    for context in contexts:
        context.close()
    stop()
    assert faults == []


WIDTHS = pytest.mark.parametrize("width", [360, 1440])


def test_a_box_that_arrives_in_parts_is_prepared_when_it_is_whole(open_page, course):
    """A slow connection ends in the middle of every box; by then the scripts of earlier boxes have run."""
    text = (course / "_build/site/instructor/notebooks/01_page.html").read_text(encoding="utf-8")
    pieces = re.split(r'(<div class="cnncourse-box cnncourse-(?:predict|slider|stepper|output-size)\b[^>]*>)', text)
    assert len(pieces) == 11  # five boxes
    boxes = [f'{piece}<script src="slow-{n}.js"></script>' if n % 2 else piece for n, piece in enumerate(pieces)]

    def slow(route):
        time.sleep(0.4)
        route.fulfill(content_type="text/javascript", body="")

    page = open_page()
    page.route("**/01_page.html", lambda route: route.fulfill(content_type="text/html", body="".join(boxes)))
    page.route("**/slow-*.js", slow)
    page.reload()
    ready = ".cnncourse-predict[data-ready], .cnncourse-slider[data-ready], .cnncourse-stepper[data-ready]"
    expect(page.locator(f"{ready}, .cnncourse-output-size[data-ready]")).to_have_count(5)
    second = page.locator(".cnncourse-predict").nth(1)
    second.get_by_role("spinbutton").fill("4")
    second.get_by_role("button", name="Commit").click()
    expect(second.get_by_role("status")).to_contain_text("4 corners")


# -- quiz ---------------------------------------------------------------------------------------------------------


@WIDTHS
def test_a_quiz_answers_a_wrong_and_a_right_click(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    first, second, *_ = page.locator(".Quiz").all()
    first.get_by_text("Three").click()
    expect(first.get_by_role("status")).to_have_text("✘ Not this one. One more.")
    first.get_by_text("Four").click()
    expect(first.get_by_role("status")).to_have_text("✔ Right. Count your fingers.")
    second.get_by_text("Four").click()
    expect(second.get_by_role("status")).to_have_text("✔ Right. Half is two. [1/2]")
    second.get_by_text("Two", exact=True).click()
    expect(second.get_by_role("status")).to_have_text("✔ Right. Half is one. [2/2]")
    assert [box.is_checked() for box in second.get_by_role("checkbox").all()] == [True, False, True]


def test_a_quiz_answers_the_keyboard_and_arrows_only_move(open_page):
    page = open_page()
    quiz = page.locator(".Quiz").first
    group = quiz.get_by_role("radiogroup", name="Two and two?")
    group.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")
    expect(group.get_by_role("radio", name="Four")).to_be_focused()
    expect(quiz.get_by_role("status")).to_be_empty()
    page.keyboard.press("Space")
    expect(quiz.get_by_role("status")).to_contain_text("Right.")


def test_a_number_is_checked_by_enter_and_by_the_button(open_page):
    page = open_page()
    first, second = page.locator(".Quiz").all()[2:]
    field = first.get_by_label("Your number")
    for typed, feedback in (("20", "That is the sum."), ("7", "Multiply."), ("100", r"A square, \(10^2\).")):
        field.click()
        field.press_sequentially(typed)
        field.press("Enter")
        expect(first.get_by_role("status")).to_contain_text(feedback)
    for typed, feedback in (("0.33", "Rounded."), ("0.34", "One by three."), ("1/3", "Rounded.")):
        second.get_by_label("Your number").click()
        second.get_by_label("Your number").press_sequentially(typed)
        second.get_by_role("button", name="Check").click()
        expect(second.get_by_role("status")).to_contain_text(feedback)


def test_the_ids_of_a_page_are_unique_and_the_same_on_every_visit(open_page):
    ids = "Array.from(document.querySelectorAll('.cnncourse-quiz [id]'), (e) => e.id)"
    first, second = open_page().evaluate(ids), open_page().evaluate(ids)
    assert len(first) > 10
    assert len(set(first)) == len(first)
    assert first == second


# -- prediction ---------------------------------------------------------------------------------------------------

HIDDEN = ["the first output", "It is a square.", "Question. Why?"]


@WIDTHS
def test_outputs_are_covered_until_the_reader_commits_and_then_compared(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    predict = page.locator("#predict-first-guess")
    picture = page.locator(".cell_output svg[width='60'], .cell_output img").first
    measured = page.locator(".cnncourse-measured")
    for text in HIDDEN:
        expect(page.get_by_text(text)).to_be_hidden()
    expect(picture).to_be_hidden()
    expect(measured).to_be_hidden()
    expect(page.get_by_text("an output after it")).to_be_visible()
    expect(page.get_by_text("Before.")).to_be_visible()

    predict.get_by_role("button", name="Commit").click()
    expect(predict.get_by_role("status")).to_have_text("Choose an answer first.")
    expect(picture).to_be_hidden()
    predict.get_by_label("a circle").check()
    predict.get_by_label("Why?").fill("It rolls.")
    predict.get_by_role("button", name="Commit").click()
    expect(predict.get_by_role("status")).to_have_text("You predicted: (a) a circleYour reason: It rolls.")
    for text in HIDDEN:
        expect(page.get_by_text(text)).to_be_visible()
    expect(picture).to_be_visible()
    expect(measured).to_contain_text("(a) a circleYour reason: It rolls.")
    expect(measured).to_contain_text("Measured(b) a square")
    expect(measured).to_contain_text("Not as you predicted")
    # the other prediction is still open
    expect(page.get_by_text("They are counted.")).to_be_hidden()


def test_a_prediction_is_remembered_and_can_be_started_over(open_page):
    page = open_page()
    page.locator("#predict-first-guess").get_by_label("a square").check()
    page.locator("#predict-first-guess").get_by_role("button", name="Commit").click()
    expect(page.locator(".cnncourse-measured")).to_contain_text("As you predicted.")
    page.reload()
    expect(page.locator("#predict-first-guess").get_by_role("status")).to_have_text("You predicted: (b) a square")
    expect(page.get_by_text("It is a square.")).to_be_visible()
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_text("It is a square.")).to_be_hidden()


def test_a_number_is_predicted_and_a_prediction_can_be_declined(open_page):
    page = open_page()
    number = page.locator("#predict-second-guess")
    number.get_by_label("Your number, in corners").fill("5")
    page.keyboard.press("Enter")
    expect(number.get_by_role("status")).to_have_text("You predicted: 5 corners")
    expect(page.get_by_text("They are counted.")).to_be_visible()
    page.locator("#predict-first-guess").get_by_role("button", name="without").click()
    expect(page.get_by_text("It is a square.")).to_be_visible()
    expect(page.locator(".cnncourse-measured").get_by_text("You predicted")).to_be_hidden()


def test_everything_is_shown_in_print_and_without_javascript(open_page):
    printed = open_page()
    printed.emulate_media(media="print")
    silent = open_page(java_script_enabled=False)
    for page in (printed, silent):
        for text in HIDDEN:
            expect(page.get_by_text(text)).to_be_visible()
    expect(silent.get_by_role("button", name="Commit")).to_be_hidden()
    assert [silent.get_by_text(f"{n} dots").is_visible() for n in (1, 2, 3)] == [True, True, True]
    silent.locator("summary", has_text="Four").first.click()
    expect(silent.get_by_text("✔ Right. Count your fingers.")).to_be_visible()


# -- sliders ------------------------------------------------------------------------------------------------------


@WIDTHS
def test_a_slider_changes_its_frame_by_keyboard_and_by_mouse(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    box = page.locator(".cnncourse-slider")
    slider = box.get_by_role("slider", name="Dots")
    expect(box.get_by_text("1 dots")).to_be_visible()
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(box.get_by_text("2 dots")).to_be_visible()
    expect(box.get_by_text("1 dots")).to_be_hidden()
    expect(slider).to_have_attribute("aria-valuetext", "2")
    expect(box.locator("[aria-live]")).to_have_text("Two of them.")
    area = slider.bounding_box()
    slider.click(position={"x": area["width"] - 3, "y": area["height"] / 2})
    expect(box.get_by_text("3 dots")).to_be_visible()


def test_the_kernel_steps_over_the_image(open_page):
    page = open_page()
    box = page.locator(".cnncourse-stepper")
    output = box.locator("table.output td")
    assert output.all_inner_texts() == ["−4", "", "", ""]
    box.get_by_role("button", name="Next").click()
    expect(box.locator(".sum")).to_have_text("Row 1, column 2: 2·1 + 3·0 + 5·0 + 6·(−1) = −4")
    assert box.locator("table.image td.on").all_inner_texts() == ["2", "3", "5", "6"]
    box.get_by_role("slider").focus()
    page.keyboard.press("End")
    expect(box.get_by_role("button", name="Next")).to_be_disabled()
    assert output.all_inner_texts() == ["−4"] * 4


def test_the_output_size_follows_its_sliders(open_page):
    page = open_page()
    box = page.locator(".cnncourse-output-size")
    expect(box.locator(".formula")).to_contain_text("= 5.")
    box.get_by_role("slider", name="stride").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(box.locator(".formula")).to_contain_text("= 2. The last 1 place is never covered.")
    box.get_by_role("slider", name="dilation").focus()
    page.keyboard.press("End")
    expect(box.locator(".formula")).to_contain_text("no output")


# -- every reader -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@WIDTHS
def test_axe_finds_nothing_serious_in_any_box_and_nothing_runs_out_of_the_page(open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.locator(".Quiz").first.get_by_text("Three").click()
    page.locator(".Quiz").nth(1).get_by_text("Four").click()
    page.locator("#predict-first-guess").get_by_label("a circle").check()
    page.locator("#predict-first-guess").get_by_role("button", name="Commit").click()
    page.wait_for_timeout(300)  # colours of the theme fade
    found = Axe().run(page, context=".cnncourse-box", options={"preload": False}).response["violations"]
    serious = [
        (fault["id"], [node["html"][:120] for node in fault["nodes"]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_jupyterlab_covers_text_up_to_the_next_heading_even_within_a_cell(chromium, course):
    """On the page that nbconvert makes, whose cells are those of JupyterLab."""
    notebook = nbformat.read(Project(course).executed("smoke") / "01_page.ipynb", as_version=4)
    html, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    page = chromium.new_page()
    page.route("**/*", lambda route: route.abort())  # scripts of the template, which are not needed here
    page.set_content(html)
    see, heading = page.get_by_text("They are counted."), page.get_by_role("heading", name="Slider")
    expect(page.get_by_text("four four")).to_be_hidden()
    expect(see).to_be_hidden()
    expect(heading).to_be_visible()
    page.get_by_label("Your number, in corners").fill("4")
    page.get_by_label("Your number, in corners").press("Enter")
    expect(see).to_be_visible()
    page.close()


def test_each_output_works_alone_in_a_frame_that_may_remember_nothing(chromium, course):
    """As in Colab: every output is a page of its own, without its neighbours, and here without localStorage."""
    notebook = nbformat.read(Project(course).executed("smoke") / "01_page.ipynb", as_version=4)
    outputs = [
        o.data["text/html"]
        for cell in notebook.cells
        for o in cell.get("outputs", [])
        if "data" in o and "text/html" in o.data
    ]
    assert len(outputs) == 7
    page = chromium.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_content("".join("<iframe sandbox='allow-scripts' width='600' height='700'></iframe>" for _ in outputs))
    for i, html in enumerate(outputs):
        page.locator("iframe").nth(i).evaluate("(frame, html) => { frame.srcdoc = html; }", html)
    quiz, predict, measured, number, slider, stepper, size = (page.frame_locator("iframe").nth(i) for i in range(7))
    quiz.get_by_text("Four").last.click()
    predict.get_by_label("a circle").check()
    predict.get_by_role("button", name="Commit").click()
    expect(predict.get_by_role("status")).to_have_text("You predicted: (a) a circle")
    expect(measured.get_by_text("(b) a square")).to_be_visible()
    number.get_by_label("Your number").fill("4")
    number.get_by_role("button", name="Commit").click()
    expect(number.get_by_role("status")).to_have_text("You predicted: 4 corners")
    slider.get_by_role("slider").focus()
    page.keyboard.press("End")
    expect(slider.get_by_text("3 dots")).to_be_visible()
    stepper.get_by_role("button", name="Next").click()
    expect(stepper.locator(".sum")).to_contain_text("Row 1, column 2")
    expect(size.locator(".formula")).to_contain_text("= 5.")
    page.close()
    assert faults == []
