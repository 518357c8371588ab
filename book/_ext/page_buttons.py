"""The buttons above a page: what it offers for download, and where its notebook can be launched.

`cnncourse book` puts the notebooks of the edition into `_extra/downloads`; what lies there is what a page offers. The
sources of pages are not published: a staged notebook holds the site's own markup. Launch buttons appear when
`_config.yml` names a repository, and open the branch that `cnncourse student --branch` writes.
"""

from __future__ import annotations

from pathlib import Path

import yaml

LAUNCH = {
    "colab_url": "https://colab.research.google.com",
    "binderhub_url": "https://mybinder.org",
    "notebook_interface": "jupyterlab",
}
BRANCH = "student"


def configure(app, config):
    config.html_copy_source = False
    if (Path(app.srcdir) / "_extra").is_dir():
        config.html_extra_path.append("_extra")
    settings = yaml.safe_load((Path(app.srcdir) / "_config.yml").read_text(encoding="utf-8"))
    if url := (settings.get("repository") or {}).get("url"):
        config.html_theme_options |= {"repository_url": url, "repository_branch": BRANCH, "launch_buttons": LAUNCH}


def offer(app, pagename, templatename, context, doctree):
    """Replace the theme's download button, which links the source of the page."""
    downloads = Path(app.srcdir) / "_extra" / "downloads"
    name = f"{Path(pagename).name}.ipynb"
    offers = {}
    if pagename.startswith("notebooks/") and (downloads / name).is_file():
        offers[name] = ("This notebook (.ipynb)", "fas fa-file-code", "download-notebook-button")
        if (downloads / "notebooks.zip").is_file():
            offers["notebooks.zip"] = ("All notebooks (.zip)", "fas fa-file-zipper", "download-archive-button")
    links = [
        {"type": "link", "url": context["pathto"](f"downloads/{file}", 1), "text": text, "icon": icon, "label": label}
        for file, (text, icon, label) in offers.items()
    ]
    for group in context.get("header_buttons", []):
        if group.get("label") == "download-buttons":
            paper = [button for button in group["buttons"] if button["type"] == "javascript"]
            group["buttons"] = [*links, *({**button, "text": "On paper (.pdf)"} for button in paper)]


def setup(app):
    app.connect("config-inited", configure)
    app.connect("html-page-context", offer, priority=600)  # after the theme has filled them in
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
