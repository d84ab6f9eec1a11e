"""The sections of a page: what each says, its tables and drawings; none is without data."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from relubench import report
from relubench.page.drawing import Drawing
from relubench.page.pictures import PICTURES
from relubench.page.study import Study
from relubench.report.naming import setup_row
from relubench.rows import RunRow
from relubench.table import AnyTable, Column, Table
from relubench.wording import counted

MOST = 6  # drawings of a section, where its picture does not say otherwise
SHOWN = 30  # of sentences that stand open


@dataclass(frozen=True)
class Section:
    """One section.

    name       its place in the page's address
    answers    what it says first, in bold
    sentences  what it says then; beyond SHOWN they are folded
    asides     what is opened by a click
    folded     whether its tables are opened by a click
    """

    name: str
    title: str
    answers: Sequence[str] = ()
    sentences: Sequence[str] = ()
    asides: Sequence[str] = ()
    tables: Sequence[AnyTable] = ()
    drawings: Sequence[Drawing] = ()
    folded: bool = False
    left_out: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.answers or self.sentences or self.tables or self.drawings)


@dataclass(frozen=True)
class _Picture:
    """A section of drawings of one kind: its title, and how they are to be read."""

    kind: str
    title: str
    reading: str
    most: int = MOST


PICTURED = (
    _Picture(
        "forest",
        "Differences to the reference",
        "A point is the mean paired difference, the line its 95 % interval (not corrected for the "
        "number of comparisons), the grey band the margin of equivalence. A point is filled where "
        "the corrected test decides.",
        most=9,
    ),
    _Picture(
        "curves",
        "Learning curves",
        "Means over runs that finished, as the training passes saw them, or on examples that were "
        "held out; bands are ± one standard deviation. Seconds are those of this machine.",
    ),
    _Picture(
        "tasks",
        "Tasks in sequence",
        "One network learns all tasks, one after the other. Means over runs that finished; bands "
        "are ± one standard deviation. Online accuracy is the mean over a task's epochs, as the "
        "passes saw it; dead units are counted at its end, on its training set.",
    ),
    _Picture(
        "pareto",
        "What it costs",
        "Bars are ± one standard deviation. A point is filled, and joined to the reference, only "
        "where the test separates the two. Memory is what the backward pass needs of one example, "
        "without the weights, in float32; of other people's networks it is not known.",
        most=8,
    ),
    _Picture(
        "rates",
        "Sensitivity to the learning rate",
        "A large mark is an activation's best mean. It was found on the test set: it describes "
        "these runs, and no rate was chosen by it.",
    ),
    _Picture(
        "dead",
        "Dead units",
        "Means over runs; a unit is dead where its derivative is exactly 0 on every example of "
        "the training set.",
    ),
    _Picture(
        "lives",
        "Dead units by epoch",
        "A row is a layer, a column an epoch after which units were counted on the probe set: the "
        "mean dead share over runs that finished, the last one behind the row. Layers in which no "
        "unit died are left out.",
    ),
    _Picture(
        "survival",
        "Survival of units",
        "The share of hidden units that was dead at no count so far (Kaplan and Meier). Bands are "
        "95 % intervals over runs (jackknife, t), since the units of one run are not independent; "
        "of a single run they are over its units, and too narrow.",
    ),
    _Picture(
        "ranks",
        "Ranks over datasets",
        "Activations beside one bar are not separated by the exact Wilcoxon signed-rank test over "
        "datasets (Holm): first each beside the reference, then all pairs.",
    ),
    _Picture(
        "wins",
        "Won, tied and lost",
        "On how many datasets the mean of an activation is above, level with or below that of the "
        "reference.",
    ),
    _Picture(
        "confusion",
        "Confusion",
        "Test examples summed over runs, true classes down, predicted ones across; shades are "
        "fractions of the true class.",
    ),
    _Picture(
        "calls",
        "Units of the network",
        "A row is a call of an activation, a column a definition; the darker, the more units are "
        "so. A dash: not defined, as dead is of an activation without a flat part.",
    ),
    _Picture("activations", "The activations", "Value and derivative, in evaluation mode."),
)


def sections(study: Study) -> list[Section]:
    """All that has data, in the order of the page."""
    every = [
        _suggestion(study),
        _verdicts(study),
        _result(study),
        *(_pictured(study, picture) for picture in PICTURED),
        _others(study),
        _methods(study),
        _environment(study),
        _runs(study),
    ]
    return [section for section in every if not section.empty]


def _suggestion(study: Study) -> Section:
    """Which activation to use: what `suggest` prints, and its differences."""
    table = study.suggestion
    if table is None:
        return Section("suggestion", "Which activation to use")
    return Section(
        "suggestion",
        "Which activation to use",
        table.answers,
        table.notes,
        table.asides,
        [replace(table, notes=())],
        PICTURES["suggestion"](study),
    )


def _verdicts(study: Study) -> Section:
    """What the figures allow to say: what `compare` prints around its table."""
    answers: list[str] = []
    asides: list[str] = []
    sentences = list(study.notes)
    for comparison in study.compared:
        table, methods = comparison.tables[0], comparison.methods
        if study.suggestion is None:  # which says it in one answer, over all networks
            answers += table.answers
            sentences += table.notes
        else:
            sentences += [*table.answers, *table.notes]
        # The methods have a section of their own.
        asides += [aside for aside in table.asides if aside not in methods]
    title = "What these runs allow to say"
    return Section(
        "verdicts",
        title if study.suggestion is None else "In each network by itself",
        list(dict.fromkeys(answers)),
        list(dict.fromkeys(sentences)),
        list(dict.fromkeys(asides)),
    )


def _result(study: Study) -> Section:
    tables: list[AnyTable] = []
    for comparison in study.compared:
        tables += [replace(table, notes=()) for table in comparison.tables[:1]]
    return Section("results", "Results", tables=tables)


def _pictured(study: Study, picture: _Picture) -> Section:
    """The drawings of one kind, as many as the page has room for."""
    shown = CHOSEN[picture.kind](study) if picture.kind in CHOSEN else study
    drawings = PICTURES[picture.kind](shown)
    sentences = [picture.reading] if drawings else []
    if picture.kind == "dead" and study.layers:
        sentences += _without_dead(study)
    return Section(
        picture.kind,
        picture.title,
        sentences=sentences,
        tables=_ranks(study) if picture.kind == "ranks" else (),
        drawings=drawings[: picture.most],
        left_out=max(0, len(drawings) - picture.most),
    )


def _ranks(study: Study) -> list[AnyTable]:
    tables: list[AnyTable] = []
    for comparison in study.compared:
        tables += comparison.tables[1:]
    return tables


def _only(study: Study, wanted: Container[tuple[object, ...]]) -> Study:
    """The runs of some set-ups and activations: what names them is in `wanted`, either way."""
    kept = []
    for result in study.results:
        row = setup_row(result.cell)
        if row.setup in wanted or (row.setup, row.activation) in wanted:
            kept.append(result)
    return replace(study, results=kept)


def _reference_and_best(study: Study) -> Study:
    """The reference and the best activation of each set-up."""
    rows = [r for r in study.rows if r.standing == "best" or r.activation == r.reference]
    return _only(study, {(row.setup, row.activation) for row in rows})


def _with_dead(study: Study) -> Study:
    """The set-ups in which a unit is dead."""
    return _only(study, {row.setup for row in study.layers if row.dead})


def _without_dead(study: Study) -> list[str]:
    """In how many set-ups no unit is dead."""
    every = {row.setup for row in study.layers}
    none = every - {row.setup for row in study.layers if row.dead}
    if not none:
        return []
    if len(every) == 1:
        return ["No unit is dead in any of these runs."]
    return [f"In {len(none)} of {len(every)} set-ups no unit is dead; they are not drawn."]


CHOSEN = {"confusion": _reference_and_best, "dead": _with_dead}


def _others(study: Study) -> Section:
    return Section("tables", "More of this command", tables=study.tables)


def _methods(study: Study) -> Section:
    sentences: list[str] = []
    for comparison in study.compared:
        sentences += comparison.methods
    return Section("methods", "Methods", sentences=list(dict.fromkeys(sentences)))


def _environment(study: Study) -> Section:
    rows = study.runs.rows
    tables = [report.environments(rows)] if rows else []
    return Section("environment", "Environment", tables=tables)


def _runs(study: Study) -> Section:
    """Every run, with the command that trains it again."""
    if not study.results:
        return Section("runs", "Runs")
    again: Column[RunRow] = Column("command", report.command, left=True)
    table: Table[RunRow] = replace(
        study.runs, columns=[*study.runs.columns, again], notes=(), title=study.runs.caption
    )
    title = f"All {counted(len(study.results), 'run')}"
    return Section("runs", title, tables=[table], folded=True)
