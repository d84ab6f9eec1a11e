"""What a command is asked, what it ends with, and what there is to name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench import libraries
from relubench.activations import ACTIVATIONS
from relubench.catalog import Catalog
from relubench.datasets import DATASETS
from relubench.execution.executors import EXECUTORS
from relubench.exports import EXPORTS
from relubench.formats import FORMATS
from relubench.metrics import METRICS
from relubench.models import MODELS
from relubench.models.initialisation import INITS
from relubench.neurons.definitions import DEFINITIONS
from relubench.plan import Plan
from relubench.results import RunResult, lost_run
from relubench.table import AnyTable
from relubench.training.augmentations import AUGMENTATIONS
from relubench.training.heads import HEADS
from relubench.training.interventions import INTERVENTIONS
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.perturbations import PERTURBATIONS
from relubench.training.schedules import SCHEDULES
from relubench.training.tasks import TASKS

if TYPE_CHECKING:
    from relubench.page import Study
    from relubench.report import Arrangement

CATALOGS: dict[str, Catalog[Any]] = {
    catalog.kind: catalog
    for catalog in (
        ACTIVATIONS,
        MODELS,
        DATASETS,
        HEADS,
        INITS,
        OPTIMIZERS,
        SCHEDULES,
        TASKS,
        METRICS,
        AUGMENTATIONS,
        PERTURBATIONS,
        INTERVENTIONS,
        DEFINITIONS,
        EXECUTORS,
        FORMATS,
        EXPORTS,
    )
}


@dataclass(frozen=True)
class Outcome:
    """What a command ends with: tables for stdout and the exit code.

    files     texts by the flag that names their file
    problems  what stderr says even under --quiet
    summary   Markdown for a CI step's page; None: this command has none
    study     what a page or a picture is made of, made when one is asked for
    """

    tables: Sequence[AnyTable]
    exit_code: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    annotations: Sequence[str] = ()
    summary: str | None = None
    study: Callable[[], Study] | None = None


@dataclass(frozen=True)
class Request:
    """What a training command was asked: a benchmark by name, the flags that were given."""

    command: str
    benchmark: str | None
    flags: Mapping[str, object]
    config: Path | None = None
    data_dir: Path | None = None
    quick: bool = False
    ledger: Path | None = None
    rerun: bool = False
    arranged: Arrangement | None = None

    def check(self, plan: Plan, table: Callable[[Sequence[RunResult]], AnyTable]) -> None:
        """Refuse keys that the command's rows will not have, before anything is trained."""
        if self.arranged:
            # On runs that nobody trained: the keys are the same, and no figure is needed.
            self.arranged.apply(table([lost_run(cell, "") for cell in plan.cells]))


def is_untrained(models: Sequence[str]) -> bool:
    """Whether a network can be counted only as it is, since nothing here trains it."""
    return any(name.startswith(libraries.UNTRAINED) for name in models)


def exit_code(results: Sequence[RunResult]) -> int:
    """1 where a run diverged or was lost."""
    return 1 if any(result.failed for result in results) else 0


def usual_ledger(path: Path | None = None) -> Path:
    """The ledger that is meant: the one that is named, else RELUBENCH_LEDGER, else that here."""
    return path or Path(os.environ.get("RELUBENCH_LEDGER") or ".relubench/ledger.db")
