"""RunResults to Tables: what to show. A file per command, and the pieces they share."""

from relubench.report.arrangement import Arrangement
from relubench.report.claims import outlook
from relubench.report.comparison import compare, comparisons, decided
from relubench.report.deadcount import deadcount
from relubench.report.evidence import ALPHA, Terms
from relubench.report.figures import UNDEFINED, deserved, p_value, significant
from relubench.report.inventory import dry_run, ledger, one_run, unread
from relubench.report.naming import setup_row
from relubench.report.notes import QUICK_NOTE
from relubench.report.runs import confusion, curve, folds, run_row, runs

__all__ = [
    "ALPHA",
    "QUICK_NOTE",
    "UNDEFINED",
    "Arrangement",
    "Terms",
    "compare",
    "comparisons",
    "confusion",
    "curve",
    "deadcount",
    "decided",
    "deserved",
    "dry_run",
    "folds",
    "ledger",
    "one_run",
    "outlook",
    "p_value",
    "run_row",
    "runs",
    "setup_row",
    "significant",
    "unread",
]
