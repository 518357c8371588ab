"""Figures of a page, made lighter.

A chart has few colours, and a PNG with a palette is a third of one without. A row of photographs has many, and
as a JPEG it is a third, too.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nbformat import NotebookNode

if TYPE_CHECKING:
    from PIL.Image import Image

WORTH_IT = 20_000  # bytes; below, a page gains nothing
JPEG_QUALITY = 90
LARGEST_ERROR = 2.0  # root mean square over all pixels, of 255: a chart is far below, a photograph above


def lighten(notebook: NotebookNode, cache: Path) -> None:
    """Replace every PNG in the outputs that looks the same with fewer bytes: by one with a palette, or by a JPEG.

    Parameters
    ----------
    notebook : NotebookNode
        Is changed.
    cache : Path
        Folder that keeps what was made, by the hash of the figure and of the settings.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = base64.b64decode(data["image/png"])
                if len(picture) > WORTH_IT:
                    mime, light = _kept(picture, cache)
                    del data["image/png"]
                    data[mime] = base64.b64encode(light).decode()


def _kept(picture: bytes, cache: Path) -> tuple[str, bytes]:
    # The settings belong to the name: what earlier ones made is not found again.
    name = hashlib.sha256(f"{LARGEST_ERROR} {JPEG_QUALITY} ".encode() + picture).hexdigest()
    for mime in ("image/png", "image/jpeg"):
        path = cache / f"{name}.{mime.removeprefix('image/')}"
        if path.is_file():
            return mime, path.read_bytes()
    mime, light = lightest(picture)
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{name}.{mime.removeprefix('image/')}"
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(light)
    os.replace(unfinished, path)
    return mime, light


def lightest(picture: bytes) -> tuple[str, bytes]:
    """MIME type and bytes of a figure: with a palette, or as JPEG where it has the many colours of a photograph."""
    from PIL import Image

    light = with_palette(picture)
    original = Image.open(io.BytesIO(picture))
    if light is not picture or _transparent(original):
        return "image/png", light
    stored = io.BytesIO()
    # Colours at full resolution: otherwise letters get fringes.
    original.convert("RGB").save(stored, format="jpeg", quality=JPEG_QUALITY, subsampling=0)
    jpeg = stored.getvalue()
    return ("image/jpeg", jpeg) if 2 * len(jpeg) < len(picture) else ("image/png", picture)


def with_palette(picture: bytes) -> bytes:
    """A PNG of 256 colours when that is lighter and looks the same; otherwise the one that was given."""
    import numpy as np
    from PIL import Image

    original = Image.open(io.BytesIO(picture))
    if _transparent(original):
        return picture  # a palette has no soft transparency
    original = original.convert("RGB")
    reduced = original.quantize(256, dither=Image.Dither.NONE)
    difference = np.asarray(original, dtype=np.float32) - np.asarray(reduced.convert("RGB"), dtype=np.float32)
    stored = io.BytesIO()
    reduced.save(stored, format="png", optimize=True)
    light = stored.getvalue()
    faithful = float(np.sqrt(np.mean(difference**2))) <= LARGEST_ERROR
    return light if faithful and len(light) < len(picture) else picture


def _transparent(picture: Image) -> bool:
    return picture.mode == "RGBA" and picture.getextrema()[3] != (255, 255)
