"""The claims ledger: every claim of the five reports, the rule that judges it, and its verdict."""

from cnncourse.claims.ledger import Claim, Report, files, load, read
from cnncourse.claims.tables import ClaimTable, counts_text, entry, inputs, judge_all, lines_html, page, table, totals
from cnncourse.claims.verdicts import VERDICTS, Verdict, best_verdict, published, verdict

__all__ = [
    "VERDICTS",
    "Claim",
    "ClaimTable",
    "Report",
    "Verdict",
    "best_verdict",
    "counts_text",
    "entry",
    "files",
    "inputs",
    "judge_all",
    "lines_html",
    "load",
    "page",
    "published",
    "read",
    "table",
    "totals",
    "verdict",
]
