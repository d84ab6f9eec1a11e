"""Every field of a cell is where all the others are: in its key, its row, its command line."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest
from every_field import FIELDS, PLAIN, SHOWN, changed
from fabricated import plan, result

from relubench import commands, config, report
from relubench.baselines import record
from relubench.cli import main
from relubench.commands.request import CATALOGS
from relubench.formats import render
from relubench.models import MODELS
from relubench.plan import LATER, Cell, Plan, Split, is_unset
from relubench.report import naming
from relubench.results import RunResult
from relubench.rows import SETUP, RunRow, SetupRow

# As the first ledgers have them. A field that is added changes none of them, and needs none here.
OLD_KEYS = {
    "dataset": "4159c28a601a69ce",
    "model": "e9e41296e51973d4",
    "activation": "bdb08d15d22b3f40",
    "head": "41c8971c41c8e640",
    "match_parameters": "d5230fa97f28ede9",
    "seed": "b31ab9afd08adad0",
    "perturb": "5ae028baef90445b",
    "until": "4341d18d2b0704b0",
    "fresh": "a7e68d6fa914935d",
    "unit_axis": "4933a4e117281adf",
    "init": "a86d5bd899fc03f1",
    "validation": "39c63a513fba3dcf",
    "recipe.optimizer": "b6751ab8e0377678",
    "recipe.lr": "0241b96311a24f18",
    "recipe.rates": "ff957e263bdcfb82",
    "recipe.epochs": "9b4da6abe708f337",
    "recipe.batch_size": "220bf2b90ea67de0",
    "recipe.weight_decay": "6038520e14d4485c",
    "recipe.augment": "3dc3cab9145a9918",
    "preparation.standardise": "92f3bf4941ddbd12",
    "preparation.pca": "bfc4f77ae916fef8",
    "preparation.limit": "fdc69d282add5ffa",
    "split.folds": "171d8aaa15c3cc59",
    "split.fold": "6214df2649c5c033",
    "split.repeat": "15d3f9979178f5b4",
    "split.validation": "248ce3581edf3866",
    "split.one_holdout": "11c4e70db2882c71",
}


def of_cell(cell: Cell) -> RunResult:
    """A run of this cell, as if it had been trained."""
    scores = {f"accuracy {name}": 0.25 for name in cell.perturbations}
    done = result("relu", 0, 0.875)
    chosen = cell.recipe.candidates[-1] if cell.recipe.rates else None
    return replace(done, cell=cell, chosen=chosen, scores={**done.scores, **scores})


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_in_the_key(name: str) -> None:
    assert changed(name).key != PLAIN.key


@pytest.mark.parametrize("name", OLD_KEYS)
def test_keys_stay_what_they_are(name: str) -> None:
    assert changed(name).key == OLD_KEYS[name]
    assert PLAIN.key == "dce387e52b4f1c71"


def test_units_in_the_first_axis_keep_their_key() -> None:
    """No network takes both, and ledgers know these cells."""
    assert replace(PLAIN, unit_axis=0).key == PLAIN.key
    assert replace(PLAIN, unit_axis=-1).key != PLAIN.key


@pytest.mark.parametrize(
    ("value", "default", "unset"),
    [
        *((value, value, True) for value in (None, False, True, 0, 0.0, 1, "constant")),
        ("", None, True),
        (0, 0.0, True),
        *((value, None, False) for value in (0, 0.0, True, "he")),
        *((value, True, False) for value in (False, 1, None)),
        *((value, False, False) for value in (True, 0)),
        (1, 0, False),
    ],
)
def test_an_option_is_unset_at_its_default_alone(
    value: object, default: object, unset: bool
) -> None:
    assert is_unset(value, default) == unset


@pytest.mark.parametrize("name", SHOWN)
def test_a_row_is_read_back_as_its_cell(name: str) -> None:
    found = [of_cell(changed(name))]
    table = report.runs(found, plan(found))
    again = report.results_of(render([table], "jsonl"))
    assert [run.cell for run in again] == [run.cell for run in found]
    assert report.runs(again, plan(again)).records == table.records


def test_rows_from_before_a_field_are_read() -> None:
    found = [of_cell(PLAIN)]
    (row,) = report.runs(found, plan(found)).records
    old = {key: value for key, value in row.items() if key not in LATER}
    assert report.results_of(json.dumps([old])) == report.results_of(json.dumps([row]))
    set_later = report.runs([of_cell(changed("validation"))], plan(found)).records[0]
    del set_later["validation"]
    with pytest.raises(ValueError, match="its key is"):
        report.results_of(json.dumps([set_later]))


@pytest.mark.parametrize("name", SHOWN)
def test_a_command_line_trains_the_same_cell(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[commands.Request] = []

    def keep(request: commands.Request, *_: object) -> commands.Outcome:
        asked.append(request)
        return commands.Outcome([report.runs([], Plan(cells=()))])

    for command in ("train", "cv"):
        monkeypatch.setattr(commands, command, keep)
    line = report.command(report.run_row(of_cell(changed(name))))
    assert main(shlex.split(line)[1:]) == 0
    (request,) = asked
    settings = config.resolve(config.Benchmarks("", {}), None, request.flags, CATALOGS)
    cells = config.plan(settings, request.command, False, MODELS).cells
    assert changed(name).key in {cell.key for cell in cells}


def test_a_set_up_is_all_that_names_a_row_but_the_activation() -> None:
    assert {*SETUP, "activation", "init"} == set(SetupRow.declared_keys())


@pytest.mark.parametrize("name", SHOWN)
def test_a_title_says_what_no_column_says(name: str) -> None:
    plain, other = (report.run_row(of_cell(cell)) for cell in (PLAIN, changed(name)))
    differ = {key for key in (*SETUP, "activation", "seed") if plain.get(key) != other.get(key)}
    columns = {"perturb"}  # its scores have columns, with its name
    said = naming.title([plain], []) != naming.title([other], [])
    assert said == bool(differ - columns)


@pytest.mark.parametrize("name", SHOWN)
def test_a_baseline_of_before_a_field_knows_the_same_set_ups(name: str) -> None:
    """Its set-ups have no key that has a default in the declaration, where it has that."""
    repeated = {key for key in RunRow.declared_keys() if key not in SetupRow.declared_keys()}
    plain, other = record.setup(PLAIN), record.setup(changed(name))
    field = name.rpartition(".")[2]
    assert (plain != other) == (field not in repeated)
    assert not {"validation", "one_holdout"} & plain.keys()


def test_a_fold_that_is_carried_is_read_back() -> None:
    found = [of_cell(replace(PLAIN, split=Split(folds=3)))]
    again = report.results_of(render([report.runs(found, plan(found))], "jsonl"))
    assert again[0].cell == found[0].cell
