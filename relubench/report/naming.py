"""What names a row: the keys that vary become columns, the others the title."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from relubench.activations import ACTIVATIONS
from relubench.grouping import grouped
from relubench.models import MODELS
from relubench.models.initialisation import scheme
from relubench.plan import Cell
from relubench.report.cell_keys import facts
from relubench.report.figures import UNDEFINED
from relubench.results import RunResult
from relubench.rows import SETUP, CompareRow, LayerRow, RunRow, SetupRow
from relubench.table import Column, Row
from relubench.wording import counted

ONE_SIZE = 1.03  # counts of parameters within a set-up that a table takes for the same
UNSET = {"revive": "none", "report": "last"}  # what is said of these where nobody chose


# Every view of a run asks for it, again and again.
@lru_cache(maxsize=20_000)
def setup_row(cell: Cell) -> SetupRow:
    """What names a set-up; it has no rate where each run chooses its own."""
    # None where the activation is a user's own, whose file need not be there any more.
    listed = ACTIVATIONS.get(cell.activation.partition(":")[0])
    model = MODELS.get(cell.model.partition(":")[0])
    own = model.init if model else ""
    found = facts(cell)
    named = {key: found[key] for key in SETUP}
    return SetupRow(activation=cell.activation, init=scheme(cell.init, listed, own), **named)


def by_setup(results: Sequence[RunResult]) -> list[list[RunResult]]:
    """The results of each set-up."""
    return list(grouped(results, lambda result: setup_row(result.cell).setup).values())


def by_activation(results: Sequence[RunResult]) -> dict[SetupRow, list[RunResult]]:
    """The results of each activation in each set-up."""
    return grouped(results, lambda result: setup_row(result.cell))


def varying(rows: Sequence[Row], *keys: str) -> list[str]:
    """The keys that differ between rows."""
    return [key for key in keys if _differ(rows, key)]


def _differ(rows: Sequence[Row], key: str) -> bool:
    return any(row.get(key) != rows[0].get(key) for row in rows)


def tasks(rows: Sequence[RunRow]) -> list[str]:
    """What each run was trained on: dataset, model and what else differs but activations."""
    names = dict.fromkeys(("dataset", "model", *varying(rows, *SETUP)))
    return [_values(row, names) for row in rows]


def _values(row: Row, names: Iterable[str]) -> str:
    return " · ".join(str(row.get(name)) for name in names)


def title(rows: Sequence[RunRow | CompareRow | LayerRow], names: Sequence[str]) -> str:
    """Every dimension that is not a column, in one line."""
    if not rows:
        return ""
    row = rows[0]
    seeds = repeated(row) if isinstance(row, CompareRow) else f"seed {row.seed}"
    one_size = not varying(rows, "parameters")
    parts = _setup_parts(row) | {
        "seed": seeds,
        "parameters": counted(row.parameters, "parameter") if one_size else "",
        "device": f"{row.device}, {counted(row.threads, 'thread')}",
        "dtype": "" if row.dtype == "float32" else row.dtype,
    }
    return _joined(parts, names)


def setup_title(rows: Sequence[SetupRow], names: Sequence[str], *more: str) -> str:
    """The same of rows that name a set-up alone; `more` is said after it."""
    if not rows:
        return ""
    return _joined(_setup_parts(rows[0]) | dict(zip(more, more, strict=True)), names)


def _joined(parts: Mapping[str, str], names: Sequence[str]) -> str:
    return " · ".join(text for key, text in parts.items() if text and key not in names)


def _setup_parts(row: SetupRow) -> dict[str, str]:
    """What a title says of each key of a set-up; "" where that goes without saying."""
    return {
        "dataset": row.dataset,
        "model": row.model,
        "activation": row.activation,
        "head": row.head,
        "chosen_init": f"init {row.chosen_init}" if row.chosen_init else "",
        "match_parameters": "parameters as with relu" if row.match_parameters else "",
        "pca": f"pca {row.pca}" if row.pca else "",
        "standardise": "" if row.standardise else "not standardised",
        "limit": f"limit {row.limit}" if row.limit else "",
        "augment": f"augment {row.augment}" if row.augment else "",
        "optimizer": row.optimizer,
        "lr": "" if row.rates else f"lr {row.lr:g}",
        "rates": f"best lr of {row.rates.replace(',', ', ')}" if row.rates else "",
        "schedule": row.schedule or "",
        "warmup": f"warm-up {_share(row.warmup)}" if row.warmup else "",
        "clip_norm": f"clip norm {row.clip_norm:g}" if row.clip_norm else "",
        "label_smoothing": f"smoothing {row.label_smoothing:g}" if row.label_smoothing else "",
        "weight_decay": f"weight decay {row.weight_decay:g}" if row.weight_decay else "",
        "batch_size": f"batch {row.batch_size}",
        "steps" if row.steps else "epochs": length(row),
        "until": f"until {row.until.replace('_', ' ')}" if row.until else "",
        "fresh_weights": "weights drawn anew" if row.fresh_weights else "",
        "unit_axis": "" if row.unit_axis is None else f"units in axis {row.unit_axis}",
        "validation": _validation(row.validation),
        "one_holdout": "one hold-out" if row.one_holdout else "",
        "revive": f"revive {row.revive}" if row.revive else "",
        "report": f"{row.report} epoch reported" if row.report else "",
        "task": f"{counted(row.tasks, 'task')}, {row.task}" if row.tasks else "",
    }


def length(row: SetupRow) -> str:
    """How long a training is: '30 epochs', or '100 steps'."""
    return counted(row.epochs or 0, "epoch") if row.steps is None else counted(row.steps, "step")


def _share(warmup: str) -> str:
    """'100 steps', or '5 %'."""
    return f"{warmup} steps" if warmup.isdecimal() else f"{100 * float(warmup):g} %"


def _validation(size: str | None) -> str:
    if size is None:
        return ""
    return "epochs scored on the test set" if size == "test" else f"validation {float(size):.3g}"


def repeated(row: CompareRow) -> str:
    """What a comparison repeats: its paired seeds, or folds."""
    seeds = counted(len(row.seeds), "seed" if row.folds else "paired seed")
    # Seeds from 0 on are what everybody expects: only others are named.
    if row.seeds != list(range(len(row.seeds))):
        seeds += f" ({_run_of_numbers(row.seeds)})"
    if not row.folds or not row.repeats:
        return seeds
    return f"{row.folds} folds × {counted(row.repeats, 'repeat')} × {seeds}"


def _run_of_numbers(seeds: Sequence[int]) -> str:
    """'100 to 109' of seeds without a gap; else every one."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def more_repetitions(row: CompareRow) -> str:
    """'3 more seeds', of an undecided comparison; "" where nothing is foreseen to decide it."""
    if row.more_seeds:
        return counted(row.more_seeds, "more seed")
    return counted(row.more_repeats, "more repeat") if row.more_repeats else ""


