"""The course's own site in a real browser: every page of the student edition, and the notebooks of the instructor's.

The site is what `cnncourse book` makes in this checkout; it is made first where it is not up to date. A folder in
CNNCOURSE_SITE is tested instead. Screenshots and measurements of each page are left in `_build/screenshots`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.parse
import zipfile
from collections import defaultdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import launch_options, serve
from filelock import FileLock
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cnncourse.pipeline.exercises import BEGIN
from cnncourse.pipeline.stage import notebooks, table_of_contents
from cnncourse.project import Project

COURSE = Project(Path(__file__).resolve().parents[1])
PAGES = [*table_of_contents(COURSE), "search", "genindex"]
NOTEBOOKS = [f"notebooks/{name}" for name in notebooks(COURSE)]
ARTEFACTS = COURSE.build / "screenshots"
WIDTHS = (1440, 768, 360)  # in this order no side bar has to slide in
PATIENCE_MS = 120_000  # a page takes a second, but not on a machine with much else to do
MB = 1_000_000
OWN_LIMIT, SHARED_LIMIT = 1.5 * MB, 6 * MB  # of one page with its figures; of what all pages share


@pytest.fixture(scope="module")
def site() -> Path:
    """Folder with both editions; built once, by the first worker that comes."""
    if given := os.environ.get("CNNCOURSE_SITE"):
        return Path(given).resolve()
    COURSE.build.mkdir(exist_ok=True)
    with FileLock(COURSE.build / ".site-tests.lock"):
        command = [sys.executable, "-m", "cnncourse", "book", "--project", str(COURSE.root)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return COURSE.build / "site"


@pytest.fixture(scope="module")
def chromium():
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options(playwright))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(site):
    """Of the site on a plain static server, below a path of its own."""
    base, stop = serve(site.parent)
    yield f"{base}/{site.name}"
    stop()


class Visit:
    """A fresh browser, which notes what goes wrong and what is loaded."""

    def __init__(self, chromium: Browser, address: str, **options):
        self.address, self.faults = address, []
        self.bytes: dict[str, int] = {}
        self.context = chromium.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.route("**/*", self._route)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("console", self._console)
        self.page.on("response", self._response)

    def _route(self, route) -> None:
        if route.request.url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.faults.append(f"asks another host: {route.request.url}")
            route.abort()

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")
        if not response.url.startswith(("data:", "blob:")):
            self.bytes[response.url] = int(response.headers.get("content-length", 0))

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.address}/{path}.html", wait_until="load")
        self.page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
        return self.page


@pytest.fixture
def visit(chromium, address):
    """Opens a fresh browser; at the end nothing may have gone wrong on any of its pages."""
    visits: list[Visit] = []

    def visit(**options) -> Visit:
        visits.append(Visit(chromium, address, **options))
        return visits[-1]

    yield visit
    for one in visits:
        one.context.close()
    assert [fault for one in visits for fault in one.faults] == []


# -- every page ---------------------------------------------------------------------------------------------------

HEADINGS = """Array.from(document.querySelectorAll("main h1, main h2, main h3, main h4, main h5, main h6"),
    (h) => h.offsetParent && [Number(h.tagName[1]), h.innerText]).filter(Boolean)"""  # some are for print alone
FIGURES = """Array.from(document.querySelectorAll("main img"), (i) => i.getAttribute("alt"))"""
RAW_MATHS = """Array.from(document.querySelectorAll("main .math, main .tex2jax_process"))
    .filter((e) => /\\\\\\(|\\\\\\[/.test(e.innerText)).map((e) => e.innerText.slice(0, 80))"""


SCROLLING_CODE = """Array.from(document.querySelectorAll("main pre"))
    .filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1).map((e) => e.innerText.slice(0, 80))"""


def serious(page: Page) -> list:
    """What axe-core finds that keeps people out."""
    page.wait_for_timeout(300)  # colours of the theme fade
    found = Axe().run(page, options={"preload": False}).response["violations"]
    return [
        (fault["id"], [node["html"][:150] for node in fault["nodes"][:3]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def picture(page: Page, name: str) -> None:
    """Keep a picture of the whole page, for people to look at."""
    if page.evaluate("document.documentElement.scrollHeight") < 65_000:  # no JPEG is higher
        page.screenshot(path=ARTEFACTS / f"{name}.jpg", full_page=True, quality=60)
    else:
        page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_clean_and_everyone_can_read_it(visit, path):
    one = visit(viewport={"width": 1440, "height": 900}, color_scheme="light")
    page = one.open(f"student/{path}")
    paint = page.evaluate("Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime)")
    assert page.evaluate("document.documentElement.lang") == "en"
    levels = [level for level, _ in page.evaluate(HEADINGS)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), page.evaluate(HEADINGS)
    alternatives = page.evaluate(FIGURES)
    assert [alt for alt in alternatives if not alt or re.fullmatch(r"\S*\.(png|svg|jpe?g)", alt)] == []
    assert page.evaluate(RAW_MATHS) == []

    weights = {"own": 0, "shared": 0}
    for url, size in one.bytes.items():
        weights["own" if url.endswith(f"{path}.html") or "/_images/" in url else "shared"] += size
    assert weights["own"] <= OWN_LIMIT
    assert weights["shared"] <= SHARED_LIMIT
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    name = path.replace("/", "-")
    (ARTEFACTS / f"{name}.json").write_text(json.dumps({"bytes": weights, "first_contentful_paint_ms": paint}))

    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme == 'dark'")
    assert serious(page) == []
    picture(page, f"{name}-1440-dark")
    page.emulate_media(color_scheme="light")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(500)  # side bars slide
        picture(page, f"{name}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width >= 768:
            assert page.evaluate(SCROLLING_CODE) == []


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_page_of_the_instructors_loads_clean_and_shows_the_solutions(visit, path):
    page = visit().open(f"instructor/{path}")
    sources = [cell.source for cell in nbformat.read(COURSE.root / f"{path}.ipynb", as_version=4).cells]
    shown = page.locator("main").inner_text()
    assert shown.count(BEGIN) == sum(source.count(BEGIN) for source in sources)


# -- links --------------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Addresses that a page asks for, and the places in it that others can point to."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        self.links += [given[key] for key in ("href", "src") if given.get(key) is not None]


@pytest.mark.parametrize("edition", ["student", "instructor"])
def test_every_link_and_anchor_of_the_site_leads_somewhere(site, edition):
    root = site / edition
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")}
    assert len(pages) > len(PAGES)
    lost = defaultdict(set)
    for path, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc or path.is_relative_to(root / "_static"):
                continue
            assert not url.path.startswith("/"), f"{path}: {link} breaks below a path of its own"
            target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            anchor = urllib.parse.unquote(url.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].ids):
                lost[path].add(link)
    assert {str(path.relative_to(root)): sorted(links) for path, links in lost.items()} == {}


def test_the_first_page_leads_to_the_student_edition(visit):
    one = visit()
    one.page.goto(f"{one.address}/index.html")
    one.page.wait_for_url("**/student/book/index.html")
    expect(one.page.get_by_role("heading", level=1)).to_be_visible()


# -- what a reader does -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "path"), [("centred softmax logits", "notebooks/02_numpy_mlp"), ("truncation error", "book/glossary")]
)
def test_the_search_finds_a_word_of_a_notebook_and_of_a_page(visit, words, path):
    page = visit().open(f"student/{PAGES[0]}")
    page.keyboard.press("Control+k")
    field = page.get_by_role("searchbox").and_(page.locator(":focus"))
    field.fill(words)
    field.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    found = page.locator(f"#search-results a[href*='{path}.html']").first
    expect(found).to_be_visible()
    found.click()
    page.wait_for_url(f"**/{path}.html*")


def first_with(visit, selector: str, **options) -> tuple[Visit, Page]:
    """The first notebook's page on which there is such an element."""
    one = visit(**options)
    for path in NOTEBOOKS:
        if one.open(f"student/{path}").locator(selector).count():
            return one, one.page
    raise AssertionError(f"no page has {selector}")


def test_a_quiz_answers_a_wrong_and_a_right_click(visit):
    _, page = first_with(visit, ".Quiz input[type=radio]")
    quiz = page.locator(".Quiz", has=page.locator("input[type=radio]")).first
    answers = set()
    for choice in quiz.locator("label").all():
        choice.click()
        expect(quiz.get_by_role("status")).not_to_be_empty()
        answers.add(quiz.get_by_role("status").inner_text()[0])
    assert answers == {"✘", "✔"}


def test_a_slider_changes_its_picture_by_keyboard_and_by_mouse(visit):
    _, page = first_with(visit, ".cnncourse-slider")
    box = page.locator(".cnncourse-slider").first
    slider = box.get_by_role("slider")
    pictures = box.locator("figure:visible")
    first = pictures.get_attribute("data-value")
    slider.focus()
    page.keyboard.press("ArrowRight" if int(slider.input_value()) == 0 else "ArrowLeft")
    second = pictures.get_attribute("data-value")
    assert second != first
    area = slider.bounding_box()
    slider.click(position={"x": area["width"] - 3, "y": area["height"] / 2})
    page.keyboard.press("Home")
    third = pictures.get_attribute("data-value")
    slider.click(position={"x": area["width"] - 3, "y": area["height"] / 2})
    assert pictures.get_attribute("data-value") != third
    assert pictures.count() == 1


def test_maths_is_typeset_in_text_and_in_boxes(visit):
    _, page = first_with(visit, ".math")
    assert page.locator(".math mjx-container").count() == page.locator(".math").count()
    assert page.locator("mjx-merror").count() == 0


def test_every_notebook_can_be_downloaded_and_holds_no_solution(visit, site, tmp_path):
    one = visit(accept_downloads=True)
    page = one.open(f"student/{NOTEBOOKS[0]}")
    page.get_by_role("button", name="Download this page").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="This notebook").click()
    download.value.save_as(tmp_path / "one.ipynb")
    assert download.value.suggested_filename == f"{Path(NOTEBOOKS[0]).name}.ipynb"
    saved = nbformat.read(tmp_path / "one.ipynb", as_version=4)
    nbformat.validate(saved)
    assert BEGIN not in nbformat.writes(saved)
    page.get_by_role("button", name="Download this page").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="All notebooks").click()
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        names = {name for name in archive.namelist() if name.endswith(".ipynb")}
    assert names == {f"{Path(path).name}.ipynb" for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        name = f"{Path(path).name}.ipynb"
        nbformat.validate(nbformat.read(site / "student" / "downloads" / name, as_version=4))
        full = nbformat.read(site / "instructor" / "downloads" / name, as_version=4)
        assert full == nbformat.read(COURSE.notebooks / name, as_version=4)


def test_figures_stay_readable_in_the_dark(visit):
    _, page = first_with(visit, ".cell_output img", color_scheme="dark")
    colour = page.locator(".cell_output img").first.evaluate("(i) => getComputedStyle(i).backgroundColor")
    assert min(map(int, re.findall(r"\d+", colour)[:3])) > 180  # their lines and letters are dark


def test_long_code_is_a_line_that_unfolds_and_an_exercise_is_not(visit):
    _, page = first_with(visit, ".cell details.hide")
    fold = page.locator(".cell details.hide").first
    expect(fold.locator("pre")).to_be_hidden()
    fold.locator("summary").click()
    expect(fold.locator("pre")).to_be_visible()
    stub = page.locator(".cell_input pre", has_text="NotImplementedError").first
    expect(stub).to_be_visible()


def test_on_paper_folded_code_is_there_and_hints_are_not(visit):
    _, page = first_with(visit, ".cell details.hide")
    folds, hints = page.locator(".cell details.hide"), page.locator("details:has(> summary:text-is('Hint'))")
    assert hints.count()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert folds.evaluate_all("(boxes) => boxes.every((box) => box.open)")
    assert not hints.evaluate_all("(boxes) => boxes.some((box) => box.open)")
    assert folds.first.locator("> :last-child").evaluate("(code) => getComputedStyle(code).animationName") == "none"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not folds.evaluate_all("(boxes) => boxes.some((box) => box.open)")


# -- the ledger ---------------------------------------------------------------------------------------------------

LEDGER = "book/what_held_up"


def test_the_filters_show_the_claims_that_fit_and_keep_the_choice_in_the_address(visit):
    page = visit().open(f"student/{LEDGER}")
    rows, status = page.locator("table.ledger tr[id]"), page.locator(".claims-filter [role=status]")
    everything = rows.count()
    expect(rows.filter(visible=True)).to_have_count(0)  # folded
    page.get_by_label("Verdict").select_option("corrected")
    corrected = page.locator("table.ledger tr[data-verdict=corrected]").count()
    expect(rows.filter(visible=True)).to_have_count(corrected)
    expect(status).to_have_text(f"{corrected} of {everything} claims")
    assert page.url.endswith("?verdict=corrected#every-claim")
    page.get_by_label("Words").fill("no such words")
    expect(status).to_have_text(f"0 of {everything} claims")
    page.get_by_role("button", name="Show all").click()
    expect(status).to_have_text(f"{everything} of {everything} claims")
    page.get_by_role("button", name="Open all").click()
    expect(rows.filter(visible=True)).to_have_count(everything)
    page.get_by_role("button", name="Close all").click()
    expect(rows.filter(visible=True)).to_have_count(0)


def test_a_link_to_a_claim_shows_it_whatever_is_chosen(visit):
    one = visit()
    page = one.open(f"student/{LEDGER}")
    claim = page.locator("table.ledger tr[data-verdict=open]").last.get_attribute("id")
    one.page.goto(f"{one.address}/student/{LEDGER}.html?verdict=corrected#{claim}")
    expect(page.locator(f"[id='{claim}']")).to_be_in_viewport()


def test_on_paper_a_page_is_its_article_alone(visit):
    page = visit().open(f"student/{NOTEBOOKS[0]}")
    page.emulate_media(media="print")
    for part in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article", ".prev-next-footer"):
        expect(page.locator(part).first).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('main')).overflow") == "visible"
