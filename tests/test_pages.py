"""The pages that are computed from the notebooks, the ledger and the results (book/_ext)."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes

from cnncourse import claims
from cnncourse.claims.verdicts import NOT_WRITTEN
from cnncourse.results import Curve, Metric, Provenance, Results

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import course_facts  # noqa: E402
import glossary_links  # noqa: E402
import ledger_pages  # noqa: E402
import metric_places  # noqa: E402
import shift_figure  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEAD = """# A small notebook

What it is about.

**You will be able to**

- say `one` thing;
- and another.

| profile | what runs | time |
| --- | --- | --- |
| `smoke` (default) | little | 15 seconds |
| `laptop`, `num_seeds` = 1 | more | 5 minutes |
| `laptop` | all | 30 minutes |

Difficulty: ★★☆. Two exercises, about 20 minutes; reading and experiments, about 40. You need notebook 01.
"""


def markdown(source: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str, **metadata) -> dict:
    return {"cell_type": "code", "metadata": metadata, "source": source}


def notebook(folder: Path, *cells: dict) -> Path:
    path = folder / "02_small.ipynb"
    path.write_text(json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


class TestFactsOfANotebook:
    def test_the_first_cell_says_what_it_teaches_and_takes(self, tmp_path):
        check = {"nbgrader": {"grade": True, "points": 2}}
        cells = [
            markdown(HEAD),
            markdown("### Exercise 1: a"),
            code("check.a(a)", **check),
            markdown("### Exercise 2: b"),
        ]
        facts = course_facts.read_notebook(notebook(tmp_path, *cells))
        assert (facts.number, facts.title) == ("02", "A small notebook")
        assert facts.objectives == ("say `one` thing", "and another")
        assert facts.time("smoke") == "15 seconds"
        assert facts.time("laptop") == "5 minutes with `num_seeds` = 1; 30 minutes"
        assert facts.time("full") == ""
        assert (facts.difficulty, facts.exercises, facts.points) == ("★★☆", 2, 2)
        assert (facts.writing, facts.reading, facts.minutes) == (20, 40, 60)
        assert facts.needs == "notebook 01"

    def test_a_link_of_the_staged_page_is_no_part_of_a_fact(self, tmp_path):
        head = HEAD.replace("notebook 01", "notebook [01](01_x.ipynb)")
        assert head != HEAD
        assert course_facts.read_notebook(notebook(tmp_path, markdown(head))).needs == "notebook 01"

    def test_a_silent_notebook_has_gaps_and_no_error(self, tmp_path):
        facts = course_facts.read_notebook(notebook(tmp_path, markdown("# Title")))
        assert (facts.title, facts.minutes, facts.difficulty, facts.needs) == ("Title", 0, "", "")

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_each_notebook_of_the_course_says_it_all(self, path):
        facts = course_facts.read_notebook(path)
        assert re.fullmatch("★{1,3}☆{0,2}", facts.difficulty)
        assert len(facts.difficulty) == 3
        assert len(facts.objectives) >= 2
        assert facts.exercises
        assert facts.writing
        assert facts.reading
        assert all(facts.time(profile) for profile in course_facts.PROFILES)


class TestWhatANotebookCovers:
    def judged(self, *places: tuple[str, str, str]):
        return [
            SimpleNamespace(claim=SimpleNamespace(id=f"{report}-{n}", notebook=stem, where=where))
            for n, (report, stem, where) in enumerate(places)
        ]

    def test_a_problem_of_one_notebook_is_named_as_a_whole(self):
        judged = self.judged(("a", "02_x", "Problem 1, 1.1"), ("a", "02_x", "Problem 1, 1.3"))
        assert course_facts.covers(judged) == {"02_x": {"a": "problem 1"}}

    def test_of_a_shared_problem_the_parts_are_named(self):
        letters = [("a", "04_x", f"Problem 2{letter}") for letter in "abcij"]
        decimals = [("b", "05_y", f"Section 1.{n}") for n in (1, 2, 3, 9)]
        others = [("a", "01_z", "Problem 2h"), ("b", "01_z", "Section 1.10")]
        covers = course_facts.covers(self.judged(*letters, *decimals, *others))
        assert covers["04_x"]["a"] == "problems 2a to 2c, 2i, 2j"
        assert covers["05_y"]["b"] == "sections 1.1 to 1.3, 1.9"
        assert covers["01_z"] == {"a": "problem 2h", "b": "section 1.10"}

    def test_a_claim_from_two_places_does_not_decide(self):
        judged = self.judged(("a", "09_x", "Task 1g, Task 2"), ("a", "09_x", "Task 2a"), ("a", "01_y", "Task 1g"))
        assert course_facts.covers(judged)["09_x"] == {"a": "task 2"}

    def test_every_notebook_of_the_ledger_covers_something(self):
        judged = claims.judge_all(claims.load())
        covers = course_facts.covers(judged)
        assert covers.keys() == {verdict.claim.notebook for verdict in judged}
        assert all(what for reports in covers.values() for what in reports.values())


class TestWhereAMetricIsRecorded:
    CELLS = (
        markdown("# Title"),
        code("def curves(name, run): run.curve(f'{name}_loss', x, y)"),
        markdown("Text\n\n## 1 Layers\n\n```\n## no heading\n```"),
        code("run.record('num_params', 7)\nrun.record(f'width_{k}', k)"),
        markdown("## 2 Training\n### Experiment"),
        code("run.curve('first_loss', x, y)\nnames = ['accuracy']\n%matplotlib inline"),
        code("names = ['accuracy']\ncurves('second', run)"),
    )

    def heading(self, *references: str) -> str | None:
        number = metric_places.place(self.CELLS, references)
        return None if number is None else metric_places.headings(self.CELLS)[number]

    def test_headings_are_those_outside_of_code(self):
        assert metric_places.headings(self.CELLS) == ["Title", "1 Layers", "2 Training", "Experiment"]

    @pytest.mark.parametrize(
        ("reference", "heading"),
        [
            ("num_params", "1 Layers"),
            ("width_3.0", "1 Layers"),
            ("first_loss.-1", "Title"),  # the cell with a magic line cannot be parsed; the pattern fits
            ("second_loss", "Experiment"),  # a helper under the title records it; the section says what
            ("accuracy", "Experiment"),
            ("nothing_like_it", None),
        ],
    )
    def test_the_surest_cell_gives_the_section(self, reference, heading):
        assert self.heading(reference) == heading

    def test_most_metrics_decide(self):
        assert self.heading("accuracy", "num_params", "width_3") == "1 Layers"

    def test_nearly_every_judged_claim_of_the_course_has_a_place(self):
        cells = {path.stem: json.loads(path.read_text())["cells"] for path in NOTEBOOKS}
        ruled = [c for report in claims.load() for c in report.claims if c.references and c.notebook in cells]
        lost = [c.id for c in ruled if metric_places.place(cells[c.notebook], c.references) is None]
        assert len(lost) <= len(ruled) / 20, lost


class TestGlossaryLinks:
    TERMS = ("batch", "batch size", "kernel", "ReLU", "over-fitting", "claim", "stand-in", "learning-rate schedule")

    def found(self, *texts: str, used=()) -> list[tuple[str, str]]:
        found = glossary_links.first_uses(map(nodes.Text, texts), self.TERMS, set(used))
        return [(text.astext()[start:end], term) for text, start, end, term in found]

    def test_the_first_use_of_each_term_counts_and_the_longest_wins(self):
        assert self.found("Batch sizes matter.", "A batch, then batches.", "The batch size.") == [
            ("Batch sizes", "batch size"),
            ("batch", "batch"),
        ]

    def test_spelling_varies(self):
        texts = ("Overfitting, not relu but ReLUs.", "A learning rate schedule.", "Kernels of a kernel.")
        assert [term for _, term in self.found(*texts)] == ["over-fitting", "ReLU", "learning-rate schedule", "kernel"]

    def test_a_verb_is_not_a_term(self):
        assert self.found("The report claims that tables stand in the way; subkernel, kernel_size.") == []
        assert self.found("This is a claim.") == [("claim", "claim")]

    def test_a_term_that_is_linked_already_is_left_alone(self):
        assert self.found("ReLU", used=["ReLU"]) == []

    def test_only_running_text_is_linked(self):
        text = nodes.paragraph("", "", nodes.literal("", "ReLU"), nodes.Text(" is ReLU"))
        hint = [nodes.raw("", "<details>", format="html"), nodes.paragraph("", "ReLU"), nodes.raw("", "</details>")]
        section = nodes.section("", nodes.title("", "ReLU"), *hint, nodes.caption("", "ReLU"), text)
        document = nodes.Element("", section)
        assert [t.astext() for t in glossary_links._running_text(document)] == [" is ReLU"]

    def test_every_term_of_the_course_is_found_as_it_is_written(self):
        source = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
        terms = re.findall(r"^(\S.*)\n  \S", source.split("{glossary}")[1], re.MULTILINE)
        assert len(terms) > 50
        for term in terms:
            sentence = nodes.Text(f"Here is the {term}.")
            assert [hit[3] for hit in glossary_links.first_uses([sentence], terms, set())] == [term]


def results(**curves: dict[int, list[float]]) -> Results:
    provenance = Provenance(
        profile="laptop", seed=0, seeds=[0, 1, 2], device="cpu", device_name="Some Processor", threads=1, data=[],
        python="3.11.7", packages={}, finished="2026-11-21 10:00 UTC", wall_time_s=1.0,
    )  # fmt: skip
    drawn = {
        name: Curve(x=[0, 3, 6], per_seed=lines, x_label="x", y_label="y", unit="%") for name, lines in curves.items()
    }
    metrics = {
        "params": Metric(kind="exact", value=1234),
        "acc": Metric(kind="trained", per_seed={0: 90.0, 1: 91.0, 2: 92.0}, unit="%"),
    }
    return Results(notebook="04_x", provenance=provenance, metrics=metrics, curves=drawn)


class TestNumbersInSentences:
    def test_a_count_a_mean_with_its_interval_and_a_point_of_a_curve(self):
        measured = results(loss={0: [1.0, 2.0, 3.0], 1: [1.0, 2.0, 3.0]})
        assert ledger_pages.measured(measured, "params") == "1,234"
        assert ledger_pages.measured(measured, "acc") == "91.0 ± 2.5 %"
        assert ledger_pages.measured(measured, "loss", 3.0) == "2 %"

    @pytest.mark.parametrize("name", [("nothing",), ("loss", 3.0), ("acc", 0.0)])
    def test_what_was_not_measured_is_an_error(self, name):
        with pytest.raises(LookupError):
            ledger_pages.measured(results(), *name)
        with pytest.raises(LookupError):
            ledger_pages.measured(None, *name)


class TestTheFigureOfTheLandingPage:
    def test_it_is_drawn_from_the_results_in_the_colours_of_the_page(self):
        lines = {0: [98.0, 60.0, 10.0], 1: [97.0, 61.0, 12.0], 2: [99.0, 59.0, 11.0]}
        measured = results(shifted_pool=lines, shifted_conv=lines)
        text = shift_figure.svg(measured, 4.0, 3.0)
        assert "reads 98 % of the test digits" in shift_figure.description(measured)
        assert "moved by 6 pixels it reads 11 %" in shift_figure.description(measured)
        assert "var(--course-first)" in text
        assert "currentColor" in text
        assert not re.search("#[0-9a-f]{6}|<style|font-family", text)
        ids = re.findall(r'\bid="([^"]+)"', shift_figure.wide_and_narrow(measured))
        assert len(ids) == len(set(ids))  # two pictures in one page


ROW = dict(
    id="ift6135-a", report="ift6135", where="Problem 1", notebook="02_x", claim="1 < 2 & so on", reported="acc: 97",
    measured="acc: 96.1; loss: 0.1", origin="laptop, MNIST", verdict="corrected", reason="it is 2", metrics=["acc"],
)  # fmt: skip


class TestTheLedgersTable:
    def test_a_claim_has_an_anchor_its_verdict_and_a_link_to_what_measures_it(self):
        links = {"ift6135-a": ("../notebooks/02_x.html#part", "Part")}
        html = ledger_pages._table("A test", [ROW], links, {"02_x": ("../notebooks/02_x.html", "Small")})
        assert "<tr id='ift6135-a' data-report='ift6135' data-verdict='corrected' data-notebook='02_x'>" in html
        assert "<th scope='row'>1 &lt; 2 &amp; so on" in html
        assert "<a href='../notebooks/02_x.html#part'>Part</a>" in html
        assert html.count("scope='col'") == 4
        for text in ("acc: 97", "acc: 96.1", "loss: 0.1", "laptop, MNIST", "It is 2"):
            assert text in html

    def test_a_claim_without_a_page_has_no_link(self):
        row = ROW | {"verdict": "open", "measured": "", "reason": NOT_WRITTEN}
        html = ledger_pages._table("A test", [row], {"ift6135-a": ("", "")}, {"02_x": ("", "")})
        assert "notebooks" not in html.replace("data-notebook", "")
        assert "not written yet" in html

    def test_totals_lead_to_the_claims(self):
        verdicts = claims.judge_all(claims.load())
        html = ledger_pages._totals(claims.load(), verdicts, "what_held_up.html")
        assert "what_held_up.html?report=ift6135&amp;verdict=corrected#every-claim" in html
        total = claims.totals(verdicts)
        assert f">{total['open']:,}</a>" in html
        assert html.endswith(f"<td data-label='in all'>{len(verdicts):,}</td></tr></tbody></table>")


def test_every_story_is_about_a_claim_of_the_ledger_and_each_report_has_one():
    page = (ROOT / "book" / "what_held_up.md").read_text(encoding="utf-8")
    told = re.findall(r"^```\{claim\} (\S+)$", page, re.MULTILINE)
    known = {claim.id: report.report for report in claims.load() for claim in report.claims}
    assert set(told) <= known.keys()
    assert {known[claim] for claim in told} == set(known.values())


def test_every_entry_of_the_bibliography_leads_somewhere():
    entries = re.split(r"^@", (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    lost = [e.split("{")[1].split(",")[0] for e in entries if not re.search(r"^\s*(doi|url|note)\s*=", e, re.MULTILINE)]
    assert lost == []
