"""Which Chromium the browser tests drive, and what they say where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = (
    "no Chromium on this machine, so pages were not opened. To run these tests: install chromium or google-chrome, "
    "or `playwright install chromium` in the environment"
)


def launch_options(playwright) -> dict:
    """How to start Chromium: the system's, or the one that Playwright has installed.

    Without one the test is skipped; with CNNCOURSE_BROWSER=required (in CI) it fails.
    """
    system = next(filter(None, map(shutil.which, NAMES)), None)
    own = playwright.chromium.executable_path
    if system is None and not Path(own).exists():
        if os.environ.get("CNNCOURSE_BROWSER") == "required":
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    # In a container Chromium has no sandbox of its own; the pages are ours.
    return {"executable_path": system or own, "args": ["--no-sandbox", "--disable-gpu"]}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def serve(folder: Path) -> tuple[str, Callable[[], None]]:
    """Serve a folder on this machine: its address, and a function that ends it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_port}", stop
