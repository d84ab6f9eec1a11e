"""Several datasets: ranks and tests in which the dataset is the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from relubench import stats
from relubench.grouping import grouped
from relubench.report.evidence import Terms
from relubench.report.figures import UNDEFINED, p_value, significant
from relubench.report.naming import SETUP, name_column, varying
from relubench.stats import Friedman, Pair
from relubench.table import Column, Row, Table
from relubench.wording import counted

BESIDES = [key for key in SETUP if key != "dataset"]
KEYS = ("mean_rank", "datasets_won", "datasets_tied", "datasets_lost", "datasets_p")
WIDTH = 25  # characters of the rank picture


@dataclass(frozen=True)
class Ranking:
    """Activations over the datasets of one set-up; `pairs` as (first, second) numbers of names."""

    names: Sequence[str]
    datasets: int
    mean_ranks: Sequence[float]
    friedman: Friedman | None
    pairs: Sequence[Pair]


def over_datasets(rows: Sequence[dict[str, Any]], terms: Terms) -> list[dict[str, Any]]:
    """The rows with their activation's rank and record over datasets; None with one dataset."""
    added: dict[tuple[Any, ...], dict[str, Any]] = {}
    for setup, members in grouped(rows, _besides).items():
        if ranking := rank(members, terms):
            beside = ranking.names.index(members[0]["reference"])
            for number, name in enumerate(ranking.names):
                record = next(
                    (p for p in ranking.pairs if (p.first, p.second) == (number, beside)), None
                )
                found = (
                    (record.wins, record.ties, record.losses, record.p_holm)
                    if record
                    else [None] * 4
                )
                values = (ranking.mean_ranks[number], *found)
                added[*setup, name] = dict(zip(KEYS, values, strict=True))
    nothing = dict.fromkeys(KEYS)
    return [row | added.get((*_besides(row), row["activation"]), nothing) for row in rows]


def rank(rows: Sequence[Row], terms: Terms) -> Ranking | None:
    """Ranks, Friedman's test and the pairs; None where there is nothing to rank.

    A dataset on which a run of an activation diverged is a loss for it.
    """
    by_dataset = grouped(rows, lambda row: row["dataset"])
    names = list(dict.fromkeys(row["activation"] for row in rows))
    if len(by_dataset) < 2 or len(names) < 2:
        return None
    sign = terms.measure.sign
    means = {
        (row["dataset"], row["activation"]): None
        if row["diverged"] or row["mean"] is None
        else sign * row["mean"]
        for row in rows
    }
    scores = [[means[dataset, name] for name in names] for dataset in by_dataset]
    reference = names.index(rows[0]["reference"])
    wanted = [(i, reference) for i in range(len(names)) if i != reference]
    if terms.every_pair:
        others = [i for i in range(len(names)) if i != reference]
        wanted += list(combinations(others, 2))
    friedman = stats.friedman(scores) if len(names) > 2 else None
    ranks = friedman.mean_ranks if friedman else stats.mean_ranks(scores)
    return Ranking(names, len(scores), ranks, friedman, stats.matrix(scores, wanted))


def rankings(rows: Sequence[Row], terms: Terms) -> list[Table]:
    """A table of ranks for each set-up with several datasets, and one of all pairs on request."""
    tables = []
    for members in grouped(rows, _besides).values():
        if ranking := rank(members, terms):
            where = [str(members[0][key]) for key in varying(rows, *BESIDES)]
            tables.append(_ranks(ranking, members, where, terms))
            tables += [_matrix(ranking, where)] if terms.every_pair else []
    return tables


def _besides(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in BESIDES)


def _ranks(ranking: Ranking, rows: Sequence[Row], where: Sequence[str], terms: Terms) -> Table:
    """An activation a row, the best mean rank first, its place drawn between first and last."""
    of_one = {row["activation"]: row for row in rows}
    ordered = sorted(of_one.values(), key=lambda row: row["mean_rank"])
    count = len(ranking.names)
    columns = [
        name_column("activation"),
        Column("mean rank", lambda row: f"{row['mean_rank']:.1f}"),
        Column(f"1 … {count}", lambda row: _dot(row["mean_rank"], count), key="picture"),
        Column(f"won, tied, lost vs {rows[0]['reference']}", _record, key="datasets_won"),
        Column("p", lambda row: p_value(row["datasets_p"]), key="datasets_p"),
    ]
    title = " · ".join([*where, f"ranks of {terms.measure.name} over {ranking.datasets} datasets"])
    return Table(ordered, columns, title, _notes(ranking, terms))


def _notes(ranking: Ranking, terms: Terms) -> list[str]:
    """Which tests these are, and what so few datasets cannot show."""
    notes = []
    if found := ranking.friedman:
        notes.append(
            f"Friedman: χ² {significant(found.chi2, 3)}, p {p_value(found.p)}. p: exact Wilcoxon "
            f"signed-rank, Holm over {counted(len(ranking.pairs), 'comparison')}; "
            "the dataset is the unit, and a dataset on which a run diverged is lost."
        )
    needed = stats.pairs_needed(len(ranking.pairs), terms.alpha)
    if ranking.datasets < needed:
        least = min(1.0, stats.smallest_p(ranking.datasets) * len(ranking.pairs))
        notes.append(
            f"{ranking.datasets} datasets can show nothing here: no corrected p is below "
            f"{least:.3g}; with {needed} datasets one could be."
        )
    return notes


def _dot(mean_rank: float, count: int) -> str:
    """A line from rank 1 to the last, with a dot at this one."""
    place = round((mean_rank - 1) / (count - 1) * (WIDTH - 1))
    return "·" * place + "●" + "·" * (WIDTH - 1 - place)


def _record(row: Row) -> str:
    if row["datasets_won"] is None:
        return "reference" if row["activation"] == row["reference"] else UNDEFINED
    return ", ".join(str(row[f"datasets_{what}"]) for what in ("won", "tied", "lost"))


def _matrix(ranking: Ranking, where: Sequence[str]) -> Table:
    """Every pair of activations over datasets."""
    rows = [
        {
            "activation": ranking.names[pair.first],
            "beside": ranking.names[pair.second],
            "won": pair.wins,
            "tied": pair.ties,
            "lost": pair.losses,
            "p": pair.p_holm,
        }
        for pair in ranking.pairs
    ]
    columns = [name_column("activation"), name_column("beside")]
    columns += [Column(key, lambda row, key=key: str(row[key])) for key in ("won", "tied", "lost")]  # type: ignore[misc]
    columns.append(Column("p", lambda row: p_value(row["p"])))
    return Table(rows, columns, " · ".join([*where, "every pair over datasets"]))
