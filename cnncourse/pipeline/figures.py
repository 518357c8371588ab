"""Figures of a page, made lighter: a chart has few colours, and a PNG with a palette is a third of one without."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from pathlib import Path

from nbformat import NotebookNode

WORTH_IT = 20_000  # bytes; below, a page gains nothing
LARGEST_ERROR = 2.0  # root mean square over all pixels, of 255: a chart is far below, a photograph above


def lighten(notebook: NotebookNode, cache: Path) -> None:
    """Replace every PNG in the outputs that a palette represents faithfully by one that weighs less.

    Parameters
    ----------
    notebook : NotebookNode
        Is changed.
    cache : Path
        Folder that keeps what was made, by the hash of the figure.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = base64.b64decode(data["image/png"])
                if len(picture) > WORTH_IT:
                    data["image/png"] = base64.b64encode(_kept(picture, cache)).decode()


def _kept(picture: bytes, cache: Path) -> bytes:
    path = cache / f"{hashlib.sha256(picture).hexdigest()}.png"
    if path.is_file():
        return path.read_bytes()
    light = with_palette(picture)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(light)
    os.replace(unfinished, path)
    return light


def with_palette(picture: bytes) -> bytes:
    """A PNG of 256 colours when that is lighter and looks the same; otherwise the one that was given."""
    import numpy as np
    from PIL import Image

    original = Image.open(io.BytesIO(picture))
    if original.mode == "RGBA" and original.getextrema()[3] != (255, 255):
        return picture  # a palette has no soft transparency
    original = original.convert("RGB")
    reduced = original.quantize(256, dither=Image.Dither.NONE)
    difference = np.asarray(original, dtype=np.float32) - np.asarray(reduced.convert("RGB"), dtype=np.float32)
    stored = io.BytesIO()
    reduced.save(stored, format="png", optimize=True)
    light = stored.getvalue()
    faithful = float(np.sqrt(np.mean(difference**2))) <= LARGEST_ERROR
    return light if faithful and len(light) < len(picture) else picture
