"""Quizzes with feedback for each answer: jupyterquiz asks and marks, and what it lacks for every reader is added."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cnncourse.errors import CourseError
from cnncourse.teaching.page import asset, check_key, inline, show

_RIGHT, _WRONG = "<b>✔ Right.</b>", "<b>✘ Not this one.</b>"
# jupyterquiz fills its boxes with strong colours of its own; here the page's colours show through.
_COLORS = {
    "--jq-multiple-choice-bg": "transparent",
    "--jq-many-choice-bg": "transparent",
    "--jq-numeric-bg": "transparent",
    "--jq-numeric-input-bg": "transparent",
    "--jq-numeric-input-label": "inherit",
    "--jq-numeric-input-shadow": "transparent",
    "--jq-mc-button-bg": "transparent",
    "--jq-mc-button-border": "color-mix(in srgb, currentColor 55%, transparent)",
    "--jq-mc-button-inset-shadow": "transparent",
    "--jq-correct-color": "color-mix(in srgb, #16a34a 25%, transparent)",
    "--jq-incorrect-color": "color-mix(in srgb, #dc2626 22%, transparent)",
    "--jq-text-color": "inherit",
    "--jq-link-color": "inherit",
}


@dataclass(frozen=True)
class Answer:
    """One answer to choose, and what choosing it teaches. Made by :func:`right` and :func:`wrong`."""

    text: str
    feedback: str
    correct: bool


@dataclass(frozen=True)
class Question:
    """A question with answers to choose from. Made by :func:`question`."""

    text: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Number:
    """A question whose answer is a number. Made by :func:`number`."""

    text: str
    value: float
    feedback: str
    slips: tuple[tuple[float, str], ...]
    otherwise: str
    tolerance: float


def right(text: str, feedback: str) -> Answer:
    """A right answer; the feedback says why it is."""
    return _answer(text, feedback, True)


def wrong(text: str, feedback: str) -> Answer:
    """An answer that is not right; the feedback says what it would take for it to be."""
    return _answer(text, feedback, False)


def question(text: str, *answers: Answer) -> Question:
    """A question with answers to choose from; with several right ones, all of them are to be chosen.

    Raises
    ------
    CourseError
        For fewer than two answers, or none that is right.
    """
    if len(answers) < 2 or not any(answer.correct for answer in answers):
        raise CourseError(
            f"The question {text!r} needs two answers or more, one of them right.",
            "Write them with right(text, feedback) and wrong(text, feedback).",
        )
    return Question(text, answers)


def number(
    text: str,
    value: float,
    feedback: str,
    *,
    slips: Mapping[float, str] | None = None,
    otherwise: str,
    tolerance: float = 0,
) -> Number:
    """A question whose answer is a number.

    Parameters
    ----------
    text : str
        The question, in inline Markdown.
    value : float
        The right number.
    feedback : str
        Why it is right.
    slips : mapping of number to str
        Numbers that typical slips lead to, and what to say then.
    otherwise : str
        What to say about any other number.
    tolerance : float
        How far an answer may be from the right number.
    """
    slips = tuple((slips or {}).items())
    if not all(message.strip() for message in (feedback, otherwise, *(message for _, message in slips))):
        raise CourseError(f"The question {text!r} has an answer without feedback.", "Say what the reader can learn.")
    if any(abs(slip - value) <= tolerance for slip, _ in slips):
        raise CourseError(f"A slip of the question {text!r} is right within its tolerance.", "Remove it.")
    return Number(text, value, feedback, slips, otherwise, tolerance)


def quiz(key: str, *questions: Question | Number) -> None:
    """Show questions that answer at once. Without JavaScript each answer unfolds to its feedback.

    Parameters
    ----------
    key : str
        Name of the quiz, unique in the notebook; all ids in the page come from it.
    *questions : Question or Number
        In the order in which they are asked.

    Raises
    ------
    CourseError
        For a key that is no name, or without a question.
    """
    check_key(key, "a quiz")
    if not questions:
        raise CourseError(
            f"The quiz {key!r} has no question.", "Write one with question(text, right(...), wrong(...))."
        )
    name = f"quiz_{key.replace('-', '_')}"
    box, script = _jupyterquiz(name, [_as_jupyterquiz(question) for question in questions])
    unfolding = "".join(_unfolding(question) for question in questions)
    markup = (
        f'<div class="cnncourse-box cnncourse-quiz tex2jax_process" data-quiz="{name}"'
        f'><p class="caption">Quiz</p>'
        f'<div class="unfolding">{unfolding}</div>{box}</div></div>\n'
        f"<script>\n{asset('quiz.js').replace('NAME', name).replace('/* jupyterquiz */', script)}</script>"
    )
    show(f"Quiz {key}: {len(questions)} question{'s' if len(questions) > 1 else ''}", markup, "quiz.css")


def _answer(text: str, feedback: str, correct: bool) -> Answer:
    if not text.strip() or not feedback.strip():
        raise CourseError(f"The answer {text!r} has no feedback.", "Say what the reader can learn from choosing it.")
    return Answer(text, feedback, correct)


def _as_jupyterquiz(question: Question | Number) -> dict:
    """A question in jupyterquiz's own format."""
    if isinstance(question, Number):
        answers = [{"correct": True, "feedback": _marked(True, question.feedback)}]
        if question.tolerance:
            # its ranges are open above
            low, high = question.value - question.tolerance, question.value + question.tolerance
            answers[0]["range"] = [low, math.nextafter(high, math.inf)]
        else:
            answers[0]["value"] = question.value
        answers += [{"value": v, "correct": False, "feedback": _marked(False, text)} for v, text in question.slips]
        answers.append({"type": "default", "feedback": _marked(False, question.otherwise)})
        return {"question": inline(question.text), "type": "numeric", "answers": answers}
    many = sum(answer.correct for answer in question.answers) > 1
    return {
        "question": inline(question.text) + (" (Choose all that apply.)" if many else ""),
        "type": "many_choice" if many else "multiple_choice",
        "answers": [
            {"answer": inline(a.text), "correct": a.correct, "feedback": _marked(a.correct, a.feedback)}
            for a in question.answers
        ],
    }


