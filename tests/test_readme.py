"""What the README and the manual say is so."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import subprocess
from pathlib import Path

import picture
import pytest
from generated import ROWS, generated, parts, stdout, with_part

import relubench
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.commands.help import READING_ORDER
from relubench.formats import FORMATS

ROOT = Path(__file__).parents[1]
MANUAL = Path(relubench.__file__).parent / "manual"
PATHS = {path.stem: path for path in (ROOT / "README.md", *sorted(MANUAL.glob("*.md")))}
PAGES = {name: path.read_text(encoding="utf-8") for name, path in PATHS.items()}
README = PAGES["README"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(PAGES[page]) if found == language]


def block(page: str, start: str) -> str:
    texts: list[str] = [text for _, text in BLOCK.findall(PAGES[page])]
    (found,) = [text for text in texts if text.startswith(start)]
    return found


COMMANDS = [
    line.split(" ", 1)[1]
    for page in PAGES
    for text in blocks(page, "sh")
    for line in text.replace("\\\n", "").splitlines()
    if line.startswith("relubench ")
]


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_its_commands_run(
    command: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = shlex.split(command)
    if "mnist" in arguments:
        arguments += ["--data-dir", str(request.getfixturevalue("real_data"))]
    if "--task-epochs" in arguments:  # minutes, as they stand there
        arguments[arguments.index("--task-epochs") + 1] = "1"
        arguments[arguments.index("--tasks") + 1] = "2"
    quick = [] if arguments[0] in ("show", "list", "ledger", "report") else ["--quick"]
    written = [] if "-o" in arguments else ["-o", str(tmp_path / "out.txt")]
    monkeypatch.chdir(tmp_path)
    # `suggest` refuses what will not end within its budget: a busy machine must not fail this.
    monkeypatch.setattr("relubench.execution.budget.SLOWER", 0.0)
    if "csv:table.csv" in command:
        lines = [f"{n % 7},{n % 5},{'yes' if n % 7 > 3 else 'no'}" for n in range(100)]
        Path("table.csv").write_text("\n".join(["a,b,label", *lines]), encoding="utf-8")
    if arguments[0] in ("ledger", "report"):
        assert main(["train", "-d", "digits", "-m", "ffnn:hidden=4", "--quick", "--quiet"]) == 0
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
    shown = block("getting-started", "$ relubench compare\n").split("\n", 1)[1]
    assert untimed(shown) == untimed(printed)


def test_its_picture_is_of_a_terminal() -> None:
    svg = picture.PICTURE.read_text(encoding="utf-8")
    assert picture.lines(svg)[0] == f"$ relubench {picture.COMMAND}"
    assert "@font-face" not in svg
    assert f"`relubench {picture.COMMAND}`" in README
    assert picture.PICTURE.relative_to(ROOT).as_posix() in README


@pytest.mark.slow
def test_its_picture_is_what_compare_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    committed = picture.lines(picture.PICTURE.read_text(encoding="utf-8"))
    drawn = picture.lines(picture.drawn(picture.printed()))
    assert list(map(untimed, committed)) == list(map(untimed, drawn))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_its_benchmarks_are_valid(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("benchmarks.toml").write_text("\n".join(blocks(page, "toml")), encoding="utf-8")
    assert main(["list", "benchmarks"]) == 0


@pytest.mark.parametrize(
    ("page", "part"), [(page, part) for page, text in PAGES.items() for part in parts(text)]
)
def test_generated_parts_are_fresh(
    page: str,
    part: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--update-golden writes them."""
    monkeypatch.chdir(tmp_path)
    text = PATHS[page].read_text(encoding="utf-8")
    fresh = with_part(text, part, generated(part))
    if request.config.getoption("--update-golden"):
        PATHS[page].write_text(fresh, encoding="utf-8")
    assert PATHS[page].read_text(encoding="utf-8") == fresh


