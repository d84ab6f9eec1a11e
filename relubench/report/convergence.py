"""How soon training comes to a target, beside the reference; and the rates that runs chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relubench import stats
from relubench.formats import Column, Row, counted
from relubench.measures import UNTIL
from relubench.plan import grouped
from relubench.report.columns import figure_of, head
from relubench.report.evidence import unit
from relubench.report.figures import UNDEFINED, mean_of
from relubench.report.naming import run_count
from relubench.results import RunResult


def arrival(runs: Sequence[RunResult], reference: Sequence[RunResult]) -> dict[str, Any]:
    """Mean epochs and seconds until the target, as they are and over the reference's, unit by unit.

    Undefined where a run does not come so far; `reached` is how many do.
    """
    found: dict[str, Any] = {
        "chosen_lr": sorted({run.lr for run in runs}) if runs[0].cell.recipe.rates else None,
        "reached": sum(run.epochs_until is not None for run in runs),
    }
    if runs[0].cell.until is None:
        found["reached"] = None
    for name in UNTIL:
        own, theirs = _by_unit(runs, name), _by_unit(reference, name)
        ratios = [
            None if own[key] is None or not theirs.get(key) else own[key] / theirs[key]
            for key in own
        ]
        found[name] = mean_of(list(own.values()))
        known = [ratio for ratio in ratios if ratio is not None]
        center, spread = stats.mean_sd(known if len(known) == len(ratios) else [])
        found |= {f"{name}_ratio": center, f"{name}_ratio_sd": spread}
    return found


def _by_unit(runs: Sequence[RunResult], name: str) -> dict[Any, Any]:
    """A figure of each unit; the seeds of a split are averaged."""
    units = grouped(runs, lambda run: unit(run.cell))
    return {key: mean_of([getattr(run, name) for run in same]) for key, same in units.items()}


def columns(rows: Sequence[Row], reference: str, measured: str) -> list[Column]:
    """Those of a comparison that asked for a target or for the best rates."""
    found = []
    if any(row["chosen_lr"] for row in rows):
        found.append(Column("best lr", _rates, key="chosen_lr"))
    if any(row["until"] for row in rows):
        for name in UNTIL:
            if name != measured:
                found.append(Column(head(name), figure_of(name), key=name))
            ratio = f"{name}_ratio"
            found.append(Column(f"× {reference}", figure_of(ratio), key=ratio))
    return found


def notes(rows: Sequence[Row]) -> list[str]:
    """What the columns mean, and which runs did not come so far."""
    said = []
    if target := next((row["until"] for row in rows if row["until"]), None):
        said.append(f"until: passes over the training part until {_meaning(target)}.")
    for row in rows:
        if row["reached"] is not None and (short := run_count(row) - row["reached"]):
            said.append(
                f"{row['activation']}: {short} of {counted(run_count(row), 'run')} did not come so "
                f"far in {counted(row['epochs'], 'epoch')}, so no mean is defined."
            )
    if any(row["chosen_lr"] for row in rows):
        said.append(
            "best lr: of the rates above, each run's own: the highest accuracy on a tenth of its "
            "training part, averaged over the epochs of runs that learned from the rest."
        )
    return said


def _meaning(target: str) -> str:
    name, _, limit = target.partition("=")
    size = f"{100 * float(limit):g} %" if name == "train_error" else f"{float(limit):g}"
    return f"its {name.removeprefix('train_')}, as the pass itself saw it, is at most {size}"


def _rates(row: Row) -> str:
    return ", ".join(f"{rate:g}" for rate in row["chosen_lr"] or ()) or UNDEFINED
