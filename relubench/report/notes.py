"""Sentences under a table: what is missing from it, and what its words mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from relubench.plan import Plan
from relubench.report.figures import UNDEFINED
from relubench.report.naming import by_activation, said_of, setup_row, varying
from relubench.results import DEFINITIONS, RunResult
from relubench.rows import SETUP, RunRow, SetupRow
from relubench.wording import counted

QUICK_NOTE = "quick: a smoke run, not a measurement"


def failures(results: Sequence[RunResult]) -> list[str]:
    """A line for each activation whose runs diverged or were lost."""
    failed = by_activation([result for result in results if result.failed])
    rows = [setup_row(result.cell) for result in results]
    names = ["activation", *varying(rows, *SETUP)]
    lines = []
    for row, runs in failed.items():
        which = ", ".join(said_of(names)(row))
        lines.append(f"{which}: {counted(len(runs), 'run')} in no mean ({runs[0].failed})")
    return lines


def undefined(rows: Sequence[RunRow]) -> list[str]:
    """Why a finished run may have no precision."""
    classified = [row for row in rows if row.accuracy is not None]
    if any(row.precision is None and not row.failed for row in classified):
        return [f"precision {UNDEFINED}: a class is never predicted, so its precision is undefined"]
    return []


def definitions(names: Iterable[str]) -> list[str]:
    """What some column heads mean."""
    meanings = {
        "dead": f"dead: fraction of hidden units with {DEFINITIONS['dead']} of the training set.",
        "silent": "silent: fraction of test examples to which the head gives every class a 0.",
    }
    return [meanings[name] for name in names if name in meanings]


def perturbation_notes(names: Sequence[str]) -> list[str]:
    """What the columns of perturbations say."""
    return [f"{', '.join(names)}: accuracy on the test set so perturbed, in %."] if names else []


BEST_ON = {
    False: "what --validation holds back",
    True: "the test set: it takes part in the choice, so that they are too good for new data",
}
SPLITS = {
    "classes": "stratified by class",
    "groups": "no group is in two parts",
    "classes and groups": "no group is in two parts, and classes are stratified as far as it goes",
}


def respected(by_dataset: Mapping[str, str], always: bool = False) -> list[str]:
    """What splits respect, by dataset; not `always`: only where there are groups."""
    told = {name: kept for name, kept in by_dataset.items() if always or "groups" in kept}
    lines = []
    for name, kept in told.items():
        of = f" of {name}" if len(by_dataset) > 1 else ""
        lines.append(f"folds and hold-outs{of}: {SPLITS.get(kept, 'drawn from all examples')}.")
    return lines


def reported(rows: Sequence[SetupRow]) -> list[str]:
    """Of which epoch figures are, where that is not the last."""
    parts = dict.fromkeys(row.validation for row in rows if row.report)
    held = [BEST_ON[part == "test"] for part in parts]
    return [f"Figures are those of each run's best epoch, by its loss on {each}." for each in held]


def quick(plan: Plan) -> list[str]:
    """That a smoke run is one."""
    return [QUICK_NOTE] if plan.quick else []
