"""The gate through the real command line: exit codes, files, and the manual's workflow."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from relubench import results
from relubench.activations import ACTIVATIONS
from relubench.baselines import record
from relubench.cli import main
from relubench.errors import NotComparable
from relubench.execution import work
from relubench.execution.executors import EXECUTORS

ROOT = Path(__file__).parents[1]
PLAN = {"-d": "iris", "--lr": "0.01", "--epochs": "20", "-a": "relu,gelu", "--seeds": "8"}
FIXED = ["-m", "ffnn:hidden=8", "--threads", "1", "--stack", "1"]


def small(**other: str) -> list[str]:
    """A small comparison, with other values for some flags."""
    return ["compare", *FIXED, *(word for pair in (PLAN | other).items() for word in pair)]


SMALL, HELD = small(), ["--baseline", "base.json"]
GATE = [*SMALL, *HELD]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a baseline, made by the command line."""
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*SMALL, "--no-ledger", "--save-baseline", "base.json", "--quiet"]) == 0
    return (folder / "base.json").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def elsewhere(saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder with that baseline."""
    monkeypatch.chdir(tmp_path)
    Path("base.json").write_text(saved, encoding="utf-8")


def changed(change: Callable[[dict[str, Any]], Any], seal: bool = True) -> None:
    """Edit the baseline, and `seal` it again as if it had been saved so."""
    found = json.loads(Path("base.json").read_text(encoding="utf-8"))
    change(found)
    if seal:
        found["sha256"] = record.digest(found)
    Path("base.json").write_text(json.dumps(found), encoding="utf-8")


def shifted(by: float) -> Callable[[dict[str, Any]], None]:
    """An edit that moves the accuracies of the baseline's first row."""

    def change(found: dict[str, Any]) -> None:
        values = found["rows"][0]["values"]
        values["accuracy"] = [each + by for each in values["accuracy"]]

    return change


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """gelu loses what it is for: its networks see next to nothing."""
    blind = replace(ACTIVATIONS["gelu"], function=lambda x: 0 * x)
    monkeypatch.setitem(ACTIVATIONS, "gelu", blind)


def gates(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """compare's JSON rows by activation, from a command that ends with this code."""
    capsys.readouterr()
    assert main([*arguments, "--format", "json", "--quiet"]) == code
    return {row["activation"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_saved_baseline_passes_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        rows = gates(GATE, 0, capsys)
        assert {name: row["gate"] for name, row in rows.items()} == {"relu": "pass", "gelu": "pass"}


def test_the_same_run_saves_the_same_bytes_but_for_seconds(saved: str) -> None:
    assert main([*SMALL, "--rerun", "--save-baseline", "again.json", "--quiet"]) == 0
    without = re.compile(r'"(seconds": \[.*\]|sha256": .*)')
    again = Path("again.json").read_text(encoding="utf-8")
    assert without.sub("", again) == without.sub("", saved)


@pytest.mark.usefixtures("worse")
def test_a_worse_unit_exits_3_and_is_annotated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "page.md")
    Path("page.md").write_text("before\n", encoding="utf-8")
    assert main([*GATE, "--junit", "junit.xml", "--export-benchmark", "bench.json"]) == 3
    out, err = capsys.readouterr()
    assert "\ngate: base.json, 1 fail, 1 pass\n" in out
    assert "::error" not in out
    (line,) = [line for line in err.splitlines() if line.startswith("::error")]
    assert "gelu" in line
    page = Path("page.md").read_text(encoding="utf-8")
    assert page.startswith("before\n### relubench: gate: 1 fail, 1 pass\n")
    assert "| gelu" in page
    (suite,) = ElementTree.parse("junit.xml").getroot()
    assert (suite.get("failures"), suite.get("tests")) == ("1", "2")
    assert len(json.loads(Path("bench.json").read_text(encoding="utf-8"))) == 6


@pytest.mark.usefixtures("worse")
def test_what_the_ledger_has_is_no_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    """A gate trains everything, whatever was finished before the code changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ACTIVATIONS, "gelu", ACTIVATIONS["relu"])
        assert main([*SMALL, "--quiet"]) == 0
    assert gates(GATE, 3, capsys)["gelu"]["gate"] == "fail"


OWN = {"-a": "./unit.py:f"}


@pytest.fixture
def own() -> None:
    """A unit of one's own, and a baseline with it."""
    Path("unit.py").write_text("def f(x):\n    return x.tanh()\n", encoding="utf-8")
    assert main([*small(**OWN), "--save-baseline", "base.json", "--quiet"]) == 0


@pytest.mark.usefixtures("own")
def test_a_unit_of_ones_own_fails_when_its_code_is_made_worse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*small(**OWN), *HELD]
    assert gates(arguments, 0, capsys)["./unit.py:f"]["gate"] == "pass"
    Path("unit.py").write_text("def f(x):\n    return x.tanh() / 1000\n", encoding="utf-8")
    rows = gates(arguments, 3, capsys)
    assert (rows["relu"]["gate"], rows["./unit.py:f"]["gate"]) == ("pass", "fail")


@pytest.mark.parametrize("page", ["page.md", "none/page.md"])
def test_a_page_that_is_full_or_missing_changes_nothing_else(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", page)
    Path("page.md").write_text("x" * (2**20 - 200), encoding="utf-8")
    assert main([*small(**{"--seeds": "2"}), *HELD, "--quiet"]) == 0
    assert 2**20 - 200 < Path("page.md").stat().st_size + (page != "page.md") * 200 <= 2**20
    assert ("cannot write none/page.md" in capsys.readouterr().err) == (page != "page.md")


REFUSED = {
    "learning rate": ({"--lr": "0.02"}, None, "lr: 0.01 in the baseline, 0.02 here"),
    "epochs": ({"--epochs": "3"}, None, "epochs: 20 in the baseline, 3 here"),
    "dataset": ({"-d": "wine"}, None, "dataset: iris in the baseline, wine here"),
    "a limit": ({"--limit": "50"}, None, "limit: none in the baseline, 50 here"),
    "precision": (
        {"--precision": "float64"},
        None,
        "precision: float32 in the baseline, float64 here",
    ),
    "a unit less": ({"-a": "relu"}, None, "activation: relu, gelu in the baseline, relu here"),
    "data": (
        {},
        lambda found: [row.update(data="0123") for row in found["rows"]],
        "data of iris: 0123 in the baseline, ",
    ),
    "version": ({}, lambda found: found.update(format=9), "format: 9 in the baseline, 2 here"),
    "damage": ({}, lambda found: found.pop("rows"), "damaged: rows"),
    "no rows": ({}, lambda found: found.update(rows=[]), "dataset:  in the baseline, iris here"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_exits_4_untrained_and_names_the_field(
    case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, change, says = REFUSED[case]
    if change:
        changed(change)
    monkeypatch.setattr(work.Work, "run", None)
    assert main([*small(**other), *HELD, "--junit", "junit.xml", "--quiet"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert f"relubench: base.json: {says}" in err
    (suite,) = ElementTree.parse("junit.xml").getroot()
    assert int(suite.get("errors", 0)) == len(err.splitlines())


def places(found: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Where every key and every item of a document stands."""
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, *path, key)


def parent(found: Any, path: tuple[Any, ...]) -> Any:
    """What holds the place."""
    for key in path[:-1]:
        found = found[key]
    return found


def others(value: Any) -> list[Any]:
    """What might stand in its place: the nearest wrong value, another type, nothing."""
    if isinstance(value, bool | None):
        return [not value, 0, "x"]
    if isinstance(value, int | float):
        return [value + 1, value * 0.9, -1e30, str(value), None]
    return ["x" + value, "", 1, None] if isinstance(value, str) else [[], {}, None]


def test_no_gate_passes_for_a_baseline_of_which_anything_was_deleted_or_altered(
    saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key and each figure in turn; the whole command for what stands highest."""
    monkeypatch.setattr(work.Work, "run", None)
    document, path = json.loads(saved), Path("base.json")
    for place in places(document):
        for other in [*others(parent(document, place)[place[-1]]), KeyError]:
            found = json.loads(saved)
            if other is KeyError:
                del parent(found, place)[place[-1]]
            else:
                parent(found, place)[place[-1]] = other
            if json.dumps(found) == json.dumps(document):
                continue  # 0.9 times 0.0
            path.write_text(json.dumps(found), encoding="utf-8")
            with pytest.raises(NotComparable):
                record.read(path)
            if len(place) == 1:
                assert main([*GATE, "--quiet"]) == 4, (place, other)


NEEDED = {"dataset", "lr", "standardise", "pca", "activation"}
LACKS = {
    **{f"setup {key}": (("setup", key), KeyError) for key in NEEDED},
    **{
        key: ((key,), KeyError) for key in ("setup", "data", "threads", "seeds", "failed", "values")
    },
    "accuracy": (("values", "accuracy"), KeyError),
    "accuracy of one seed": (("values", "accuracy", 3), None),
    "accuracy of every seed": (("values", "accuracy"), [None] * 8),
    "no share": (("values", "accuracy", 0), -7.0),
    "a figure too few": (("values", "dead", 3), KeyError),
    "a lost run": (("failed", 1), "lost: its worker died"),
    "no data": (("data",), ""),
}


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("case", LACKS)
def test_a_row_that_lacks_values_is_not_comparable_though_it_was_saved_so(
    case: str, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, value = LACKS[case]

    def change(found: dict[str, Any]) -> None:
        place = parent(found["rows"][row], path)
        if value is KeyError:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    changed(change)
    monkeypatch.setattr(work.Work, "run", None)
    assert main([*GATE, "--quiet"]) == 4


def test_a_metric_with_a_margin_must_stand_in_the_baseline(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed(lambda found: [row["values"].pop("dead") for row in found["rows"]])
    assert main([*GATE, "--margin", "dead=1%", "--quiet"]) == 4
    assert "no dead in the baseline" in capsys.readouterr().err
    assert main([*GATE, "--quiet"]) == 0


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("case", ["learning rate", "dataset", "precision"])
def test_a_unit_of_ones_own_is_not_held_against_another_set_up(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other, _, says = REFUSED[case]
    assert main([*small(**OWN, **other), *HELD, "--quiet"]) == 4
    assert f"relubench: base.json: {says}" in capsys.readouterr().err


def test_no_baseline_yet_tells_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("base.json").unlink()
    few = [*small(**{"--seeds": "2"}), *HELD]
    assert main([*few, "--strict"]) == 0
    command = next(
        line.partition("this makes one: ")[2]
        for line in capsys.readouterr().err.splitlines()
        if "this makes one" in line
    )
    assert gates(few, 0, capsys)["gelu"]["gate"] is None
    assert main([*few, "--require-baseline"]) == 4
    assert main(command.split()[1:]) == 0
    assert main([*few, "--require-baseline", "--quiet"]) == 0


def test_undecided_is_0_with_a_note_and_4_when_strict(capsys: pytest.CaptureFixture[str]) -> None:
    changed(shifted(0.01))  # a loss of the margin itself
    assert main(GATE) == 0
    assert "gate: 1 undecided, 1 pass" in capsys.readouterr().err
    assert main([*GATE, "--strict"]) == 4


def diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(ACTIVATIONS["gelu"], function=lambda x: x * 1e38)
    monkeypatch.setitem(ACTIVATIONS, "gelu", broken)


def test_divergence_is_1_without_a_baseline_and_3_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging(monkeypatch)
    assert main([*SMALL, "--quiet", "--save-baseline", "new.json", "--junit", "j.xml"]) == 1
    (suite,) = ElementTree.parse("j.xml").getroot()
    assert suite.get("failures") == "1"
    rows = gates([*small(**{"--seeds": "2"}), *HELD], 3, capsys)  # two seeds: not noise, but ruin
    assert (rows["relu"]["gate"], rows["gelu"]["gate"]) == ("pass", "fail")
    rows = gates([*SMALL, "--baseline", "new.json"], 1, capsys)
    assert (rows["relu"]["gate"], rows["gelu"]["gate"]) == ("pass", "not compared")


def test_where_everything_diverged_nothing_is_saved_and_nothing_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging(monkeypatch)
    alone = [*small(**{"-a": "gelu"}), "--reference", "gelu", "--quiet"]
    assert main([*alone, "--save-baseline", "new.json"]) == 4
    out, err = capsys.readouterr()
    assert "8 of 8 diverged" in out
    assert "--save-baseline: nothing written: every run diverged" in err
    assert not Path("new.json").exists()

    def ruined(found: dict[str, Any]) -> None:
        found["rows"] = found["rows"][1:]
        found["rows"][0]["failed"] = ["diverged"] * 8

    changed(ruined)
    rows = gates([*alone, *HELD], 4, capsys)
    assert rows["gelu"]["gate"] == "not compared"


def test_lost_runs_are_4_and_never_a_baseline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def loses(stacks: Any, fit: Any) -> Any:
        for stack in stacks:
            yield stack, [results.lost_run(cell, "killed") for cell in stack.cells]

    serial = dataclasses.replace(EXECUTORS["serial"], function=loses)
    monkeypatch.setitem(EXECUTORS, "serial", serial)
    assert main([*GATE, "--save-baseline", "new.json", "--quiet"]) == 4
    assert "--save-baseline: nothing written: 16 runs lost" in capsys.readouterr().err
    assert not Path("new.json").exists()
    assert main([*SMALL, "--no-ledger", "--quiet"]) == 1


USAGE = {
    "quick": (["--save-baseline", "x.json", "--quick"], "never a baseline"),
    "strict": (["--strict"], "--strict needs --baseline FILE"),
    "require": (["--require-baseline"], "--require-baseline needs --baseline FILE"),
    "margin": (["--margin", "accuracy=0.5"], "--margin: got 0.5: accuracy is a fraction"),
    "metric": (["--margin", "acuracy=1%"], "did you mean 'accuracy'"),
    "folds": ([*HELD, "--folds", "2"], "--baseline: a baseline is paired by seed"),
    "looks": (
        ["--save-baseline", "x.json", "--until-decided", "--max-seeds", "20"],
        "--save-baseline: the seeds are fixed beforehand",
    ),
    "itself": (["--baseline", "x.json", "--save-baseline", "./x.json"], "both name"),
    "junit": (["--junit", "x.json", "-o", "x.json"], "both name"),
    "folder": (["--junit", "none/x.xml"], "--junit none/x.xml: cannot be written"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_2(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, says = USAGE[case]
    assert main([*SMALL, *arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert [path.name for path in Path().iterdir()] == ["base.json"]


def test_seconds_are_compared_where_they_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    timed = [*GATE, "--margin", "seconds=5000%"]
    words = [each["gate"] for each in gates(timed, 0, capsys)["relu"]["gates"]]
    assert words == ["pass", "pass"]
    changed(lambda found: found.update(machine="another"))
    clock = gates(timed, 0, capsys)["relu"]["gates"][1]
    assert clock["gate"] == "not compared"
    assert clock["reason"].startswith("machine: another in the baseline, ")


def test_seconds_of_an_earlier_run_are_no_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--quiet"]) == 0
    assert main([*SMALL, "--save-baseline", "new.json"]) == 0
    assert "finished before" in capsys.readouterr().err
    assert json.loads(Path("new.json").read_text(encoding="utf-8"))["machine"] is None


@pytest.mark.parametrize(
    "design", [["--folds", "2"], ["--seeds", "2", "--until-decided", "--max-seeds", "3"]]
)
def test_without_a_baseline_ci_is_told_of_every_design(design: list[str]) -> None:
    arguments = ["compare", *FIXED, "-d", "iris", "-a", "gelu", "--epochs", "1", *design]
    assert main([*arguments, "--junit", "j.xml", "--export-benchmark", "b.json", "--quiet"]) == 0
    (suite,) = ElementTree.parse("j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
    assert len(json.loads(Path("b.json").read_text(encoding="utf-8"))) == 6


def test_the_gates_words_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert gates([*GATE, "--columns", "activation,gate"], 0, capsys)["gelu"]["gate"] == "pass"


def test_a_dry_run_writes_nothing() -> None:
    assert main([*SMALL, "--dry-run", "--save-baseline", "x.json", "--junit", "x.xml"]) == 0
    assert [path.name for path in Path().iterdir()] == ["base.json"]


def test_the_manuals_workflow_runs_step_by_step(tmp_path: Path) -> None:
    """Its `run:` lines in a shell, with the package that is tested and a small benchmark."""
    page = (ROOT / "relubench" / "manual" / "ci.md").read_text(encoding="utf-8")
    (workflow,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    steps = re.findall(r"^ *(?:- )?run: (.+)$", workflow, re.MULTILINE)
    steps = [step for step in steps if not step.startswith("pip install")]
    assert any(step.startswith("relubench compare smoke --baseline") for step in steps)
    (making,) = re.findall(r"^\$ (relubench .*--save-baseline .+)$", page, re.MULTILINE)
    less = "-d iris -m ffnn:hidden=4 --epochs 2 --seeds 5"
    tool = Path("bin/relubench")
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m relubench "$@" {less}\n')
    tool.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tool.parent.resolve()}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "page.md"),
    }

    def shell(line: str) -> int:
        return subprocess.run(["bash", "-e", "-c", line], env=environment).returncode

    assert [shell(step) for step in steps] == [0] * len(steps)  # there is no baseline yet
    assert shell(making) == 0
    assert [shell(step) for step in steps] == [0] * len(steps)
    assert "gate: 4 pass" in Path("page.md").read_text(encoding="utf-8")
    name = making.split()[-1]
    Path(name).write_text("{", encoding="utf-8")
    assert 4 in [shell(step) for step in steps]