def texts_of(keys: Sequence[str]) -> Callable[[Row], tuple[str, ...]]:
    """What stands under these keys, as text."""
    return lambda row: tuple(_text(row, key) for key in keys)


# What is known for what it is without its key.
BARE = ("dataset", "model", "activation", "head", "optimizer", "schedule", "task", "augment")


def said_of(keys: Sequence[str]) -> Callable[[Row], tuple[str, ...]]:
    """The same for sentences, where a bare number says nothing: 'lr 0.1'."""
    return lambda row: tuple(_said(row, key) for key in keys)


def _said(row: Row, key: str) -> str:
    value = row.get(key)
    if key in BARE and value is not None:
        return str(value)
    shown = f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
    return f"{key.replace('_', ' ')} {shown}"


def _text(row: Row, key: str) -> str:
    return row.get(key) or UNSET[key] if key in UNSET else str(row.get(key))


def run_name(result: RunResult) -> str:
    """One run in a line."""
    cell, split = result.cell, result.cell.split
    parts = [cell.dataset, cell.model, cell.activation, cell.head, f"seed {cell.seed}"]
    if split.fold is not None:
        parts += [f"repeat {split.repeat}", f"fold {split.fold}"]
    return " · ".join(parts)


def name_column(name: str) -> Column[Row]:
    """A column of names, or of what sets runs apart."""
    if name in ("lr", "weight_decay", "clip_norm", "label_smoothing"):
        return Column(
            name.replace("_", " "),
            lambda row: UNDEFINED if row.get(name) is None else f"{row.get(name):g}",
            key=name,
        )
    if name == "chosen_init":
        return Column("init", lambda row: row.get(name) or UNDEFINED, left=True, key=name)
    if name in UNSET:
        return Column(name, lambda row: _text(row, name), left=True)
    if name == "schedule":
        return Column(name, lambda row: row.get(name) or "constant", left=True, key=name)
    number = name in (
        "seed",
        "fold",
        "repeat",
        "pca",
        "limit",
        "epochs",
        "steps",
        "batch_size",
        "tasks",
    )

    def text(row: Row) -> str:
        value = row.get(name)
        return UNDEFINED if value is None else str(value)

    return Column(name.replace("_", " "), text, left=not number, key=name)


def _is_one_size(rows: Sequence[RunRow | CompareRow]) -> bool:
    # What prelu learns besides is some parameters more, and no reason for a column.
    counts = [row.parameters for row in rows]
    return max(counts) <= ONE_SIZE * min(counts)


def sizes(rows: Sequence[RunRow | CompareRow]) -> list[Column[RunRow | CompareRow]]:
    """A column of parameters, where the activations of a set-up have different numbers of them."""
    setups = grouped(rows, lambda row: row.setup).values()
    if all(map(_is_one_size, setups)):
        return []
    return [Column("parameters", lambda row: str(row.parameters), rank=5)]
