"""Verdicts: what a run, or the best of the committed runs, says about a claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cnncourse.claims import labels
from cnncourse.claims.evidence import Evidence, Missing, Reading
from cnncourse.claims.ledger import Claim
from cnncourse.claims.rules import MIN_SEEDS, Outcome
from cnncourse.claims.text import value_text
from cnncourse.project import committed
from cnncourse.results import Results

VERDICTS = ("reproduced", "corrected", "not reproduced", "open")
NOT_WRITTEN = "notebook not written yet"
_MIN_IMAGES = 16_000  # training images that a number about cats and dogs needs


@dataclass(frozen=True)
class Verdict:
    """What one run (or the lack of one) says about one claim."""

    claim: Claim
    verdict: Literal["reproduced", "corrected", "not reproduced", "open"]
    reason: str = ""
    measured: str = ""
    profile: str = ""
    data: str = ""
    seeds: int = 0
    date: str = ""

    @property
    def reported(self) -> str:
        return value_text(self.claim.reported)

    @property
    def origin(self) -> str:
        """Where the measurement comes from: profile, data, number of seeds (or orders, or cases), date."""
        seeds = f"n = {self.seeds}" if self.seeds else ""
        return ", ".join(part for part in (self.profile, self.data, seeds, self.date) if part)


def verdict(claim: Claim, results: Results | None, folder: Path | None = None) -> Verdict:
    """Judge a claim by one run.

    A claim stays *open* when it has no rule, when the run lacks a metric, when a need is not met, and when its rule is
    undecided (training in the smoke profile, a number on other data than the report's, an interval that contains the
    limit). Otherwise it is *reproduced* when its rule holds, *corrected* when the rule fails and the rule of its
    correction holds, and *not reproduced* else.

    Parameters
    ----------
    claim : Claim
        Entry of the ledger.
    results : Results or None
        What the run measured; None stands for a notebook without results.
    folder : Path, optional
        Of the ledger, for the labels of metrics (default: the package's own).

    Returns
    -------
    Verdict
    """
    if claim.rule is None:
        return Verdict(claim, "open", claim.reason or "no rule yet")
    if results is None:
        return Verdict(claim, "open", "not measured yet")
    evidence = Evidence(results, labels.load(results.notebook, folder))
    try:
        outcome = claim.rule.judge(evidence, claim.reported)
    except Missing as error:
        return Verdict(claim, "open", str(error), profile=results.profile, date=_date(results))
    readings = evidence.whole(claim.rule.references)
    word, reason, measured = "not reproduced", outcome.reason, outcome.measured
    if unmet := _unmet(claim, evidence, readings):
        word, reason = "open", unmet
    elif outcome.state == "undecided":
        word = "open"
    elif outcome.state == "holds":
        word, reason = "reproduced", ""
    elif claim.correction and (proof := _proof(claim, evidence)).state == "holds":
        word, reason = "corrected", claim.correction.text
        measured = tuple(dict.fromkeys((*measured, *proof.measured)))
    return Verdict(
        claim,
        word,
        reason,
        "; ".join(measured),
        results.profile,
        _data(evidence, readings),
        min((reading.seeds for reading in readings if reading.per_seed), default=0),
        _date(results),
    )


def best_verdict(claim: Claim, candidates: Iterable[Results], folder: Path | None = None) -> Verdict:
    """The verdict of the first run that decides the claim; else the open one that shows most.

    Parameters
    ----------
    claim : Claim
        Entry of the ledger.
    candidates : iterable of Results
        Best profile first.
    folder : Path, optional
        As in :func:`verdict`.
    """
    verdicts = [verdict(claim, results, folder) for results in candidates] or [verdict(claim, None)]
    decided = (v for v in verdicts if v.verdict != "open")
    measured = (v for v in verdicts if v.measured)
    return next(decided, None) or next(measured, None) or verdicts[0]


def published(
    notebook: str, folder: Path | None = None, *, profiles: Sequence[str] = ("full", "laptop", "smoke")
) -> list[Path]:
    """Files of a notebook's committed results, best profile first (full, laptop, smoke).

    Parameters
    ----------
    notebook : str
        Stem of the notebook.
    folder : Path, optional
        Folder with one folder per profile (default: the checkout's ``results``, or the installed package's copy).
    profiles : sequence of str
        Profiles to look for, in this order.
    """
    folder = folder or committed("results")
    paths = (folder / profile / f"{notebook}.json" for profile in profiles)
    return [path for path in paths if path.is_file()]


def _proof(claim: Claim, evidence: Evidence) -> Outcome:
    try:
        return claim.correction.rule.judge(evidence, claim.reported)
    except Missing as error:
        return Outcome("undecided", str(error))


def _unmet(claim: Claim, evidence: Evidence, readings: list[Reading]) -> str:
    """The first need of the claim that the run does not meet, in words; empty when all are met."""
    leaves = list(claim.rule.leaves())
    pairs = [evidence.whole(pair) for leaf in leaves for pair in leaf.paired]
    numbers = [r for leaf in leaves if leaf.absolute for r in evidence.whole(leaf.references) if r.data]
    counts = [reading.seeds for reading in readings if reading.per_seed]
    counts += [len(a.per_seed.keys() & b.per_seed.keys()) for a, b in pairs if a.per_seed and b.per_seed]
    seeds = min(counts, default=0)
    for need in claim.needs:
        if need == "original-cifar10":
            sources = [source for reading in readings for source in evidence.sources(reading)]
            if not sources or any((source.name, source.kind) != ("CIFAR-10", "original") for source in sources):
                return "needs the original CIFAR-10"
        elif need == "paired-seeds-3":
            if seeds < MIN_SEEDS:
                return f"needs {MIN_SEEDS} paired seeds (here {seeds})"
        elif need == "paired-interval":
            if seeds < 2:
                return f"needs an interval over paired seeds (here {seeds})"
        elif need == "images-16000":
            # A comparison may be judged on fewer images: its verdict names the data.
            sizes = [source.sizes.get("train", 0) for reading in numbers for source in evidence.sources(reading)]
            if sizes and min(sizes) < _MIN_IMAGES:
                return f"needs {_MIN_IMAGES:,} training images for a number (here {min(sizes):,})"
        elif need == "full-scale":
            # What depth, width or regularisation gain turns with the number of images and steps.
            if evidence.results.profile != "full":
                return "needs the report's own number of images, channels and epochs (profile full)"
        elif need == "imagenet-weights":
            if not evidence.flag("imagenet_weights"):
                return "needs weights trained on ImageNet"
        elif need == "hand-labels" and not evidence.flag("hand_labels"):
            return "needs labels made by hand, blind to the prediction"
    return ""


def _data(evidence: Evidence, readings: list[Reading]) -> str:
    """Names of the data behind the readings, with what they are unless they are the original."""
    sources = [source for reading in readings for source in evidence.sources(reading)]
    return " and ".join(dict.fromkeys(source.described for source in sources))


def _date(results: Results) -> str:
    return results.provenance.finished[:10]
