"""What a page and its pictures tell of: results, and the rows that `report` makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from relubench import report
from relubench.grouping import grouped
from relubench.metrics.measures import Measure
from relubench.plan import Plan
from relubench.report import ComparisonOptions
from relubench.report.naming import said_of, setup_row, varying
from relubench.report.ranking import Ranking
from relubench.results import RunResult
from relubench.rows import (
    SETUP,
    ActivationProfileRow,
    CallRow,
    ClassifiedRow,
    CompareRow,
    CostRow,
    LayerMeanRow,
    LearningRow,
    LifeRow,
    MemoryRow,
    RunRow,
    SetupRow,
    SuggestRow,
    SurvivalRow,
    TaskRow,
)
from relubench.table import AnyTable, Table


@dataclass(frozen=True)
class Study:
    """Results, and how they are compared.

    title     above everything
    tables    of the command besides those that a page makes itself: published figures and so on
    classes   names of the classes by dataset; numbers stand for those that are not here
    profiles  curves of the activations
    costs     of activations by themselves
    notes     what is to be said of the whole
    memory    what training keeps, by set-up and activation
    suggestion  which activation to use, where that was asked
    calls     units of one network by call of an activation, and all of them
    """

    results: Sequence[RunResult] = ()
    plan: Plan = field(default_factory=lambda: Plan(cells=()))
    options: ComparisonOptions = field(default_factory=ComparisonOptions)
    title: str = ""
    tables: Sequence[AnyTable] = ()
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    profiles: Sequence[ActivationProfileRow] = ()
    costs: Sequence[CostRow] = ()
    notes: Sequence[str] = ()
    memory: Sequence[MemoryRow] = ()
    suggestion: Table[SuggestRow] | None = None
    calls: Sequence[CallRow] = ()

    @property
    def measure(self) -> Measure:
        """What is compared."""
        return self.options.measure

    @cached_property
    def runs(self) -> Table[RunRow]:
        """A row per run."""
        return report.runs(self.results, self.plan)

    @cached_property
    def compared(self) -> list[Comparison]:
        """Set-ups with the same reference: that of the plan, else the first activation there is."""
        setups = grouped(self.results, lambda result: setup_row(result.cell).setup).values()
        by_reference: dict[str, list[RunResult]] = {}
        for runs in setups:
            names = dict.fromkeys(run.cell.activation for run in runs)
            wanted = self.plan.reference
            # A ledger may hold set-ups without the plan's reference: their
            # first activation stands in.
            by_reference.setdefault(wanted if wanted in names else next(iter(names)), []).extend(
                runs
            )
        return [
            Comparison(runs, replace(self.plan, reference=name), self.options)
            for name, runs in by_reference.items()
        ]

    @cached_property
    def rows(self) -> list[CompareRow]:
        """A row per activation of every set-up, set-up after set-up."""
        rows: list[CompareRow] = []
        for comparison in self.compared:
            rows += comparison.rows
        return rows

    @cached_property
    def activations(self) -> list[str]:
        """Every activation, references first: its place decides its colour in all drawings."""
        references = [row.reference for row in self.rows]
        return list(dict.fromkeys([*references, *(row.activation for row in self.rows)]))

    @cached_property
    def kept_bytes(self) -> Mapping[tuple[object, ...], float]:
        """Bytes that training keeps of an example, by set-up and activation."""
        return {(row.setup, row.activation): row.kept_bytes for row in self.memory}

    @cached_property
    def learning(self) -> list[LearningRow]:
        """Learning curves."""
        return report.learning_rows(self.results)

    @cached_property
    def in_sequence(self) -> list[TaskRow]:
        """Tasks, where one network learned several in turn."""
        return report.task_rows(self.results)

    @cached_property
    def layers(self) -> list[LayerMeanRow]:
        """Hidden units by layer."""
        return report.layer_means(self.results)

    @cached_property
    def lives(self) -> list[LifeRow]:
        """What became of hidden units over the epochs, by layer."""
        return report.life_rows(self.results)

    @cached_property
    def survival(self) -> list[SurvivalRow]:
        """How many hidden units have never been dead."""
        return report.survival_rows(self.results)

    @cached_property
    def classified(self) -> list[ClassifiedRow]:
        """Confusion matrices."""
        return report.classified(self.results)

    @cached_property
    def names(self) -> list[str]:
        """The keys that differ between set-ups."""
        return varying([setup_row(result.cell) for result in self.results], *SETUP)

    def where(self, row: SetupRow, *but: str) -> str:
        """What tells the set-up of a row from the others, without some keys; "" of a single one."""
        keys = [name for name in self.names if name not in but]
        return " · ".join(said_of(keys)(row))


@dataclass(frozen=True)
class Comparison:
    """The set-ups of a study that have one reference."""

    results: Sequence[RunResult]
    plan: Plan
    options: ComparisonOptions

    @cached_property
    def tables(self) -> list[AnyTable]:
        """What `compare` prints: the rows, then ranks over datasets."""
        return report.comparisons(self.results, self.plan, self.options)

    @property
    def rows(self) -> list[CompareRow]:
        """A row per activation and set-up."""
        return list(self.tables[0].rows)

    @cached_property
    def ranked(self) -> list[tuple[CompareRow, Ranking]]:
        """Ranks over the datasets of each set-up that has several, with every pair tested."""
        # The picture of all pairs needs all of them, whatever the command was asked.
        every = replace(self.options, every_pair=True)
        return report.ranked(self.rows, every)

    @cached_property
    def methods(self) -> list[str]:
        """How the set-ups were compared, as a paper's methods section says it."""
        return report.methods(self.rows, self.options)