def _jupyterquiz(name: str, questions: list[dict]) -> tuple[str, str]:
    """What ``jupyterquiz.display_quiz`` would display, with `name` for its random id: an open div, and a script."""
    from IPython import get_ipython
    from IPython.utils.capture import capture_output
    from jupyterquiz import display_quiz

    if get_ipython() is None:  # nothing would be captured, and show() prints only text
        return "", ""

    # It draws its id from Python's generator, from which a notebook may draw as well.
    state = random.getstate()
    try:
        with capture_output() as captured:
            display_quiz(questions, shuffle_answers=False, max_width=0, border_radius=4, colors=_COLORS)
    finally:
        random.setstate(state)
    markup, script = (output.data for output in captured.outputs)
    markup, script = markup["text/html"], script["application/javascript"]
    drawn = re.match(r'<div id="([A-Za-z]+)"', markup)[1]
    return markup.replace(drawn, name), script.replace(drawn, name)


def _unfolding(question: Question | Number) -> str:
    """A question that works without a script: its answers unfold."""
    if isinstance(question, Number):
        folds = [("Answer", f"<p>{question.value:,}</p>", True, question.feedback)]
        folds += [(f"{value:,}", "", False, feedback) for value, feedback in question.slips]
        folds.append(("Any other number", "", False, question.otherwise))
    else:
        folds = [(inline(answer.text), "", answer.correct, answer.feedback) for answer in question.answers]
    items = "".join(
        f"<details><summary>{summary}</summary>{before}<p>{_marked(correct, feedback)}</p></details>"
        for summary, before, correct, feedback in folds
    )
    return f"<div class='question'><p>{inline(question.text)}</p>{items}</div>"


def _marked(correct: bool, feedback: str) -> str:
    return f"{_RIGHT if correct else _WRONG} {inline(feedback)}"
