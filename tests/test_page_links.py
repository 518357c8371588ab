"""Links that the pages of the site get and the notebooks do not have."""

import pytest

from cnncourse.pipeline.page_links import with_citations, with_notebook_links

NAMES = ("01_a", "02_b", "07_c")


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("as in notebook 02.", "as in notebook [02](02_b.ipynb)."),
        ("Notebooks 01, 02 and 07 show", "Notebooks [01](01_a.ipynb), [02](02_b.ipynb) and [07](07_c.ipynb) show"),
        ("You need notebook 02; more", "You need notebook [02](02_b.ipynb); more"),
        ("# Title\n\nsee notebook 02", "# Title\n\nsee notebook [02](02_b.ipynb)"),
        ("notebook 02's $x$ and notebook 01", "notebook [02](02_b.ipynb)'s $x$ and notebook [01](01_a.ipynb)"),
    ],
)
def test_a_number_leads_to_its_page(text, linked):
    assert with_notebook_links(text, NAMES) == linked


@pytest.mark.parametrize(
    "text",
    [
        "notebook 05",  # no such page
        "notebook 2, a notebook 0200 long, exercise 02",
        "`cnncourse run notebook 02`",
        "```\nnotebook 02\n```",
        "[notebook 02](02_b.ipynb)",
        "## After notebook 02",
        "<summary>notebook 02</summary>".replace("notebook 02", "<b title='notebook 02'>x</b>"),
        "$n = \\text{notebook 02}$",
    ],
)
def test_code_formulas_links_and_headings_stay(text):
    assert with_notebook_links(text, NAMES) == text


def test_a_page_does_not_link_to_itself():
    assert with_notebook_links("notebooks 01 and 02", NAMES, "02_b") == "notebooks [01](01_a.ipynb) and 02"


def test_a_key_in_backquotes_is_a_citation_but_code_is_not():
    text = "`he2015` and `other`\n```\n`he2015`\n```"
    assert with_citations(text, ["he2015"]) == "{cite:t}`he2015` and `other`\n```\n`he2015`\n```"
