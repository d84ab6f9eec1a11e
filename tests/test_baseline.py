"""Baseline files: they survive, they are stable, and what cannot be compared is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relubench.baselines import record
from relubench.baselines.record import Record, Row
from relubench.errors import NotComparable
from relubench.metrics.measures import MEASURES
from relubench.plan import Cell

SETUP = record.setup(Cell(dataset="iris", model="ffnn", activation="relu"))


def row(activation: str = "relu", figure: float | None = 0.9, n: int = 3, **facts: Any) -> Row:
    """A row whose metrics all have this figure."""
    values = {name: (figure,) * n for name in MEASURES}
    plain: dict[str, Any] = {"data": "d1", "threads": 1, "stack": 1, "values": values}
    own = {
        "failed": (None,) * n,
        "setup": SETUP | {"activation": activation},
        "seeds": tuple(range(n)),
    }
    return Row(**(plain | own | facts))


def recorded(*rows: Row, **facts: Any) -> Record:
    plain: dict[str, Any] = {"format": 2, "relubench": "1", "engine": 2, "torch": "2"}
    return Record(
        **(plain | {"device": "cpu", "precision": "float32", "machine": "M, 2 cores", "rows": rows})
        | facts
    )


BASE = recorded(row(), row("gelu", failed=(None, "diverged: [1]", None)), row("tanh", None))


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(record.write(BASE), encoding="utf-8")
    assert record.read(path) == BASE
    assert record.read(tmp_path / "none.json") is None


def test_a_file_is_sorted_and_has_a_line_per_metric() -> None:
    text = record.write(BASE)
    assert json.dumps(json.loads(text), sort_keys=True) == json.dumps(json.loads(text))
    assert '"accuracy": [0.9, 0.9, 0.9]' in text
    assert text.endswith("}\n")


def damaged(change: Callable[[dict[str, Any]], Any]) -> str:
    found = json.loads(record.write(BASE))
    change(found)
    found["sha256"] = record.digest(found)
    return json.dumps(found)


DAMAGES = {
    "cut": record.write(BASE)[:-40],
    "empty": "",
    "not JSON": "a baseline",
    "a list": "[]",
    "a row is no row": damaged(lambda b: b.update(rows=[3])),
    "no version": damaged(lambda b: b.pop("format")),
    "another version": damaged(lambda b: b.update(format=3)),
    "no torch": damaged(lambda b: b.pop("torch")),
    "an unknown key": damaged(lambda b: b["rows"][0].update(sedes=[1])),
    "a figure too few": damaged(lambda b: b["rows"][0]["values"]["dead"].pop()),
    "a seed too many": damaged(lambda b: b["rows"][0]["seeds"].append(9)),
    "a seed twice": damaged(lambda b: b["rows"][0].update(seeds=[1, 1, 2])),
    "a row twice": damaged(lambda b: b["rows"].append(b["rows"][0])),
    "a row twice, with other figures": damaged(
        lambda b: b["rows"].append(b["rows"][0] | {"threads": 5})
    ),
    "a list for a value": damaged(lambda b: b["rows"][0]["setup"].update(lr=[1])),
    "no number": damaged(lambda b: b["rows"][0]["values"].update(dead=["x", 0, 0])),
    "not finite": damaged(lambda b: b["rows"][0]["values"].update(dead=[float("nan"), 0, 0])),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(DAMAGES[case], encoding="utf-8")
    with pytest.raises(NotComparable) as caught:
        record.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_another_version_is_named_with_both(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text('{"format": 7}', encoding="utf-8")
    with pytest.raises(NotComparable, match="format: 7 in the baseline, 2 here"):
        record.read(path)


def test_data_are_those_of_every_row() -> None:
    one = recorded(row(), row("gelu"))
    other = recorded(row(data="d0"), row("gelu"))
    assert record.differences(other, one) == ["data of iris: d0, d1 in the baseline, d1 here"]


def test_a_pipe_is_no_baseline_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotComparable, match="it is no regular file"):
        record.read(tmp_path / "pipe")


def test_a_key_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(record.write(BASE).replace("{", '{"torch": "1",', 1), encoding="utf-8")
    with pytest.raises(NotComparable, match="cannot be read"):
        record.read(path)


def test_a_folder_is_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(NotComparable, match="cannot be read"):
        record.read(tmp_path)


@pytest.mark.parametrize("key", SETUP)
def test_a_changed_field_is_named_with_both_values(key: str) -> None:
    other = replace(BASE, rows=tuple(replace(r, setup=r.setup | {key: "x"}) for r in BASE.rows[:1]))
    one = replace(BASE, rows=BASE.rows[:1])
    old = "none" if SETUP[key] is None else SETUP[key]
    assert record.differences(one, other) == [f"{key}: {old} in the baseline, x here"]
    assert record.differences(one, one) == []
    less = {name: value for name, value in SETUP.items() if name != key}
    (said, *_) = record.differences(one, recorded(replace(one.rows[0], setup=less)))
    assert "only in the baseline" in said or said.startswith(f"{key}: ")


def test_precision_and_data_are_named_with_both_values() -> None:
    other = recorded(*(replace(each, data="d2") for each in BASE.rows), precision="bf16")
    assert record.differences(BASE, other) == [
        "precision: float32 in the baseline, bf16 here",
        "data of iris: d1 in the baseline, d2 here",
    ]


def test_a_missing_row_is_named() -> None:
    wine = SETUP | {"dataset": "wine"}
    both = [row(), row(setup=wine), row("gelu", setup=wine | {"activation": "gelu"})]
    whole = recorded(*both, row("gelu"))
    (said,) = record.differences(whole, recorded(*both))
    assert said.startswith("row: iris, ffnn, gelu, ")
    assert said.endswith(": only in the baseline")
    (said,) = record.differences(recorded(*both), whole)
    assert said.endswith(": only in this run")


def test_what_need_not_be_the_same_is_told() -> None:
    other = replace(BASE, torch="3", machine="N")
    assert record.differences(BASE, other) == []
    assert record.surroundings(BASE, other) == [
        "torch: 2 in the baseline, 3 here",
        "machine: M, 2 cores in the baseline, N here",
    ]


@pytest.mark.parametrize(
    ("there", "here", "says"),
    [
        ({}, {}, None),
        ({}, {"machine": "N"}, "machine: M, 2 cores in the baseline, N here"),
        ({"machine": None}, {}, "not all timed"),
        ({"threads": 2}, {}, "threads: 2 in the baseline, 1 here"),
        ({"stack": 8}, {}, "--stack 1"),
        ({}, {"stack": 8}, "--stack 1"),
    ],
)
def test_seconds_need_one_machine_and_passes_of_their_own(
    there: dict[str, Any], here: dict[str, Any], says: str | None
) -> None:
    def timed(facts: dict[str, Any]) -> Record:
        own = {key: facts[key] for key in facts.keys() & {"threads", "stack"}}
        return recorded(row(**own), **{key: facts[key] for key in facts.keys() & {"machine"}})

    why = record.clock(timed(there), timed(here), SETUP)
    assert (why is None) == (says is None)
    assert says is None or says in str(why)


def test_lost_and_unfinished_runs_make_no_baseline() -> None:
    assert record.unfit(BASE) is None
    assert record.unfit(recorded(row(failed=(None, "lost: killed", None)))) == "1 run lost"
    assert record.unfit(recorded(row(failed=("diverged",) * 3))) == "every run diverged"


def test_the_machine_is_named_with_its_cores() -> None:
    assert record.machine_class("cpu").endswith(" cores")
    assert not record.machine_class("cpu").startswith(",")
