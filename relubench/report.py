"""RunResults to Tables: what to show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import mean, median
from typing import Any

from relubench import stats
from relubench.formats import Column, Row, Table, counted
from relubench.metrics import METRICS
from relubench.plan import Cell, Plan, grouped
from relubench.results import COUNTED_ON, DEFINITIONS, LayerCount, RunResult, total

ALPHA = 0.05
UNDEFINED = "–"
ARROWS = {"higher": "↑", "lower": "↓"}
SCORES = (*METRICS, "train_accuracy", "train_loss")
COUNTS = ("dead", "inactive", "rare", "dormant", "saturated")
DEAD_BY_RATE = "dead units, % of all hidden units, by learning rate"
QUICK_NOTE = "quick: a smoke run, not a measurement"

# What names a row: the keys of which those that vary become columns, the rest the title.
RECIPE = ("optimizer", "lr", "epochs", "batch_size", "weight_decay")
SETUP = ("dataset", "model", "head", *RECIPE, "standardise", "pca", "limit")


# --- figures as text ------------------------------------------------------------------------------


def percent(share: float | None, decimals: int = 1) -> str:
    """A fraction as a percentage without its sign."""
    return UNDEFINED if share is None else f"{100 * share:.{decimals}f}"


def plus_minus(center: float | None, spread: float | None, decimals: int = 1) -> str:
    """Mean ± standard deviation of fractions, in per cent."""
    if center is None or spread is None:
        return percent(center, decimals)
    return f"{percent(center, decimals)} ± {percent(spread, decimals)}"


def significant(value: float | None, digits: int = 2) -> str:
    """A number with so many significant digits and no exponent."""
    if value is None:
        return UNDEFINED
    if abs(value) >= 1e6:
        return f"{value:.{digits - 1}e}"
    places = digits - 1 - math.floor(math.log10(abs(value))) if value else digits - 1
    return f"{value:.{max(0, places)}f}"


def deserved(spreads: Iterable[float | None]) -> int:
    """How many decimals of a percentage these spreads (fractions) leave meaning to: 0, 1 or 2.

    One significant digit of the median spread, two where the first is a 1.
    """
    known = [spread for spread in spreads if spread]
    return min(2, max(0, -math.floor(math.log10(50 * median(known))))) if known else 1


def p_value(p: float | None) -> str:
    """A p as papers print it."""
    if p is None:
        return UNDEFINED
    return "<0.001" if p < 0.001 else significant(p)


# --- train and cv ---------------------------------------------------------------------------------


def run_row(result: RunResult, quick: bool = False) -> dict[str, Any]:
    """One trained cell for machines; None where a figure is not defined."""
    cell = result.cell
    return {
        **_identity(result),
        "seed": cell.seed,
        **asdict(cell.split),
        "n_train": result.n_train,
        "n_test": result.n_test,
        "parameters": result.parameters,
        **{name: result.scores.get(name) for name in SCORES},
        **_shares(total(result.layers) if result.layers else None),
        "seconds": result.seconds,
        **asdict(result.environment),
        "key": cell.key,
        "quick": quick,
        "failed": result.failed,
        "confusion": result.confusion and [list(row) for row in result.confusion],
        "curve": [asdict(epoch) for epoch in result.curve],
    }


def _identity(result: RunResult) -> dict[str, Any]:
    return setup_row(result.cell)


def _shares(count: LayerCount | None) -> dict[str, float | None]:
    """Counts as fractions of the units."""
    if count is None:
        return dict.fromkeys((*COUNTS, "sparsity", "mean_activation"))
    shares: dict[str, float | None] = {name: getattr(count, name) / count.units for name in COUNTS}
    return shares | {"sparsity": count.sparsity, "mean_activation": count.mean_activation}


def runs(results: Sequence[RunResult], plan: Plan) -> Table:
    """A row per trained cell: its scores on the test part."""
    rows = [run_row(result, plan.quick) for result in results]
    decimals = 2 if min((row["n_test"] for row in rows), default=0) >= 2000 else 1
    names = _varying(rows, "activation", *SETUP, "seed", "repeat", "fold") or ["activation"]
    silent = ["silent"] if any(row["silent"] is not None for row in rows) else []
    shares = ["accuracy", "precision", "recall", "f1", "macro_f1", *silent, "dead"]
    columns = [
        *map(_name_column, names),
        *(Column(name.replace("_", " "), _percent_of(name, decimals)) for name in shares),
        Column("loss", lambda row: significant(row["loss"], 3)),
        Column("train", _percent_of("train_accuracy", decimals)),
        Column("s", lambda row: significant(row["seconds"])),
    ]
    notes = [
        *_failures(results),
        *_undefined(rows),
        "In %: accuracy, f1 and so on of the test part (weighted by support unless macro), dead, "
        "and train, the accuracy on the training part. loss: nats; s: seconds of training.",
        *_definitions(shares),
        *_quick(plan),
    ]
    return Table(rows, columns, _title(rows, names), notes)


def folds(results: Sequence[RunResult], plan: Plan) -> Table:
    """Mean ± sd over folds per set-up; the seeds of a fold are averaged first."""
    rows = []
    for setup, members in _grouped(results, "activation", *SETUP).items():
        by_fold = grouped(members, lambda result: result.cell.split)
        whole = [runs for runs in by_fold.values() if not any(run.failed for run in runs)]
        row: dict[str, Any] = dict(setup) | {"folds": len(whole)}
        for name in ("accuracy", "precision", "recall", "f1", "macro_f1", "loss"):
            figures = [_mean([run.scores[name] for run in runs]) for runs in whole]
            defined = [figure for figure in figures if figure is not None]
            whole_or_none = defined if len(defined) == len(figures) else []
            row[name], row[f"{name}_sd"] = stats.mean_sd(whole_or_none)
        rows.append(row)
    names = _varying(rows, "activation", *SETUP) or ["activation"]
    columns = [*map(_name_column, names), Column("folds", lambda row: str(row["folds"]))]
    for name in ("accuracy", "precision", "recall", "f1", "macro_f1"):
        decimals = deserved(row[f"{name}_sd"] for row in rows)
        columns.append(_spread_column(name, decimals))
    return Table(rows, columns, "mean ± sd over finished folds (seeds averaged first)")


def confusion(result: RunResult, classes: Sequence[str]) -> Table:
    """The confusion matrix of one finished cell: true classes down, predicted ones across."""
    rows = [
        {"true": name, **dict(zip(classes, counts, strict=True))}
        for name, counts in zip(classes, result.confusion or (), strict=True)
    ]
    columns = [Column("true \\ predicted", _text_of("true"), left=True)]
    columns += [Column(name, _text_of(name)) for name in classes]
    return Table(rows, columns, f"confusion matrix, {_run_name(result)}")


def curve(result: RunResult) -> Table:
    """The learning curve of one cell, as its training passes saw it."""
    rows = [{"epoch": i, **asdict(epoch)} for i, epoch in enumerate(result.curve, start=1)]
    columns = [
        Column("epoch", lambda row: str(row["epoch"])),
        Column("train loss", lambda row: significant(row["loss"], 3)),
        Column("train accuracy %", lambda row: percent(row["accuracy"], 2)),
    ]
    return Table(rows, columns, f"learning curve, {_run_name(result)}")


# --- compare --------------------------------------------------------------------------------------


def compare(results: Sequence[RunResult], plan: Plan) -> Table:
    """A row per set-up and activation: mean ± sd, difference to the reference, verdict."""
    groups = _grouped(results, *SETUP).values()
    rows = [row for members in groups for row in _compare_group(members, plan)]
    names = [*_varying(rows, *SETUP), "activation"]
    silent = ["silent"] if any(row["silent"] is not None for row in rows) else []
    decimals = deserved(map(_half_width, rows))
    columns = [
        *map(_name_column, names),
        _spread_column("accuracy", deserved(row["accuracy_sd"] for row in rows)),
        Column(f"vs {plan.reference} (95 % CI)", lambda row: _difference(row, decimals)),
        Column("p", lambda row: p_value(row["p"])),
        _percent_column("dead"),
        *map(_percent_column, silent),
        Column("s/run", lambda row: significant(row["seconds"])),
        Column("verdict", _verdict_text, left=True),
    ]
    notes = [*_sentences(rows, names[:-1], decimals), *_method(rows), *_failures(results)]
    return Table(
        rows,
        columns,
        _title(rows, names),
        [*notes, *_definitions(["dead", *silent]), *_quick(plan)],
        group=lambda row: tuple(row[key] for key in SETUP),
    )


def _compare_group(members: Sequence[RunResult], plan: Plan) -> list[dict[str, Any]]:
    """The rows of one set-up, the best accuracy first."""
    runs = grouped(members, lambda result: result.cell.activation)
    scores = {
        activation: {run.cell.seed: run.scores["accuracy"] or 0 for run in done if not run.failed}
        for activation, done in runs.items()
    }
    base = scores[plan.reference]
    found = {}
    for activation in runs:
        common = sorted(base.keys() & scores[activation].keys())
        own = [scores[activation][seed] for seed in common]
        found[activation] = stats.paired(own, [base[seed] for seed in common])
    others = [activation for activation in runs if activation != plan.reference]
    corrected = stats.holm([1.0 if (p := found[a].p) is None else p for a in others])
    adjusted = dict(zip(others, corrected, strict=True))
    unsteady = len(base) < len(runs[plan.reference])
    rows = []
    for activation in runs:
        row, paired = _summary(runs[activation]), found[activation]
        itself = activation == plan.reference
        p = None if itself or paired.p is None else adjusted[activation]
        figures = {
            "reference": plan.reference,
            "quick": plan.quick,
            "pairs": paired.pairs,
            "difference": None if itself else paired.difference,
            "difference_low": None if itself else paired.low,
            "difference_high": None if itself else paired.high,
            "p": p,
            "p_unadjusted": None if itself else paired.p,
            "comparisons": len(others),
            "test": f"{_test(paired.pairs)}, Holm over {counted(len(others), 'comparison')}",
            "verdict": "reference" if itself else _verdict(p, paired.difference, row, unsteady),
        }
        rows.append(row | figures)
    return sorted(rows, key=lambda row: math.inf if row["accuracy"] is None else -row["accuracy"])


def _test(pairs: int) -> str:
    drawn = "" if pairs <= stats.EXACT_LIMIT else f", {stats.DRAWN} drawn patterns"
    return f"{'' if drawn else 'exact '}sign-flip{drawn}"


def _verdict(p: float | None, difference: float | None, row: Row, unsteady: bool) -> str:
    """Runs that survive say nothing of those that diverged, on either side (`unsteady`: there)."""
    if row["diverged"]:
        return "diverged"
    if unsteady or p is None or difference is None or p >= ALPHA:
        return "undecided"
    return "better" if difference > 0 else "worse"


def _verdict_text(row: Row) -> str:
    if row["verdict"] != "diverged" and row["diverged"]:
        return f"{row['verdict']}, {row['diverged']} of {_runs(row)} diverged"
    if row["diverged"]:
        return f"{row['diverged']} of {_runs(row)} diverged"
    text: str = row["verdict"]
    return text


def _summary(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Means over the finished runs of one activation; a mean of undefined figures is undefined."""
    done = [run_row(result) for result in runs if not result.failed]

    def average(name: str) -> float | None:
        return _mean([row[name] for row in done])

    accuracy, accuracy_sd = stats.mean_sd([row["accuracy"] for row in done])
    return {
        **_identity(runs[0]),
        "seeds": [result.cell.seed for result in runs],
        "n": len(done),
        "accuracy": accuracy,
        "accuracy_sd": accuracy_sd,
        **{name: average(name) for name in SCORES if name != "accuracy"},
        **{name: average(name) for name in (*COUNTS, "sparsity", "mean_activation")},
        "seconds": median(row["seconds"] for row in done) if done else None,
        "parameters": runs[0].parameters,
        "diverged": len(runs) - len(done),
        **asdict(runs[0].environment),
    }


