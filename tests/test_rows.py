"""The kinds of rows: every key has a type and a meaning; a row is read by its attributes."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated

import pytest
from fabricated import plan, runs

import relubench
from relubench import report, rows
from relubench.metrics import METRICS
from relubench.results import COUNTS, DEFINITIONS, MOMENTS, status
from relubench.rows import CompareRow, Correction, LayerRow, PublishedVerdict, RunRow, Test
from relubench.table import Column, Row, Table

KINDS = [
    kind
    for kind in (getattr(rows, name) for name in dir(rows))
    if inspect.isclass(kind) and issubclass(kind, Row) and kind is not Row
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_has_a_meaning(kind: type[Row]) -> None:
    meanings = kind.meanings()
    assert list(meanings) == list(kind.types()) == kind.declared_keys()
    assert set(meanings) <= {field.name for field in fields(kind)}
    assert all(meaning and not meaning.endswith(".") for meaning in meanings.values())


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_frozen(kind: type[Row]) -> None:
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [RunRow, CompareRow])
def test_every_metric_and_count_is_a_key(kind: type[Row]) -> None:
    assert {*METRICS, *COUNTS, *MOMENTS} <= set(kind.meanings())
    assert kind.meanings()["dead"] == DEFINITIONS["dead"]


def test_a_rows_fields_are_the_keys_of_its_record() -> None:
    results = runs("relu", 0.0)
    for kind, table in (
        (RunRow, report.runs(results, plan(results))),
        (CompareRow, report.compare(results, plan(results))),
        (LayerRow, report.deadcount(results, plan(results))[0]),
    ):
        assert list(table.records[0]) == list(kind.meanings())


def test_a_table_is_a_data_frame() -> None:
    results = runs("relu", 0.0)
    table = report.compare(results, plan(results))
    frame = table.frame()
    assert list(frame.columns) == CompareRow.declared_keys()
    assert len(frame) == len(table.rows)
    for key, value in table.records[0].items():
        if value is not None and not isinstance(value, list | dict):
            assert frame[key][0] == value


@dataclass(frozen=True, kw_only=True)
class Measured(Row):
    """A row of numbers that need not be there."""

    score: Annotated[float | None, "a number"]
    count: Annotated[int | None, "a whole number"]
    chosen: Annotated[bool, "whether it was chosen"]
    name: Annotated[str | None, "a text"]


@pytest.mark.parametrize("score", [0.25, None])
@pytest.mark.parametrize("count", [2**60, None])
def test_a_frames_types_are_those_of_the_rows(score: float | None, count: int | None) -> None:
    """Not those of the values that happen to be there: a column of nulls has a type, too."""
    row = Measured(score=score, count=count, chosen=True, name=None)
    frame = Table([row, replace(row, count=None)], []).frame()
    dtypes = {key: str(dtype) for key, dtype in frame.dtypes.items()}
    assert dtypes["score"] == "float64"
    assert dtypes["count"] == "Int64"
    assert dtypes["chosen"] == "bool"
    assert frame["score"].isna()[0] == (score is None)
    assert count is None or frame["count"][0] == count


def test_a_frame_has_the_keys_that_a_table_shows() -> None:
    row = Measured(score=0.5, count=1, chosen=False, name="a")
    assert list(Table([row], [], keys=("name", "score")).frame().columns) == ["name", "score"]
    assert Table[Measured]([], []).frame().empty


@dataclass(frozen=True, kw_only=True)
class Nested(Row):
    """A row in which rows and structures stand."""

    test: Annotated[Test, "a structure"]
    others: Annotated[list[Nested], "rows"]


def test_machines_get_neither_rows_nor_structures() -> None:
    test = Test("exact sign-flip", Correction(2))
    inner = Nested(test=test, others=[])
    table = Table([Nested(test=test, others=[inner])], [Column("test", lambda row: str(row.test))])
    text = "exact sign-flip, Holm over 2 comparisons"
    assert table.records == [{"test": text, "others": [{"test": text, "others": []}]}]
    assert table.texts == [[text]]


@pytest.mark.parametrize(
    ("correction", "text"),
    [
        (Correction(0), "nothing compared"),
        (Correction(1), "Holm over 1 comparison"),
        (Correction(2, setups=3), "Holm over the 2 comparisons of each set-up"),
        (Correction(6, setups=3, together=True), "Holm over all 6 comparisons of 3 set-ups"),
    ],
)
def test_a_correction_says_over_what(correction: Correction, text: str) -> None:
    assert str(correction) == text


def test_a_verdict_on_a_published_figure_has_a_word_and_a_reason() -> None:
    assert str(PublishedVerdict("agrees")) == "agrees"
    reasoned = PublishedVerdict("cannot be compared", "it was quick: a smoke run")
    assert str(reasoned) == "cannot be compared: it was quick: a smoke run"


@pytest.mark.parametrize(
    ("failed", "word"),
    [(None, "ok"), ("diverged: the loss is not finite", "diverged"), ("lost: killed", "lost")],
)
def test_a_run_has_a_status(failed: str | None, word: str) -> None:
    assert status(failed) == word


def test_nobody_but_formats_takes_a_row_by_a_string() -> None:
    package = Path(relubench.__file__).parent
    for path in package.rglob("*.py"):
        if path.parent.name in ("formats", "rows") or path.name == "table.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                taken = ast.unparse(node)
                assert not (taken.startswith("row[") and isinstance(node.slice.value, str)), (
                    f"{path.name}: {taken}"
                )
