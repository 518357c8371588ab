"""Serve MathJax and the widget manager from the site itself, and load no script twice.

`cnncourse book` puts what it could fetch from npm into `_vendor/` at the root of the staged sources. What is not
there stays as Sphinx and MyST-NB set it (their addresses on a CDN), so that a build without network still works.
"""

from __future__ import annotations

from pathlib import Path

MATHJAX = "vendor/mathjax/tex-mml-chtml.js"
WIDGETS = "vendor/widgets/embed.js"


def use_vendored(app, config):
    folder = Path(app.srcdir) / "_vendor"
    if (folder / MATHJAX).is_file():
        # Under _static Jupyter Book would put every .js on every page; a second static folder is only copied.
        config.html_static_path.append("_vendor")
        config.mathjax_path = MATHJAX
    if (folder / WIDGETS).is_file():
        config.nb_ipywidgets_js = {WIDGETS: {}}


def read_in_parallel(app, config):
    # It numbers sections when all pages have been read, and does not say so; one such extension makes a build serial.
    if extension := app.extensions.get("sphinx_multitoc_numbering"):
        extension.parallel_read_safe = True


def clean_page(app, pagename, templatename, context, doctree):
    """Drop duplicate scripts and sphinx-thebe (no kernel is started here; it comes twice, a page error); mend roles."""
    seen, kept = set(), []
    for script in context.get("script_files", []):
        name = str(getattr(script, "filename", None) or script)
        body = (getattr(script, "attributes", None) or {}).get("body") or ""
        if "thebe" in name.lower() or "THEBE_JS_URL" in body or (name, body) in seen:
            continue
        seen.add((name, body))
        kept.append(script)
    context["script_files"][:] = kept
    styles = context.get("css_files", [])
    styles[:] = [style for style in styles if "thebe" not in str(getattr(style, "filename", style))]
    if context.get("body"):
        body = _without_thebe_config(context["body"])
        # docutils puts entries of a deprecated role into a list, which screen readers then announce as empty
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def _without_thebe_config(body: str) -> str:
    start = body.find('<script type="text/x-thebe-config">')
    while start != -1:
        end = body.index("</script>", start) + len("</script>")
        body = body[:start] + body[end:]
        start = body.find('<script type="text/x-thebe-config">')
    return body


def setup(app):
    # Sphinx loads MathJax only on pages with maths of their own, but a quiz or a table may bring some later.
    app.set_html_assets_policy("always")
    app.add_js_file("mathjax2_shim.js", priority=990, defer="defer")  # after MathJax, which is deferred too
    app.add_js_file("course.js", priority=995, defer="defer")
    app.connect("config-inited", use_vendored)
    app.connect("config-inited", read_in_parallel)
    app.connect("html-page-context", clean_page, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