def _mean(figures: Sequence[float | None]) -> float | None:
    """The mean, which is undefined where a figure is."""
    known = [figure for figure in figures if figure is not None]
    return mean(known) if known and len(known) == len(figures) else None


def _half_width(row: Row) -> float | None:
    low, high = row["difference_low"], row["difference_high"]
    return None if low is None or high is None else (high - low) / 2


def _difference(row: Row, decimals: int) -> str:
    if row["verdict"] == "reference":
        return "reference"
    if row["difference"] is None:
        return UNDEFINED
    number = f"{{:+z.{decimals}f}}"
    texts = [
        number.format(100 * row[key]) if row[key] is not None else UNDEFINED
        for key in ("difference", "difference_low", "difference_high")
    ]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _sentences(rows: Sequence[Row], names: Sequence[str], decimals: int) -> list[str]:
    """What the figures allow to say, a sentence per set-up."""
    said = []
    for setup, members in grouped(rows, lambda row: tuple(str(row[n]) for n in names)).items():
        where = f"{', '.join(setup)}: " if setup else ""
        reference = members[0]["reference"]
        for verdict in ("better", "worse"):
            found = [
                f"{r['activation']} ({100 * r['difference']:+z.{decimals}f} points)"
                for r in members
                if r["verdict"] == verdict
            ]
            if found:
                said.append(f"{where}{verdict} than {reference}: {', '.join(found)}.")
        verdicts = {row["verdict"] for row in members}
        if "undecided" in verdicts and not verdicts & {"better", "worse"} and _decidable(members):
            said.append(f"{where}undecided: these seeds tell no activation from {reference}.")
    return said


