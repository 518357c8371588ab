"""Figures with a slider: every frame is drawn beforehand, so that it moves without a kernel."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cnncourse.errors import CourseError
from cnncourse.teaching.page import attribute, inline, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT_KB = 400  # of one slider; a page may weigh 1.5 MB with everything on it


def slider_figure(
    frames: Mapping[object, Figure | bytes | str],
    label: str,
    *,
    alt: str | Mapping[object, str] = "",
    texts: Mapping[object, str] | None = None,
    start: object = None,
    limit_kb: int = LIMIT_KB,
) -> None:
    """Show one of several frames, chosen with a slider. Without JavaScript all of them are shown.

    Parameters
    ----------
    frames : mapping of value to frame
        In the order of the slider. A frame is a matplotlib figure (it is closed), the bytes of a PNG, or HTML.
    label : str
        What the slider changes, with its unit; also the text that is committed, with the values.
    alt : str or mapping of value to str
        Alternative text of the pictures; ``{value}`` in it is replaced. Required when a frame is a picture.
    texts : mapping of value to str, optional
        A sentence below each frame, in inline Markdown, which a screen reader reads when the slider moves.
    start : object, optional
        Value of the frame shown first (default: the first).
    limit_kb : int
        How much all frames together may weigh, in units of 1000 bytes.

    Raises
    ------
    CourseError
        For fewer than two frames, a missing alternative text, something that is no frame, or too much weight.
    """
    values = list(frames)
    if len(values) < 2:
        raise CourseError(f"The slider {label!r} has {len(values)} frames.", "Pass two or more.")
    if start is not None and start not in frames:
        raise CourseError(f"The slider {label!r} has no frame {start!r} to start with.", "Pass one of its values.")
    descriptions = {v: alt.get(v, "") if isinstance(alt, Mapping) else alt.replace("{value}", str(v)) for v in values}
    contents = {v: _content(label, v, frame, descriptions[v]) for v, frame in frames.items()}
    weight = sum(len(content) for content in contents.values())
    if weight > 1000 * limit_kb:
        raise CourseError(
            f"The {len(values)} frames of the slider {label!r} weigh {weight / 1000:,.0f} kB together, more than"
            f" {limit_kb} kB.",
            "Take fewer frames, a smaller figsize, or a lower dpi.",
        )
    first = values.index(start) if start is not None else 0
    texts = texts or {}
    figures = "".join(
        f'<figure data-value="{attribute(value)}">{contents[value]}<figcaption><span class="value">{inline(label)}:'
        f" {inline(str(value))}</span>{' ' + inline(texts[value]) if value in texts else ''}</figcaption></figure>"
        for value in values
    )
    markup = (
        f'<div class="cnncourse-box cnncourse-slider tex2jax_process" data-start="{first}"'
        f'><div class="controls"><label>{inline(label)}'
        f'<input type="range" min="0" max="{len(values) - 1}" step="1" value="{first}" autocomplete="off"></label>'
        "<output></output></div>"
        f'<div class="frames">{figures}</div><p class="unseen" aria-live="polite"></p></div>'
    )
    show(f"{label}: {', '.join(map(str, values))} (one figure for each)", markup, "slider.css", "slider.js")


def _content(label: str, value: object, frame: object, alt: str) -> str:
    """One frame as HTML."""
    if isinstance(frame, str):
        return frame
    if not alt.strip():
        raise CourseError(
            f"The slider {label!r} has no alternative text for {value!r}.",
            "Pass alt=, what the picture shows in words; '{value}' in it is replaced by the value.",
        )
    if isinstance(frame, bytes):
        data = frame
    elif hasattr(frame, "savefig"):
        data = _png(frame)
    else:
        raise CourseError(
            f"The frame {value!r} of the slider {label!r} is a {type(frame).__name__}.",
            "Pass a matplotlib figure, the bytes of a PNG, or HTML text.",
        )
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{attribute(alt)}">'


def _png(figure: Figure) -> bytes:
    """A figure as PNG with a palette, a third of the size; it is closed, or the notebook would show it again."""
    import matplotlib.pyplot as plt
    from PIL import Image

    if figure.get_layout_engine() is None:  # labels would be cut off; cutting to them gives frames of different sizes
        figure.set_layout_engine("constrained")
    drawn, stored = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", facecolor="white")
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(stored, format="png", optimize=True)
    return stored.getvalue()
