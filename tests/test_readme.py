"""What the README says is so."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import relubench
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.formats import FORMATS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line)[1:]
    for language, block in BLOCKS
    if language == "sh"
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("relubench ")
]


def block(start: str) -> str:
    (found,) = [text for _, text in BLOCKS if text.startswith(start)]
    return found


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_its_commands_run(
    arguments: list[str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "mnist" in arguments:
        arguments = [*arguments, "--data-dir", str(request.getfixturevalue("real_data"))]
    quick = [] if arguments[0] == "show" else ["--quick"]
    written = [] if "-o" in arguments else ["-o", str(tmp_path / "out.txt")]
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, *quick, *written]) == 0


def untimed(text: str) -> str:
    """Without the column of seconds, the one before the last."""
    words = "better|worse|equivalent|undecided|reference|verdict"
    return re.sub(rf" +(?:\d+\.\d+|s/run)(?=  (?:{words}))", "", text)


@pytest.mark.slow
def test_its_first_table_is_what_compare_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--threads", "1", "--quiet", "-o", "out.txt"]) == 0
    printed = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert untimed(block("$ relubench compare\n").split("\n", 1)[1]) == untimed(printed)


def test_its_benchmarks_are_valid_and_its_errors_are_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tables = [text for language, text in BLOCKS if language == "toml"]
    Path("benchmarks.toml").write_text("\n".join(tables), encoding="utf-8")
    assert main(["list", "benchmarks"]) == 0
    broken = tables[0].replace('"mish"', '"mihs"') + "epcohs = 3\n"
    Path("benchmarks.toml").write_text(broken, encoding="utf-8")
    capsys.readouterr()
    assert main(["compare", "mine"]) == 2
    assert block("$ relubench compare mine\n").split("\n", 1)[1] == capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "cv", "compare", "deadcount"])
def test_its_row_keys_are_the_rows_keys(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pattern = rf"^\| [a-z, ]*\b{command}\b[a-z, ]* \| (`dataset`.*) \|$"
    (line,) = re.findall(pattern, README, re.M)
    arguments = ["-d", "iris", "-m", "ffnn:hidden=4", "--quick", "--format", "json", "--quiet"]
    assert main([command, *arguments]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert re.findall(r"`(\w+)`", line) == list(row)


@pytest.mark.parametrize(
    ("command", "arguments"), [("cost", ["-a", "relu", "--quick"]), ("show activation", ["relu"])]
)
def test_its_keys_of_units_are_the_rows_keys(
    command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = re.findall(rf"^\| {command} \| (.*) \|$", README, re.M)
    assert main([*command.split(), *arguments, "--format", "json", "--quiet"]) == 0
    assert re.findall(r"`(\w+)`", line) == list(json.loads(capsys.readouterr().out)[0])


def test_its_tree_is_the_house() -> None:
    named = set(re.findall(r"^  (\w+(?:\.py|/)) ", block("relubench/\n"), re.M))
    package = Path(relubench.__file__).parent
    rooms = {path.name for path in package.glob("*.py")}
    rooms |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert named == rooms - {"__init__.py", "__main__.py"}


def test_its_example_stands_in_the_catalogue() -> None:
    source = Path(relubench.__file__).parent / "activations" / "smooth.py"
    assert block("@smooth(") in source.read_text(encoding="utf-8")


def test_its_count_of_activations_is_right() -> None:
    (count,) = re.findall(r"\*\*Activations\.\*\* (\d+) units", README)
    assert int(count) == len(ACTIVATIONS)


def test_its_formats_are_all() -> None:
    assert all(name in README for name in FORMATS)


def test_ci_runs_its_test_command() -> None:
    """`.ci/run` takes the line that follows the marker, word for word."""
    script = "sed -n '/<!-- test command -->/,/^```$/p' README.md | grep -v -e '^```' -e '^<!--'"
    assert script in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.count("\n") == 1
    assert found.stdout.startswith("python3 -m venv .venv && ")