def _decidable(rows: Sequence[Row]) -> bool:
    """Whether so many pairs could have given a p under ALPHA."""
    pairs = max(row["pairs"] for row in rows)
    return bool(stats.smallest_p(pairs) * rows[0]["comparisons"] < ALPHA)


def _method(rows: Sequence[Row]) -> list[str]:
    """How p was found, of what it speaks, and what so few pairs can never show."""
    tested = [row for row in rows if row["p"] is not None]
    if not tested:
        return []
    fewest, most = (bound(row["pairs"] for row in tested) for bound in (min, max))
    pairs = str(most) if fewest == most else f"{fewest} to {most}"
    tests = " or ".join(dict.fromkeys(row["test"] for row in tested))
    said = [
        f"p: {tests}, over {pairs} paired seeds; interval: 95 % t of the mean paired difference, "
        "not corrected. Both speak of these rows under other seeds, not of new data."
    ]
    comparisons = max(row["comparisons"] for row in tested)
    least = min(1.0, stats.smallest_p(most) * comparisons)
    if least >= ALPHA:
        said.append(
            f"{counted(most, 'paired seed')} can decide nothing here: over "
            f"{counted(comparisons, 'comparison')} no corrected p is below {least:.3g}; "
            f"--seeds {stats.pairs_needed(comparisons)} could."
        )
    return said


