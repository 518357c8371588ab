"""The claims ledger: every claim of the five reports, the rule that judges it, and its verdict."""

from cnncourse.claims.ledger import Claim, Report, files, load, read
from cnncourse.claims.tables import ClaimTable, entry, inputs, judge_all, page, table, totals
from cnncourse.claims.verdicts import VERDICTS, Verdict, best_verdict, published, verdict

__all__ = [
    "VERDICTS",
    "Claim",
    "ClaimTable",
    "Report",
    "Verdict",
    "best_verdict",
    "entry",
    "files",
    "inputs",
    "judge_all",
    "load",
    "page",
    "published",
    "read",
    "table",
    "totals",
    "verdict",
]
