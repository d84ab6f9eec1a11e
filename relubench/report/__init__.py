"""RunResults to Tables: what to show. A file per command, and the pieces they share."""

from relubench.report.comparison import compare
from relubench.report.deadcount import deadcount
from relubench.report.figures import deserved
from relubench.report.inventory import dry_run, ledger
from relubench.report.naming import setup_row
from relubench.report.notes import QUICK_NOTE
from relubench.report.runs import confusion, curve, folds, runs

__all__ = [
    "QUICK_NOTE",
    "compare",
    "confusion",
    "curve",
    "deadcount",
    "deserved",
    "dry_run",
    "folds",
    "ledger",
    "runs",
    "setup_row",
]