def _runs(row: Row) -> int:
    count: int = row["n"] + row["diverged"]
    return count


# --- deadcount ------------------------------------------------------------------------------------


def deadcount(results: Sequence[RunResult], plan: Plan) -> list[Table]:
    """A row per run and layer, then the run's total; with several rates also the sweep."""
    rows = [row for result in results for row in _layer_rows(result, plan)]
    names = _varying(rows, "activation", *SETUP, "seed") or ["activation"]
    columns = [
        *map(_name_column, names),
        Column("layer", lambda row: row["layer"], left=True),
        Column("units", lambda row: _count_text(row["units"])),
        *(_percent_column(name) for name in (*COUNTS, "sparsity")),
        Column("mean", lambda row: significant(row["mean_activation"])),
    ]
    examples = next((f" ({row['examples']} examples here)" for row in rows if row["examples"]), "")
    notes = [
        *_failures(results),
        *(f"{name}: {meaning}" for name, meaning in DEFINITIONS.items()),
        f"{COUNTED_ON}{examples}",
        *_quick(plan),
    ]
    identity = ("activation", *SETUP, "seed")
    detail = Table(
        rows,
        columns,
        _title(rows, names),
        notes,
        group=lambda row: tuple(row[key] for key in identity),
    )
    rates = sorted({result.cell.recipe.lr for result in results})
    return [detail, _sweep(rows, rates)] if len(rates) > 1 else [detail]


