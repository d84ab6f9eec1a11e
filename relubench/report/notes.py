"""Sentences under a table: what is missing from it, and what its words mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relubench.plan import Plan
from relubench.report.figures import UNDEFINED
from relubench.report.naming import SETUP, by_setup, setup_row, varying
from relubench.results import DEFINITIONS, RunResult
from relubench.table import Row
from relubench.wording import counted

QUICK_NOTE = "quick: a smoke run, not a measurement"


def failures(results: Sequence[RunResult]) -> list[str]:
    """A line for each activation whose runs diverged or were lost."""
    failed = by_setup([r for r in results if r.failed], "activation", *SETUP)
    rows = [setup_row(result.cell) for result in results]
    names = ["activation", *varying(rows, *SETUP)]
    said = []
    for setup, runs in failed.items():
        which = ", ".join(str(dict(setup)[name]) for name in names)
        said.append(f"{which}: {counted(len(runs), 'run')} in no mean ({runs[0].failed})")
    return said


def undefined(rows: Sequence[Row]) -> list[str]:
    """Why a finished run may have no precision."""
    if any(row["precision"] is None and not row["failed"] for row in rows):
        return [f"precision {UNDEFINED}: a class is never predicted, so its precision is undefined"]
    return []


def definitions(names: Iterable[str]) -> list[str]:
    """What some column heads mean."""
    said = {
        "dead": f"dead: share of hidden units with {DEFINITIONS['dead']} of the training part.",
        "silent": "silent: share of test examples to which the head gives every class a 0.",
    }
    return [said[name] for name in names if name in said]


def withstanding(names: Sequence[str]) -> list[str]:
    """What the columns of perturbations say."""
    return [f"{', '.join(names)}: accuracy on the test part so perturbed, in %."] if names else []


def quick(plan: Plan) -> list[str]:
    """That a smoke run is one."""
    return [QUICK_NOTE] if plan.quick else []
