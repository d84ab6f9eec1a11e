"""--columns, --sort and --group over a small table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fabricated import FactsRow, facts_rows

from relubench.errors import BadValue
from relubench.report import Arrangement
from relubench.table import AnyTable, Column, Table

ROWS = facts_rows(
    {"name": "b", "half": 1, "score": 0.5, "dead": 0.25},
    {"name": "a", "half": 1, "score": None, "dead": 0.5},
    {"name": "d", "half": 2, "score": 0.1, "dead": None},
    {"name": "c", "half": 1, "score": 0.9, "dead": 0.0},
)
NAME: Column[FactsRow] = Column("name", lambda row: row.get("name"))
TABLE = Table(ROWS, [NAME], group=lambda row: row.get("half"))


def names(table: AnyTable) -> str:
    return "".join(row.get("name") for row in table.rows)


def test_nothing_asked_changes_nothing() -> None:
    assert Arrangement().apply(TABLE) is TABLE


@pytest.mark.parametrize(
    ("sort", "group", "order"),
    [
        ("score", ("half",), "bcad"),  # None last
        ("-score", ("half",), "cbad"),
        ("-score", ("none",), "cbda"),
        ("name", ("none",), "abcd"),
        ("-name", ("none",), "dcba"),
        (None, ("half",), "bacd"),
        ("score", (), "bcad"),
    ],
)
def test_rows_are_sorted_inside_their_groups(
    sort: str | None, group: tuple[str, ...], order: str
) -> None:
    assert names(Arrangement(sort=sort, group=group).apply(TABLE)) == order


def test_rows_under_one_heading_stay_under_it_until_they_are_grouped_anew() -> None:
    headed = replace(TABLE, group=lambda row: None, heading=lambda row: f"half {row.get('half')}")
    assert names(Arrangement(sort="-score").apply(headed)) == "cbad"
    again = Arrangement(sort="name", group=("none",)).apply(headed)
    assert names(again) == "abcd"
    assert not any(map(again.heading, again.rows))


def test_what_a_turned_row_is_called_stands_above_its_facts() -> None:
    turned = replace(TABLE, turned=True)
    shown = Arrangement(columns=("dead",)).apply(turned)
    assert [column.head for column in shown.columns] == ["name", "dead %"]
    assert list(shown.records[0]) == ["dead"]


def test_a_key_without_a_column_of_its_own_gets_one() -> None:
    table = Arrangement(columns=("dead", "name", "score")).apply(TABLE)
    assert [column.head for column in table.columns] == ["dead %", "name", "score"]
    assert table.texts[0] == ["25.0", "b", "0.500"]
    assert table.texts[1] == ["50.0", "a", "–"]
    assert list(table.records[0]) == ["dead", "name", "score"]


@pytest.mark.parametrize("flag", ["columns", "sort", "group"])
def test_an_unknown_key_is_named_with_those_known(flag: str) -> None:
    wanted = Arrangement(**{flag: "scroe" if flag == "sort" else ("scroe",)})  # type: ignore[arg-type]
    with pytest.raises(BadValue, match=rf"--{flag}: .*did you mean 'score'\? known: name, half"):
        wanted.apply(TABLE)