def _layer_rows(result: RunResult, plan: Plan) -> list[dict[str, Any]]:
    identity = _identity(result) | {"seed": result.cell.seed}
    layers: list[LayerCount | None] = (
        [*result.layers, total(result.layers)] if result.layers else [None]
    )
    return [
        identity
        | {
            "layer": layer.layer if layer else "total",
            "units": layer and layer.units,
            **_shares(layer),
            "examples": layer and layer.examples,
            "definition": "; ".join(f"{k}: {v}" for k, v in DEFINITIONS.items())
            + f"; {COUNTED_ON}",
            "accuracy": result.scores.get("accuracy"),
            "parameters": result.parameters,
            "seconds": result.seconds,
            **asdict(result.environment),
            "key": result.cell.key,
            "quick": plan.quick,
            "failed": result.failed,
        }
        for layer in layers
    ]


def _sweep(rows: Sequence[Row], rates: Sequence[float]) -> Table:
    """Dead share of the whole network by activation and learning rate, mean over seeds."""
    totals = [row for row in rows if row["layer"] == "total"]
    setup = [key for key in ("activation", *SETUP) if key != "lr"]
    names = [name for name in _varying(totals, *setup) if name != "activation"]
    swept = []
    for members in grouped(totals, lambda row: tuple(row[key] for key in setup)).values():
        row: dict[str, Any] = {key: members[0][key] for key in setup}
        for rate in rates:
            known = [r["dead"] for r in members if r["lr"] == rate and r["dead"] is not None]
            row[f"dead at {rate:g}"] = stats.mean_sd(known)[0]
        swept.append(row)
    columns = [_name_column(name) for name in (*names, "activation")]
    for rate in rates:
        columns.append(Column(f"lr {rate:g}", _percent_of(f"dead at {rate:g}")))
    return Table(
        swept,
        columns,
        "dead units, % of all hidden units, by learning rate (mean over runs that finished)",
    )


# --- dry run --------------------------------------------------------------------------------------


def dry_run(setups: Sequence[Mapping[str, Any]]) -> Table:
    """A row per set-up of a plan: runs, finished ones, units of work, estimated seconds."""
    names = ["dataset", "model", "activation", *_varying(setups, *SETUP[2:])]
    columns = [*map(_name_column, names)]
    columns += [Column(n, _text_of(n)) for n in ("runs", "finished", "stacks", "stack", "threads")]
    columns.append(Column("s left", lambda row: significant(row["seconds_left"])))
    runs, finished, stacks = (
        sum(row[key] for row in setups) for key in ("runs", "finished", "stacks")
    )
    known = [row["seconds_left"] for row in setups if row["seconds_left"] is not None]
    about = f", about {significant(sum(known))} s" if known else ""
    title = (
        f"{counted(runs, 'run')}, {finished} finished; {counted(stacks, 'stack')} to train{about}"
    )
    notes = [f"{UNDEFINED}: too little work to be measured"] if len(known) < len(setups) else []
    return Table(list(setups), columns, title, notes)


def setup_row(cell: Cell) -> dict[str, Any]:
    """What names a set-up."""
    return {
        "dataset": cell.dataset,
        "model": cell.model,
        "activation": cell.activation,
        "head": cell.head,
        **asdict(cell.recipe),
        **asdict(cell.preparation),
    }


# --- ledger ---------------------------------------------------------------------------------------


def ledger(finished: Sequence[tuple[str, RunResult]]) -> Table:
    """A row per set-up and activation of finished runs, with when the last one was finished."""
    rows = []
    when = {id(result): time for time, result in finished}
    results = [result for _, result in finished]
    for setup, runs in _grouped(results, "activation", *SETUP).items():
        failed = sum(1 for run in runs if run.failed)
        last = max(when[id(run)] for run in runs)
        rows.append(dict(setup) | {"runs": len(runs), "failed": failed, "finished": last})
    names = ["dataset", "model", "activation", *_varying(rows, *SETUP[2:])]
    columns = [*map(_name_column, names)]
    columns += [Column(name, _text_of(name)) for name in ("runs", "failed", "finished")]
    return Table(rows, columns, counted(len(results), "finished run"))


# --- pieces ---------------------------------------------------------------------------------------


def _grouped(results: Sequence[RunResult], *keys: str) -> dict[Any, list[RunResult]]:
    return grouped(results, lambda result: tuple((key, _identity(result)[key]) for key in keys))


