"""What each command does: settings in, tables out. What needs torch is imported when it is needed.

Nothing here prints: progress and notes go through the Console that the caller brings.
"""

from relubench.commands.assembly import prepare
from relubench.commands.comparing import compare, refused
from relubench.commands.ledgers import (
    Chosen,
    ledger_check,
    ledger_export,
    ledger_merge,
    ledger_rm,
    ledger_show,
    since,
)
from relubench.commands.looking import cost, elements, list_kind, show_activation
from relubench.commands.request import CATALOGS, Outcome, Request
from relubench.commands.training import cv, deadcount, dry_run, train

__all__ = [
    "CATALOGS",
    "Chosen",
    "Outcome",
    "Request",
    "compare",
    "cost",
    "cv",
    "deadcount",
    "dry_run",
    "elements",
    "ledger_check",
    "ledger_export",
    "ledger_merge",
    "ledger_rm",
    "ledger_show",
    "list_kind",
    "prepare",
    "refused",
    "show_activation",
    "since",
    "train",
]
