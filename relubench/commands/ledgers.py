"""The commands about ledgers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from relubench.commands.assembly import open_ledger
from relubench.commands.request import Outcome
from relubench.console import Console
from relubench.formats import counted
from relubench.plan import Plan


def ledger_show(path: Path) -> Outcome:
    """What a ledger holds, a row per set-up."""
    from relubench import report

    return Outcome([report.ledger([(when, r) for _, when, r in open_ledger(path, existing=True)])])


def ledger_export(path: Path) -> Outcome:
    """Every finished run of a ledger, as `train` prints it."""
    from relubench import report

    results = [result for _, _, result in open_ledger(path, existing=True)]
    return Outcome([report.runs(results, Plan(cells=()))])


def ledger_merge(path: Path, others: Sequence[Path], console: Console) -> Outcome:
    """Add other ledgers' runs to one."""
    ledger = open_ledger(path)
    for other in others:
        added = ledger.merge(open_ledger(other, existing=True))
        console.note(f"{counted(added, 'run')} of {other} added to {path}")
    return ledger_show(path)