def _varying(rows: Sequence[Row], *keys: str) -> list[str]:
    """The keys that differ between rows."""
    return [key for key in keys if len({row.get(key) for row in rows}) > 1]


def _title(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Every dimension that is not a column, in one line."""
    if not rows:
        return ""
    row = rows[0]
    seeds = f"seed {row['seed']}" if "seed" in row else counted(_runs(row), "paired seed")
    if row.get("seeds") and row["seeds"] != list(range(len(row["seeds"]))):
        seeds += f" ({', '.join(map(str, row['seeds']))})"
    one_size = not _varying(rows, "parameters")
    parts = {
        "dataset": row["dataset"],
        "model": row["model"],
        "activation": row["activation"],
        "head": row["head"],
        "pca": f"pca {row['pca']}" if row["pca"] else "",
        "standardise": "" if row["standardise"] else "not standardised",
        "limit": f"limit {row['limit']}" if row["limit"] else "",
        "optimizer": row["optimizer"],
        "lr": f"lr {row['lr']:g}",
        "weight_decay": f"weight decay {row['weight_decay']:g}" if row["weight_decay"] else "",
        "batch_size": f"batch {row['batch_size']}",
        "epochs": counted(row["epochs"], "epoch"),
        "seed": seeds,
        "parameters": counted(row["parameters"], "parameter") if one_size else "",
        "device": f"{row['device']}, {counted(row['threads'], 'thread')}",
        "dtype": "" if row["dtype"] == "float32" else row["dtype"],
    }
    return " · ".join(text for key, text in parts.items() if text and key not in names)


def _name_column(name: str) -> Column:
    if name in ("lr", "weight_decay"):
        return Column(name.replace("_", " "), lambda row: f"{row[name]:g}")
    number = name in ("seed", "fold", "repeat", "pca", "limit", "epochs", "batch_size")
    return Column(name.replace("_", " "), lambda row: str(row[name]), left=not number)


def _text_of(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


def _percent_of(key: str, decimals: int = 1) -> Callable[[Row], str]:
    return lambda row: percent(row[key], decimals)


def _head(name: str) -> str:
    arrow = ARROWS[METRICS[name].better] if name in METRICS else ""
    return f"{name.replace('_', ' ')} % {arrow}".rstrip()


def _percent_column(name: str, decimals: int = 1) -> Column:
    return Column(_head(name), _percent_of(name, decimals))


def _spread_column(name: str, decimals: int) -> Column:
    return Column(_head(name), lambda row: plus_minus(row[name], row[f"{name}_sd"], decimals))


def _count_text(count: int | None) -> str:
    return UNDEFINED if count is None else str(count)


def _run_name(result: RunResult) -> str:
    cell, split = result.cell, result.cell.split
    parts = [cell.dataset, cell.model, cell.activation, cell.head, f"seed {cell.seed}"]
    if split.fold is not None:
        parts += [f"repeat {split.repeat}", f"fold {split.fold}"]
    return " · ".join(parts)


def _failures(results: Sequence[RunResult]) -> list[str]:
    failed = _grouped([r for r in results if r.failed], "activation", *SETUP)
    rows = [_identity(result) for result in results]
    names = ["activation", *_varying(rows, *SETUP)]
    said = []
    for setup, runs in failed.items():
        which = ", ".join(str(dict(setup)[name]) for name in names)
        said.append(f"{which}: {counted(len(runs), 'run')} in no mean ({runs[0].failed})")
    return said


def _undefined(rows: Sequence[Row]) -> list[str]:
    """Why a finished run may have no precision."""
    if any(row["precision"] is None and not row["failed"] for row in rows):
        return [f"precision {UNDEFINED}: a class is never predicted, so its precision is undefined"]
    return []


def _definitions(names: Iterable[str]) -> list[str]:
    said = {
        "dead": f"dead: share of hidden units with {DEFINITIONS['dead']} of the training part.",
        "silent": "silent: share of test examples to which the head gives every class a 0.",
    }
    return [said[name] for name in names if name in said]


def _quick(plan: Plan) -> list[str]:
    return [QUICK_NOTE] if plan.quick else []
