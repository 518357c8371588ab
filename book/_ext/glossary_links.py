"""Link the first use of each glossary term on a page to the glossary.

Neither notebooks nor pages mark their terms. When a page is written, the first place in its running text that names a
term (singular or plural, with a space or a hyphen) becomes a link; code, formulas, headings, captions, folded hints and
answers, outputs and existing links stay as they are. A link by hand counts as the first use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from docutils import nodes
from sphinx import addnodes

_PAGE = "book/glossary"
_SKIPPED_PAGES = {_PAGE, "book/bibliography"}
# Words that mean something else as often, above all verbs ("the report claims"): linked only after an article.
_NEED_ARTICLE = {"batch", "bias", "channel", "claim", "correction", "kernel", "momentum", "profile", "recall", "weight"}
_ARTICLE = re.compile(r"\b(?:a|an|the|each|every|any|its|one|of|and|or|by|with|in|whose|this)\s+(?:\w+-\w+\s+)?$", re.I)
_SKIPPED = (
    nodes.title,
    nodes.caption,
    nodes.figure,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.reference,
    nodes.raw,
    nodes.image,
    nodes.citation,
    nodes.comment,
    nodes.rubric,
    addnodes.glossary,
    addnodes.toctree,
    addnodes.download_reference,
)


def pattern(terms: Iterable[str]) -> re.Pattern:
    """Matches any of the terms as a whole word; the longest wins, so that 'batch size' is not taken for 'batch'."""
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(_form, sorted(terms, key=len, reverse=True)))})(?![\w-])")


def _form(term: str) -> str:
    """A hyphen may be left out ('overfitting'); a space in its place only where more words follow ('to stand in')."""
    spaced = term.split()
    words = [re.split("-", word) for word in spaced]
    joint = r"[\s-]" if len(spaced) > 1 else "-?"
    flat = [
        (word, last) for group in words for word, last in zip(group, [False] * (len(group) - 1) + [True], strict=True)
    ]
    text = ""
    for number, (word, last_of_group) in enumerate(flat, 1):
        end = number == len(flat)
        text += _word(word, last=end) + ("" if end else r"[\s-]+" if last_of_group else joint)
    return text


def _word(word: str, *, last: bool) -> str:
    initial = word[0]
    # Only the first letter of a word varies at the beginning of a sentence; "ReLU" and "Adam" stay as they are.
    start = f"[{initial.upper()}{initial.lower()}]" if word.islower() and initial.isalpha() else re.escape(initial)
    if not last:
        return start + re.escape(word[1:])
    if word.endswith("y") and word.islower():
        return start + re.escape(word[1:-1]) + "(?:y|ies)"
    return start + re.escape(word[1:]) + "(?:s|es)?"


def normal(text: str) -> str:
    """A match as a key: no plural, no capital, no hyphen."""
    return re.sub(r"[\s-]+", "", text).lower()


def keys(term: str) -> set[str]:
    """Every way :func:`normal` may write a use of the term."""
    base = normal(term)
    return {base, f"{base}s", f"{base}es", f"{base[:-1]}ies"}


def first_uses(texts: Iterable[nodes.Text], terms: Iterable[str], used: set[str]) -> Iterator[tuple]:
    """(text, start, end, term) of the first use of each term; `used` holds those that have theirs already."""
    terms = list(terms)
    known = {key: term for term in sorted(terms, key=len) for key in keys(term)}
    search = pattern(terms)
    for text in texts:
        plain = text.astext()
        for match in search.finditer(plain):
            term = known[normal(match[0])]
            if term in used or (term in _NEED_ARTICLE and not _ARTICLE.search(plain[: match.start()])):
                continue
            used.add(term)
            yield text, match.start(), match.end(), term


def add_links(app, doctree, docname) -> None:
    if docname in _SKIPPED_PAGES or app.builder.format != "html":
        return
    anchors = _anchors(app.env)
    if not anchors:
        return
    address = app.builder.get_relative_uri(docname, _PAGE)
    used = _linked_by_hand(doctree, anchors)
    places: dict[int, tuple[nodes.Text, list]] = {}  # by identity: equal texts stand in several places
    for text, start, end, term in first_uses(list(_running_text(doctree)), anchors, used):
        places.setdefault(id(text), (text, []))[1].append((start, end, term))
    for text, found in places.values():
        _replace(text, found, lambda term: f"{address}#{anchors[term]}")


def _anchors(env) -> dict[str, str]:
    """Term -> id of its entry."""
    objects = env.get_domain("std").objects
    return {name: anchor for (kind, name), (page, anchor) in objects.items() if kind == "term" and page == _PAGE}


def _linked_by_hand(doctree, anchors: dict[str, str]) -> set[str]:
    linked = {ref.get("refuri", "").rpartition("#")[2] for ref in doctree.findall(nodes.reference)}
    return {term for term, anchor in anchors.items() if anchor in linked}


def _running_text(doctree) -> Iterator[nodes.Text]:
    folded = 0  # inside <details>, which is raw HTML around ordinary paragraphs

    def walk(node: nodes.Node) -> Iterator[nodes.Text]:
        nonlocal folded
        if isinstance(node, nodes.raw):
            folded += node.astext().count("<details") - node.astext().count("</details")
        elif isinstance(node, nodes.Text):
            if not folded:
                yield node
        elif not isinstance(node, _SKIPPED) and not _is_output(node):
            for child in node.children:
                yield from walk(child)

    yield from walk(doctree)


def _is_output(node: nodes.Element) -> bool:
    """Code cells with what they printed, and the note on where the figures come from."""
    return node.get("nb_element") in ("cell_code", "cell_code_output") or "provenance" in node.get("classes", [])


def _replace(text: nodes.Text, found: list[tuple[int, int, str]], address) -> None:
    plain, pieces, end = text.astext(), [], 0
    for start, stop, term in found:
        pieces.append(nodes.Text(plain[end:start]))
        pieces.append(
            nodes.reference("", plain[start:stop], internal=True, refuri=address(term), classes=["glossary-link"])
        )
        end = stop
    pieces.append(nodes.Text(plain[end:]))
    text.parent.replace(text, [piece for piece in pieces if not isinstance(piece, nodes.Text) or piece.astext()])


def setup(app):
    app.connect("doctree-resolved", add_links, priority=900)  # when links by hand are resolved
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
