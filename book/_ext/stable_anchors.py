"""Let plain Markdown link to a glossary term or a bibliography entry: `[epoch](../book/glossary.md#term-epoch)`.

MyST resolves `page.md#anchor` against the headings of the page only. Notebooks use plain Markdown, because roles such
as `{term}` are raw text in JupyterLab and Colab, so the ids of terms and citations are added to the headings' list.
"""

from __future__ import annotations

from docutils import nodes
from sphinx import addnodes


def add_terms(app, doctree):
    slugs = _slugs(app.env, app.env.docname)
    for glossary in doctree.findall(addnodes.glossary):
        for term in glossary.findall(nodes.term):
            for name in term["ids"]:
                slugs.setdefault(name, (term.line or 0, name, term.astext()))


def add_citations(app, env):
    # sphinxcontrib-bibtex knows the entries of a bibliography only when every page has been read
    for citation in env.get_domain("cite").citations:
        title = citation.entry.fields.get("title", citation.key)
        _slugs(env, citation.bibliography_key.docname).setdefault(
            citation.citation_id, (0, citation.citation_id, title)
        )


def _slugs(env, docname: str) -> dict:
    return env.metadata[docname].setdefault("myst_slugs", {})


def setup(app):
    app.setup_extension("sphinxcontrib.bibtex")
    app.connect("doctree-read", add_terms)
    app.connect("env-updated", add_citations, priority=900)  # after sphinxcontrib-bibtex has collected them
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
