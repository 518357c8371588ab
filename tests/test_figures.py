"""Figures of a page are made lighter, and only where nobody sees it."""

import base64
import io

import numpy as np
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from cnncourse.pipeline import figures


def png(pixels: np.ndarray) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, format="png")
    return stored.getvalue()


def chart() -> np.ndarray:
    """Lines on white with soft edges, as matplotlib draws them."""
    x, y = np.meshgrid(np.arange(600), np.arange(400))
    pixels = np.full((400, 600, 3), 255, dtype=np.uint8)
    for k, colour in enumerate([(31, 119, 180), (214, 39, 40), (44, 160, 44)]):
        cover = np.clip(3 - np.abs(y - 200 - 100 * np.sin(x / 60 + k)), 0, 1)[..., None]
        pixels = (pixels * (1 - cover) + np.array(colour) * cover).astype(np.uint8)
    return pixels


def photograph() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


def test_a_chart_weighs_less_and_looks_the_same():
    pixels = chart()
    light = figures.with_palette(png(pixels))
    assert len(light) < len(png(pixels))
    shown = np.asarray(Image.open(io.BytesIO(light)).convert("RGB"), dtype=float)
    assert np.abs(shown - pixels).mean() < 1


def test_a_picture_of_many_colours_and_a_transparent_one_stay_as_they_are():
    soft = np.dstack([chart(), np.linspace(0, 255, 400 * 600, dtype=np.uint8).reshape(400, 600)])
    for given in (png(photograph()), png(soft)):
        assert figures.with_palette(given) is given


def smooth() -> np.ndarray:
    """Many soft colours, with the noise of a camera."""
    x, y = np.meshgrid(np.linspace(0, 255, 300), np.linspace(0, 255, 200))
    colours = np.stack([x, y, 255 - x], axis=-1)
    return (colours + np.random.default_rng(0).normal(0, 8, colours.shape)).clip(0, 255).astype(np.uint8)


def test_a_photograph_becomes_a_jpeg_and_looks_the_same():
    mime, light = figures.lightest(png(smooth()))
    assert mime == "image/jpeg"
    assert 2 * len(light) < len(png(smooth()))
    shown = np.asarray(Image.open(io.BytesIO(light)), dtype=float)
    assert shown.shape == smooth().shape
    assert np.abs(shown - smooth()).mean() < 8  # below the noise


def test_a_transparent_picture_and_one_that_a_jpeg_does_not_shorten_stay_png():
    soft = np.dstack([smooth(), np.linspace(0, 255, 200 * 300, dtype=np.uint8).reshape(200, 300)])
    for given in (png(soft), png(photograph())):
        assert figures.lightest(given) == ("image/png", given)


def test_the_figures_of_a_notebook_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "WORTH_IT", 100)
    data = {"image/png": base64.b64encode(png(chart())).decode(), "text/plain": "<Figure>"}

    def notebook():
        outputs = [new_output("display_data", data=dict(data)), new_output("stream", name="stdout", text="1")]
        return new_notebook(cells=[new_code_cell("plot()", outputs=outputs)])

    first, second = notebook(), notebook()
    figures.lighten(first, tmp_path)
    monkeypatch.setattr(figures, "with_palette", None)
    figures.lighten(second, tmp_path)
    shown = first.cells[0].outputs[0].data
    assert len(shown["image/png"]) < len(data["image/png"])
    assert shown["text/plain"] == "<Figure>"
    assert second.cells[0].outputs == first.cells[0].outputs
    assert len(list(tmp_path.iterdir())) == 1
