"""Predict first: the reader commits to an answer before the outputs that settle it are uncovered."""

from __future__ import annotations

from collections.abc import Sequence

from cnncourse.errors import CourseError
from cnncourse.teaching.page import attribute, check_key, inline, place, show

_ASSETS = ("predict.css", "predict.js")
_shown: dict[str, tuple[list[str], str]] = {}  # options and unit of the predictions that this kernel has asked for


def predict(key: str, question: str, options: Sequence[str] = (), *, unit: str = "") -> None:
    """Ask for a prediction, and cover what follows until the reader has committed to one (or declines).

    Covered are the outputs of the next code cells up to the one with :func:`measured` (without it: the next output),
    and the text after that, up to a code cell or a heading. Code stays visible. Nothing waits: a notebook executes as
    if it were not there, and without JavaScript or on paper everything is shown.

    Parameters
    ----------
    key : str
        Name of the prediction, unique in the notebook; the reader's browser remembers the answer under it.
    question : str
        In inline Markdown.
    options : sequence of str
        The answers to choose from, in inline Markdown, lettered (a), (b), ... Without options a number is asked for.
    unit : str
        Of that number.

    Raises
    ------
    CourseError
        For a key that is no name, and for a single option.
    """
    check_key(key, "a prediction")
    if isinstance(options, str) or len(options) == 1 or (options and unit):
        raise CourseError(
            f"The prediction {key!r} offers no choice.", "Pass two options or more; or none, for a number with a unit."
        )
    _shown[key] = list(options), unit
    lines = [f"Predict first: {question}"]
    lines += [f"  ({letter}) {option}" for letter, option in _lettered(options)]
    show("\n".join(lines), _form(key, question, options, unit), *_ASSETS)


def measured(key: str, answer: str | float, note: str = "") -> None:
    """Show what the experiment gave beside what the reader predicted; ends what :func:`predict` covers.

    Parameters
    ----------
    key : str
        Of the prediction.
    answer : str or float
        The letter of the option that holds; or the number.
    note : str
        A sentence about it, in inline Markdown.

    Raises
    ------
    CourseError
        When the prediction has no such option.
    """
    check_key(key, "a prediction")
    options, unit = _shown.get(key, ((), ""))
    options = dict(_lettered(options))
    if options and answer not in options:
        raise CourseError(
            f"The prediction {key!r} has the options {', '.join(options)}, not {answer!r}.", "Pass the letter of one."
        )
    chosen = isinstance(answer, str) and len(answer) == 1
    text = f"({answer}) {options[answer]}" if options else f"({answer})" if chosen else f"{answer} {unit}".strip()
    markup = (
        f'<div class="cnncourse-box cnncourse-measured tex2jax_process" data-key="{place()}:{key}"'
        f' data-answer="{attribute(answer)}"><dl>'
        f'<div class="yours" hidden><dt>You predicted</dt><dd></dd></div>'
        f"<div><dt>Measured</dt><dd>{inline(text)}</dd></div></dl>"
        f'<p class="verdict" hidden></p>{f"<p>{inline(note)}</p>" if note else ""}</div>'
    )
    show(f"Measured: {text}" + (f"\n{note}" if note else ""), markup, *_ASSETS)


def _lettered(options: Sequence[str]) -> list[tuple[str, str]]:
    return [(chr(ord("a") + i), option) for i, option in enumerate(options)]


def _form(key: str, question: str, options: Sequence[str], unit: str) -> str:
    name = f"predict-{key}"
    if options:
        fields = "".join(
            f'<label class="option"><input type="radio" name="{name}" value="{letter}"'
            f' data-text="{attribute(f"({letter}) {option}")}">'
            f"<span>({letter}) {inline(option)}</span></label>"
            for letter, option in _lettered(options)
        )
    else:
        fields = (
            f'<label class="number"><span class="unseen">Your number{f", in {attribute(unit)}" if unit else ""}</span>'
            f'<input type="number" step="any" inputmode="decimal" name="{name}" data-unit="{attribute(unit)}">'
            f" {inline(unit)}</label>"
        )
    return (
        f'<div class="cnncourse-box cnncourse-predict tex2jax_process" id="{name}" data-key="{place()}:{key}"'
        '><p class="caption">Predict first</p>'
        f"<fieldset><legend>{inline(question)}</legend>{fields}</fieldset>"
        '<label class="why">Why? (one sentence, for yourself)<textarea rows="2"></textarea></label>'
        '<p class="buttons"><button type="button" class="commit">Commit to this answer</button> '
        '<button type="button" class="skip">Show without a prediction</button></p>'
        '<p class="state" role="status" tabindex="-1"></p>'
        '<p class="again" hidden><button type="button">Start over</button></p></div>'
    )
