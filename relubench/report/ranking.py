"""Several datasets: ranks and tests in which the dataset is what is repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from relubench import stats
from relubench.grouping import grouped
from relubench.report.columns import text_of
from relubench.report.evidence import ComparisonOptions
from relubench.report.figures import UNDEFINED, p_value, significant
from relubench.report.naming import name_column, said_of, varying
from relubench.rows import SETUP, CompareRow, RankedPairRow
from relubench.stats import Friedman, Pair
from relubench.table import AnyTable, Column, Table
from relubench.wording import counted

BESIDES = [key for key in SETUP if key != "dataset"]
WIDTH = 25  # characters of the rank picture


@dataclass(frozen=True)
class Ranking:
    """Activations over the datasets of one set-up; `pairs` as (first, second) numbers of names."""

    names: Sequence[str]
    datasets: int
    mean_ranks: Sequence[float]
    friedman: Friedman | None
    pairs: Sequence[Pair]


def over_datasets(rows: Sequence[CompareRow], options: ComparisonOptions) -> list[CompareRow]:
    """The rows with their activation's rank and record over datasets; None with one dataset."""
    setups = grouped(rows, _besides)
    rankings = {setup: rank(members, options) for setup, members in setups.items()}
    return [_ranked(row, rankings[_besides(row)]) for row in rows]


def _ranked(row: CompareRow, ranking: Ranking | None) -> CompareRow:
    if ranking is None or row.activation not in ranking.names:
        return row
    number, reference = map(ranking.names.index, (row.activation, row.reference))
    ranked = replace(row, mean_rank=ranking.mean_ranks[number])
    for pair in ranking.pairs:
        if (pair.first, pair.second) == (number, reference):
            return replace(
                ranked,
                datasets_won=pair.wins,
                datasets_tied=pair.ties,
                datasets_lost=pair.losses,
                datasets_p=pair.p_holm,
            )
    return ranked


def rank(rows: Sequence[CompareRow], options: ComparisonOptions) -> Ranking | None:
    """Ranks, Friedman's test and the pairs; None where there is nothing to rank.

    Activations that every dataset has are ranked. A dataset on which a run of one diverged is a
    loss for it.
    """
    by_dataset = grouped(rows, lambda row: row.dataset)
    # A rank is only defined among those that every dataset has.
    names = _everywhere(list(by_dataset.values()))
    if len(by_dataset) < 2 or len(names) < 2:
        return None
    sign = options.measure.sign
    # A diverged run has no mean, and `stats` ranks what has none last: the dataset is lost.
    means = {
        (row.dataset, row.activation): None if row.diverged or row.mean is None else sign * row.mean
        for row in rows
    }
    scores = []
    for dataset in by_dataset:
        scores.append([means[dataset, name] for name in names])
    reference = names.index(rows[0].reference)
    others = [number for number in range(len(names)) if number != reference]
    compared = [(number, reference) for number in others]
    if options.every_pair:
        compared += list(combinations(others, 2))
    # Friedman's test is for three or more (Demšar 2006); of two the pair's Wilcoxon says it all.
    friedman = stats.friedman(scores) if len(names) > 2 else None
    ranks = friedman.mean_ranks if friedman else stats.mean_ranks(scores)
    return Ranking(names, len(scores), ranks, friedman, stats.matrix(scores, compared))


def _everywhere(by_dataset: Sequence[Sequence[CompareRow]]) -> list[str]:
    """The activations that are in every group of rows, in the order of the first."""
    first, *others = map(_activations, by_dataset)
    common = set(first).intersection(*others)
    return [name for name in dict.fromkeys(first) if name in common]


def _activations(rows: Sequence[CompareRow]) -> list[str]:
    return [row.activation for row in rows]


def ranked(
    rows: Sequence[CompareRow], options: ComparisonOptions
) -> list[tuple[CompareRow, Ranking]]:
    """The ranking of each set-up with several datasets, beside the first of its rows."""
    found = []
    for members in grouped(rows, _besides).values():
        if ranking := rank(members, options):
            found.append((members[0], ranking))
    return found


def rankings(rows: Sequence[CompareRow], options: ComparisonOptions) -> list[AnyTable]:
    """A table of ranks for each set-up with several datasets, and one of all pairs on request."""
    tables: list[AnyTable] = []
    for members in grouped(rows, _besides).values():
        if ranking := rank(members, options):
            where = said_of(varying(rows, *BESIDES))(members[0])
            tables.append(_ranks(ranking, members, where, options))
            if options.every_pair:
                tables.append(_matrix(ranking, where))
    return tables


def _besides(row: CompareRow) -> tuple[object, ...]:
    return tuple(row.get(key) for key in BESIDES)


def _ranks(
    ranking: Ranking, rows: Sequence[CompareRow], where: Sequence[str], options: ComparisonOptions
) -> Table[CompareRow]:
    """An activation a row, the best mean rank first, its place drawn between first and last."""
    of_one = {row.activation: row for row in rows if row.mean_rank is not None}
    ordered = sorted(of_one.values(), key=_mean_rank)
    count = len(ranking.names)
    columns: list[Column[CompareRow]] = [
        name_column("activation"),
        Column("mean rank", lambda row: f"{row.mean_rank:.1f}"),
        Column(f"1 … {count}", lambda row: _dot(_mean_rank(row), count), key="picture"),
        Column(f"won, tied, lost vs {rows[0].reference}", _record, key="datasets_won"),
        Column("p", lambda row: p_value(row.datasets_p), key="datasets_p"),
    ]
    what = f"ranks of {options.measure.name} over {ranking.datasets} datasets"
    return Table(ordered, columns, " · ".join([*where, what]), _notes(ranking, options))


def _mean_rank(row: CompareRow) -> float:
    return row.mean_rank or 0.0  # of a row in a ranking there is one


def _notes(ranking: Ranking, options: ComparisonOptions) -> list[str]:
    """Which tests these are, and what so few datasets cannot show."""
    notes = []
    if friedman := ranking.friedman:
        notes.append(
            f"Friedman: χ² {significant(friedman.chi2, 3)}, p {p_value(friedman.p)}. p: exact "
            f"Wilcoxon signed-rank, Holm over {counted(len(ranking.pairs), 'comparison')}; "
            "the dataset is what is repeated, and one on which a run diverged is lost."
        )
    needed = stats.pairs_needed(len(ranking.pairs), options.alpha)
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


def _record(row: CompareRow) -> str:
    if row.datasets_won is None:
        return "reference" if row.activation == row.reference else UNDEFINED
    return f"{row.datasets_won}, {row.datasets_tied}, {row.datasets_lost}"


def _matrix(ranking: Ranking, where: Sequence[str]) -> Table[RankedPairRow]:
    """Every pair of activations over datasets."""
    rows = [
        RankedPairRow(
            activation=ranking.names[pair.first],
            beside=ranking.names[pair.second],
            won=pair.wins,
            tied=pair.ties,
            lost=pair.losses,
            p=pair.p_holm,
        )
        for pair in ranking.pairs
    ]
    columns: list[Column[RankedPairRow]] = [
        name_column("activation"),
        name_column("beside"),
        *(Column(key, text_of(key)) for key in ("won", "tied", "lost")),
        Column("p", lambda row: p_value(row.p)),
    ]
    return Table(rows, columns, " · ".join([*where, "every pair over datasets"]))