@pytest.mark.parametrize("heading", [heading for heading, (_, command) in ROWS.items() if command])
def test_commands_print_the_keys_that_rows_declare(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kind, command = ROWS[heading]
    if command == "ledger show":  # which needs a run
        assert main(["train", "-d", "iris", "-m", "ffnn:hidden=4", "--quick", "--quiet"]) == 0
    printed = json.loads(stdout(*command.split(), "--format", "json"))
    assert list(printed[0]) == kind.declared_keys()


def test_rows_of_train_and_cv_have_the_same_keys() -> None:
    small = ["-d", "iris", "-m", "ffnn:hidden=4", "--quick", "--format", "csv"]
    heads = [stdout(command, *small).splitlines()[0] for command in ("train", "cv")]
    assert heads[0] == heads[1]


def test_its_table_of_costs_has_the_notes_of_cost() -> None:
    """The figures are measured ones."""
    shown = block("activations", "$ relubench cost ")
    printed = stdout("cost", "-a", "leaky_relu,tanh,gelu,prelu", "--quick").splitlines()
    assert all(line in shown for line in printed[-3:] if not line.startswith("quick"))


def test_its_tree_is_the_house() -> None:
    package = Path(relubench.__file__).parent
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")} | {"manual/"}
    for page in ("README", "design"):
        tree = block(page, "relubench/\n")
        assert set(re.findall(r"^  (\w+/) ", tree, re.MULTILINE)) == folders, page
        assert len(tree.splitlines()) == len(folders) + 1
    files = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    named = set(re.findall(r"^\| `(\w+\.py)` \|", PAGES["design"], re.MULTILINE))
    assert named == files


@pytest.mark.parametrize("page", ["README", "design"])
def test_its_example_stands_in_the_catalogue(page: str) -> None:
    source = Path(relubench.__file__).parent / "activations" / "smooth.py"
    text = PAGES[page].replace("\n+", "\n")
    (example,) = re.findall(r"^@smooth\(.*?(?=```)", text, re.DOTALL | re.MULTILINE)
    assert example in source.read_text(encoding="utf-8")


def test_its_count_of_activations_is_right() -> None:
    for page, pattern in (("README", r"(\d+) activations"), ("activations", r"are (\d+) activ")):
        assert int(re.findall(pattern, PAGES[page])[0]) == len(ACTIVATIONS)


def test_its_formats_are_all() -> None:
    assert all(name in README for name in FORMATS)


def test_the_readme_is_a_page_or_two() -> None:
    assert len(README.split()) <= 1200


def test_it_lists_the_pages_in_reading_order() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\]\(relubench/manual/\1\.md\)", README, re.MULTILINE)
    assert tuple(listed) == READING_ORDER
    assert set(listed) == set(PAGES) - {"README"}


def slug(heading: str) -> str:
    """The anchor that a forge gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", BLOCK.sub("", PAGES[page])):
        path, _, anchor = target.partition("#")
        linked = (PATHS[page].parent / path).resolve() if path else PATHS[page]
        assert linked.is_file(), target
        if anchor:
            text = BLOCK.sub("", linked.read_text(encoding="utf-8"))
            assert anchor in map(slug, re.findall(r"^#+ (.*)$", text, re.MULTILINE)), target


def prose(page: str) -> list[str]:
    """The lines that are no table, no block and no comment."""
    lines = BLOCK.sub("", PAGES[page]).splitlines()
    return [line for line in lines if not line.startswith(("|", "<!--", "`"))]


@pytest.mark.parametrize("page", PAGES)
def test_it_is_plain_to_read(page: str) -> None:
    """Short sentences, and lines that fit an editor."""
    assert not [line for line in prose(page) if len(line) > 120]
    paragraphs = re.split(r"\n\n|\n- |\n\d+\. |\n#+ ", "\n".join(prose(page)))
    sentences = re.split(r"[.:?] ", " . ".join(text.replace("\n", " ") for text in paragraphs))
    lengths = [len(sentence.split()) for sentence in sentences if len(sentence.split()) > 2]
    assert statistics.median(lengths) <= 18


@pytest.mark.parametrize("page", set(PAGES) - {"README"})
def test_a_page_says_what_it_holds(page: str) -> None:
    """Its heading, then the line that `relubench help` lists."""
    heading, line, *_ = PAGES[page].split("\n\n")
    assert heading.startswith("# ")
    assert line.endswith(".")
    assert "\n" not in line


def test_ci_runs_its_test_command() -> None:
    """`.ci/run` takes the line that follows the marker, word for word."""
    script = "sed -n '/<!-- test command -->/,/^```$/p' README.md | grep -v -e '^```' -e '^<!--'"
    assert script in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.count("\n") == 1
    assert found.stdout.startswith("python3 -m venv .venv && ")
